"""PostgreSQL: the embedded server, pools by role, migrations."""
