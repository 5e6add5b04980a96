"""Positions of the outbox in an index: who listens reads from a place onwards, several times a second."""

from alembic import op

revision = "sandbox_0002"
down_revision = "sandbox_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the index. The outbox is the kernel's, whose branch always comes first."""
    op.execute("CREATE INDEX sandbox_outbox_position ON outbox (position)")


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP INDEX sandbox_outbox_position")
