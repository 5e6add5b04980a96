"""Workers may delete what has grown old: see kernel/commit/purge.py."""

from platform_core.kernel.database.tenancy import run_script

revision = "kernel_0002"
down_revision = "kernel_0001"
branch_labels = None
depends_on = None

UP = """
CREATE INDEX outbox_relayed ON outbox (relayed_at) WHERE relayed_at IS NOT NULL;
GRANT DELETE ON idempotency, commit_batch, outbox TO arsenal_job;
CREATE POLICY job_purges ON idempotency FOR DELETE TO arsenal_job USING (true);
CREATE POLICY job_purges ON commit_batch FOR DELETE TO arsenal_job USING (true);
CREATE POLICY job_purges ON outbox FOR DELETE TO arsenal_job USING (relayed_at IS NOT NULL);
"""
DOWN = """
DROP POLICY job_purges ON outbox;
DROP POLICY job_purges ON commit_batch;
DROP POLICY job_purges ON idempotency;
REVOKE DELETE ON idempotency, commit_batch, outbox FROM arsenal_job;
DROP INDEX outbox_relayed;
"""


def upgrade() -> None:
    """Grant, with the index that finds old events."""
    run_script(UP)


def downgrade() -> None:
    """Take it back."""
    run_script(DOWN)
