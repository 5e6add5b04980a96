"""docs/how-to/handle-unknown-outcomes.md: its till against the simulated acquirer, over real HTTP both times."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from platform_core.kernel.clock import ManualClock
from tests.docs.served import blocks, environment, files, run, serving
from tests.support.world import SCOPES, World

pytestmark = [pytest.mark.docs, pytest.mark.database]

PAGE = "docs/how-to/handle-unknown-outcomes.md"
TEST = "tests/docs/test_howto_unknown.py"
Json = dict[str, Any]  # Any: JSON
_numbers = count(1)


@pytest.fixture
async def world(database_url: str, acquirer: str, tmp_path: Path) -> AsyncIterator[World]:
    """Business time stands still until a till pauses."""
    clock = ManualClock(datetime.now(UTC))
    async with serving(database_url, clock=clock, home=tmp_path / "home", acquirer_url=acquirer) as world:
        yield world


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The page's module."""
    (tmp_path / "till.py").write_text(files(PAGE, test=TEST)["till.py"], encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("till")
    del sys.modules["till"]


@pytest.fixture
async def extra(world: World) -> dict[str, str]:
    merchant = await world.new_till()
    return await environment(world, merchant_id=merchant.merchant_id, scopes=SCOPES)


class LossyNetwork(httpx.BaseTransport):
    """Real HTTP that loses answers on their way back, or requests on their way there."""

    def __init__(self) -> None:
        self.inner = httpx.HTTPTransport()
        self.lose: dict[str, list[str]] = {}  # by path: what becomes of the next exchanges
        self.answers: list[httpx.Response] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        fates = self.lose.get(request.url.path, [])
        fate = fates.pop(0) if fates else "arrives"
        if fate == "request":
            raise httpx.ConnectTimeout("lost on its way", request=request)
        answer = self.inner.handle_request(request)
        if fate == "answer":
            answer.read()
            answer.close()
            raise httpx.ReadTimeout("no answer", request=request)
        self.answers.append(answer)
        return answer

    def close(self) -> None:
        self.inner.close()


class Counter:
    """A till of the page at a counter: while it pauses, business time goes on and the worker does what is due."""

    def __init__(self, world: World, page: ModuleType, extra: dict[str, str], *, patience_s: int = 90) -> None:
        self.world = world
        self.network = LossyNetwork()
        self.paused: list[float] = []
        auth = page.AppAuth(extra["ARSENAL_URL"], extra["ARSENAL_CLIENT_ID"], extra["ARSENAL_CLIENT_SECRET"])
        self.client = httpx.Client(base_url=extra["ARSENAL_URL"], auth=auth, transport=self.network, timeout=15)
        self.till = page.Till(self.client, patience_s=patience_s, pause=self.pause)
        self.loop = asyncio.get_running_loop()

    def pause(self, seconds: float) -> None:
        """Called by the till, on its thread."""
        self.paused.append(seconds)
        clock = self.world.platform.clock
        assert isinstance(clock, ManualClock)
        clock.advance(timedelta(seconds=seconds))
        asyncio.run_coroutine_threadsafe(self.world.work(), self.loop).result(60)

    async def pay(self, auth_code: str, *, number: str | None = None) -> Json:
        payment: Json = await asyncio.to_thread(self.till.pay, order(auth_code, number=number))
        return payment

    def seen(self, payment_id: str) -> list[str]:
        """States of the payment, in the order the till saw them, each once."""
        bodies = [
            answer.json() for answer in self.network.answers if answer.headers["content-type"] == "application/json"
        ]
        states = [body["state"] for body in bodies if body.get("id") == payment_id]
        return [state for state, before in zip(states, [None, *states], strict=False) if state != before]


@pytest.fixture
async def counter(world: World, page: ModuleType, extra: dict[str, str]) -> AsyncIterator[Callable[..., Counter]]:
    """Makes counters, and closes their connections."""
    opened: list[Counter] = []

    def make(*, patience_s: int = 90) -> Counter:
        opened.append(Counter(world, page, extra, patience_s=patience_s))
        return opened[-1]

    yield make
    for each in opened:
        each.client.close()


def order(auth_code: str, *, number: str | None = None) -> Json:
    """An order of 36.00."""
    return {
        "out_trade_no": number or f"page_{next(_numbers)}",
        "subject": "Two coffees",
        "form": "merchant_scan",
        "auth_code": auth_code,
        "currency": "CNY",
        "order_minor": 3_600,
    }


async def moved(world: World, payment_id: str, till: Counter) -> dict[str, int]:
    """How often the acquirer moved money for the payment, by kind of transaction."""
    async with httpx.AsyncClient(base_url=world.acquirer_url) as client:
        book: dict[str, int] = (await client.get("/_book")).json()["moved"]
    shown = await asyncio.to_thread(till.client.get, f"/v1/payments/{payment_id}?expand=transactions")
    found: dict[str, int] = {}
    for transaction in shown.json()["transactions"]:
        if transaction["id"] in book:
            found[transaction["kind"]] = found.get(transaction["kind"], 0) + book[transaction["id"]]
    return found


@pytest.mark.parametrize(
    ("auth_code", "states", "money"),
    [
        ("sim:success:u1", ["captured"], {"sale": 1}),
        ("sim:silent:u2", ["unknown", "captured"], {"sale": 1}),
        ("sim:timeout_before_charge:u3", ["unknown", "created"], {}),
        ("sim:paying:u4", ["processing", "captured"], {"sale": 1}),
        ("sim:paying_never:u5", ["processing", "created"], {}),
        ("sim:decline_balance:u6", ["created"], {}),
    ],
)
async def test_the_till_ends_as_the_page_says(
    world: World, counter: Callable[..., Counter], auth_code: str, states: list[str], money: dict[str, int]
) -> None:
    till = counter()
    payment = await till.pay(auth_code)
    assert till.seen(payment["id"]) == states
    assert payment["amounts"]["captured_minor"] == 3_600 * money.get("sale", 0)
    assert (payment["last_error"] is not None) == (states[-1] == "created")
    assert await moved(world, payment["id"], till) == money


async def test_a_charge_without_an_answer_is_found_and_made_once(world: World, counter: Callable[..., Counter]) -> None:
    till = counter()
    payment = await till.pay("sim:timeout_after_charge:u7")
    assert payment["state"] == "captured"  # by the acquirer's notice or by the till's question, whichever is first
    assert await moved(world, payment["id"], till) == {"sale": 1}


async def test_a_till_that_loses_answers_pays_once(world: World, counter: Callable[..., Counter]) -> None:
    till = counter()
    till.network.lose["/v1/payments"] = ["request", "answer", "answer"]
    payment = await till.pay("sim:success:u8", number="page_lossy")
    assert payment["state"] == "captured"
    assert till.paused == [1, 2, 4]
    assert till.network.answers[-1].headers["idempotency-replayed"] == "true"
    assert await moved(world, payment["id"], till) == {"sale": 1}

    restarted = counter()
    assert await restarted.pay("sim:success:u8", number="page_lossy") == payment
    assert restarted.network.answers[-1].headers["idempotency-replayed"] == "true"


async def test_an_impatient_till_cancels_what_nobody_pays(world: World, counter: Callable[..., Counter]) -> None:
    till = counter(patience_s=20)
    payment = await till.pay("sim:paying_never:u9")
    assert till.seen(payment["id"]) == ["processing", "canceled"]
    assert await moved(world, payment["id"], till) == {}


async def test_an_order_that_never_arrived_is_barred(page: ModuleType, counter: Callable[..., Counter]) -> None:
    till = counter()
    till.network.lose["/v1/payments"] = ["request"] * page.TRIES_MAX
    with pytest.raises(page.Unreachable):
        await till.pay("sim:success:u10", number="page_barred")
    canceled = await asyncio.to_thread(till.till.cancel, "page_barred")
    assert canceled["state"] == "canceled"
    with pytest.raises(page.Refused, match=r"409 payments\.out_trade_no_taken"):
        await till.pay("sim:success:u10", number="page_barred")


async def test_the_script_says_what_to_do(page: ModuleType, extra: dict[str, str], tmp_path: Path) -> None:
    [script] = [text for text in blocks(PAGE, test=TEST, language="python") if not text.startswith("# till.py")]
    command = (sys.executable, "-c", script)
    paid = await run(
        command, folder=tmp_path, extra={**extra, "OUT_TRADE_NO": "page_s1", "AUTH_CODE": "sim:success:s1"}
    )
    assert paid == "hand over the goods\n"
    declined = {"OUT_TRADE_NO": "page_s2", "AUTH_CODE": "sim:decline_balance:s2"}
    assert await run(command, folder=tmp_path, extra={**extra, **declined}) == "not paid: created\n"
