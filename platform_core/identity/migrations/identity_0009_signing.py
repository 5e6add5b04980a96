"""Clients whose requests count signed alone."""

from alembic import op

from platform_core.kernel.database.tenancy import run_script, tenant_table_sql

revision = "identity_0009"
down_revision = "identity_0008"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE client_signing (
  id text PRIMARY KEY REFERENCES app_client (id),
  merchant_id text REFERENCES merchant (id),
  set_by text NOT NULL,
  created_at timestamptz NOT NULL
);
"""


def upgrade() -> None:
    """Create the table; the rule is a row, and taking it away removes the row."""
    run_script(TABLES)
    run_script(tenant_table_sql("client_signing", auth=True, removable=True))


def downgrade() -> None:
    """Drop the table."""
    op.execute("DROP TABLE client_signing")
