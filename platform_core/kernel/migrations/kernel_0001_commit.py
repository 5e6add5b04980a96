"""Roles, and the tables of the writer: batches, outbox, idempotency keys, due work."""

from alembic import op

from platform_core.kernel.database.tenancy import create_roles_sql, run_script, tenant_table_sql

revision = "kernel_0001"
down_revision = None
branch_labels = ("kernel",)
depends_on = None

TABLES = """
CREATE TABLE commit_batch (
  id text PRIMARY KEY,
  plans integer NOT NULL CHECK (plans >= 0),
  committed_at timestamptz NOT NULL
);
CREATE INDEX commit_batch_age ON commit_batch (committed_at);

CREATE TABLE outbox (
  position bigint GENERATED ALWAYS AS IDENTITY,
  id text PRIMARY KEY,
  merchant_id text,
  type text NOT NULL,
  object_id text NOT NULL,
  sequence bigint NOT NULL,
  occurred_at timestamptz NOT NULL,
  body text NOT NULL,
  traceparent text,
  relayed_at timestamptz
);
-- Only what is still to be relayed is in this index, so draining costs the same however long the history is.
CREATE INDEX outbox_waiting ON outbox (position) WHERE relayed_at IS NULL;
CREATE INDEX outbox_object ON outbox (object_id, sequence);

CREATE TABLE idempotency (
  client_id text NOT NULL,
  merchant_id text NOT NULL,
  key text NOT NULL,
  fingerprint bytea NOT NULL,
  object_id text,
  created_at timestamptz NOT NULL,
  status integer,
  body text,
  PRIMARY KEY (client_id, merchant_id, key)
);
CREATE INDEX idempotency_age ON idempotency (created_at);

CREATE TABLE due (
  kind text NOT NULL,
  subject_id text NOT NULL,
  merchant_id text,
  due_at timestamptz NOT NULL,
  tries integer NOT NULL DEFAULT 0 CHECK (tries >= 0),
  leased_until timestamptz,
  PRIMARY KEY (kind, subject_id)
);
CREATE INDEX due_next ON due (kind, due_at);
"""


def upgrade() -> None:
    """Create roles and tables."""
    run_script(create_roles_sql())
    run_script(TABLES)
    run_script(tenant_table_sql("commit_batch", tenant=None))
    run_script(tenant_table_sql("outbox"))
    run_script(tenant_table_sql("idempotency"))
    run_script(tenant_table_sql("due", removable=True))
    # The relay marks events, workers take leases; nothing else is theirs to write.
    op.execute("GRANT UPDATE (relayed_at) ON outbox TO arsenal_job")
    op.execute("CREATE POLICY job_relays ON outbox FOR UPDATE TO arsenal_job USING (true)")
    op.execute("GRANT UPDATE (leased_until) ON due TO arsenal_job")
    op.execute("CREATE POLICY job_leases ON due FOR UPDATE TO arsenal_job USING (true)")


def downgrade() -> None:
    """Drop the tables; the roles are the cluster's and stay."""
    op.execute("DROP TABLE due, idempotency, outbox, commit_batch")
