"""Row-level security: what each database role may see and write, as SQL for migrations.

| role | who | may |
|---|---|---|
| arsenal_app | requests | SELECT rows of the tenant in `arsenal.merchant` (set by SET LOCAL); without it, nothing |
| arsenal_job | workers | SELECT rows of all tenants; take leases |
| arsenal_auth | authorization server | SELECT party and OAuth rows of all tenants, no business table |
| arsenal_writer | the batch writer | the commit statements; each carries the tenant its plan was authorised for |
"""

from __future__ import annotations

from collections.abc import Iterator

from alembic import op

ROLES = ("arsenal_app", "arsenal_job", "arsenal_auth", "arsenal_writer")

TENANT = "nullif(current_setting('arsenal.merchant', true), '')"


def run_script(sql: str) -> None:
    """Execute a migration's statements one by one; each ends with `;` at a line's end. Bodies in `$$` stay whole."""
    for statement in _statements(sql):
        op.execute(statement)


def _statements(sql: str) -> Iterator[str]:
    current = ""
    for n, piece in enumerate(sql.split("$$")):
        if n % 2:
            current += f"$${piece}$$"
            continue
        *whole, rest = f"{piece}\n".split(";\n")
        for statement in whole:
            yield current + statement
            current = ""
        current += rest
    if current.strip():
        yield current


def create_roles_sql() -> str:
    """Create the roles unless they exist (roles are of the cluster) and let the migrating user become each of them."""
    statements = []
    for role in ROLES:
        statements.append(
            f"DO $$ BEGIN CREATE ROLE {role} NOLOGIN; "
            "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        )
        statements.append(f"GRANT {role} TO CURRENT_USER")
        statements.append(f"GRANT USAGE ON SCHEMA public TO {role}")
    return ";\n".join(statements)


def tenant_table_sql(
    table: str,
    *,
    tenant: str | None = "merchant_id",
    app: str | None = None,
    auth: bool = False,
    removable: bool = False,
) -> str:
    """Switch row-level security on for a table and grant each role its part.

    `tenant` names the merchant's column; with None the application sees only what `app`, an SQL condition, says.
    `auth` opens the table to the authorization server. `removable` lets the writer delete: for work, never for history.
    """
    condition = app or (f"{tenant} = {TENANT}" if tenant else "false")
    verbs = "SELECT, INSERT, UPDATE" + (", DELETE" if removable else "")
    statements = [
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        f"GRANT SELECT ON {table} TO arsenal_app, arsenal_job",
        f"GRANT {verbs} ON {table} TO arsenal_writer",
        f"CREATE POLICY app_reads ON {table} FOR SELECT TO arsenal_app USING ({condition})",
        f"CREATE POLICY job_reads ON {table} FOR SELECT TO arsenal_job USING (true)",
        f"CREATE POLICY writer_writes ON {table} TO arsenal_writer USING (true) WITH CHECK (true)",
    ]
    if auth:
        statements += [
            f"GRANT SELECT ON {table} TO arsenal_auth",
            f"CREATE POLICY auth_reads ON {table} FOR SELECT TO arsenal_auth USING (true)",
        ]
    return ";\n".join(statements)
