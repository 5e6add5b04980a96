"""The requests that came, the last 1000 of each app: for the doctor, for people, and to see what nobody reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Row, select

from platform_core.kernel.commit import Committer, Insert, Plan, Remove
from platform_core.kernel.database.pools import Database
from sandbox.simulators.alipay_gateway.models import REQUESTS
from sandbox.simulators.alipay_gateway.protocol import Parameters

KEPT: Final = 1000
SWEPT_EVERY: Final = 50
ANSWER_CHARACTERS_MAX: Final = 16_000
VALUE_CHARACTERS_MAX: Final = 20_000
_requests = REQUESTS.table


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One request and its answer. `app_id` is the native id, empty for an app that nobody knows."""

    id: str
    app_id: str
    parameters: Parameters
    code: str
    sub_code: str | None
    answer: str
    unused: Sequence[str]
    doctor: Mapping[str, Any] | None
    received_at: datetime


class RequestBook:
    """Writes through the committer. It holds what clients sent as they sent it: a sandbox has test data alone."""

    def __init__(self, database: Database, committer: Committer) -> None:
        self._database = database
        self._committer = committer
        self._written: Counter[str] = Counter()

    async def keep(self, seen: Seen) -> None:
        """Store a request; now and then, take away what is older than the last 1000 of its app."""
        pairs = [
            [name.decode("latin-1")[:256], value.decode("latin-1")[:VALUE_CHARACTERS_MAX]]
            for name, value in seen.parameters.values.items()
        ]
        row = {
            "id": seen.id,
            "app_id": seen.app_id,
            "method": seen.parameters.ascii("method")[:128].replace("\x00", "?"),
            "pairs": _text(pairs).replace("\\u0000", "\\ufffd"),  # PostgreSQL's text holds no NUL
            "code": seen.code,
            "sub_code": seen.sub_code,
            "answer": seen.answer[:ANSWER_CHARACTERS_MAX],
            "unused": _text(seen.unused),
            "doctor": None if seen.doctor is None else _text(seen.doctor),
            "received_at": seen.received_at,
        }
        plan = Plan(None, [Insert(REQUESTS, row)])
        self._written[seen.app_id] += 1
        if self._written[seen.app_id] % SWEPT_EVERY == 0:
            plan.add(*(Remove(REQUESTS, id_) for id_ in await self._old(seen.app_id)))
        await self._committer.commit(plan)

    async def unused(self, app_id: str | None = None) -> dict[str, Counter[str]]:
        """See `read_unused`."""
        return await read_unused(self._database, app_id)

    async def find(self, app_id: str, request_id: str) -> Row[Any] | None:
        """One stored request of an app."""
        query = select(_requests).where(_requests.c.id == request_id, _requests.c.app_id == app_id)
        async with self._database.read_auth() as connection:
            return (await connection.execute(query)).one_or_none()

    async def _old(self, app_id: str) -> Sequence[str]:
        query = (
            select(_requests.c.id)
            .where(_requests.c.app_id == app_id)
            .order_by(_requests.c.received_at.desc(), _requests.c.id.desc())
            .offset(KEPT)
            .limit(2 * SWEPT_EVERY)
        )
        async with self._database.read_auth() as connection:
            return (await connection.execute(query)).scalars().all()


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()


async def read_unused(database: Database, app_id: str | None = None) -> dict[str, Counter[str]]:
    """By method, how often each field that nobody reads was sent; of one app, or of all."""
    query = select(_requests.c.method, _requests.c.unused)
    if app_id is not None:
        query = query.where(_requests.c.app_id == app_id)
    found: dict[str, Counter[str]] = {}
    async with database.read_auth() as connection:
        for method, names in await connection.execute(query):
            if names:
                found.setdefault(method, Counter()).update(names)
    return found
