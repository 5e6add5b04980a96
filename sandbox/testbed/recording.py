"""Recording what an app asks and is answered, without secrets, so that it can be replayed against another sandbox."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from platform_core.identity.access import Access
from platform_core.identity.principal import Principal
from platform_core.identity.requires import shown_token
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Committer, Insert, Plan
from platform_core.kernel.database.pools import Database
from platform_core.kernel.errors import PlatformError, declare
from platform_core.kernel.i18n import Text
from platform_core.kernel.ids import Ids
from sandbox.testbed.models import EXCHANGES, RECORDINGS

log = structlog.get_logger(__name__)

API: Final = "/v1/"
BODY_MAX: Final = 300_000
PAGE: Final = 200
REDACTED: Final = "[redacted]"
SECRETS: Final = ("secret", "password", "access_token", "refresh_token", "signing_key", "private_key")
KEPT_HEADERS: Final = ("idempotency-key", "arsenal-version", "if-match", "accept-language")
_recordings, _exchanges = RECORDINGS.table, EXCHANGES.table

RECORDING_UNKNOWN: Final = declare(
    "sandbox.recording_unknown",
    status=404,
    title=Text(en="No such recording", zh="录制不存在"),
    detail=Text(en="There is no recording {id} of this app.", zh="该应用没有录制 {id}。"),
)


class RecordingCreate(BaseModel):
    """How long to record; it ends by itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    minutes: int = Field(default=60, strict=True, ge=1, le=24 * 60)


class RecordingRead(BaseModel):
    """A recording of what this app asks under /v1."""

    model_config = ConfigDict(frozen=True)

    id: str
    until: datetime
    created_at: datetime


class ExchangePage(BaseModel):
    """Lines of a recording, the oldest first. `next` goes into the next request as `after`; null: no more yet."""

    model_config = ConfigDict(frozen=True)

    lines: list[str]
    next: str | None


@dataclass(frozen=True, slots=True)
class Recordings:
    """Begins, reads and writes recordings. `clock`: real time."""

    database: Database
    committer: Committer
    clock: Clock
    ids: Ids

    async def begin(self, who: Principal, wanted: RecordingCreate, *, parts: Sequence[object] = ()) -> RecordingRead:
        """A recording of the caller's app, beginning now; `parts` are written with it."""
        now = self.clock.now()
        until = now + timedelta(minutes=wanted.minutes)
        row = {"id": self.ids.mint("rcd"), "app_id": who.app_id, "until": until, "created_at": now}
        await self.committer.commit(Plan(None, [Insert(RECORDINGS, row), *parts]))
        return RecordingRead.model_validate(row)

    async def lines(self, who: Principal, recording_id: str, *, after: str) -> ExchangePage:
        """Lines behind `after`. 404 `sandbox.recording_unknown`."""
        own = select(_recordings.c.id).where(_recordings.c.id == recording_id, _recordings.c.app_id == who.app_id)
        query = (
            select(_exchanges.c.id, _exchanges.c.line)
            .where(_exchanges.c.recording_id == recording_id, _exchanges.c.id > after)
            .order_by(_exchanges.c.id)
            .limit(PAGE)
        )
        async with self.database.read_all() as connection:
            if (await connection.execute(own)).one_or_none() is None:
                raise RECORDING_UNKNOWN.error({"id": recording_id[:64]})
            rows = (await connection.execute(query)).all()
        return ExchangePage(lines=[row.line for row in rows], next=rows[-1].id if rows else None)

    async def under_way(self, app_id: str) -> str | None:
        """The recording that an app's requests go into now, the latest begun."""
        query = (
            select(_recordings.c.id)
            .where(_recordings.c.app_id == app_id, _recordings.c.until > self.clock.now())
            .order_by(_recordings.c.created_at.desc())
            .limit(1)
        )
        async with self.database.read_all() as connection:
            found: str | None = (await connection.execute(query)).scalar_one_or_none()
        return found

    async def keep(self, app_id: str, recording_id: str, exchange: dict[str, Any]) -> None:  # Any: JSON
        """Add a line."""
        line = json.dumps(redacted(exchange), ensure_ascii=False, separators=(",", ":"))
        row = {"id": self.ids.mint("xch"), "recording_id": recording_id, "app_id": app_id, "line": line}
        await self.committer.commit(Plan(None, [Insert(EXCHANGES, row)]))


class RecordLayer:
    """An ASGI application around another: writes down the exchanges of apps that record."""

    def __init__(self, inner: ASGIApp, recordings: Recordings, access: Access) -> None:
        self._inner = inner
        self._recordings = recordings
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, and keep it if its app records. Its answer never waits for that."""
        found = await self._recording_of(scope) if scope["type"] == "http" and scope["path"].startswith(API) else None
        if found is None:
            await self._inner(scope, receive, send)
            return
        app_id, recording_id = found
        asked, answered, status = bytearray(), bytearray(), 0

        async def hear() -> Message:
            message = await receive()
            if len(asked) < BODY_MAX:
                asked.extend(message.get("body", b""))
            return message

        async def tell(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            if len(answered) < BODY_MAX:
                answered.extend(message.get("body", b""))
            await send(message)

        await self._inner(scope, hear, tell)
        exchange = {
            "method": scope["method"],
            "path": scope["path"],
            "query": scope["query_string"].decode("latin-1"),
            "headers": _kept(scope),
            "body": _json(bytes(asked)),
            "status": status,
            "answer": _json(bytes(answered)),
        }
        await self._recordings.keep(app_id, recording_id, exchange)

    async def _recording_of(self, scope: Scope) -> tuple[str, str] | None:
        try:
            app_id = (await self._access.authenticate(shown_token(scope)[2])).app_id
        except PlatformError:
            return None
        recording_id = await self._recordings.under_way(app_id)
        return None if recording_id is None else (app_id, recording_id)


def redacted(value: Any) -> Any:  # Any: JSON
    """The same without what is secret by its name."""
    if isinstance(value, dict):
        return {name: REDACTED if _is_secret(name, each) else redacted(each) for name, each in value.items()}
    return [redacted(each) for each in value] if isinstance(value, list) else value


def _is_secret(name: str, value: object) -> bool:
    return isinstance(value, str) and any(word in name.lower() for word in SECRETS)


def _kept(scope: Scope) -> dict[str, str]:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    return {name: headers[name] for name in KEPT_HEADERS if name in headers}


def _json(raw: bytes) -> Any:  # Any: JSON
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return {"bytes": len(raw)}
