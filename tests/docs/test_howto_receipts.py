"""docs/how-to/receipts.md: its program saves a receipt that is drawn meanwhile, its plugin draws what may be shown."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest

from platform_core.capabilities.payments.receipt_drawing import fault_of
from platform_core.capabilities.payments.receipt_facts import payload_of
from platform_core.capabilities.payments.receipts import DRAW
from platform_core.kernel.clock import ManualClock
from tests.capabilities.payments.test_receipts_page import facts, page_of, payment
from tests.docs.served import blocks, environment, files, run_shell, serving
from tests.support.world import SCOPES, World

pytestmark = pytest.mark.docs

PAGE = "docs/how-to/receipts.md"
TEST = "tests/docs/test_howto_receipts.py"


@pytest.fixture
async def world(database_url: str, acquirer: str, tmp_path: Path) -> AsyncIterator[World]:
    clock = ManualClock(datetime.now(UTC))
    async with serving(database_url, clock=clock, home=tmp_path / "home", acquirer_url=acquirer) as world:
        yield world


async def worker(world: World) -> None:
    """Draws what is due, until it is canceled."""
    payments, committer = world.platform.payments, world.platform.committer
    while True:
        for row in await world.due(DRAW):
            plan = await payments.receipts.draw(row)
            if plan is not None:
                await committer.commit(plan)
        await asyncio.sleep(0.2)


@pytest.mark.database
async def test_the_program_waits_and_saves_the_receipt(world: World, tmp_path: Path) -> None:
    till = await world.new_till()
    extra = await environment(world, merchant_id=till.merchant_id, scopes=SCOPES)
    (tmp_path / "receipt.py").write_text(files(PAGE, test=TEST)["receipt.py"], encoding="utf-8")
    id_ = (await till.pay()).json()["id"]
    [command] = blocks(PAGE, test=TEST, language="bash")
    drawing = asyncio.create_task(worker(world))
    try:
        page = (await run_shell(command, folder=tmp_path, extra={**extra, "PAYMENT_ID": id_})).strip()
        wanted = command.replace("html en", "pdf zh")
        assert wanted != command
        other = (await run_shell(wanted, folder=tmp_path, extra={**extra, "PAYMENT_ID": id_})).strip()
    finally:
        drawing.cancel()
    assert page == other == f"{id_}.html", "nobody draws a PDF here"
    assert ["实付", "¥82.00"] in page_of((tmp_path / page).read_bytes()).rows


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The page's module."""
    (tmp_path / "receipts_page_plugin.py").write_text(files(PAGE, test=TEST)["plugin.py"], encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("receipts_page_plugin")
    del sys.modules["receipts_page_plugin"]


@pytest.mark.unit
def test_the_plugin_of_the_page_draws_what_may_be_shown(plugin: ModuleType) -> None:
    receipt = payload_of(facts(payment(subject="<b>tea</b>")), locale="en", media_type="text/html")
    drawn = plugin.render_receipt(None, receipt)
    assert fault_of(drawn, media_type="text/html", total=receipt.total) is None
    assert b"&lt;b&gt;tea&lt;/b&gt;" in drawn.blob
    asked_for_pdf = receipt.model_copy(update={"media_type": "application/pdf"})
    with pytest.raises(NotImplementedError):
        plugin.render_receipt(None, asked_for_pdf)
