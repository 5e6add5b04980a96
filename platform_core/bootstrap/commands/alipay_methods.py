"""`arsenal sandbox alipay methods`: what the Alipay-compatible gateway speaks, and which fields nobody reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated

import typer

from platform_core.bootstrap.environment import load_settings, migrated_database, quiet_logs, reached
from platform_core.bootstrap.terminal import WRONG_USE, CliFailure, JsonOption, Terminal, reporting
from platform_core.kernel.database.pools import Database, DatabaseUrls
from sandbox.simulators.alipay_gateway.methods import catalogue
from sandbox.simulators.alipay_gateway.requests import read_unused


@reporting
def methods(
    *,
    unused: Annotated[
        bool, typer.Option("--unused", help="Fields that clients sent and no translator reads, with their counts.")
    ] = False,
    is_json: JsonOption = False,
) -> None:
    """List the gateway's methods: the native operation behind each, its scope, or what it waits for.

    With --unused, look at the stored requests of this sandbox instead (the last 1000 of each app).
    """
    terminal = Terminal(is_json=is_json)
    quiet_logs()
    if unused:
        _show_unused(terminal)
        return
    rows = [
        {
            "method": row.name,
            "is_here": row.translate is not None,
            "native": row.native,
            "scope": row.scope,
            "waits_for": row.waits_for or None,
        }
        for row in catalogue().values()
    ]
    cells = [
        (row["method"], row["native"] if row["is_here"] else f"not here yet: {row['waits_for']}", row["scope"] or "")
        for row in rows
    ]
    terminal.table(("method", "native", "scope"), cells)
    terminal.document({"methods": rows})


def _show_unused(terminal: Terminal) -> None:
    settings = load_settings()
    if not settings.is_sandbox:
        raise CliFailure(
            "This installation is no sandbox, so no client of the gateway was heard.",
            "Run it where the sandbox runs, with ARSENAL_IS_SANDBOX=true.",
            status=WRONG_USE,
            code="cli.no_sandbox",
        )
    found = reached(_unused(migrated_database(settings)))
    rows = [(method, name, count) for method, names in sorted(found.items()) for name, count in names.most_common()]
    terminal.table(("method", "field", "times"), rows)
    terminal.document({"unused": {method: dict(names) for method, names in sorted(found.items())}})


async def _unused(urls: DatabaseUrls) -> Mapping[str, Counter[str]]:
    database = Database(urls, application_name="arsenal-alipay")
    try:
        return await read_unused(database)
    finally:
        await database.close()
