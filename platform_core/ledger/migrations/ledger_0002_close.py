"""Accounts can be closed: nothing more is taken out of them."""

from alembic import op

revision = "ledger_0002"
down_revision = "ledger_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Every account is open."""
    op.execute("ALTER TABLE ledger_account ADD COLUMN is_closed boolean NOT NULL DEFAULT false")


def downgrade() -> None:
    """Forget which were closed."""
    op.execute("ALTER TABLE ledger_account DROP COLUMN is_closed")
