"""Events as they are committed, for a listener that keeps its place: nothing is left out, and nothing comes twice.

Positions are given before the commit, so of two writers the later position may be seen first. A place therefore names,
besides the last position, those below it that were not there yet.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import text

from platform_core.delivery.catalogue import EventSeen
from platform_core.delivery.webhooks.messages import encode_message
from platform_core.delivery.webhooks.service import WebhookDeps
from platform_core.identity.principal import Principal

GAPS_MAX: Final = 200
_PLACE: Final = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,18}){0,200}")

_LAST: Final = text("SELECT coalesce(max(position), 0) FROM outbox")
_THERE: Final = text(
    "SELECT position FROM outbox WHERE position > :low AND position <= :last OR position = ANY (:gaps)"
)
# As the relay chooses for webhooks: the merchant lets the app in under the scope that reads the object; of grants and
# their limits an app hears of its own alone.
_ROWS: Final = text(
    """
SELECT o.position, o.id, o.type, o.merchant_id, o.object_id, o.sequence, o.occurred_at, o.body, o.traceparent
FROM outbox AS o
JOIN unnest(CAST(:types AS text[]), CAST(:scopes AS text[])) AS k(type, scope) ON k.type = o.type
JOIN merchant AS m ON m.id = o.merchant_id AND m.mode = :mode
WHERE (o.position > :after AND o.position <= :last OR o.position = ANY (:gaps))
  AND (CAST(:merchant_id AS text) IS NULL OR o.merchant_id = :merchant_id)
  AND EXISTS (
    SELECT FROM access_grant AS g
    WHERE g.app_id = :app_id AND g.merchant_id = o.merchant_id AND g.state = 'active'
      AND (g.expires_at IS NULL OR g.expires_at > :now) AND k.scope = ANY (string_to_array(g.scopes, ' '))
      AND (o.type NOT LIKE 'grant.%' OR g.id = o.object_id)
      AND (o.type NOT LIKE 'limit.%' OR g.id = (SELECT l.grant_id FROM limit_window AS l WHERE l.id = o.object_id)))
ORDER BY o.position LIMIT :limit
"""
)


@dataclass(frozen=True, slots=True)
class Place:
    """How far a listener has heard. `gaps`: positions up to `after` that nobody had committed then."""

    after: int
    gaps: tuple[int, ...] = ()

    def __str__(self) -> str:
        return ".".join(map(str, (self.after, *self.gaps)))


def read_place(written: str) -> Place:
    """A place as `str` wrote it. ValueError for anything else."""
    if _PLACE.fullmatch(written) is None:
        raise ValueError(f"{written[:40]!r} is no place in the feed")
    after, *gaps = map(int, written.split("."))
    return Place(after, tuple(gaps))


@dataclass(frozen=True, slots=True)
class Heard:
    """An event with the bytes that a webhook of the app carries for it."""

    event: EventSeen
    body: bytes


@dataclass(frozen=True, slots=True)
class Feed:
    """The events of one app, over all merchants that let it in, or of the one that its token acts for."""

    deps: WebhookDeps

    async def end(self) -> Place:
        """The place behind everything that is there now."""
        async with self.deps.database.read_all() as connection:
            return Place(int((await connection.execute(_LAST)).scalar_one()))

    async def read(self, who: Principal, place: Place, *, limit: int) -> tuple[list[Heard], Place]:
        """At most `limit` events behind a place, in the order of their positions, and the place behind them."""
        kinds = self.deps.catalogue.kinds
        async with self.deps.database.read_all() as connection:
            # One snapshot for all three: what it does not show is a gap.
            connection = await connection.execution_options(isolation_level="REPEATABLE READ")  # noqa: PLW2901
            last = int((await connection.execute(_LAST)).scalar_one())
            values = {
                "after": place.after,
                "last": last,
                "gaps": list(place.gaps),
                "types": list(kinds),
                "scopes": [kind.scope for kind in kinds.values()],
                "mode": who.mode,
                "merchant_id": who.merchant_id,
                "app_id": who.app_id,
                "now": self.deps.clock.now(),
                "limit": limit + 1,
            }
            rows = list((await connection.execute(_ROWS, values)).all())
            is_cut = len(rows) > limit
            if is_cut:
                rows = rows[:limit]
                last = max(place.after, rows[-1].position)
            low = max(place.after, last - 10 * GAPS_MAX)
            asked = {"low": low, "last": last, "gaps": list(place.gaps)}
            there = set((await connection.execute(_THERE, asked)).scalars())
        told = {row.position for row in rows}
        gaps = [position for position in (*place.gaps, *range(low + 1, last + 1)) if position not in there]
        waiting = [position for position in place.gaps if is_cut and position in there - told]
        return self._heard(who, rows), Place(last, tuple([*waiting, *gaps][-GAPS_MAX:]))

    def _heard(self, who: Principal, rows: Sequence[object]) -> list[Heard]:
        events = [EventSeen(*tuple(row)[1:]) for row in rows]  # type: ignore[arg-type]  # rows are tuples
        catalogue, version = self.deps.catalogue, who.api_version
        return [
            Heard(event, encode_message(event, catalogue=catalogue, api_version=version, mode=who.mode))
            for event in events
        ]
