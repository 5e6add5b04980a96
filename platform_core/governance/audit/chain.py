"""What is hashed, and how. Anybody can recompute it from an export; nothing here reads or writes.

SHA-256 throughout; the first byte tells leaves, inner nodes and seals apart. The tree is that of RFC 9162 section 2.1.1
(read 2026-11-22): neighbours are paired level by level, and one without a neighbour moves up as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import msgspec

HASH_BYTES: Final = 32
GENESIS: Final = bytes(HASH_BYTES)
"""What the first seal follows."""
COLUMNS: Final = (
    "position", "written_in", "at", "stream", "kind", "actor", "on_behalf_of", "subject", "merchant_id", "reason",
    "rule", "request_id", "before_digest", "after_digest", "facts",
)  # fmt: skip
"""The columns of a row in the order in which they are hashed."""
_AT, _BEFORE, _AFTER = (COLUMNS.index(name) for name in ("at", "before_digest", "after_digest"))
_LEAF, _NODE, _SEAL = b"\x00", b"\x01", b"\x02"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_encode = msgspec.json.Encoder().encode
Side = Literal["left", "right"]


def plain_row(values: Sequence[Any]) -> list[Any]:  # Any: whatever the columns hold
    """A row's values in the order of `COLUMNS`, as JSON carries them: microseconds since 1970 UTC, digests as hex."""
    plain = list(values)
    plain[_AT] = (plain[_AT] - _EPOCH) // _MICROSECOND
    for place in (_BEFORE, _AFTER):
        if plain[place] is not None:
            plain[place] = bytes(plain[place]).hex()
    return plain


def row_hash(plain: Sequence[Any]) -> bytes:  # Any: JSON
    """The leaf of one plain row: the JSON array without spaces, in UTF-8."""
    return hashlib.sha256(_LEAF + _encode(plain)).digest()


def split_hashes(joined: bytes) -> list[bytes]:
    """The leaves that a seal keeps joined."""
    return [joined[start : start + HASH_BYTES] for start in range(0, len(joined), HASH_BYTES)]


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """The root over at least one leaf."""
    level = list(leaves)
    while len(level) > 1:
        level = _next_level(level)
    return level[0]


def merkle_proof(leaves: Sequence[bytes], index: int) -> list[tuple[Side, bytes]]:
    """What to join a leaf with, from the bottom up, and on which side, to arrive at the root."""
    proof: list[tuple[Side, bytes]] = []
    level = list(leaves)
    while len(level) > 1:
        neighbour = index ^ 1
        if neighbour < len(level):
            proof.append(("left" if neighbour < index else "right", level[neighbour]))
        level = _next_level(level)
        index //= 2
    return proof


def proven_root(leaf: bytes, proof: Sequence[tuple[Side, bytes]]) -> bytes:
    """The root that a leaf's proof leads to."""
    for side, neighbour in proof:
        leaf = _node(neighbour, leaf) if side == "left" else _node(leaf, neighbour)
    return leaf


def _next_level(level: Sequence[bytes]) -> list[bytes]:
    paired = [_node(level[n], level[n + 1]) for n in range(0, len(level) - 1, 2)]
    return [*paired, level[-1]] if len(level) % 2 else paired


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(_NODE + left + right).digest()


@dataclass(frozen=True, slots=True)
class Seal:
    """One link: which rows it closes (by place in the chain, and by where they end), and what it follows."""

    number: int
    first_row: int
    rows: int
    last_written_in: int
    last_position: int
    root: bytes
    previous: bytes
    sealed_at: datetime

    @property
    def last_row(self) -> int:
        """The number of its last row in the chain."""
        return self.first_row + self.rows - 1

    def digest(self) -> bytes:
        """The hash that the next seal follows."""
        told = [
            self.number, self.first_row, self.rows, self.last_written_in, self.last_position, self.root.hex(),
            self.previous.hex(), (self.sealed_at - _EPOCH) // _MICROSECOND,
        ]  # fmt: skip
        return hashlib.sha256(_SEAL + _encode(told)).digest()

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Seal:  # Any: whatever the columns hold
        """A seal as it lies in the database."""
        names = ("number", "first_row", "rows", "last_written_in", "last_position", "root", "previous", "sealed_at")
        return cls(**{name: record[name] for name in names})
