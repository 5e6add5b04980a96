"""What workers share with their zygote: the memory they must not copy, and the gaps in it that are filled."""

from __future__ import annotations

from itertools import pairwise

import psutil
import pytest

from sandbox.runtime import gaps
from tests.sandbox.runtime.stage import Stage, until

CALLS = 300
PAGES_MAX = 16
"""A few pages may still be met for the first time; a table filled at random takes 64 in as many calls."""
TALE = """
@hookimpl
def check_payment(ctx, payment):
    return say(payment.subject[:20])
"""


@pytest.mark.parametrize("texts", ["alike", "new"])
async def test_a_worker_keeps_no_more_memory_with_every_call(stage: Stage, texts: str) -> None:
    plugin = stage.plugin(TALE)

    async def answer(count: int) -> None:
        for number in range(count):
            subject = "tea" if texts == "alike" else f"an order of tea, number {number}"
            await stage.ask(plugin, arguments={"subject": subject, "out_trade_no": f"{texts}-{number}"})

    await answer(20)
    await until(lambda: len(stage.supervisor.pids(plugin)) == 2)  # the zygote touches no page of theirs from here on
    before = largest(stage, plugin)
    await answer(CALLS)
    assert largest(stage, plugin) - before <= PAGES_MAX * 4096


def largest(stage: Stage, plugin: str) -> int:
    """Private bytes of the plugin's worker that has been called: its spare has fewer."""
    return max(int(psutil.Process(pid).memory_full_info().uss) for pid in stage.supervisor.pids(plugin))


def test_gaps_are_filled_until_what_comes_lies_in_a_row() -> None:
    addresses = iter([900, 100, 148, 700, 1000, 1048, 1096, 1144, 1192])
    gaps._until_in_a_row(lambda: next(addresses), apart=48, times=3)
    assert list(addresses) == [1192]


def test_an_allocator_that_never_gives_neighbours_is_not_asked_for_ever() -> None:
    asked = []
    gaps._until_in_a_row(lambda: asked.append(1) or 64 * len(asked) ** 2, apart=48, times=3)
    assert len(asked) == gaps._ATTEMPTS_MAX


def test_small_objects_are_taken_until_a_pool_holds_nothing_else() -> None:
    made = gaps._objects(96)
    ends = [id(each) for each in made[-gaps._POOL_BYTES // 96 + 2 :]]
    assert [later - earlier for earlier, later in pairwise(ends)] == [96] * (len(ends) - 1)
