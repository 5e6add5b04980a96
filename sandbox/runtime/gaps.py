"""Fills the gaps that the imports left in the zygote's memory, so that workers write on fresh pages.

Both allocators, Python's for small objects and the C library's, hand out what was freed before they ask for more. In a
worker each gap is on a page that it shares with the zygote, and copies when it writes there: a handful of bytes costs
4 KiB. With no gap left its objects lie side by side on pages of their own, which are empty and need no copying.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from sandbox.runtime.lockdown import libc

_STEP: Final = 16
"""Both allocators round sizes up to it on 64-bit machines."""
_SMALL_MAX: Final = 512
"""The largest object of Python's own allocator (CPython 3.11, pymalloc)."""
_POOL_BYTES: Final = 16 * 1024 - 48
"""What one of its pools holds; all objects of a pool have one size."""
_EMPTY_BYTES: Final = b"".__sizeof__()
_CHUNK_MAX: Final = 4096
_CHUNK_HEAD: Final = 8
_NEIGHBOURS: Final = 4
"""So many chunks in a row come from behind everything, not out of gaps."""
_ATTEMPTS_MAX: Final = 8192
"""For each size: whatever the allocators are, this ends."""


def fill() -> list[object]:
    """Take the gaps; they stay taken as long as the result lives. What the C library gave is never given back."""
    taken: list[object] = [[object() for _ in range(_POOL_BYTES // _STEP)]]
    taken.append([float(number) for number in range(_POOL_BYTES // (2 * _STEP))])
    for size in range(3 * _STEP, _SMALL_MAX + 1, _STEP):
        taken.append(_objects(size))
    for size in range(2 * _STEP, _CHUNK_MAX, _STEP):
        _until_in_a_row(partial(libc.allocate, size - _CHUNK_HEAD), apart=size, times=_NEIGHBOURS)
    return taken


def _objects(size: int) -> list[object]:
    """Objects of one size, until a whole pool was filled with nothing but these."""
    made: list[object] = []

    def make() -> int:
        made.append(bytes(size - _EMPTY_BYTES))
        return id(made[-1])

    _until_in_a_row(make, apart=size, times=_POOL_BYTES // size - 1)
    return made


def _until_in_a_row(make: Callable[[], int], *, apart: int, times: int) -> None:
    """Call `make` until so many addresses in succession are `apart` bytes from the one before."""
    last = run = 0
    for _ in range(_ATTEMPTS_MAX):
        address = make()
        run = run + 1 if address - last == apart else 0
        if run >= times:
            return
        last = address
