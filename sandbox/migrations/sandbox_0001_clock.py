"""The sandbox's clock: how far business time stands from real time, for every process of a sandbox."""

from alembic import op

from platform_core.kernel.database.tenancy import run_script, tenant_table_sql

revision = "sandbox_0001"
down_revision = None
branch_labels = ("sandbox",)
depends_on = None

TABLES = """
-- One row. Business time is `stands_at` while that is set, else real time plus `ahead_us`.
CREATE TABLE sandbox_clock (
  id text PRIMARY KEY CHECK (id = 'clock'),
  ahead_us bigint NOT NULL,
  stands_at timestamptz,
  target_at timestamptz,
  version bigint NOT NULL,
  changed_at timestamptz NOT NULL,
  CHECK (target_at IS NULL OR stands_at IS NOT NULL)
);
"""


def upgrade() -> None:
    """Create the table; without a row, business time is real time."""
    run_script(TABLES)
    run_script(tenant_table_sql("sandbox_clock", tenant=None))


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE sandbox_clock")
