"""The windows of metered limits that were opened: told once when nothing is left, swept once when long over."""

from alembic import op

from platform_core.kernel.database.tenancy import run_script, tenant_table_sql

revision = "identity_0013"
down_revision = "identity_0012"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE limit_window (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  grant_id text NOT NULL REFERENCES access_grant (id),
  detail_id text NOT NULL,
  unit text NOT NULL,
  bucket text NOT NULL,
  opened_at timestamptz NOT NULL,
  resets_at timestamptz,
  exhausted_at timestamptz,
  swept_at timestamptz,
  version integer NOT NULL CHECK (version > 0)
) WITH (fillfactor = 80);
CREATE INDEX limit_window_grant ON limit_window (grant_id);
"""


def upgrade() -> None:
    """Create the table; windows opened before it run out untold."""
    run_script(TABLES)
    run_script(tenant_table_sql("limit_window"))


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE limit_window")
