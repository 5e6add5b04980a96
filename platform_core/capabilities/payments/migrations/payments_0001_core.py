"""Payments, attempts, transactions, refunds; channel accounts, routing, fees; settlements, notices."""

from alembic import op

from platform_core.kernel.database.tenancy import run_script, tenant_table_sql

revision = "payments_0001"
down_revision = None
branch_labels = ("payments",)
depends_on = None

TABLES = """
CREATE TABLE pay_payment (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  out_trade_no text NOT NULL,
  fingerprint bytea NOT NULL,
  subject text NOT NULL,
  form text NOT NULL,
  channel text,
  is_capture boolean NOT NULL,
  state text NOT NULL CHECK (state IN
    ('created', 'in_review', 'processing', 'unknown', 'authorized', 'captured', 'finished', 'canceled', 'closed')),
  closed_reason text CHECK (closed_reason IN ('merchant', 'expired', 'declined', 'denied_by_risk')),
  version bigint NOT NULL,
  sequence bigint NOT NULL,
  currency text NOT NULL,
  order_minor bigint NOT NULL CHECK (order_minor >= 0),
  payable_minor bigint NOT NULL CHECK (payable_minor >= 0),
  authorized_minor bigint NOT NULL CHECK (authorized_minor >= 0),
  voided_minor bigint NOT NULL CHECK (voided_minor >= 0),
  capturing_minor bigint NOT NULL CHECK (capturing_minor >= 0),
  captured_minor bigint NOT NULL CHECK (captured_minor BETWEEN 0 AND payable_minor),
  refunding_minor bigint NOT NULL CHECK (refunding_minor >= 0),
  refunded_minor bigint NOT NULL CHECK (refunded_minor >= 0),
  fee_minor bigint NOT NULL CHECK (fee_minor >= 0),
  fee_returned_minor bigint NOT NULL CHECK (fee_returned_minor BETWEEN 0 AND fee_minor),
  fee_plan jsonb,
  authorization_id text,
  booking_day date,
  store_id text,
  terminal_id text,
  operator_id text,
  customer jsonb,
  basket jsonb,
  labels jsonb,
  return_url text,
  next_action jsonb,
  last_error jsonb,
  attempts integer NOT NULL CHECK (attempts >= 0),
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  captured_at timestamptz,
  canceled_at timestamptz,
  CHECK (refunded_minor + refunding_minor <= captured_minor),
  CHECK (authorized_minor = 0 OR captured_minor + voided_minor + capturing_minor <= authorized_minor)
) WITH (fillfactor = 80);
CREATE INDEX pay_payment_newest ON pay_payment (merchant_id, created_at DESC, id DESC);
-- Made after the index above: while the table has no statistics the two look equally cheap for a look-up by both
-- columns, and PostgreSQL (18) takes the one made last. The other way round it read all of a merchant's payments each
-- time.
ALTER TABLE pay_payment ADD UNIQUE (merchant_id, out_trade_no);

CREATE TABLE pay_attempt (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  payment_id text NOT NULL,
  number integer NOT NULL,
  provider_id text NOT NULL,
  channel_account_id text NOT NULL,
  form text NOT NULL,
  state text NOT NULL CHECK (state IN ('started', 'waiting_customer', 'succeeded', 'failed', 'canceled', 'unknown')),
  route jsonb,
  error jsonb,
  created_at timestamptz NOT NULL,
  ended_at timestamptz,
  UNIQUE (payment_id, number)
);
CREATE UNIQUE INDEX pay_attempt_in_flight ON pay_attempt (payment_id)
  WHERE state IN ('started', 'waiting_customer', 'unknown');

CREATE TABLE pay_transaction (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  payment_id text NOT NULL,
  attempt_id text NOT NULL,
  kind text NOT NULL CHECK (kind IN
    ('authorize', 'sale', 'capture', 'void', 'cancel', 'close', 'refund', 'refund_bounce', 'late_return')),
  request_key text NOT NULL,
  original_id text,
  state text NOT NULL CHECK (state IN ('pending', 'succeeded', 'failed', 'unknown')),
  amount_minor bigint NOT NULL CHECK (amount_minor >= 0),
  released_minor bigint NOT NULL CHECK (released_minor >= 0),
  is_final boolean NOT NULL,
  provider_id text NOT NULL,
  channel_account_id text NOT NULL,
  provider_reference text,
  holds jsonb NOT NULL,
  fee_minor bigint NOT NULL,
  reason text NOT NULL,
  booking_day date,
  error jsonb,
  created_at timestamptz NOT NULL,
  finished_at timestamptz,
  UNIQUE (payment_id, kind, request_key)
);
CREATE INDEX pay_transaction_open ON pay_transaction (created_at) WHERE state IN ('pending', 'unknown');
CREATE UNIQUE INDEX pay_transaction_reference ON pay_transaction (channel_account_id, kind, provider_reference)
  WHERE provider_reference IS NOT NULL AND kind IN ('sale', 'authorize');

CREATE TABLE pay_refund (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  payment_id text NOT NULL,
  transaction_id text NOT NULL,
  out_request_no text NOT NULL,
  fingerprint bytea NOT NULL,
  state text NOT NULL CHECK (state IN ('pending', 'succeeded', 'failed', 'unknown', 'bounced')),
  amount_minor bigint NOT NULL CHECK (amount_minor > 0),
  currency text NOT NULL,
  fee_returned_minor bigint NOT NULL CHECK (fee_returned_minor >= 0),
  reason text NOT NULL,
  tries integer NOT NULL,
  last_error jsonb,
  version bigint NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  UNIQUE (payment_id, out_request_no)
);
CREATE INDEX pay_refund_newest ON pay_refund (merchant_id, created_at DESC, id DESC);

CREATE TABLE pay_channel_account (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  provider_id text NOT NULL,
  name text NOT NULL,
  settings jsonb NOT NULL,
  secrets jsonb NOT NULL,
  is_active boolean NOT NULL,
  created_at timestamptz NOT NULL
);
CREATE INDEX pay_channel_account_merchant ON pay_channel_account (merchant_id);

CREATE TABLE pay_routing_rule (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  position integer NOT NULL,
  form text,
  store_id text,
  amount_minor_min bigint,
  amount_minor_max bigint,
  channel_account_ids jsonb NOT NULL,
  valid_from timestamptz NOT NULL,
  valid_until timestamptz
);
CREATE INDEX pay_routing_rule_merchant ON pay_routing_rule (merchant_id, position);

CREATE TABLE pay_fee_plan (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  currency text NOT NULL,
  form text,
  rate_bp integer NOT NULL CHECK (rate_bp BETWEEN 0 AND 10000),
  fixed_minor bigint NOT NULL CHECK (fixed_minor >= 0),
  fee_minor_min bigint NOT NULL CHECK (fee_minor_min >= 0),
  fee_minor_max bigint CHECK (fee_minor_max >= fee_minor_min),
  is_kept_on_refund boolean NOT NULL,
  valid_from timestamptz NOT NULL,
  valid_until timestamptz
);
CREATE INDEX pay_fee_plan_merchant ON pay_fee_plan (merchant_id, currency);

CREATE TABLE pay_settlement (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  day date NOT NULL,
  currency text NOT NULL,
  part integer NOT NULL,
  net_minor bigint NOT NULL CHECK (net_minor > 0),
  settled_at timestamptz NOT NULL,
  UNIQUE (merchant_id, day, currency, part)
);

CREATE TABLE pay_notice (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  channel_account_id text NOT NULL,
  notice_id text NOT NULL,
  transaction_id text NOT NULL,
  raw_body bytea NOT NULL,
  received_at timestamptz NOT NULL,
  UNIQUE (channel_account_id, notice_id)
);
"""

TABLE_NAMES = (
    "pay_payment",
    "pay_attempt",
    "pay_transaction",
    "pay_refund",
    "pay_channel_account",
    "pay_routing_rule",
    "pay_fee_plan",
    "pay_settlement",
    "pay_notice",
)


def upgrade() -> None:
    """Create the tables."""
    run_script(TABLES)
    for table in TABLE_NAMES:
        run_script(tenant_table_sql(table))


def downgrade() -> None:
    """Drop them."""
    op.execute(f"DROP TABLE {', '.join(reversed(TABLE_NAMES))}")
