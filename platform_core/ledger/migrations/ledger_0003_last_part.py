"""Accounts whose bucket is `<thing>/<day>` are found by their day."""

from alembic import op

revision = "ledger_0003"
down_revision = "ledger_0002"
branch_labels = None
depends_on = None

# Of columns that never change, so that moving money stays an update in place.
INDEX = """
CREATE INDEX ledger_account_last_part ON ledger_account (merchant_id, role, (substring(bucket from '[^/]*$')))
  WHERE bucket LIKE '%/%'
"""


def upgrade() -> None:
    """Create the index."""
    op.execute(INDEX)


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP INDEX ledger_account_last_part")
