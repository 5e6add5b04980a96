"""Workers take away deliveries that ended a month ago, with their attempts and their messages."""

from alembic import op

from platform_core.kernel.database.tenancy import run_script

revision = "delivery_0002"
down_revision = "delivery_0001"
branch_labels = None
depends_on = None

RIGHTS = """
CREATE INDEX webhook_delivery_finished ON webhook_delivery (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX webhook_delivery_message ON webhook_delivery (message_id);
GRANT DELETE ON webhook_delivery, webhook_attempt, webhook_message TO arsenal_job;
CREATE POLICY job_purges ON webhook_delivery FOR DELETE TO arsenal_job USING (finished_at IS NOT NULL);
CREATE POLICY job_purges ON webhook_attempt FOR DELETE TO arsenal_job USING (true);
CREATE POLICY job_purges ON webhook_message FOR DELETE TO arsenal_job USING (true);
"""


def upgrade() -> None:
    """Indexes by which they are found, and the right to delete what has ended."""
    run_script(RIGHTS)


def downgrade() -> None:
    """Take both back."""
    for table in ("webhook_delivery", "webhook_attempt", "webhook_message"):
        op.execute(f"DROP POLICY job_purges ON {table}")
        op.execute(f"REVOKE DELETE ON {table} FROM arsenal_job")
    op.execute("DROP INDEX webhook_delivery_finished")
    op.execute("DROP INDEX webhook_delivery_message")
