"""docs/how-to/payment-forms.md and stickers.md: their programs run against a served platform and its wallet's page."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from platform_core.kernel.clock import SystemClock
from tests.docs.served import blocks, environment, files, run_shell, serving
from tests.support.world import SCOPES, World

pytestmark = [pytest.mark.docs, pytest.mark.database]

FORMS, STICKERS = "docs/how-to/payment-forms.md", "docs/how-to/stickers.md"
TEST = "tests/docs/test_howto_forms.py"


@pytest.fixture
async def world(database_url: str, acquirer: str, tmp_path: Path) -> AsyncIterator[World]:
    home = tmp_path / "home"
    async with serving(database_url, clock=SystemClock(), home=home, acquirer_url=acquirer) as world:
        yield world


async def test_the_programs_of_both_pages_do_what_they_say(world: World, tmp_path: Path) -> None:
    till = await world.new_till()
    extra = await environment(world, merchant_id=till.merchant_id, scopes=(*SCOPES, "stores:write"))
    for page in (FORMS, STICKERS):
        for name, text in files(page, test=TEST).items():
            (tmp_path / name).write_text(text, encoding="utf-8")
    create, wait = blocks(FORMS, test=TEST, language="bash")
    pay_url = (await run_shell(create, folder=tmp_path, extra=extra)).strip()
    payment = (await till.get("/payments/out_trade_no:order_1001")).json()
    assert pay_url == payment["pay_url"]
    async with httpx.AsyncClient(trust_env=False) as browser:
        assert (await browser.get(pay_url)).status_code == 200
        back = await browser.post(payment["next_action"]["url"], data={"act": "pay"})
        assert (back.status_code, back.headers["location"]) == (303, pay_url)
    assert (await run_shell(wait, folder=tmp_path, extra=extra)).strip() == "captured"
    [command] = blocks(STICKERS, test=TEST, language="bash")
    said = (await run_shell(command, folder=tmp_path, extra={**extra, "STORE_ID": till.store_id})).split()
    assert re.fullmatch(r"[0-9a-z]{12}\.png", said[0])
    assert (tmp_path / said[0]).read_bytes().startswith(b"\x89PNG")
    assert said[1].endswith(f"/s/{said[0].removesuffix('.png')}")
