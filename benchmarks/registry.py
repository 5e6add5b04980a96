"""Which benchmarks there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from benchmarks import paid_order
from benchmarks.figures import Figure
from benchmarks.options import Options

Run = Callable[[Options], Iterable[Figure]]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark: what it says about itself, and how it runs."""

    text: str
    run: Run


BENCHMARKS: Final[Mapping[str, Benchmark]] = {
    "paid_order": Benchmark("a paid order over HTTP against pgbench and the naive path", paid_order.run),
}
