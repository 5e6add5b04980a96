"""Receivers of shares, splits of payments, and what a payment and its transactions keep of them."""

from alembic import op

from platform_core.kernel.database.tenancy import run_script, tenant_table_sql

revision = "payments_0005"
down_revision = "payments_0006"
branch_labels = None
depends_on = None

KINDS = "'authorize', 'sale', 'capture', 'void', 'cancel', 'close', 'refund', 'refund_bounce', 'late_return'"

TABLES = """
CREATE TABLE pay_split_receiver (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  reference text NOT NULL,
  bound_as text,
  name text NOT NULL,
  type text NOT NULL CHECK (type IN
    ('platform_merchant', 'channel_merchant', 'channel_user', 'channel_login', 'channel_open_id')),
  account text NOT NULL,
  version bigint NOT NULL,
  created_at timestamptz NOT NULL,
  unbound_at timestamptz,
  UNIQUE (merchant_id, bound_as),
  CHECK ((bound_as IS NULL) = (unbound_at IS NOT NULL)),
  CHECK (bound_as IS NULL OR bound_as = reference)
);
CREATE INDEX pay_split_receiver_newest ON pay_split_receiver (merchant_id, created_at DESC, id DESC);

CREATE TABLE pay_split_policy (
  id text PRIMARY KEY,
  merchant_id text NOT NULL CHECK (merchant_id = id),
  share_cap_bp integer CHECK (share_cap_bp BETWEEN 0 AND 10000),
  receivers_bound integer NOT NULL CHECK (receivers_bound BETWEEN 0 AND 20000),
  version bigint NOT NULL
);

CREATE TABLE pay_split_binding (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  kind text NOT NULL CHECK (kind IN ('bind', 'unbind')),
  out_request_no text NOT NULL,
  fingerprint bytea NOT NULL,
  receiver_ids jsonb NOT NULL,
  created_at timestamptz NOT NULL,
  UNIQUE (merchant_id, kind, out_request_no)
);

CREATE TABLE pay_split (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  payment_id text NOT NULL,
  out_request_no text NOT NULL,
  fingerprint bytea NOT NULL,
  mode text NOT NULL CHECK (mode IN ('all_or_nothing', 'partial')),
  state text NOT NULL CHECK (state IN ('pending', 'unknown', 'frozen', 'settled', 'failed', 'returned')),
  currency text NOT NULL,
  amount_minor bigint NOT NULL CHECK (amount_minor >= 0),
  frozen_minor bigint NOT NULL CHECK (frozen_minor >= 0),
  settled_minor bigint NOT NULL CHECK (settled_minor >= 0),
  returned_minor bigint NOT NULL CHECK (returned_minor >= 0),
  given_back_minor bigint NOT NULL CHECK (given_back_minor >= 0),
  refunded_before_minor bigint NOT NULL CHECK (refunded_before_minor >= 0),
  transaction_id text,
  last_error jsonb,
  version bigint NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  gives_back_at timestamptz,
  UNIQUE (payment_id, out_request_no)
);
CREATE INDEX pay_split_of_payment ON pay_split (merchant_id, payment_id, created_at, id);

CREATE TABLE pay_split_share (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  payment_id text NOT NULL,
  split_id text NOT NULL,
  number integer NOT NULL CHECK (number BETWEEN 1 AND 50),
  receiver_id text NOT NULL,
  state text NOT NULL CHECK (state IN ('pending', 'unknown', 'frozen', 'settled', 'failed', 'returned')),
  percent_bp integer CHECK (percent_bp BETWEEN 1 AND 10000),
  amount_minor bigint NOT NULL CHECK (amount_minor >= 0),
  frozen_minor bigint NOT NULL CHECK (frozen_minor >= 0),
  settled_minor bigint NOT NULL CHECK (settled_minor >= 0),
  returned_minor bigint NOT NULL CHECK (returned_minor >= 0),
  given_back_minor bigint NOT NULL CHECK (given_back_minor >= 0),
  day date,
  note text NOT NULL,
  error jsonb,
  created_at timestamptz NOT NULL,
  UNIQUE (split_id, number),
  UNIQUE (split_id, receiver_id),
  CHECK (frozen_minor + settled_minor + returned_minor + given_back_minor
    = CASE WHEN state IN ('pending', 'unknown', 'failed') THEN 0 ELSE amount_minor END)
);
CREATE INDEX pay_split_share_of_payment ON pay_split_share (merchant_id, payment_id, created_at, id);
"""

TABLE_NAMES = ("pay_split_receiver", "pay_split_policy", "pay_split_binding", "pay_split", "pay_split_share")

COLUMNS = f"""
ALTER TABLE pay_payment
  ADD COLUMN split_minor bigint NOT NULL DEFAULT 0 CHECK (split_minor >= 0),
  ADD COLUMN splitting_minor bigint NOT NULL DEFAULT 0 CHECK (splitting_minor >= 0),
  ADD COLUMN split_count integer NOT NULL DEFAULT 0 CHECK (split_count BETWEEN 0 AND 301),
  ADD COLUMN split_mode text CHECK (split_mode IN ('all_or_nothing', 'partial')),
  ADD COLUMN split_wish jsonb,
  ADD CHECK (split_minor + splitting_minor <= captured_minor);
ALTER TABLE pay_transaction ADD COLUMN split_parts jsonb;
ALTER TABLE pay_transaction DROP CONSTRAINT pay_transaction_kind_check;
ALTER TABLE pay_transaction ADD CONSTRAINT pay_transaction_kind_check CHECK (kind IN ({KINDS}, 'settle'));
ALTER TABLE pay_refund ADD COLUMN split_returns jsonb;
"""

NO_COLUMNS = f"""
ALTER TABLE pay_refund DROP COLUMN split_returns;
ALTER TABLE pay_transaction DROP CONSTRAINT pay_transaction_kind_check;
ALTER TABLE pay_transaction ADD CONSTRAINT pay_transaction_kind_check CHECK (kind IN ({KINDS}));
ALTER TABLE pay_transaction DROP COLUMN split_parts;
ALTER TABLE pay_payment DROP COLUMN split_minor, DROP COLUMN splitting_minor, DROP COLUMN split_count,
  DROP COLUMN split_mode, DROP COLUMN split_wish;
"""


def upgrade() -> None:
    """No payment that exists was split."""
    run_script(TABLES)
    for table in TABLE_NAMES:
        run_script(tenant_table_sql(table))
    run_script(COLUMNS)


def downgrade() -> None:
    """Drop them; the ledger still knows what moved. Refused by the database while a `settle` stands."""
    run_script(NO_COLUMNS)
    op.execute(f"DROP TABLE {', '.join(reversed(TABLE_NAMES))}")
