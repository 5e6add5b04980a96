"""Receipts of payments, and the documents that were drawn for them."""

from alembic import op

from platform_core.kernel.database.tenancy import run_script, tenant_table_sql

revision = "payments_0004"
down_revision = "payments_0003"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE pay_receipt (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  payment_id text NOT NULL,
  media_type text NOT NULL CHECK (media_type IN ('text/html', 'application/pdf')),
  locale text NOT NULL CHECK (locale IN ('zh', 'en')),
  state text NOT NULL CHECK (state IN ('pending', 'ready')),
  rendered_media_type text CHECK (rendered_media_type IN ('text/html', 'application/pdf')),
  currency text NOT NULL,
  total_minor bigint CHECK (total_minor >= 0),
  refunded_minor bigint CHECK (refunded_minor BETWEEN 0 AND total_minor),
  blob_id text,
  size_bytes integer CHECK (size_bytes BETWEEN 1 AND 2097152),
  sha256 text CHECK (sha256 ~ '^[0-9a-f]{64}$'),
  plugin_id text,
  plugin_version text,
  degraded jsonb,
  sequence bigint NOT NULL CHECK (sequence >= 0),
  version bigint NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  ready_at timestamptz,
  UNIQUE (payment_id, media_type, locale),
  CHECK ((state = 'ready') = (blob_id IS NOT NULL)),
  CHECK (num_nulls(blob_id, rendered_media_type, total_minor, refunded_minor, size_bytes, sha256, ready_at) IN (0, 7)),
  CHECK ((plugin_id IS NULL) = (plugin_version IS NULL))
);

CREATE TABLE pay_receipt_blob (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  receipt_id text NOT NULL,
  content bytea NOT NULL CHECK (octet_length(content) BETWEEN 1 AND 2097152),
  created_at timestamptz NOT NULL
);
CREATE INDEX pay_receipt_blob_end ON pay_receipt_blob (created_at);
"""

RETENTION = """
GRANT DELETE ON pay_receipt_blob TO arsenal_job;
CREATE POLICY job_purges ON pay_receipt_blob FOR DELETE TO arsenal_job USING (true);
"""

TABLE_NAMES = ("pay_receipt", "pay_receipt_blob")


def upgrade() -> None:
    """Create the tables; workers may take documents away that have grown old."""
    run_script(TABLES)
    for table in TABLE_NAMES:
        run_script(tenant_table_sql(table))
    run_script(RETENTION)


def downgrade() -> None:
    """Drop them."""
    op.execute(f"DROP TABLE {', '.join(reversed(TABLE_NAMES))}")
