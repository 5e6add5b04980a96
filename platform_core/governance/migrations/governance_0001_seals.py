"""The seals of the audit log: appended by the writer, changed and removed by nobody."""

from alembic import op

from platform_core.kernel.database.tenancy import run_script

revision = "governance_0001"
down_revision = None
branch_labels = ("governance",)
depends_on = None

UP = """
CREATE TABLE audit_seal (
  id text PRIMARY KEY,
  number bigint NOT NULL UNIQUE CHECK (number > 0),
  first_row bigint NOT NULL UNIQUE CHECK (first_row > 0),
  rows integer NOT NULL CHECK (rows > 0),
  last_written_in bigint NOT NULL,
  last_position bigint NOT NULL,
  row_hashes bytea NOT NULL CHECK (length(row_hashes) = 32 * rows),
  root bytea NOT NULL CHECK (length(root) = 32),
  previous bytea NOT NULL CHECK (length(previous) = 32),
  digest bytea NOT NULL CHECK (length(digest) = 32),
  sealed_at timestamptz NOT NULL
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_seal
  FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();

ALTER TABLE audit_seal ENABLE ROW LEVEL SECURITY;
GRANT SELECT ON audit_seal TO arsenal_job;
GRANT SELECT, INSERT ON audit_seal TO arsenal_writer;
CREATE POLICY job_reads ON audit_seal FOR SELECT TO arsenal_job USING (true);
CREATE POLICY writer_reads ON audit_seal FOR SELECT TO arsenal_writer USING (true);
CREATE POLICY writer_appends ON audit_seal FOR INSERT TO arsenal_writer WITH CHECK (true);
"""


def upgrade() -> None:
    """Create the table and what guards it; the guarding function is the kernel's."""
    run_script(UP)


def downgrade() -> None:
    """Drop the table."""
    op.execute("DROP TABLE audit_seal")
