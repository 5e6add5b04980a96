"""Clocks and ids: order, form and refusals."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from platform_core.kernel.clock import ManualClock, SystemClock
from platform_core.kernel.ids import Ids, id_born_at, id_field, is_id

START = datetime(2026, 11, 22, 8, 0, 0, 123_456, tzinfo=UTC)


@pytest.mark.unit
def test_the_system_clock_is_aware_and_its_deadlines_never_step_back() -> None:
    clock = SystemClock()
    assert clock.now().tzinfo is UTC
    assert clock.monotonic() <= clock.monotonic()


@pytest.mark.unit
def test_a_manual_clock_moves_only_when_moved() -> None:
    clock = ManualClock(START.astimezone(timezone(timedelta(hours=8))))
    assert (clock.now(), clock.now().tzinfo, clock.monotonic()) == (START, UTC, 0.0)
    assert clock.advance(timedelta(minutes=5)) == clock.now() == START + timedelta(minutes=5)
    clock.set(START - timedelta(days=1))
    assert (clock.now(), clock.monotonic()) == (START - timedelta(days=1), 300.0)
    with pytest.raises(ValueError, match="positive step"):
        clock.advance(timedelta(seconds=-1))
    with pytest.raises(ValueError, match="aware moment"):
        ManualClock(START.replace(tzinfo=None))


@pytest.mark.unit
def test_an_id_has_its_known_form() -> None:
    zero = Ids(ManualClock(datetime(1970, 1, 1, tzinfo=UTC)), entropy=bytes)
    assert zero.mint("pay") == "pay_" + "0" * 26
    ones = Ids(ManualClock(START), entropy=lambda count: b"\xff" * count)
    # 2026-11-22T08:00:00.123Z is 1795334400123 ms; the reference is its base 32 with ten digits, then 16 times z.
    digits, rest = "", 1_795_334_400_123
    for _ in range(10):
        digits, rest = "0123456789abcdefghjkmnpqrstvwxyz"[rest % 32] + digits, rest // 32
    assert ones.mint("pay") == f"pay_{digits}zzzzzzzzzzzzzzzz"
    assert id_born_at(f"pay_{digits}zzzzzzzzzzzzzzzz") == START.replace(microsecond=123_000)


@pytest.mark.property
@given(
    steps=st.lists(st.integers(-5000, 5000), min_size=1, max_size=60), fill=st.sampled_from([b"\x00", b"\xff", b"\x80"])
)
def test_ids_strictly_increase_whatever_the_clock_does(steps: list[int], fill: bytes) -> None:
    clock = ManualClock(START)
    ids = Ids(clock, entropy=lambda count: fill * count)
    minted = [ids.mint("pay")]
    for step_ms in steps:
        clock.set(clock.now() + timedelta(milliseconds=step_ms))
        minted.append(ids.mint("pay"))
    assert all(earlier < later for earlier, later in pairwise(minted))
    assert all(is_id("pay", text) for text in minted)


@pytest.mark.unit
def test_neighbours_of_one_millisecond_are_not_counted_up() -> None:
    ids = Ids(ManualClock(START))
    tails = [int.from_bytes(ids.mint("pay")[-7:].encode()) for _ in range(50)]
    assert len({later - earlier for earlier, later in pairwise(tails)}) > 40


@pytest.mark.unit
def test_a_forked_child_does_not_mint_its_parents_ids() -> None:
    """The clock stands still, and steps were fetched before the fork: only forgetting them keeps the two apart."""
    program = (
        "import os\n"
        "from datetime import UTC, datetime\n"
        "from platform_core.kernel.clock import ManualClock\n"
        "from platform_core.kernel.ids import Ids\n"
        "ids = Ids(ManualClock(datetime(2026, 11, 22, tzinfo=UTC)))\n"
        "[ids.mint('evt') for _ in range(3)]\n"
        "child = os.fork()\n"
        "if child: os.waitpid(child, 0)\n"
        "os.write(1, ''.join(ids.mint('evt') + ' ' for _ in range(20)).encode())\n"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    minted = printed.stdout.split()
    assert len(minted) == len(set(minted)) == 40


@pytest.mark.unit
def test_threads_share_one_source_without_doubles() -> None:
    ids = Ids(ManualClock(START))
    with ThreadPoolExecutor(8) as pool:
        batches = pool.map(lambda _: [ids.mint("evt") for _ in range(500)], range(8))
        minted = [text for batch in batches for text in batch]
    assert len(set(minted)) == 4000


@pytest.mark.unit
@pytest.mark.parametrize(
    "text",
    ["", "pay_",
     "ref_" + "0" * 26, "pay_" + "0" * 25, "pay_" + "0" * 27, "pay_8" + "0" * 25, "pay_" + "u" * 26,
     "pay_" + "A" * 26,
     "pay_" + "0" * 26 + "\n", "xpay_" + "0" * 26],
)  # fmt: skip
def test_other_texts_are_no_payment_id(text: str) -> None:
    assert not is_id("pay", text)


@pytest.mark.unit
def test_a_field_holds_ids_of_its_kind_alone() -> None:
    class Body(BaseModel):
        payment_id: Annotated[str, id_field("pay")]

    good = Ids(SystemClock()).mint("pay")
    assert Body.model_validate({"payment_id": good}).payment_id == good
    for bad in ("ref" + good[3:], good + "\n", good.upper(), 7):
        with pytest.raises(ValidationError):
            Body.model_validate({"payment_id": bad})
    with pytest.raises(ValueError, match="not an id"):
        id_born_at("pay_1")
