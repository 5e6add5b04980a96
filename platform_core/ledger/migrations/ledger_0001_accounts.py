"""Accounts, transfers and pending transfers."""

from alembic import op

from platform_core.kernel.database.tenancy import run_script, tenant_table_sql

revision = "ledger_0001"
down_revision = None
branch_labels = ("ledger",)
depends_on = None

# Foreign keys are left out on purpose: the writer holds both accounts locked when it writes a transfer, so the check
# would only be repeated, row by row, on the hottest table of the house. `arsenal ledger verify` proves the same for all
# of history.
TABLES = """
CREATE TABLE ledger_account (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  merchant_id text,
  unit text NOT NULL,
  owner text NOT NULL,
  role text NOT NULL,
  bucket text NOT NULL,
  guard text NOT NULL CHECK (guard IN ('free', 'ge0', 'le0')),
  debits_posted bigint NOT NULL DEFAULT 0 CHECK (debits_posted >= 0),
  credits_posted bigint NOT NULL DEFAULT 0 CHECK (credits_posted >= 0),
  debits_pending bigint NOT NULL DEFAULT 0 CHECK (debits_pending >= 0),
  credits_pending bigint NOT NULL DEFAULT 0 CHECK (credits_pending >= 0),
  moved_at timestamptz NOT NULL DEFAULT 'epoch',
  UNIQUE (unit, owner, role, bucket),
  CONSTRAINT guard_ge0 CHECK (guard <> 'ge0' OR debits_posted + debits_pending <= credits_posted),
  CONSTRAINT guard_le0 CHECK (guard <> 'le0' OR credits_posted + credits_pending <= debits_posted)
) WITH (fillfactor = 50);
CREATE INDEX ledger_account_merchant ON ledger_account (merchant_id, role, id);

CREATE TABLE ledger_transfer (
  position bigint GENERATED ALWAYS AS IDENTITY,
  id text PRIMARY KEY,
  merchant_id text,
  kind text NOT NULL CHECK (kind IN ('transfer', 'pending', 'post', 'void', 'expire')),
  debit_account bigint NOT NULL,
  credit_account bigint NOT NULL,
  unit text NOT NULL,
  amount bigint NOT NULL CHECK (amount > 0),
  pending_id text,
  reverses text,
  code text NOT NULL,
  reference text NOT NULL,
  created_at timestamptz NOT NULL,
  expires_at timestamptz,
  debit_after bigint NOT NULL,
  credit_after bigint NOT NULL,
  CHECK (debit_account <> credit_account),
  CHECK ((kind IN ('post', 'void', 'expire')) = (pending_id IS NOT NULL))
);
-- The writer lets created_at never step back within an account, so time and position sort the rows of an account alike.
CREATE INDEX ledger_transfer_debit ON ledger_transfer (debit_account, created_at, position);
CREATE INDEX ledger_transfer_credit ON ledger_transfer (credit_account, created_at, position);
-- Another order of NULLs than the two above, so that the planner never reads a merchant's whole history through this
-- one to find the newest rows of a single account.
CREATE INDEX ledger_transfer_merchant ON ledger_transfer
  (merchant_id, created_at DESC NULLS LAST, position DESC NULLS LAST);
CREATE INDEX ledger_transfer_reference ON ledger_transfer (reference);
CREATE UNIQUE INDEX ledger_transfer_resolution ON ledger_transfer (pending_id) WHERE pending_id IS NOT NULL;

CREATE TABLE ledger_pending (
  id text PRIMARY KEY,
  merchant_id text,
  debit_account bigint NOT NULL,
  credit_account bigint NOT NULL,
  amount bigint NOT NULL CHECK (amount > 0),
  unit text NOT NULL,
  reference text NOT NULL,
  expires_at timestamptz,
  state text NOT NULL CHECK (state IN ('pending', 'posted', 'voided', 'expired')),
  posted bigint NOT NULL DEFAULT 0 CHECK (posted BETWEEN 0 AND amount)
) WITH (fillfactor = 70);
CREATE INDEX ledger_pending_expiry ON ledger_pending (expires_at) WHERE state = 'pending' AND expires_at IS NOT NULL;
"""


def upgrade() -> None:
    """Create the tables."""
    run_script(TABLES)
    for table in ("ledger_account", "ledger_transfer", "ledger_pending"):
        run_script(tenant_table_sql(table))


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP TABLE ledger_pending, ledger_transfer, ledger_account")
