"""Recordings of apps: requests with their answers, to be replayed elsewhere."""

from alembic import op

from platform_core.kernel.database.tenancy import run_script, tenant_table_sql

revision = "sandbox_0004"
down_revision = "sandbox_0003"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE sandbox_recording (
  id text PRIMARY KEY,
  app_id text NOT NULL,
  until timestamptz NOT NULL,
  created_at timestamptz NOT NULL
);
CREATE INDEX sandbox_recording_app ON sandbox_recording (app_id, until);

CREATE TABLE sandbox_exchange (
  id text PRIMARY KEY,
  recording_id text NOT NULL REFERENCES sandbox_recording (id),
  app_id text NOT NULL,
  line text NOT NULL
);
CREATE INDEX sandbox_exchange_order ON sandbox_exchange (recording_id, id);
"""


def upgrade() -> None:
    """Create the tables."""
    run_script(TABLES)
    for table in ("sandbox_recording", "sandbox_exchange"):
        run_script(tenant_table_sql(table, tenant=None))


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP TABLE sandbox_exchange, sandbox_recording")
