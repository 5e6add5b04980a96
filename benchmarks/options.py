"""How long and how often to measure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """`rounds` alternate what is compared; `seconds` is one measurement's.

    `rows` is how many orders `growth` grows to, from a quarter of them.
    """

    rounds: int = 5
    seconds: float = 3.0
    rows: int = 400_000


QUICK = Options(rounds=1, seconds=1.0, rows=2_000)
