"""docs/how-to/bills-and-exports.md: its programs save a day's bill and an export, and find what is damaged."""

from __future__ import annotations

import asyncio
import gzip
import importlib
import json
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from zoneinfo import ZoneInfo

import pytest

from platform_core.capabilities.payments.bills.repository import MAKE
from platform_core.capabilities.payments.exports.repository import RUN
from platform_core.kernel.clock import ManualClock
from tests.docs.served import blocks, environment, files, run_shell, serving
from tests.support.world import SCOPES, World

pytestmark = pytest.mark.docs

PAGE = "docs/how-to/bills-and-exports.md"
TEST = "tests/docs/test_howto_bills.py"


@pytest.fixture
async def world(database_url: str, acquirer: str, tmp_path: Path) -> AsyncIterator[World]:
    clock = ManualClock(datetime.now(UTC) - timedelta(days=2))
    async with serving(database_url, clock=clock, home=tmp_path / "home", acquirer_url=acquirer) as world:
        yield world


async def work(world: World, kind: str) -> None:
    """What is due of a kind."""
    handlers = world.platform.payments.due_handlers()
    for row in await world.due(kind):
        plan = await handlers[kind](row)
        if plan is not None:
            await world.platform.committer.commit(plan)


async def worker(world: World) -> None:
    """Works on exports until it is canceled."""
    while True:
        await work(world, RUN)
        await asyncio.sleep(0.2)


@pytest.mark.database
async def test_the_programs_save_a_bill_and_an_export(world: World, database_url: str, tmp_path: Path) -> None:
    till = await world.new_till()
    extra = await environment(world, merchant_id=till.merchant_id, scopes=(*SCOPES, "exports:read"))
    for name in ("bill.py", "export.py"):
        (tmp_path / name).write_text(files(PAGE, test=TEST)[name], encoding="utf-8")
    clock = world.platform.clock
    assert isinstance(clock, ManualClock)
    day = clock.now().astimezone(ZoneInfo("Asia/Shanghai")).date()
    payment = (await till.pay()).json()
    fetch_bill, operate, fetch_export = blocks(PAGE, test=TEST, language="bash")
    await world.platform.payments.bill_maker.find_work()
    for _ in range(2):
        await work(world, MAKE)
        clock.advance(timedelta(hours=33))
    said = await run_shell(fetch_bill, folder=tmp_path, extra={**extra, "DAY": day.isoformat()})
    assert said.strip() == f"{day} CNY 1 rows, net 8151 minor units"
    assert payment["id"] in (tmp_path / f"bill_{day}.csv").read_text(encoding="utf-8")
    operator = {"ARSENAL_DATABASE_URL": database_url, "ARSENAL_HOME": str(tmp_path / "home")}
    told = await run_shell(operate, folder=tmp_path, extra={**operator})
    assert "ledger, API and bill agree" in told
    exporting = asyncio.create_task(worker(world))
    try:
        name = (await run_shell(fetch_export, folder=tmp_path, extra=extra)).strip()
    finally:
        exporting.cancel()
    assert name == "payments-0001.jsonl.gz"
    assert json.loads(gzip.decompress((tmp_path / name).read_bytes()))["id"] == payment["id"]


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The page's module about bills."""
    (tmp_path / "page_bill.py").write_text(files(PAGE, test=TEST)["bill.py"], encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("page_bill")
    del sys.modules["page_bill"]


@pytest.mark.unit
def test_the_program_finds_a_bill_that_does_not_tie(page: ModuleType) -> None:
    heading = "row_no,currency,net_amount,account\r\n"
    ends = "opening,CNY,1.00,balance\r\nclosing,CNY,3.00,balance\r\n"
    assert page.untied((heading + "1,CNY,2.00,balance\r\n" + ends).encode()) == []
    assert page.untied((heading + "1,CNY,1.99,balance\r\n" + ends).encode()) == [("CNY", "balance")]
