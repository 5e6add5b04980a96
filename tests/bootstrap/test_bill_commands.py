"""`arsenal bill make, show, verify`: by hand what the worker does, and what nobody else compares."""

from __future__ import annotations

import asyncio
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from platform_core.bootstrap.appliers import make_appliers
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.commit import Committer, Plan
from platform_core.kernel.database.pools import Database
from platform_core.kernel.ids import Ids
from platform_core.ledger.accounts import Account, Guard, Transfer
from tests.bootstrap.conftest import CommandLine, one_document

pytestmark = pytest.mark.database


async def test_bills_are_made_shown_and_verified(
    command_line: CommandLine, database: Database, database_url: str, tmp_path: Path
) -> None:
    async def run(*words: str) -> tuple[int, dict[str, object]]:
        result = await asyncio.to_thread(command_line.run, "bill", *words, "--json")
        return result.exit_code, one_document(result.stdout)

    words = ("--name", "Hutong Coffee", "--industry", "restaurant", "--json")
    made = await asyncio.to_thread(command_line.run, "merchant", "create", *words)
    merchant = one_document(made.stdout)["id"]
    await top_up(database, merchant)

    status, told = await run("make", "--merchant", merchant)
    days = told["made"]
    assert status == 0
    assert isinstance(days, list)
    assert len(days) in (2, 3)  # three days ago, and all that ended since, before or after today's nine o'clock
    status, shown = await run("show", "--merchant", merchant)
    listed = shown["bills"]
    assert isinstance(listed, list)
    assert [bill["day"] for bill in listed] == days[::-1]
    assert listed[-1]["currencies"][0]["net_minor"] == 500
    output = tmp_path / "bill.zip"
    assert (await run("show", "--merchant", merchant, "--date", days[0], "--output", str(output)))[0] == 0
    with zipfile.ZipFile(output) as archive:
        assert archive.namelist() == ["detail.csv", "summary.csv", "manifest.json"]
    assert (await run("show", "--merchant", merchant, "--output", str(output)))[0] == 2
    assert (await run("show", "--merchant", merchant, "--date", "tomorrow"))[0] == 2

    status, report = await run("verify")
    assert (status, len(report["bills"])) == (0, len(days))  # type: ignore[arg-type]
    owner = await asyncpg.connect(database_url)
    await owner.execute("UPDATE ledger_transfer SET code = 'payout'")
    await owner.close()
    status, report = await run("verify", "--merchant", merchant, "--date", days[0])
    assert status == 1
    assert report["error"]["code"] == "cli.bill_differs"  # type: ignore[index]
    assert "row 1, note" in report["error"]["message"]  # type: ignore[index]
    assert (await run("verify", "--merchant", merchant, "--date", "2020-01-01"))[0] == 1


async def test_a_day_that_does_not_tie_is_told(
    command_line: CommandLine, database: Database, database_url: str
) -> None:
    words = ("--name", "Hutong Coffee", "--industry", "restaurant", "--json")
    made = await asyncio.to_thread(command_line.run, "merchant", "create", *words)
    merchant = one_document(made.stdout)["id"]
    await top_up(database, merchant)
    owner = await asyncpg.connect(database_url)
    await owner.execute("UPDATE ledger_transfer SET amount = amount - 1")
    await owner.close()
    result = await asyncio.to_thread(command_line.run, "bill", "make", "--merchant", merchant, "--json")
    error = one_document(result.stdout)["error"]
    assert (result.exit_code, error["code"], error["made"]) == (1, "cli.bill_mismatch", [])
    assert "balance CNY: 0 and rows of 499 are not 500" in error["message"]


async def top_up(database: Database, merchant: str) -> None:
    """Money for a merchant three days ago, by a writer whose clock stands there."""
    clock = ManualClock(datetime.now(UTC) - timedelta(days=3))
    available = Account(merchant, "CNY", merchant, "merchant_available", "", Guard.GE0)
    bank = Account(merchant, "CNY", merchant, "bank", "test", Guard.FREE)
    committer = Committer(database.connect_writer, make_appliers(clock), clock=clock, ids=Ids(clock))
    await committer.start()
    await committer.commit(Plan(merchant, [Transfer("tra_1", bank, available, 500, "top_up", "seed")]))
    await committer.stop()
