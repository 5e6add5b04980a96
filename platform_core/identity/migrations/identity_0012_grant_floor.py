"""Since which version of a grant nothing was taken away: tokens of that version and later ones hold."""

from alembic import op

from platform_core.kernel.database.tenancy import run_script

revision = "identity_0012"
down_revision = "identity_0011"
branch_labels = None
depends_on = None

# What was taken away before is not known, so tokens of the present version alone hold on, as they did.
TABLES = """
ALTER TABLE access_grant ADD COLUMN floor_version integer NOT NULL DEFAULT 1;
UPDATE access_grant SET floor_version = version;
ALTER TABLE access_grant ADD CONSTRAINT access_grant_floor CHECK (floor_version BETWEEN 1 AND version);
"""


def upgrade() -> None:
    """Add the floor."""
    run_script(TABLES)


def downgrade() -> None:
    """Drop it: tokens of the present version alone hold."""
    op.execute("ALTER TABLE access_grant DROP COLUMN floor_version")
