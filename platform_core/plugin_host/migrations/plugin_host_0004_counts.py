"""How calls of each version went, counted by process and half minute."""

from alembic import op

from platform_core.kernel.database.tenancy import run_script, tenant_table_sql

revision = "plugin_host_0004"
down_revision = "plugin_host_0003"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE plugin_call_count (
  id text PRIMARY KEY,
  plugin_id text NOT NULL,
  plugin_version text NOT NULL,
  calls bigint NOT NULL CHECK (calls > 0),
  faults bigint NOT NULL CHECK (faults BETWEEN 0 AND calls),
  durations jsonb NOT NULL,
  counted_at timestamptz NOT NULL
);
CREATE INDEX plugin_call_count_version ON plugin_call_count (plugin_id, plugin_version, counted_at);
CREATE INDEX plugin_call_count_age ON plugin_call_count (counted_at);
"""
JOB_RIGHTS = """
GRANT DELETE ON plugin_call_count TO arsenal_job;
"""


def upgrade() -> None:
    """Create the table."""
    run_script(TABLES)
    run_script(tenant_table_sql("plugin_call_count", tenant=None))
    run_script(JOB_RIGHTS)


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE plugin_call_count")
