"""By which keys customers are known to a merchant."""

from alembic import op

from platform_core.kernel.database.tenancy import run_script, tenant_table_sql

revision = "identity_0011"
down_revision = "identity_0010"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE customer_key (
  id text PRIMARY KEY,
  merchant_id text NOT NULL REFERENCES merchant (id),
  kind text NOT NULL CHECK (kind ~ '^[a-z][a-z_]{0,39}$'),
  digest bytea NOT NULL CHECK (length(digest) = 32),
  created_at timestamptz NOT NULL,
  UNIQUE (merchant_id, kind, digest)
);
"""


def upgrade() -> None:
    """Create the table. What a key says is in no column: only its keyed hash is."""
    run_script(TABLES)
    run_script(tenant_table_sql("customer_key"))


def downgrade() -> None:
    """Drop the table."""
    op.execute("DROP TABLE customer_key")
