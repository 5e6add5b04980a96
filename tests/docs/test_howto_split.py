"""docs/how-to/split-payments.md: its commands run in their order, and its figures are the ledger's."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from platform_core.kernel.clock import ManualClock
from tests.docs.markdown import ROOT
from tests.docs.served import blocks, run_shell, serving
from tests.support.world import World

pytestmark = [pytest.mark.docs, pytest.mark.database]

PAGE = "docs/how-to/split-payments.md"
TEST = "tests/docs/test_howto_split.py"
STEPS = ("captured", "shared", "refunded")


@pytest.fixture
async def world(database_url: str, acquirer: str, tmp_path: Path) -> AsyncIterator[World]:
    clock = ManualClock(datetime.now(UTC))
    async with serving(database_url, clock=clock, home=tmp_path / "home", acquirer_url=acquirer) as world:
        yield world


def figures() -> dict[str, dict[str, int]]:
    """The page's table: step > role > balance, zeros left out."""
    lines = (ROOT / PAGE).read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    head = next(place for place, row in enumerate(rows) if tuple(row[1:]) == STEPS)
    table = [row for row in rows[head + 1 :] if len(row) == 1 + len(STEPS)]
    assert len(table) == 4
    return {
        step: {row[0]: int(row[column]) for row in table if int(row[column])}
        for column, step in enumerate(STEPS, start=1)
    }


async def test_the_commands_split_release_and_refund(world: World, tmp_path: Path) -> None:
    till = await world.new_till(rate_bp=60)
    extra = {"ARSENAL_URL": str(world.client.base_url).rstrip("/"), "TOKEN": till.token}
    bind, split, release, refund = blocks(PAGE, test=TEST, language="bash")

    async def said(command: str) -> dict[str, Any]:
        return dict(json.loads(await run_shell(command, folder=tmp_path, extra=extra)))

    payment = (await till.pay(form="merchant_scan", auth_code="sim:success:split1")).json()
    receiver = await said(bind)
    extra |= {"PAYMENT_ID": payment["id"], "RECEIVER_ID": receiver["id"]}
    made = await said(split)
    assert (made["state"], made["settled_minor"], made["shares"][0]["note"]) == ("settled", 820, "royalty")
    frozen = await said(
        split.replace("split-1", "split-2").replace("split_1", "split_2").replace("{", '{"is_frozen": true, ', 1)
    )
    assert (frozen["state"], frozen["frozen_minor"]) == ("frozen", 820)
    extra["SPLIT_ID"] = frozen["id"]
    released = await said(release)
    assert (released["state"], released["settled_minor"], released["given_back_minor"]) == ("settled", 300, 520)
    refunded = await said(refund)
    assert (refunded["state"], sum(each["amount_minor"] for each in refunded["split_returns"])) == ("succeeded", 560)


async def test_the_worked_payment_has_the_figures_of_the_page(world: World) -> None:
    till, shown = await world.new_till(rate_bp=60), figures()
    payment = (await till.pay(form="merchant_scan", auth_code="sim:success:split2")).json()
    assert await till.balances(world.platform) == shown["captured"]
    body = {"reference": "r", "name": "R", "type": "channel_user", "account": "1"}
    receiver = (await till.post("/split-receivers", body)).json()["id"]
    shares = [{"receiver_id": receiver, "amount_minor": 1_000}]
    asked = {"out_request_no": "s1", "mode": "partial", "shares": shares}
    assert (await till.post(f"/payments/{payment['id']}/splits", asked)).status_code == 201
    assert await till.balances(world.platform) == shown["shared"]
    await till.post(f"/payments/{payment['id']}/refunds", {"out_request_no": "r1", "amount_minor": 4_100})
    assert await till.balances(world.platform) == shown["refunded"]
