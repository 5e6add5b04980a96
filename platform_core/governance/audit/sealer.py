"""Chains what was written, once a second, in an order that nothing written later can come before."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from sqlalchemy import Row, text

from platform_core.governance.audit.chain import COLUMNS, GENESIS, Seal, merkle_root, plain_row, row_hash
from platform_core.governance.audit.models import AUDIT_SEALS
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Committer, Duplicate, Insert, Plan, PlanRefused
from platform_core.kernel.database.pools import Database
from platform_core.kernel.ids import Ids

log = structlog.get_logger(__name__)

ROWS_MAX: Final = 5_000
SEALS_MAX: Final = 20
LATE: Final = timedelta(seconds=10)
_LAST: Final = text(
    "SELECT number, first_row, rows, last_written_in, last_position, digest, "
    "last_written_in >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS is_ahead "
    "FROM audit_seal ORDER BY number DESC LIMIT 1"
)
# Below xmin every transaction has ended, so that none of them can still commit a row; all later ones are above it.
_ENDED: Final = text(
    f"SELECT {', '.join(COLUMNS)} FROM audit_row WHERE (written_in, position) > (:written_in, :position) "
    "AND written_in < pg_snapshot_xmin(pg_current_snapshot())::text::bigint "
    "ORDER BY written_in, position LIMIT :rows"
)
_OLDEST: Final = text(
    "SELECT at, written_in FROM audit_row "
    "WHERE (written_in, position) > (:written_in, :position) ORDER BY written_in, position LIMIT 1"
)


class Sealer:
    """However many processes seal, each row is in one seal: of two at once, one is refused and leaves it to the other.

    `clock` is the real one.
    """

    def __init__(self, database: Database, committer: Committer, *, clock: Clock, ids: Ids) -> None:
        self._database = database
        self._committer = committer
        self._clock = clock
        self._ids = ids

    async def seal(self) -> int:
        """Chain what has ended, at most 20 seals of 5,000 rows; returns how many rows.

        Rings, as an error in the log, for a row that has waited for more than 10 seconds (a transaction hangs), and
        when the database was restored into a cluster whose transactions count from below the chain's end: raise the
        count first (pg_resetwal -x), else new rows would stand before the old ones.
        """
        sealed = 0
        for _ in range(SEALS_MAX):
            rows = await self._seal_once()
            sealed += rows
            if rows < ROWS_MAX:
                break
        return sealed

    async def _seal_once(self) -> int:
        async with self._database.read_all() as connection:
            last = (await connection.execute(_LAST)).one_or_none()
            if last is not None and last.is_ahead:
                log.error("audit.restored_behind", seal=last.number, transaction=last.last_written_in)
                return 0
            after = _end_of(last)
            rows = (await connection.execute(_ENDED, {**after, "rows": ROWS_MAX})).all()
            if not rows:
                oldest = (await connection.execute(_OLDEST, after)).one_or_none()
        now = self._clock.now()
        if not rows:
            if oldest is not None and now - oldest[0] > LATE:
                log.error("audit.unsealed", since=oldest[0].isoformat(), transaction=oldest[1])
            return 0
        if now - min(row.at for row in rows) > LATE:
            log.error("audit.sealed_late", rows=len(rows), since=min(row.at for row in rows).isoformat())
        try:
            await self._committer.commit(Plan(None).add(self._next(last, rows, now)))
        except PlanRefused as refused:
            if not isinstance(refused.refusal, Duplicate):
                raise
            return 0  # another sealer was first with the same rows
        return len(rows)

    def _next(self, last: Row[Any] | None, rows: Any, now: datetime) -> Insert:  # Any: rows of one statement
        hashes = [row_hash(plain_row(row)) for row in rows]
        seal = Seal(
            number=1 if last is None else last.number + 1,
            first_row=1 if last is None else last.first_row + last.rows,
            rows=len(rows),
            last_written_in=rows[-1].written_in,
            last_position=rows[-1].position,
            root=merkle_root(hashes),
            previous=GENESIS if last is None else last.digest,
            sealed_at=now,
        )
        row = {
            "id": self._ids.mint("aus"),
            "number": seal.number,
            "first_row": seal.first_row,
            "rows": seal.rows,
            "last_written_in": seal.last_written_in,
            "last_position": seal.last_position,
            "row_hashes": b"".join(hashes),
            "root": seal.root,
            "previous": seal.previous,
            "digest": seal.digest(),
            "sealed_at": now,
        }
        return Insert(AUDIT_SEALS, row)


def _end_of(last: Row[Any] | None) -> dict[str, int]:
    if last is None:
        return {"written_in": 0, "position": 0}
    return {"written_in": last.last_written_in, "position": last.last_position}
