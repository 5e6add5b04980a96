"""What plugins said of a payment: discounts, the verdict with its reasons, and decisions made without an answer."""

from alembic import op

revision = "payments_0003"
down_revision = "payments_0002"
branch_labels = None
depends_on = None

COLUMNS = ("discounts", "risk", "degraded")


def upgrade() -> None:
    """None of those that exist was screened."""
    for column in COLUMNS:
        op.execute(f"ALTER TABLE pay_payment ADD COLUMN {column} jsonb")


def downgrade() -> None:
    """Forget it."""
    for column in COLUMNS:
        op.execute(f"ALTER TABLE pay_payment DROP COLUMN {column}")
