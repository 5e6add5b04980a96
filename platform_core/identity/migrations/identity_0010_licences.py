"""Licences are valid by days, from one on; a merchant may take one away again."""

from alembic import op

from platform_core.kernel.database.tenancy import run_script

revision = "identity_0010"
down_revision = "identity_0009"
branch_labels = None
depends_on = None

# The table had no writer before this revision, so it is empty.
TABLES = """
ALTER TABLE merchant_licence ALTER COLUMN valid_to TYPE date USING valid_to::date;
ALTER TABLE merchant_licence ADD COLUMN valid_from date NOT NULL;
ALTER TABLE merchant_licence ADD CONSTRAINT merchant_licence_days CHECK (valid_to >= valid_from);
GRANT DELETE ON merchant_licence TO arsenal_writer;
CREATE INDEX merchant_licence_merchant ON merchant_licence (merchant_id, created_at, id);
"""


def upgrade() -> None:
    """Add the first day, and let the writer remove; the audit log keeps that there was one."""
    run_script(TABLES)


def downgrade() -> None:
    """Back to a moment of expiry alone."""
    op.execute("REVOKE DELETE ON merchant_licence FROM arsenal_writer")
    op.execute("DROP INDEX merchant_licence_merchant")
    op.execute("ALTER TABLE merchant_licence DROP CONSTRAINT merchant_licence_days, DROP COLUMN valid_from")
    op.execute("ALTER TABLE merchant_licence ALTER COLUMN valid_to TYPE timestamptz USING valid_to::timestamptz")
