"""Randomness from the operating system, fetched in one call for many ids.

`os.urandom` is a system call: at ten ids a payment it was a tenth of the server's CPU time on a virtual machine.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Lock
from typing import Final

STOCK_BYTES: Final = 4096


class Entropy:
    """Hands out `os.urandom`'s bytes, each once. Safe between threads; a forked child starts with none of them.

    For ids and nonces. Keys are fetched by themselves: what is to be kept secret for long does not wait in a stock.
    """

    __slots__ = ("_at", "_fetch", "_lock", "_stock")

    def __init__(self, fetch: Callable[[int], bytes] = os.urandom) -> None:
        self._fetch = fetch
        self._lock = Lock()
        self._stock = b""
        self._at = 0
        os.register_at_fork(after_in_child=self.forget)

    def __call__(self, count: int) -> bytes:
        """`count` bytes that nobody else gets."""
        with self._lock:
            start = self._at
            if start + count > len(self._stock):
                self._stock = self._fetch(max(STOCK_BYTES, count))
                start = 0
            self._at = start + count
            return self._stock[start : self._at]

    def forget(self) -> None:
        """Throw the stock away."""
        self._lock = Lock()
        self._stock = b""
        self._at = 0


entropy: Final = Entropy()
"""The process's own."""
