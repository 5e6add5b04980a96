"""Disputes of payments, the documents that merchants answered them with, and what of a payment they take."""

from alembic import op

from platform_core.kernel.database.tenancy import run_script, tenant_table_sql

revision = "payments_0007"
down_revision = "payments_0004"
branch_labels = None
depends_on = None

PAYMENT = """
ALTER TABLE pay_payment ADD COLUMN disputed_minor bigint NOT NULL DEFAULT 0 CHECK (disputed_minor >= 0);
ALTER TABLE pay_payment ADD COLUMN disputes integer NOT NULL DEFAULT 0 CHECK (disputes >= 0);
ALTER TABLE pay_payment ALTER COLUMN disputed_minor DROP DEFAULT, ALTER COLUMN disputes DROP DEFAULT;
ALTER TABLE pay_payment ADD CONSTRAINT pay_payment_given_back
  CHECK (refunded_minor + refunding_minor + disputed_minor <= captured_minor);
"""

TABLES = """
CREATE TABLE pay_dispute (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  payment_id text NOT NULL,
  transaction_id text NOT NULL,
  provider_id text NOT NULL,
  channel_account_id text NOT NULL,
  provider_reference text NOT NULL,
  state text NOT NULL CHECK (state IN ('opened', 'evidence_sent', 'accepted', 'won', 'lost')),
  amount_minor bigint NOT NULL CHECK (amount_minor > 0),
  held_minor bigint NOT NULL CHECK (held_minor BETWEEN 0 AND amount_minor),
  currency text NOT NULL,
  reason text NOT NULL,
  is_withdrawn boolean NOT NULL,
  due_at timestamptz,
  documents integer NOT NULL CHECK (documents BETWEEN 0 AND 10),
  version bigint NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  decided_at timestamptz,
  UNIQUE (channel_account_id, provider_reference),
  CHECK ((state IN ('won', 'lost')) = (decided_at IS NOT NULL)),
  CHECK (state <> 'lost' OR is_withdrawn)
);
CREATE INDEX pay_dispute_newest ON pay_dispute (merchant_id, created_at DESC, id DESC);
CREATE INDEX pay_dispute_payment ON pay_dispute (payment_id);

CREATE TABLE pay_dispute_document (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  dispute_id text NOT NULL,
  name text NOT NULL,
  media_type text NOT NULL CHECK (media_type IN ('image/jpeg', 'image/png', 'application/pdf')),
  size_bytes integer NOT NULL CHECK (size_bytes BETWEEN 1 AND 5242880),
  sha256 text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
  content bytea NOT NULL,
  state text NOT NULL CHECK (state IN ('pending', 'sent', 'refused', 'kept')),
  error jsonb,
  created_at timestamptz NOT NULL,
  UNIQUE (dispute_id, sha256),
  CHECK (octet_length(content) = size_bytes)
);
"""

TABLE_NAMES = ("pay_dispute", "pay_dispute_document")


def upgrade() -> None:
    """None of the payments that exist was disputed."""
    run_script(PAYMENT)
    run_script(TABLES)
    for table in TABLE_NAMES:
        run_script(tenant_table_sql(table))


def downgrade() -> None:
    """Drop them; the ledger still knows what was taken and given back."""
    op.execute(f"DROP TABLE {', '.join(reversed(TABLE_NAMES))}")
    op.execute("ALTER TABLE pay_payment DROP COLUMN disputes, DROP COLUMN disputed_minor")
