"""Settlement in full (row 12), acquirers' payouts (row 13), payouts and top-ups (row 14)."""

from alembic import op

from platform_core.kernel.database.tenancy import run_script, tenant_table_sql

revision = "payments_0006"
down_revision = "payments_0007"
branch_labels = None
depends_on = None

# What was settled before this revision told only its net: it stands as gross too, with nothing taken off.
SETTLEMENT = """
ALTER TABLE pay_settlement DROP CONSTRAINT pay_settlement_net_minor_check;
ALTER TABLE pay_settlement
  ADD COLUMN gross_minor bigint NOT NULL DEFAULT 0,
  ADD COLUMN funded_minor bigint NOT NULL DEFAULT 0,
  ADD COLUMN fees_minor bigint NOT NULL DEFAULT 0,
  ADD COLUMN splits_minor bigint NOT NULL DEFAULT 0,
  ADD COLUMN refunds_minor bigint NOT NULL DEFAULT 0,
  ADD COLUMN disputes_minor bigint NOT NULL DEFAULT 0,
  ADD COLUMN other_minor bigint NOT NULL DEFAULT 0,
  ADD COLUMN held_minor bigint NOT NULL DEFAULT 0,
  ADD COLUMN moved_minor bigint NOT NULL DEFAULT 0,
  ADD COLUMN debt_minor bigint NOT NULL DEFAULT 0,
  ADD COLUMN reserve_minor bigint NOT NULL DEFAULT 0,
  ADD COLUMN withheld_minor bigint NOT NULL DEFAULT 0,
  ADD COLUMN receivers_minor bigint NOT NULL DEFAULT 0,
  ADD COLUMN withholdings jsonb,
  ADD COLUMN degraded jsonb;
UPDATE pay_settlement SET gross_minor = net_minor, moved_minor = net_minor;
ALTER TABLE pay_settlement
  ADD CHECK (moved_minor >= 0 AND debt_minor >= 0 AND reserve_minor >= 0 AND withheld_minor >= 0
    AND receivers_minor >= 0),
  ADD CHECK (moved_minor = gross_minor + funded_minor - fees_minor - splits_minor - refunds_minor - disputes_minor
    + other_minor - held_minor),
  ADD CHECK (net_minor = moved_minor - debt_minor - reserve_minor - withheld_minor);
"""

TABLES = """
CREATE TABLE pay_settlement_holiday (
  id text PRIMARY KEY,
  day date NOT NULL,
  name text NOT NULL,
  created_at timestamptz NOT NULL,
  UNIQUE (day)
);

CREATE TABLE pay_reserve_plan (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  currency text NOT NULL,
  rate_bp integer NOT NULL CHECK (rate_bp BETWEEN 0 AND 10000),
  held_days integer NOT NULL CHECK (held_days BETWEEN 1 AND 1000),
  valid_from timestamptz NOT NULL
);
CREATE INDEX pay_reserve_plan_merchant ON pay_reserve_plan (merchant_id, currency, valid_from);

CREATE TABLE pay_reserve (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  settlement_id text NOT NULL,
  currency text NOT NULL,
  amount_minor bigint NOT NULL CHECK (amount_minor > 0),
  released_minor bigint CHECK (released_minor BETWEEN 0 AND amount_minor),
  release_at timestamptz NOT NULL,
  released_at timestamptz,
  version bigint NOT NULL,
  UNIQUE (settlement_id),
  CHECK ((released_at IS NULL) = (released_minor IS NULL))
);

CREATE TABLE pay_acquirer_payout (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  channel_account_id text NOT NULL,
  reference text NOT NULL,
  currency text NOT NULL,
  gross_minor bigint NOT NULL CHECK (gross_minor > 0),
  cost_minor bigint NOT NULL CHECK (cost_minor BETWEEN 0 AND gross_minor),
  booked_by text NOT NULL,
  booked_at timestamptz NOT NULL,
  UNIQUE (channel_account_id, reference)
);

CREATE TABLE pay_payout_terms (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  currency text NOT NULL,
  schedule text NOT NULL CHECK (schedule IN ('manual', 'daily', 'weekly')),
  weekday integer CHECK (weekday BETWEEN 1 AND 7),
  payout_minor_min bigint NOT NULL CHECK (payout_minor_min >= 1),
  approval_above_minor bigint CHECK (approval_above_minor >= 0),
  last_skipped jsonb,
  version bigint NOT NULL,
  updated_at timestamptz NOT NULL,
  UNIQUE (merchant_id, currency),
  CHECK ((schedule = 'weekly') = (weekday IS NOT NULL))
);

CREATE TABLE pay_payout (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  out_payout_no text NOT NULL,
  fingerprint bytea NOT NULL,
  origin text NOT NULL CHECK (origin IN ('manual', 'daily', 'weekly')),
  state text NOT NULL CHECK (state IN ('created', 'sent', 'unknown', 'paid', 'failed', 'returned')),
  approval text NOT NULL CHECK (approval IN ('not_needed', 'waiting', 'approved', 'refused')),
  currency text NOT NULL,
  amount_minor bigint NOT NULL CHECK (amount_minor > 0),
  destination_id text NOT NULL,
  destination_hint text NOT NULL,
  channel_account_id text NOT NULL,
  provider_id text NOT NULL,
  provider_reference text,
  note text NOT NULL,
  requested_by text NOT NULL,
  decided_by text,
  charge jsonb,
  last_error jsonb,
  sequence bigint NOT NULL,
  version bigint NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  paid_at timestamptz,
  ended_at timestamptz,
  UNIQUE (merchant_id, out_payout_no),
  CHECK (approval NOT IN ('waiting', 'refused') OR state IN ('created', 'failed')),
  CHECK ((state IN ('paid', 'failed', 'returned')) = (ended_at IS NOT NULL)),
  CHECK (decided_by IS NULL OR decided_by <> requested_by)
);
CREATE INDEX pay_payout_merchant ON pay_payout (merchant_id, created_at, id);

CREATE TABLE pay_top_up (
  id text PRIMARY KEY,
  merchant_id text NOT NULL,
  bank_account text NOT NULL,
  reference text NOT NULL,
  currency text NOT NULL,
  amount_minor bigint NOT NULL CHECK (amount_minor > 0),
  debt_minor bigint NOT NULL CHECK (debt_minor BETWEEN 0 AND amount_minor),
  state text NOT NULL CHECK (state IN ('proposed', 'booked', 'refused')),
  proposed_by text NOT NULL,
  decided_by text,
  version bigint NOT NULL,
  created_at timestamptz NOT NULL,
  decided_at timestamptz,
  CHECK ((state = 'proposed') = (decided_by IS NULL)),
  CHECK (decided_by IS NULL OR decided_by <> proposed_by)
);
-- What was refused may be proposed again; what waits or was booked stands once.
CREATE UNIQUE INDEX pay_top_up_once ON pay_top_up (bank_account, reference, state) WHERE state <> 'refused';
"""

OF_MERCHANTS = (
    "pay_reserve_plan",
    "pay_reserve",
    "pay_acquirer_payout",
    "pay_payout_terms",
    "pay_payout",
    "pay_top_up",
)


def upgrade() -> None:
    """Complete the settlements and create the tables."""
    run_script(SETTLEMENT)
    run_script(TABLES)
    run_script(tenant_table_sql("pay_settlement_holiday", tenant=None, app="true", removable=True))
    for table in OF_MERCHANTS:
        run_script(tenant_table_sql(table))


def downgrade() -> None:
    """Drop the tables; settlements keep their net."""
    op.execute(f"DROP TABLE {', '.join(reversed(OF_MERCHANTS))}, pay_settlement_holiday")
    for column in (
        "degraded",
        "withholdings",
        "receivers_minor",
        "withheld_minor",
        "reserve_minor",
        "debt_minor",
        "moved_minor",
        "held_minor",
        "other_minor",
        "disputes_minor",
        "refunds_minor",
        "splits_minor",
        "fees_minor",
        "funded_minor",
        "gross_minor",
    ):
        op.execute(f"ALTER TABLE pay_settlement DROP COLUMN {column}")
