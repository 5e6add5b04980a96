"""Few requests begin in one turn of the loop, in order, and one who leaves holds nobody up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from platform_core.kernel.http.turnstile import Turnstile


class App:
    """Notes who began in which turn."""

    def __init__(self) -> None:
        self.turn = 0
        self.begun: list[tuple[int, int]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun.append((self.turn, scope["number"]))
        await asyncio.sleep(0)


async def _receive() -> Message:
    raise AssertionError("nothing is read here")


async def _send(message: Message) -> None:
    raise AssertionError("nothing is sent here")


def call(turnstile: Turnstile, number: int, kind: str = "http") -> asyncio.Task[None]:
    scope: dict[str, Any] = {"type": kind, "number": number}
    return asyncio.create_task(turnstile(scope, _receive, _send))  # type: ignore[arg-type]  # a coroutine function's result


async def turns(app: App, count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
        app.turn += 1


async def test_a_crowd_begins_few_a_turn_in_order() -> None:
    app = App()
    turnstile = Turnstile(app, begun_max=2)
    tasks = [call(turnstile, number) for number in range(7)]
    await turns(app, 12)
    await asyncio.gather(*tasks)
    assert [number for _, number in app.begun] == list(range(7))
    began_in = [turn for turn, _ in app.begun]
    assert max(began_in.count(turn) for turn in began_in) == 2


async def test_one_alone_begins_at_once() -> None:
    app = App()
    turnstile = Turnstile(app, begun_max=2)
    for number in range(3):
        task = call(turnstile, number)
        await asyncio.sleep(0)
        assert [begun for _, begun in app.begun] == list(range(number + 1))
        await task


async def test_who_leaves_while_waiting_takes_no_place() -> None:
    app = App()
    turnstile = Turnstile(app, begun_max=1)
    tasks = [call(turnstile, number) for number in range(4)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await turns(app, 8)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None), asyncio.CancelledError, type(None), type(None)]
    assert [number for _, number in app.begun] == [0, 2, 3]


async def test_it_stops_turning_when_nobody_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    app = App()
    turnstile = Turnstile(app)
    turned: list[int] = []
    turn = turnstile._turn

    def counting(loop: asyncio.AbstractEventLoop) -> None:
        turned.append(1)
        turn(loop)

    monkeypatch.setattr(turnstile, "_turn", counting)
    await call(turnstile, 1)
    await turns(app, 20)
    assert 1 <= len(turned) <= 3


async def test_a_lifespan_is_never_kept_waiting() -> None:
    app = App()
    turnstile = Turnstile(app, begun_max=1)
    tasks = [*(call(turnstile, number) for number in range(3)), call(turnstile, 9, kind="lifespan")]
    await asyncio.sleep(0)
    assert (0, 9) in app.begun
    await asyncio.gather(*tasks)
