"""The rows of the audit log: appended by the writer, changed and removed by nobody."""

from alembic import op

from platform_core.kernel.database.tenancy import TENANT, run_script

revision = "kernel_0003"
down_revision = "kernel_0002"
branch_labels = None
depends_on = None

# `written_in` is the writing transaction: rows are chained in its order once every older one has ended, so that no row
# can appear before one that is chained already. 64 bits: it never wraps.
UP = f"""
CREATE TABLE audit_row (
  position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  written_in bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
  at timestamptz NOT NULL,
  stream text NOT NULL CHECK (stream IN ('act', 'access', 'call')),
  kind text NOT NULL CHECK (kind ~ '^[a-z_]+([.][a-z_]+)+$'),
  actor text NOT NULL CHECK (length(actor) BETWEEN 1 AND 200),
  on_behalf_of text,
  subject text NOT NULL CHECK (length(subject) BETWEEN 1 AND 200),
  merchant_id text,
  reason text CHECK (length(reason) <= 2000),
  rule text,
  request_id text,
  before_digest bytea,
  after_digest bytea,
  facts text NOT NULL CHECK (length(facts) BETWEEN 2 AND 8192)
);
CREATE INDEX audit_row_order ON audit_row (written_in, position);
CREATE INDEX audit_row_subject ON audit_row (subject, position);
CREATE INDEX audit_row_merchant ON audit_row (merchant_id, position) WHERE merchant_id IS NOT NULL;

CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege'; END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_row
  FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();

ALTER TABLE audit_row ENABLE ROW LEVEL SECURITY;
GRANT SELECT ON audit_row TO arsenal_app, arsenal_job;
GRANT INSERT ON audit_row TO arsenal_writer;
CREATE POLICY app_reads ON audit_row FOR SELECT TO arsenal_app USING (merchant_id = {TENANT});
CREATE POLICY job_reads ON audit_row FOR SELECT TO arsenal_job USING (true);
CREATE POLICY writer_appends ON audit_row FOR INSERT TO arsenal_writer WITH CHECK (true);
"""


def upgrade() -> None:
    """Create the table and what guards it."""
    run_script(UP)


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP TABLE audit_row")
    op.execute("DROP FUNCTION audit_is_append_only()")
