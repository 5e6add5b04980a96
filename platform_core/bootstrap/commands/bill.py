"""`arsenal bill`: make, show and verify daily bills."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Annotated, Final

import typer

from platform_core.bootstrap.environment import load_settings, migrated_database, quiet_logs, reached
from platform_core.bootstrap.platform import Platform, open_platform
from platform_core.bootstrap.terminal import WRONG_USE, CliFailure, JsonOption, Terminal, reporting
from platform_core.capabilities.payments.bills.answers import bill_answer
from platform_core.capabilities.payments.bills.models import Bill
from platform_core.capabilities.payments.bills.rows import decimal
from platform_core.capabilities.payments.bills.verification import BillReport
from platform_core.kernel.database.pools import DatabaseUrls

SHOWN_MAX: Final = 31
app = typer.Typer(no_args_is_help=True, help="Daily bills.")
MerchantOption = Annotated[str, typer.Option("--merchant", help="The merchant (mer_...).")]
DateOption = Annotated[str, typer.Option("--date", help="The merchant's day, such as 2026-11-22.")]


@app.callback()
def bill() -> None:
    """Daily bills."""


@app.command("make")
@reporting
def make_bill(merchant: MerchantOption, *, is_json: JsonOption = False) -> None:
    """Make every bill of a merchant that is due, without waiting for the worker. Exit 1 if one does not tie."""
    terminal = Terminal(is_json=is_json)
    quiet_logs()
    urls = migrated_database(load_settings())
    made, problem = reached(_make(urls, merchant))
    if problem is not None:
        raise CliFailure(
            f"The bill of {problem[0].isoformat()} is not published: {problem[1]}",
            "Run: arsenal ledger verify",
            code="cli.bill_mismatch",
            facts={"made": [day.isoformat() for day in made]},
        )
    terminal.say(f"{len(made)} made. See: arsenal bill show --merchant {merchant}")
    terminal.document({"made": [day.isoformat() for day in made]})


@app.command("show")
@reporting
def show_bills(
    merchant: MerchantOption,
    day: Annotated[str | None, typer.Option("--date", help="One day; without it the last 31.")] = None,
    *,
    output: Annotated[Path | None, typer.Option("--output", help="Write the day's ZIP to this file.")] = None,
    is_json: JsonOption = False,
) -> None:
    """The sums and balances of a merchant's bills."""
    terminal = Terminal(is_json=is_json)
    quiet_logs()
    if output is not None and day is None:
        raise CliFailure("A file holds one day.", "Repeat the command with --date.", WRONG_USE, code="cli.wrong_use")
    found = reached(_show(migrated_database(load_settings()), merchant, _day(day), output))
    rows = [
        (one.day, each["currency"], each["count"], *(decimal(each[name], each["currency"]) for name in _SUMS))
        for one in found
        for each in one.figures
    ]
    terminal.table(("day", "currency", "rows", "paid", "refunded", "fee", "net"), rows)
    terminal.document({"bills": [bill_answer(one.model_dump(mode="json")) for one in found]})


_SUMS: Final = ("customer_paid_minor", "refund_minor", "fee_minor", "net_minor")


@app.command("verify")
@reporting
def verify_bills(
    merchant: Annotated[str | None, typer.Option("--merchant", help="One merchant; without it all.")] = None,
    day: Annotated[str | None, typer.Option("--date", help="One day; without it all that were published.")] = None,
    *,
    is_json: JsonOption = False,
) -> None:
    """Compare published bills with the ledger and with what the API answers; exit 1 names the first differences.

    Reads whole days and writes nothing; a platform in use can be verified.
    """
    terminal = Terminal(is_json=is_json)
    quiet_logs()
    reports = reached(_verify(migrated_database(load_settings()), merchant, _day(day)))
    told = {"bills": [report.document() for report in reports]}
    faulty = [report for report in reports if not report.is_clean]
    if faulty:
        named = " ".join(f"{report.bill_id} of {report.day}: {report.differences[0]}." for report in faulty[:5])
        raise CliFailure(
            f"{len(faulty)} of {len(reports)} bills differ: {named}",
            "Keep a copy of the database, then run: arsenal ledger verify",
            code="cli.bill_differs",
            facts=told,
        )
    rows = sum(report.rows for report in reports)
    terminal.say(f"{len(reports)} bills with {rows} rows: ledger, API and bill agree.")
    terminal.document(told)


async def _make(urls: DatabaseUrls, merchant_id: str) -> tuple[list[date], tuple[date, str] | None]:
    made: list[date] = []
    async with _opened(urls) as platform:
        maker, bills = platform.payments.bill_maker, platform.payments.bills
        while (day := await maker.next_day(merchant_id)) is not None and day.ready_at <= platform.clock.now():
            await maker.advance(merchant_id, day, work_s=None)
            problem = await bills.problem(merchant_id, day.day)
            if problem is not None:
                return made, (day.day, problem)
            made.append(day.day)
    return made, None


async def _show(urls: DatabaseUrls, merchant_id: str, day: date | None, output: Path | None) -> list[Bill]:
    async with _opened(urls) as platform:
        bills = platform.payments.bills
        if day is None:
            return await bills.published(merchant_id, limit=SHOWN_MAX)
        found = await bills.find(merchant_id, day.isoformat())
        if output is not None:
            with output.open("wb") as file:
                async for piece in bills.archive(found):
                    file.write(piece)
        return [found]


async def _verify(urls: DatabaseUrls, merchant_id: str | None, day: date | None) -> list[BillReport]:
    reports = []
    async with _opened(urls) as platform:
        payments = platform.payments
        async for one in payments.bills.all_published(merchant_id=merchant_id, day=day):
            reports.append(await payments.bill_verifier.verify(one))
    if not reports and day is not None:
        raise CliFailure(f"There is no bill of {day}.", "Run: arsenal bill show --merchant ID", code="cli.bill_absent")
    return reports


def _day(text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError as error:
        raise CliFailure(f"{text} is no day.", "Write it like 2026-11-22.", WRONG_USE, code="cli.wrong_use") from error


@asynccontextmanager
async def _opened(urls: DatabaseUrls) -> AsyncIterator[Platform]:
    settings = load_settings()
    async with open_platform(settings, urls, is_asking_plugins=False, application_name="arsenal-bill") as platform:
        yield platform
