"""`arsenal migrate`: bring the database to this release."""

from __future__ import annotations

from typing import Annotated

import typer

from platform_core.bootstrap.environment import load_settings, located_database, pending_revisions, quiet_logs, reached
from platform_core.bootstrap.sandbox import sandbox_folders
from platform_core.bootstrap.terminal import CliFailure, JsonOption, Terminal, reporting
from platform_core.kernel.database import migrations


@reporting
def migrate(
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit 1 unless the database is at head.")
    ] = False,
    is_json: JsonOption = False,
) -> None:
    """Bring the database to the migrations of this release. Safe to run twice, and by two at once."""
    terminal = Terminal(is_json=is_json)
    settings = load_settings()
    quiet_logs()
    urls = located_database(settings)
    missing = pending_revisions(settings, urls)
    if check and missing:
        raise CliFailure(
            f"The database lacks: {', '.join(missing)}.",
            "Run: arsenal migrate",
            code="cli.database_not_migrated",
            facts={"missing": missing},
        )
    if missing:
        with terminal.console.status("migrating"):
            reached(migrations.upgrade(urls.owner, more=sandbox_folders(settings)))
    heads = sorted(migrations.heads_expected(sandbox_folders(settings)))
    terminal.say("The database was brought to head: " + ", ".join(missing) if missing else "The database is at head.")
    terminal.document({"heads": heads, "applied": missing})
