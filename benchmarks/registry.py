"""Which benchmarks there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from benchmarks import bill, growth, ledger_transfers, paid_order, plugin_call, plugin_order, process, token
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
    "growth": Benchmark("orders, lists, look-ups and balances in a small and a large database", growth.run),
    "ledger_transfers": Benchmark("the ledger's own interface against COPY of the same rows", ledger_transfers.run),
    "bill": Benchmark("a large day's bill against COPY of the same rows", bill.run),
    "token": Benchmark("who is this: access checks, tokens, and how fast a revocation is seen", token.run),
    "plugin_call": Benchmark("calls of a confined plugin against a ping-pong of two processes", plugin_call.run),
    "plugin_order": Benchmark("what a merchant's plugin costs its orders, and its neighbours'", plugin_order.run),
    "startup": Benchmark("arsenal serve on the embedded default, warm", process.startup),
    "memory": Benchmark("the server's resident memory", process.memory),
}
