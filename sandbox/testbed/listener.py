"""Listening without a public address: events are fetched, signed as webhooks are, and handed to a local receiver.

The place in the feed is kept here, so a restart of the server loses no event and repeats none.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, Final

import httpx

from platform_core.kernel.http.webhook_signing import signed_headers
from sandbox.testbed.trigger_till import Json, PlatformAway, Till

EVENTS: Final = "/sandbox/v1/events"
WAIT_S: Final = 20
AWAY_WAIT_S: Final = 1.0
KNOWN_MAX: Final = 10_000
FORWARD_WAITS_S: Final = (0.5, 1.0, 2.0)
TIMEOUT_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Forwarded:
    """What the local receiver answered: a status, or why there was none. `tries` counts from 1."""

    status: int | None
    error: str | None
    tries: int


@dataclass(slots=True)
class Listener:
    """Follows one app's feed. `patterns`: `payment.captured`, `payment.*` or `*`."""

    till: Till
    patterns: Sequence[str] = ("*",)
    on_away: Callable[[str], None] = lambda reason: None
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _known: OrderedDict[str, None] = field(default_factory=OrderedDict, init=False)

    async def begin(self) -> str:
        """The place behind everything that has happened. Raises TillRefused, PlatformAway."""
        return str((await self.till.get(EVENTS))["next"])

    async def events(self, place: str) -> AsyncIterator[Json]:
        """Events behind a place that fit the patterns, for ever. While the platform is away it is asked again."""
        while True:
            try:
                page = await self.till.get(EVENTS, {"after": place, "wait_s": str(WAIT_S)})
            except PlatformAway as away:
                self.on_away(str(away))
                await self.sleep(AWAY_WAIT_S)
                continue
            for event in page["data"]:
                if self._is_new(event["id"]) and any(fnmatchcase(event["type"], each) for each in self.patterns):
                    yield event
            place = page["next"]

    def _is_new(self, event_id: str) -> bool:
        if event_id in self._known:
            return False
        self._known[event_id] = None
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
        return True


def headers_of(event: Json, secret: bytes, *, at: datetime | None = None) -> dict[str, str]:
    """The headers that a webhook for this event has when it is sent at `at`, real time by default."""
    signed = signed_headers(
        message_id=event["id"], body=event["body"].encode(), at=at or datetime.now(UTC), secrets=[secret]
    )
    return {**signed, "content-type": "application/json"}


async def forward(
    client: httpx.AsyncClient,
    url: str,
    event: Json,
    *,
    secret: bytes,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Forwarded:
    """Hand an event to a receiver, signed anew for each try; one that cannot be reached is tried four times in all."""
    error = ""
    for tries, wait_s in enumerate((*FORWARD_WAITS_S, None), start=1):
        try:
            answer = await client.post(
                url,
                content=event["body"].encode(),
                headers=headers_of(event, secret),
                timeout=TIMEOUT_S,
                follow_redirects=False,
            )
        except httpx.HTTPError as failed:
            error = type(failed).__name__
            is_unsent = isinstance(failed, httpx.ConnectError | httpx.ConnectTimeout)
            if wait_s is None or not is_unsent:
                return Forwarded(None, error, tries)
            await sleep(wait_s)
        else:
            return Forwarded(answer.status_code, None, tries)
    raise AssertionError("the last try returns")


def shown(event: Json, forwarded: Forwarded | None) -> dict[str, Any]:
    """An event for programs."""
    told = {name: event[name] for name in ("id", "type", "merchant_id", "object_id", "sequence", "occurred_at")}
    if forwarded is not None:
        told["forwarded"] = {"status": forwarded.status, "error": forwarded.error, "tries": forwarded.tries}
    return told
