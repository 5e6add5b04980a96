"""The time limit that costs nothing when nothing waits."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from platform_core.kernel import deadline
from platform_core.kernel.deadline import within

pytestmark = pytest.mark.unit


async def test_a_call_that_does_not_wait_gets_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer() -> int:
        return 7

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("a timer was set")

    # What `within` alone calls by this name: tasks of platforms that other tests share set timers of their own.
    monkeypatch.setattr(deadline, "asyncio", SimpleNamespace(timeout=refused))
    assert await within(answer(), 1.0) == 7


async def test_a_call_that_waits_is_answered_or_out_of_time() -> None:
    seen: list[str] = []

    async def slow(wait_s: float) -> str:
        async with asyncio.TaskGroup() as group:
            inner = group.create_task(asyncio.sleep(0, "inner"))
        try:
            await asyncio.sleep(wait_s)
        except asyncio.CancelledError:
            seen.append("told")
            raise
        return inner.result()

    assert await within(slow(0.0), 5.0) == "inner"
    with pytest.raises(TimeoutError):
        await within(slow(5.0), 0.02)
    assert seen == ["told"]


async def test_limits_within_one_another_each_count_for_themselves() -> None:
    async def impatient() -> str:
        try:
            async with asyncio.timeout(0.02):
                await asyncio.sleep(5)
        except TimeoutError:
            return "gave up by itself"
        return "never"

    assert await within(impatient(), 5.0) == "gave up by itself"

    async def patient() -> None:
        async with asyncio.timeout(5):
            await asyncio.sleep(5)

    with pytest.raises(TimeoutError):
        await within(patient(), 0.02)


async def test_what_a_call_raises_and_its_callers_leaving_pass_through() -> None:
    async def broken(*, waits: bool) -> None:
        if waits:
            await asyncio.sleep(0)
        raise LookupError("gone")

    for waits in (False, True):
        with pytest.raises(LookupError, match="gone"):
            await within(broken(waits=waits), 1.0)

    cleaned = asyncio.Event()

    async def long() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    task = asyncio.create_task(within(long(), 5.0))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned.is_set()
