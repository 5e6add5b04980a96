"""What a payment or refund takes of the limits of the grant that it was asked under."""

from alembic import op

revision = "payments_0002"
down_revision = "payments_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """None of those that exist took anything."""
    op.execute("ALTER TABLE pay_payment ADD COLUMN charge jsonb")
    op.execute("ALTER TABLE pay_transaction ADD COLUMN charge jsonb")


def downgrade() -> None:
    """Forget it; the ledger still knows."""
    op.execute("ALTER TABLE pay_transaction DROP COLUMN charge")
    op.execute("ALTER TABLE pay_payment DROP COLUMN charge")
