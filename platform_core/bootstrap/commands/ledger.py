"""`arsenal ledger`: the operator's look at the ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import typer
from rich.progress import Progress

from platform_core.bootstrap.environment import load_settings, migrated_database, quiet_logs, reached
from platform_core.bootstrap.terminal import CliFailure, JsonOption, Terminal, reporting
from platform_core.capabilities.payments.folds import Difference, check
from platform_core.capabilities.payments.splits import check as split_check
from platform_core.kernel.clock import SystemClock
from platform_core.kernel.database.pools import Database, DatabaseUrls
from platform_core.ledger.verify import LedgerReport, verify

app = typer.Typer(no_args_is_help=True, help="Look at the ledger.")


@app.callback()
def ledger() -> None:
    """Look at the ledger."""


@app.command("verify")
@reporting
def verify_ledger(*, is_json: JsonOption = False) -> None:
    """Recompute every balance from the transfers, on one snapshot; exit 1 names the first row against each rule.

    Reads all of history and writes nothing; a ledger in use can be verified.
    """
    terminal = Terminal(is_json=is_json)
    quiet_logs()
    urls = migrated_database(load_settings())
    with Progress(console=terminal.console, transient=True, disable=is_json) as progress:
        task = progress.add_task("reading", total=None)

        def heard(step: str, done: int, steps: int) -> None:
            progress.update(task, description=step, completed=done, total=steps)

        report = reached(_verify(urls, heard))
    told = _document(report)
    units = [(each["unit"], each["accounts"], each["net_posted"]) for each in told["units"]]
    terminal.table(("unit", "accounts", "net"), units)
    if not report.is_clean:
        raise CliFailure(
            "The ledger is damaged: " + " ".join(map(str, report.offences)),
            "Stop writing, keep a copy of the database, and read docs/how-to/cli.md, section ledger verify.",
            code="cli.ledger_damaged",
            facts={"report": told},
        )
    terminal.say(
        f"{report.accounts} accounts, {report.transfers} transfers, {report.pending} pending: every rule holds."
    )
    terminal.document(told)


@app.command("check")
@reporting
def check_folds(*, is_json: JsonOption = False) -> None:
    """Recompute the amounts that payments keep as columns, on one snapshot; exit 1 names the first row of each rule.

    Checked are splits: what stands with receivers and in the hold by the transfers, the sums of each split and of each
    payment. Reads all of history and writes nothing.
    """
    terminal = Terminal(is_json=is_json)
    quiet_logs()
    differences = reached(_check(migrated_database(load_settings())))
    told = {"is_clean": not differences, "differences": [asdict(each) for each in differences]}
    if differences:
        raise CliFailure(
            "Payments differ from the ledger: " + " ".join(map(str, differences)),
            "Stop payouts and splits, keep a copy of the database, and read docs/how-to/cli.md, section ledger check.",
            code="cli.folds_differ",
            facts={"report": told},
        )
    terminal.say("Every amount is what its parts and the ledger say.")
    terminal.document(told)


async def _check(urls: DatabaseUrls) -> list[Difference]:
    database = Database(urls, application_name="arsenal-check")
    try:
        return await check(database, [split_check.differences])
    finally:
        await database.close()


async def _verify(urls: DatabaseUrls, heard: Callable[[str, int, int], None]) -> LedgerReport:
    database = Database(urls, application_name="arsenal-verify")
    try:
        return await verify(database, now=SystemClock().now(), progress=heard)
    finally:
        await database.close()


def _document(report: LedgerReport) -> dict[str, Any]:
    return {
        "is_clean": report.is_clean,
        "checked_at": report.checked_at.isoformat(),
        "accounts": report.accounts,
        "transfers": report.transfers,
        "pending": report.pending,
        "units": [
            {"unit": each.unit, "accounts": each.accounts, "net_posted": each.net, "net_pending": each.net_pending}
            for each in report.units
        ],
        "offences": [asdict(offence) for offence in report.offences],
    }
