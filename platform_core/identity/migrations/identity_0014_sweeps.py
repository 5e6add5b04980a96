"""Workers may take away what is over: sessions, links, invitations, messages, counters, device codes, old news.

Of these tables they see which rows there are and when each ends, and nothing of what is in them.
"""

from alembic import op

revision = "identity_0014"
down_revision = "identity_0013"
branch_labels = None
depends_on = None

ENDS = {
    "oauth_device_code": "expires_at",
    "revocation": "until",
    "console_session": "expires_at",
    "one_time_link": "expires_at",
    "person_message": "created_at",
    "invitation": "expires_at",
    "sign_in_counter": "last_at",
}
INDEXED = frozenset({"oauth_device_code"})  # from its beginning


def upgrade() -> None:
    """Grant deletion, and an index by which what is over is found."""
    for table, column in ENDS.items():
        op.execute(f"GRANT SELECT (id, {column}), DELETE ON {table} TO arsenal_job")
        op.execute(f"CREATE POLICY job_purges ON {table} FOR DELETE TO arsenal_job USING (true)")
        if table not in INDEXED:
            op.execute(f"CREATE INDEX {table}_end ON {table} ({column})")


def downgrade() -> None:
    """Take it back; a table that workers could read before they still can."""
    for table, column in ENDS.items():
        if table not in INDEXED:
            op.execute(f"DROP INDEX {table}_end")
        op.execute(f"DROP POLICY job_purges ON {table}")
        op.execute(f"REVOKE SELECT (id, {column}), DELETE ON {table} FROM arsenal_job")
