"""Freezing by code, QR code or app; payers' pages; routing by hour and weight; stickers."""

from alembic import op

from platform_core.kernel.database.tenancy import run_script, tenant_table_sql

revision = "payments_0009"
down_revision = "payments_0008"
branch_labels = None
depends_on = None

COLUMNS = """
ALTER TABLE pay_payment
  ADD freeze_by text CHECK (freeze_by IN ('code', 'qr', 'app')),
  ADD pay_url text,
  ADD CHECK ((form = 'preauth') = (freeze_by IS NOT NULL)),
  ADD CHECK (freeze_by IS NULL OR NOT is_capture);
-- By the token at the end: where the platform's pages are may change while an order is open.
CREATE UNIQUE INDEX pay_payment_payer ON pay_payment (right(pay_url, 22)) WHERE pay_url IS NOT NULL;

ALTER TABLE pay_channel_account ADD version bigint NOT NULL DEFAULT 1;
ALTER TABLE pay_routing_rule
  ADD version bigint NOT NULL DEFAULT 1,
  ADD weights jsonb,
  ADD hour_from integer CHECK (hour_from BETWEEN 0 AND 23),
  ADD hour_until integer CHECK (hour_until BETWEEN 0 AND 23),
  ADD CHECK ((hour_from IS NULL) = (hour_until IS NULL)),
  ADD CHECK (hour_from <> hour_until),
  ADD CHECK (weights IS NULL OR jsonb_array_length(weights) = jsonb_array_length(channel_account_ids));
"""

TABLES = """
CREATE TABLE pay_sticker (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  code text NOT NULL UNIQUE CHECK (code ~ '^[0-9a-hjkmnp-tv-z]{12}$'),
  store_id text NOT NULL,
  terminal_id text,
  name text NOT NULL,
  currency text NOT NULL,
  amount_minor bigint CHECK (amount_minor > 0),
  state text NOT NULL CHECK (state IN ('active', 'revoked')),
  version bigint NOT NULL,
  created_at timestamptz NOT NULL,
  revoked_at timestamptz,
  CHECK ((state = 'revoked') = (revoked_at IS NOT NULL))
);
CREATE INDEX pay_sticker_newest ON pay_sticker (merchant_id, created_at DESC, id DESC);

-- One of the payments that a sticker may begin in a minute: the key makes a further one impossible.
CREATE TABLE pay_sticker_use (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  sticker_id text NOT NULL,
  payment_out_trade_no text NOT NULL,
  minute timestamptz NOT NULL,
  place integer NOT NULL CHECK (place BETWEEN 1 AND 30),
  created_at timestamptz NOT NULL,
  UNIQUE (sticker_id, minute, place)
);
"""

GONE = """
ALTER TABLE pay_routing_rule DROP version, DROP weights, DROP hour_from, DROP hour_until;
ALTER TABLE pay_channel_account DROP version;
DROP INDEX pay_payment_payer;
ALTER TABLE pay_payment DROP pay_url, DROP freeze_by;
"""

TABLE_NAMES = ("pay_sticker", "pay_sticker_use")


def upgrade() -> None:
    """Add the columns and create the tables."""
    run_script(COLUMNS)
    run_script(TABLES)
    for table in TABLE_NAMES:
        run_script(tenant_table_sql(table))


def downgrade() -> None:
    """Drop them."""
    op.execute(f"DROP TABLE {', '.join(reversed(TABLE_NAMES))}")
    run_script(GONE)
