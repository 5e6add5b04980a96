"""What may be shown once was shown: assertions, DPoP proofs, request signatures.

The table is UNLOGGED: it is written for every proof and needed for minutes. A crash of the database empties it, so it
carries the moment of its birth: what was issued before that might be a replay of something forgotten, and is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import asyncpg

from platform_core.identity import base64url
from platform_core.kernel.commit import Duplicate, Plan, Refusal, Statement
from platform_core.kernel.commit.plan import Look, lock_key

Kind = Literal["assertion", "dpop", "signature", "device_try", "session"]
AHEAD: Final = timedelta(seconds=11)
"""A client's clock may be 10 s ahead of ours, so what it issued may be dated later than the crash that followed."""
_BIRTH: Final = "birth"
_LOOK: Final = "SELECT id, born FROM seen_jti WHERE id = ANY({0}::text[])"
_INSERT: Final = "INSERT INTO seen_jti (id, until) SELECT * FROM unnest({0}::text[], {1}::timestamptz[]) RETURNING 1"
_BE_BORN: Final = "INSERT INTO seen_jti (id, until, born) VALUES ('birth', 'infinity', $1) ON CONFLICT (id) DO NOTHING"
_SWEEP: Final = (
    "DELETE FROM seen_jti WHERE until < $1 AND ctid = ANY(ARRAY("
    "SELECT ctid FROM seen_jti WHERE until < $1 ORDER BY until LIMIT $2))"
)


@dataclass(frozen=True, slots=True)
class OnceOnly:
    """Part of a plan of any tenant: the plan is in only if nobody showed this before. Made by `claim`."""

    id: str
    kind: Kind
    until: datetime
    issued: datetime | None
    birth: int | None


@dataclass(frozen=True, slots=True)
class AlreadySeen(Duplicate):
    """Somebody showed it before: a replay, or the loser of a race."""

    kind: Kind


@dataclass(frozen=True, slots=True)
class Forgotten(Refusal):
    """It was issued before the table was born (seconds since the epoch), so nobody knows whether it was shown."""

    kind: Kind
    born: int


def claim(
    kind: Kind,
    issuer: str,
    jti: str,
    until: datetime,
    *,
    issued: datetime | None = None,
    birth: int | None = None,
) -> OnceOnly:
    """The part that claims `jti` of `issuer` (client, key thumbprint) until it can no longer be shown anyway.

    Exactly one says that it is no older than the table: `issued`, or `birth`, the table's as the nonce named it.
    Refusals: `AlreadySeen`, `Forgotten`.
    """
    assert (issued is None) != (birth is None), "either its own age or the nonce's"
    digest = hashlib.sha256(f"{kind}\x1f{issuer}\x1f{jti}".encode()).digest()
    return OnceOnly(base64url.encode(digest), kind, until, issued, birth)


async def sweep(connection: asyncpg.Connection, *, now: datetime, limit: int = 5000) -> int:
    """Delete at most `limit` rows past their time, and say how many. `connection` has the role of the workers.

    `now` is of the real clock, by which all of these live.
    """
    tag = await connection.execute(_SWEEP, now, limit)
    return int(tag.split()[1])


class OnceOnlyApplier:
    """Writes `OnceOnly`. One per process; also what gives an emptied table its birth."""

    part_types: tuple[type, ...] = (OnceOnly,)

    def __init__(self) -> None:
        self.is_born = False

    def begin(self, plans: Sequence[tuple[Plan, Sequence[object]]]) -> OnceOnlyBatch:
        """Start on a batch."""
        return OnceOnlyBatch(self, [part for _, parts in plans for part in parts if isinstance(part, OnceOnly)])


class OnceOnlyBatch:
    """Claims of one batch."""

    def __init__(self, applier: OnceOnlyApplier, claims: Sequence[OnceOnly]) -> None:
        self._applier = applier
        self._wanted = sorted({part.id for part in claims})
        self._taken: set[str] = set()
        self._born = 0
        self._staged: dict[str, OnceOnly] = {}
        self._kept: dict[str, OnceOnly] = {}

    def lock_keys(self) -> Iterable[int]:
        """One lock per claim."""
        return [lock_key("seen_jti", (id_,)) for id_ in self._wanted]

    async def prepare(self, connection: asyncpg.Connection) -> None:
        """Note the birth of a table that was found empty; ahead of the batch, because it stands even if all fail."""
        if self._wanted and not self._applier.is_born:
            # The database's own clock: the batch has no other, and this is about the database's crash.
            now: datetime = await connection.fetchval("SELECT now()")
            await connection.execute(_BE_BORN, int((now + AHEAD).timestamp()))
            self._applier.is_born = True

    def looks(self) -> Sequence[Look]:
        """Which claims are taken, and when the table was born."""
        return [Look(_LOOK, ([_BIRTH, *self._wanted],), self._take)] if self._wanted else []

    def _take(self, rows: Sequence[tuple[Any, ...]]) -> None:
        found: dict[str, int] = dict(rows)
        if _BIRTH not in found:  # the batch is begun anew, and `prepare` notes the birth then
            self._applier.is_born = False
            raise asyncpg.SerializationError("the table of claims was emptied by a crash; its birth is noted first")
        self._born = found.pop(_BIRTH)
        self._taken = set(found)

    @property
    def has_seen_all(self) -> bool:
        """At once."""
        return True

    def judge(self, plan: Plan, parts: Sequence[object]) -> Refusal | None:
        """Seen before, or too old to tell."""
        for part in parts:
            assert isinstance(part, OnceOnly)
            if part.id in self._taken or part.id in self._staged:
                return AlreadySeen("seen_jti", ("id",), part.id, part.kind)
            is_known = part.birth == self._born if part.issued is None else _is_after(part.issued, self._born)
            if not is_known:
                return Forgotten(part.kind, self._born)
            self._staged[part.id] = part
        return None

    def keep(self) -> None:
        """What was staged is taken."""
        self._taken |= self._staged.keys()
        self._kept |= self._staged
        self._staged = {}

    def drop(self) -> None:
        """Forget what was staged."""
        self._staged = {}

    def statements(self) -> list[Statement]:
        """One insertion."""
        if not self._kept:
            return []
        claims = list(self._kept.values())
        return [Statement(_INSERT, ([c.id for c in claims], [c.until for c in claims]), len(claims))]


def _is_after(moment: datetime, born: int) -> bool:
    return moment >= datetime.fromtimestamp(born, tz=UTC)
