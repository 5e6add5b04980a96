"""docs/how-to/reconcile-balances.md: its figures are the ledger's, and its script finds that they agree."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from platform_core.kernel.clock import ManualClock
from tests.docs.markdown import ROOT
from tests.docs.served import blocks, environment, files, run, run_shell, serving
from tests.support.world import SCOPES, Till, World

pytestmark = [pytest.mark.docs, pytest.mark.database]

PAGE = "docs/how-to/reconcile-balances.md"
TEST = "tests/docs/test_howto_reconcile.py"
STEPS = ("captured", "3000 refunded", "settled")


@pytest.fixture
async def world(database_url: str, acquirer: str, tmp_path: Path) -> AsyncIterator[World]:
    clock = ManualClock(datetime.now(UTC))
    async with serving(database_url, clock=clock, home=tmp_path / "home", acquirer_url=acquirer) as world:
        yield world


def figures() -> dict[str, dict[str, int]]:
    """The page's table: step > role > balance, zeros left out as `Till.balances` does."""
    lines = (ROOT / PAGE).read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    head = next(place for place, row in enumerate(rows) if tuple(row[1:]) == STEPS)
    table = [row for row in rows[head + 1 :] if len(row) == 1 + len(STEPS)]
    assert len(table) == 5
    return {
        step: {row[0]: int(row[column]) for row in table if int(row[column])}
        for column, step in enumerate(STEPS, start=1)
    }


async def settle(world: World) -> None:
    """Let the day end and the worker do what is due."""
    clock = world.platform.clock
    assert isinstance(clock, ManualClock)
    clock.advance(timedelta(days=1, hours=3))
    await world.work()


async def test_the_worked_payment_has_the_figures_of_the_page(world: World, tmp_path: Path) -> None:
    till, shown = await world.new_till(rate_bp=60), figures()
    extra = await environment(world, merchant_id=till.merchant_id, scopes=SCOPES)
    (tmp_path / "check_payment.py").write_text(files(PAGE, test=TEST)["check_payment.py"], encoding="utf-8")
    payment = (await till.pay(form="merchant_scan", auth_code="sim:success:r1", order_minor=10_000)).json()
    check = (sys.executable, "check_payment.py", payment["id"])

    assert await till.balances(world.platform) == shown["captured"]
    assert "net: 9940 = 9940\nowed by the channel: 10000 = 10000\nfee: 60 = 60\n" in await run(
        check, folder=tmp_path, extra=extra
    )
    refund = await till.post(f"/payments/{payment['id']}/refunds", {"out_request_no": "r1", "amount_minor": 3_000})
    assert refund.json()["fee_returned_minor"] == 18
    assert await till.balances(world.platform) == shown["3000 refunded"]
    assert "net: 6958 = 6958\nowed by the channel: 7000 = 7000\nfee: 42 = 42\n" in await run(
        check, folder=tmp_path, extra=extra
    )
    await settle(world)
    assert await till.balances(world.platform) == shown["settled"]
    said = await run(check, folder=tmp_path, extra=extra)
    assert "all accounts, CNY: 0 = 0\n" in said
    assert [line.partition(": ")[2] for line in said.splitlines() if line.startswith("settled")] == ["6958 = 6958"]


async def other_payments(till: Till) -> list[str]:
    """Payments of the other kinds that the page names: cash, canceled, captured in part, refunds failed and bounced."""
    ids = []
    cash = (await till.pay()).json()["id"]
    await till.post(f"/payments/{cash}/refunds", {"out_request_no": "c1", "amount_minor": 777})
    canceled = (await till.pay(form="merchant_scan", auth_code="sim:success:r2")).json()["id"]
    assert (await till.post(f"/payments/{canceled}/cancel", {})).json()["state"] == "canceled"
    frozen = (await till.pay(form="merchant_scan", auth_code="sim:success:r3", is_capture=False)).json()["id"]
    taken = await till.post(f"/payments/{frozen}/capture", {"out_request_no": "k1", "amount_minor": 5_000})
    assert taken.json()["amounts"]["captured_minor"] == 5_000
    ids += [cash, canceled, frozen]
    for amount, state in ((990_011, "failed"), (990_012, "bounced")):
        paid = (await till.pay(form="merchant_scan", auth_code=f"sim:success:r{amount}", order_minor=amount)).json()
        asked = await till.post(f"/payments/{paid['id']}/refunds", {"out_request_no": "f1", "is_full": True})
        refund = asked.json()
        async with asyncio.timeout(20):  # the acquirer tells of the bounce by a notice of its own
            while refund["state"] != state:
                await asyncio.sleep(0.05)
                refund = (await till.get(f"/refunds/{refund['id']}")).json()
        ids.append(paid["id"])
    return ids


async def test_the_script_agrees_with_payments_of_every_kind_and_finds_what_differs(
    world: World, database_url: str, tmp_path: Path
) -> None:
    till = await world.new_till()
    extra = await environment(world, merchant_id=till.merchant_id, scopes=SCOPES)
    (tmp_path / "check_payment.py").write_text(files(PAGE, test=TEST)["check_payment.py"], encoding="utf-8")
    ids = await other_payments(till)
    for payment_id in ids:
        said = await run((sys.executable, "check_payment.py", payment_id), folder=tmp_path, extra=extra)
        assert "!=" not in said

    owner = await asyncpg.connect(database_url)
    await owner.execute("UPDATE pay_payment SET fee_minor = fee_minor + 1 WHERE id = $1", ids[0])
    await owner.close()
    with pytest.raises(AssertionError, match="fee: 46 != 45"):
        await run((sys.executable, "check_payment.py", ids[0]), folder=tmp_path, extra=extra)


async def test_a_refund_under_way_differs_by_its_part_of_the_fee_until_it_has_succeeded(
    world: World, tmp_path: Path
) -> None:
    till = await world.new_till()
    extra = await environment(world, merchant_id=till.merchant_id, scopes=SCOPES)
    (tmp_path / "check_payment.py").write_text(files(PAGE, test=TEST)["check_payment.py"], encoding="utf-8")
    paid = (await till.pay(form="merchant_scan", auth_code="sim:success:r7", order_minor=1_000_000)).json()
    check = (sys.executable, "check_payment.py", paid["id"])
    asked = await till.post(f"/payments/{paid['id']}/refunds", {"out_request_no": "u1", "amount_minor": 990_006})
    assert asked.json()["state"] == "unknown"
    with pytest.raises(AssertionError, match="fee: 60 != 6000"):
        await run(check, folder=tmp_path, extra=extra)
    clock = world.platform.clock
    assert isinstance(clock, ManualClock)
    for seconds in (10, 30):  # the janitor's first two questions; the acquirer is sure at the second
        clock.advance(timedelta(seconds=seconds))
        await world.work()
    assert "fee: 60 = 60" in await run(check, folder=tmp_path, extra=extra)


async def test_the_command_of_the_page_verifies_the_ledger(world: World, database_url: str, tmp_path: Path) -> None:
    await (await world.new_till()).pay()
    [command] = blocks(PAGE, test=TEST, language="bash")
    extra = {"ARSENAL_DATABASE_URL": database_url, "ARSENAL_HOME": str(tmp_path / "home")}
    assert "every rule holds" in await run_shell(command, folder=tmp_path, extra=extra)
