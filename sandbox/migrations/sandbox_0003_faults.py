"""Scripted faults of apps, and every use of one."""

from alembic import op

from platform_core.kernel.database.tenancy import run_script, tenant_table_sql

revision = "sandbox_0003"
down_revision = "sandbox_0002"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE sandbox_fault (
  id text PRIMARY KEY,
  app_id text NOT NULL,
  operation text NOT NULL CHECK (length(operation) <= 128),
  match jsonb NOT NULL CHECK (jsonb_typeof(match) = 'object'),
  effect text NOT NULL,
  argument text NOT NULL CHECK (length(argument) <= 64),
  times_left integer NOT NULL CHECK (times_left >= 0),
  version bigint NOT NULL,
  created_at timestamptz NOT NULL
);
CREATE INDEX sandbox_fault_app ON sandbox_fault (app_id, created_at) WHERE times_left > 0;

CREATE TABLE sandbox_fault_use (
  id text PRIMARY KEY,
  fault_id text NOT NULL REFERENCES sandbox_fault (id),
  app_id text NOT NULL,
  effect text NOT NULL,
  subject text NOT NULL,
  used_at timestamptz NOT NULL
);
CREATE INDEX sandbox_fault_use_app ON sandbox_fault_use (app_id, used_at, id);
"""


def upgrade() -> None:
    """Create the tables."""
    run_script(TABLES)
    for table in ("sandbox_fault", "sandbox_fault_use"):
        run_script(tenant_table_sql(table, tenant=None))


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP TABLE sandbox_fault_use, sandbox_fault")
