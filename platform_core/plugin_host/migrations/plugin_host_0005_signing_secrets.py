"""Secrets that requests to remote plugins are signed with."""

from alembic import op

from platform_core.kernel.database.tenancy import run_script, tenant_table_sql

revision = "plugin_host_0005"
down_revision = "plugin_host_0004"
branch_labels = None
depends_on = None

# `boxes` are sealed by identity's vault, base64, the newest first; a second one signs too until `retires_at`.
TABLE = """
CREATE TABLE plugin_signing_secret (
  id text PRIMARY KEY REFERENCES plugin (id),
  app_id text NOT NULL,
  boxes jsonb NOT NULL CHECK (jsonb_typeof(boxes) = 'array' AND jsonb_array_length(boxes) BETWEEN 1 AND 2),
  retires_at timestamptz,
  row_version bigint NOT NULL CHECK (row_version > 0),
  created_at timestamptz NOT NULL,
  rotated_at timestamptz NOT NULL,
  CHECK ((retires_at IS NULL) = (jsonb_array_length(boxes) = 1))
);
"""


def upgrade() -> None:
    """Create the table; requests on merchants' behalf see nothing of it."""
    run_script(TABLE)
    run_script(tenant_table_sql("plugin_signing_secret", tenant=None, auth=True))


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE plugin_signing_secret")
