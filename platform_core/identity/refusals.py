"""Refusals are audited as counts: a row for each client or account, reason and minute, however hard somebody knocks."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import msgspec
import structlog

from platform_core.identity.principal import Principal
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Audit, Committer, Plan, PlanRefused
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.http.envelope import Exchange
from platform_core.kernel.http.recast import operation_of

UNKNOWN: Final = "unknown"
OTHERS: Final = "others"
KEYS_MAX: Final = 1_000  # of one minute; a row each
FLUSH_S: Final = 5.0
_MINUTE_S: Final = 60
_CLIENT: Final = re.compile(r"app_(?:test|live)_[0-9a-z]{26}", re.ASCII)
_OAUTH: Final = "/oauth/"
_REFUSED: Final = frozenset({401, 403})
_REFUSED_SIGN_IN: Final = frozenset({401, 404, 409, 429})
_Key = tuple[int, str, str, str]  # minute, place, client or account, reason
log = structlog.get_logger(__name__)


class Refusals:
    """Counts in memory, and writes the counts of a minute once it is over. One per process.

    A process that is killed loses the counts of the minute under way, which the request log still has one by one.
    """

    def __init__(self, committer: Committer, *, clock: Clock) -> None:
        """`clock` is the real one."""
        self._committer = committer
        self._clock = clock
        self._counts: Counter[_Key] = Counter()
        self._minute = 0
        self._keys = 0
        self._task: asyncio.Task[None] | None = None

    def count(self, place: str, *, client_id: str | None, reason: str) -> None:
        """One refusal at `place` (`oauth.token`, `api`), for a constant `reason` (`invalid_client`).

        `client_id` is whom the caller claimed to be, which is what tells whose secret is being guessed; a text that is
        no client's id counts as unknown, and clients beyond the thousandth of a minute as others.
        """
        known = client_id if client_id is not None and _CLIENT.fullmatch(client_id) else UNKNOWN
        self._count(place, known, reason)

    @contextlib.contextmanager
    def of_sign_in(self, place: str, account: str) -> Iterator[None]:
        """Count what is refused within: a step of signing in that `account` fails.

        `account` is a person's id or, for an address that nobody signs in with, a keyed hash of it: never what was
        typed. Beyond the thousandth of a minute they count as others.
        """
        try:
            yield
        except PlatformError as error:
            if error.status in _REFUSED_SIGN_IN:
                self._count(place, account, error.code)
            raise

    def _count(self, place: str, who: str, reason: str) -> None:
        minute = int(self._clock.now().timestamp()) // _MINUTE_S
        if minute != self._minute:
            self._minute, self._keys = minute, 0
        key = (minute, place, who, reason)
        if key not in self._counts:
            if self._keys >= KEYS_MAX:
                key = (minute, place, OTHERS, reason)
            self._keys += 1
        self._counts[key] += 1

    def note(self, exchange: Exchange) -> None:
        """Count a request to the API that was refused for who asked. OAuth endpoints count by themselves."""
        if exchange.status not in _REFUSED or exchange.scope["path"].startswith(_OAUTH):
            return
        reason = _code(exchange.answer_body)
        if reason is not None:
            caller = exchange.envelope.caller
            client_id = caller.client_id if isinstance(caller, Principal) else None
            self.count(operation_of(exchange.scope) or "api", client_id=client_id, reason=reason)

    async def start(self) -> None:
        """Write in the background."""
        self._task = asyncio.create_task(self._run(), name="identity.refusals")

    async def stop(self) -> None:
        """Write what was counted so far, and end. The committer is stopped later."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self.flush(is_last=True)

    async def flush(self, *, is_last: bool = False) -> int:
        """Write the minutes that are over, or all; returns how many rows. What cannot be written now is kept."""
        now = int(self._clock.now().timestamp()) // _MINUTE_S
        ended = {key: count for key, count in self._counts.items() if is_last or key[0] < now}
        if not ended:
            return 0
        for key in ended:  # counted again below if they could not be written; what comes meanwhile is counted apart
            del self._counts[key]
        try:
            await self._committer.commit(Plan(None, [_row(key, count) for key, count in ended.items()]))
        except (PlatformError, PlanRefused) as error:
            log.warning("identity.refusals_not_recorded", rows=len(ended), error=str(error))
            self._counts.update(ended)
            return 0
        return len(ended)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            await self.flush()


def _code(raw: bytes | None) -> str | None:
    """The code of a problem document of ours."""
    try:
        found = msgspec.json.decode(raw or b"")["code"]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None


def _row(key: _Key, count: int) -> Audit:
    minute, place, who, reason = key
    facts = {"count": count, "minute": datetime.fromtimestamp(minute * _MINUTE_S, tz=UTC).isoformat()}
    return Audit("access.refused", who, place, None, facts, reason=reason)
