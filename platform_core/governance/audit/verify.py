"""`arsenal audit verify`: recomputes the whole chain on one snapshot and names the first number that does not hold."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import asyncpg

from platform_core.governance.audit.chain import COLUMNS, GENESIS, Seal, merkle_root, plain_row, row_hash, split_hashes
from platform_core.governance.audit.checkpoints import Checkpoint
from platform_core.kernel.database.pools import Database

UNSEALED_S_MAX: Final = 10.0
PAGE: Final = 2_000
What = Literal["row changed", "row missing", "row added", "seal", "signature", "tail cut", "unsealed"]
_ROWS: Final = (
    f"SELECT {', '.join(COLUMNS)} FROM audit_row WHERE (written_in, position) > ($1, $2) ORDER BY written_in, position"
)
_SEALS: Final = "SELECT * FROM audit_seal WHERE number >= $1 ORDER BY number"
_BEFORE: Final = "SELECT * FROM audit_seal WHERE number = $1"


@dataclass(frozen=True, slots=True)
class Broken:
    """The first place that does not hold. `number` counts rows along the chain from 1; None where none can be named."""

    what: What
    seal: int | None
    number: int | None
    position: int | None  # of the row in the table

    def __str__(self) -> str:
        places = [f"seal {self.seal}"] if self.seal is not None else []
        places += [f"number {self.number}"] if self.number is not None else []
        places += [f"position {self.position}"] if self.position is not None else []
        return f"{self.what} at {', '.join(places)}" if places else self.what


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What was read, and what does not hold. `oldest_unsealed_s` is the age of the oldest row not chained yet."""

    rows: int
    seals: int
    unsealed: int
    oldest_unsealed_s: float
    broken: Broken | None

    @property
    def is_clean(self) -> bool:
        """Whether everything holds."""
        return self.broken is None


async def verify(
    database: Database,
    *,
    now: datetime,
    checkpoint: Checkpoint | None = None,
    public_key: bytes | None = None,
    from_seal: int = 1,
    to_seal: int | None = None,
    progress: Callable[[int], None] = lambda rows: None,
) -> AuditReport:
    """Read the chain from one seal to another, by default all of it, and what is not sealed yet. Writes nothing.

    A `checkpoint` that left the house earlier finds what the chain alone cannot: that its end was cut off or that it
    was written anew. `public_key` is the one that must have signed it. Rows not chained for 10 s are a finding too.
    """
    if checkpoint is not None and (public_key is None or not checkpoint.is_signed_by(public_key)):
        return AuditReport(0, 0, 0, 0.0, Broken("signature", checkpoint.number, None, None))
    connection = await database.connect("job")
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return await _Walk(connection, now, checkpoint, progress).run(from_seal, to_seal)
    finally:
        await connection.close()


class _Walk:
    """Seals and rows side by side, each read once, a page at a time."""

    def __init__(
        self,
        connection: asyncpg.Connection[Any],
        now: datetime,
        checkpoint: Checkpoint | None,
        progress: Callable[[int], None],
    ) -> None:
        self._connection = connection
        self._now = now
        self._checkpoint = checkpoint
        self._progress = progress
        self._rows = 0
        self._seals = 0
        self._is_checkpoint_met = checkpoint is None

    async def run(self, from_seal: int, to_seal: int | None) -> AuditReport:
        """Walk, and stop at the first thing that does not hold."""
        before = await self._connection.fetchrow(_BEFORE, from_seal - 1) if from_seal > 1 else None
        if from_seal > 1 and before is None:
            return self._report(Broken("seal", from_seal - 1, None, None))
        last = Seal.of(before) if before is not None else None
        start = (last.last_written_in, last.last_position) if last is not None else (0, 0)
        rows = _Rows(self._connection, start)
        previous = last.digest() if last is not None else GENESIS
        async for record in _paged(self._connection, _SEALS, from_seal):
            seal = Seal.of(record)
            broken = await self._check(record, seal, last=last, previous=previous, rows=rows)
            if broken is not None:
                return self._report(broken)
            last, previous = seal, record["digest"]
            if seal.number == to_seal:
                return self._report(None)
        if not self._is_checkpoint_met:
            assert self._checkpoint is not None
            return self._report(Broken("tail cut", self._checkpoint.number, None, None))
        unsealed = await rows.rest()
        oldest_s = max(((self._now - at).total_seconds() for at in unsealed), default=0.0)
        late = Broken("unsealed", None, None, None) if oldest_s > UNSEALED_S_MAX else None
        return AuditReport(self._rows, self._seals, len(unsealed), oldest_s, late)

    async def _check(
        self, record: Any, seal: Seal, *, last: Seal | None, previous: bytes, rows: _Rows
    ) -> Broken | None:  # Any: a row of asyncpg
        number, first_row = (1, 1) if last is None else (last.number + 1, last.last_row + 1)
        here = Broken("seal", seal.number, None, None)
        if (seal.number, seal.first_row, seal.previous) != (number, first_row, previous):
            return Broken("seal", number, None, None)
        found = await rows.until(seal.last_written_in, seal.last_position)
        leaves = split_hashes(record["row_hashes"])
        if len(leaves) != seal.rows or merkle_root(leaves) != seal.root or seal.digest() != record["digest"]:
            return here
        broken = _first_difference(leaves, found, seal)
        if broken is not None:
            return broken
        if self._checkpoint is not None and seal.number == self._checkpoint.number:
            if record["digest"] != self._checkpoint.digest:
                return here
            self._is_checkpoint_met = True
        self._rows += seal.rows
        self._seals += 1
        self._progress(self._rows)
        return None

    def _report(self, broken: Broken | None) -> AuditReport:
        return AuditReport(self._rows, self._seals, 0, 0.0, broken)


def _first_difference(leaves: list[bytes], found: list[tuple[int, bytes]], seal: Seal) -> Broken | None:
    """The first row that is not the one that was sealed; one too many or too few shifts the others."""
    hashes = [leaf for _, leaf in found]
    if hashes == leaves:
        return None
    place = next((n for n, (a, b) in enumerate(zip(leaves, hashes, strict=False)) if a != b), None)
    if place is None:  # one list begins with the other
        place = min(len(leaves), len(hashes))
        what: What = "row missing" if len(hashes) < len(leaves) else "row added"
    elif hashes[place] in leaves:
        what = "row missing"
    elif leaves[place] in hashes:
        what = "row added"
    else:
        what = "row changed"
    position = found[place][0] if place < len(found) and what != "row missing" else None
    return Broken(what, seal.number, seal.first_row + place, position)


class _Rows:
    """Rows in the order of the chain, taken up to a place."""

    def __init__(self, connection: asyncpg.Connection[Any], start: tuple[int, int]) -> None:
        self._pages = _paged(connection, _ROWS, *start)
        self._ahead: Any = None  # a row of asyncpg, read and not yet taken

    async def until(self, written_in: int, position: int) -> list[tuple[int, bytes]]:
        """Position and leaf of each row up to and with this place."""
        taken: list[tuple[int, bytes]] = []
        while (row := self._ahead or await anext(self._pages, None)) is not None:
            if (row["written_in"], row["position"]) > (written_in, position):
                self._ahead = row
                break
            self._ahead = None
            taken.append((row["position"], row_hash(plain_row(row))))
        return taken

    async def rest(self) -> list[datetime]:
        """When each row that is left was written."""
        moments = [self._ahead["at"]] if self._ahead is not None else []
        return moments + [row["at"] async for row in self._pages]


async def _paged(
    connection: asyncpg.Connection[Any], sql: str, *arguments: object
) -> AsyncIterator[Any]:  # Any: rows of asyncpg
    cursor = await connection.cursor(sql, *arguments)
    while rows := await cursor.fetch(PAGE):
        for row in rows:
            yield row
