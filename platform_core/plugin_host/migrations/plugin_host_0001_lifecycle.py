"""Releases, installations, configuration, secrets, suspension and deliveries of plugins."""

revision = "plugin_host_0001"
down_revision = None
branch_labels = ("plugin_host",)
depends_on = None


def upgrade() -> None:
    """The tables follow on this branch."""


def downgrade() -> None:
    """Nothing to drop yet."""
