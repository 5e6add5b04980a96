"""A time limit that costs nothing when the answer is there at once.

`asyncio.timeout` sets a timer, which a call that never waits pays for in vain. So a call is begun first, and gets its
timer only where it waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from types import coroutine
from typing import Any, TypeVar

Answer = TypeVar("Answer")


async def within(call: Coroutine[Any, Any, Answer], limit_s: float) -> Answer:
    """The call's answer. Raises TimeoutError once it has waited for `limit_s` seconds, and whatever it raises.

    Its first step, up to where it waits for the first time, is not limited.
    """
    try:
        waits_for = call.send(None)
    except StopIteration as done:
        answer: Answer = done.value
        return answer
    async with asyncio.timeout(limit_s):
        return await _rest(call, waits_for)


@coroutine
def _rest(call: Coroutine[Any, Any, Answer], waits_for: Any) -> Generator[Any, Any, Answer]:  # Any: the loop's own
    """What is left of a call that was begun and waits: its waits go to the task, and what comes back goes to it."""
    answer: Answer
    while True:
        step: Callable[[Any], Any]
        try:
            came = yield waits_for
        except GeneratorExit:
            call.close()
            raise
        except BaseException as error:  # noqa: BLE001 - a cancellation for instance: the call's to deal with
            step, given = call.throw, error
        else:
            step, given = call.send, came
        try:
            waits_for = step(given)
        except StopIteration as done:
            answer = done.value
            return answer
