"""Asynchronous notices: one row per event and address, written before the first send, sent until a shop says success.

The schedule runs on the sandbox's clock by due rows. Source: opendocs.alipay.com, "Asynchronous notification", read
2026-11-22: 8 attempts within 25 hours, at once and after 4 m, 10 m, 10 m, 1 h, 2 h, 6 h, 15 h; only the seven bytes
`success` accept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol
from urllib.parse import urlencode

import httpx
import msgspec
import structlog
from sqlalchemy import Row, select

from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Change, Committer, Due, DueDone, Insert, Plan, PlanRefused
from platform_core.kernel.commit.due import DueWork
from platform_core.kernel.database.pools import Database
from sandbox.simulators.alipay_gateway.key_ring import KeyRings
from sandbox.simulators.alipay_gateway.models_tools import NOTICES
from sandbox.simulators.alipay_gateway.protocol import CHINA
from sandbox.simulators.alipay_gateway.signing import PlatformKey, notice_text

log = structlog.get_logger(__name__)
SEND: Final = "alipay.notify"
DELAYS_S: Final = (0, 240, 600, 600, 3_600, 7_200, 21_600, 54_000)
ATTEMPTS_KEPT: Final = 20
EXCERPT_BYTES_MAX: Final = 1024
TIMEOUT_S: Final = 15.0
ACCEPTED: Final = b"success"
LATE_MAX: Final = timedelta(minutes=1)
"""A worker that is later than this counts the next delay from now, so that a pause sends no burst."""
_notices = NOTICES.table


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of one send. `status` None: nothing was answered, `error` says why."""

    status: int | None
    body: bytes
    error: str | None

    @property
    def is_accepted(self) -> bool:
        """Exactly `success` and nothing else; whatever the status says."""
        return self.body == ACCEPTED


class Sender(Protocol):
    """Posts a form to a shop."""

    async def post(self, address: str, form: bytes, *, content_type: str) -> Heard:
        """What the shop answered; never raises for what the shop does."""
        ...


class Mishaps(Protocol):
    """What goes wrong with notices because an app's developer scripted it."""

    async def take(self, app_id: str, fields: Mapping[str, Any]) -> tuple[str, str] | None:
        """Effect (`notify_lose`, `notify_twice`, `notify_late`) and argument for the next send, used up by one."""
        ...


class NoMishaps:
    """Nothing goes wrong."""

    async def take(self, app_id: str, fields: Mapping[str, Any]) -> tuple[str, str] | None:
        """None."""
        return None


class HttpSender:
    """Sends to loopback, and to the hosts that the sandbox allows. No redirects, 15 seconds, the first kilobyte."""

    def __init__(self, hosts: Sequence[str] = ()) -> None:
        self._hosts = frozenset({"127.0.0.1", "::1", "localhost", *hosts})

    async def post(self, address: str, form: bytes, *, content_type: str) -> Heard:
        """See `Sender`."""
        try:
            url = httpx.URL(address)
        except (httpx.InvalidURL, UnicodeError, ValueError):
            return Heard(None, b"", "address_unreadable")
        if url.scheme not in ("http", "https") or url.host not in self._hosts:
            return Heard(None, b"", "address_not_allowed")
        headers = {"content-type": content_type, "user-agent": "arsenal-alipay-sandbox"}
        try:
            async with (
                httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False) as client,
                client.stream("POST", url, content=form, headers=headers) as answer,
            ):
                return Heard(answer.status_code, await _beginning(answer), None)
        except httpx.TimeoutException:
            return Heard(None, b"", "timeout")
        except httpx.HTTPError as error:
            return Heard(None, b"", type(error).__name__)


async def _beginning(answer: httpx.Response) -> bytes:
    found = bytearray()
    async for piece in answer.aiter_bytes():
        found += piece
        if len(found) > EXCERPT_BYTES_MAX:
            break
    return bytes(found[:EXCERPT_BYTES_MAX])


def local_time(moment: datetime) -> str:
    """A moment as the protocol writes it: Asia/Shanghai, without a zone."""
    return moment.astimezone(CHINA).strftime("%Y-%m-%d %H:%M:%S")


def signed_form(
    key: PlatformKey, fields: Mapping[str, str], *, sign_type: str, notify_id: str, at: datetime
) -> dict[str, str]:
    """A notice as it is sent now: the fields, the time, and the signature over all but itself and its type.

    No blank value is sent: pas signs blanks and web frameworks drop them.
    """
    sent = {name: value for name, value in fields.items() if value != ""}
    sent |= {"notify_id": notify_id, "notify_time": local_time(at), "charset": "utf-8", "version": "1.0"}
    text = notice_text((name.encode(), value.encode()) for name, value in sent.items())
    return {**sent, "sign_type": sign_type, "sign": key.sign(text, sign_type=sign_type)}


def signed_return(key: PlatformKey, fields: Mapping[str, str], *, sign_type: str, at: datetime) -> str:
    """The query with which a buyer's browser comes back to `return_url`, signed like a notice.

    `fields`: app_id, auth_app_id, method (`<method>.return`), out_trade_no, trade_no, total_amount, seller_id.
    """
    sent = {name: value for name, value in fields.items() if value != ""}
    sent |= {"charset": "utf-8", "version": "1.0", "timestamp": local_time(at)}
    text = notice_text((name.encode(), value.encode()) for name, value in sent.items())
    return urlencode({**sent, "sign_type": sign_type, "sign": key.sign(text, sign_type=sign_type)})


def next_due(*, tries: int, due_at: datetime, now: datetime) -> datetime | None:
    """When to send again after `tries` sends of which the latest was due at `due_at`; None: never again."""
    if tries >= len(DELAYS_S):
        return None
    return (due_at if now - due_at <= LATE_MAX else now) + timedelta(seconds=DELAYS_S[tries])


class Notices:
    """Writes, sends, resends and lists notices."""

    def __init__(
        self,
        *,
        database: Database,
        committer: Committer,
        rings: KeyRings,
        clock: Clock,
        sender: Sender,
        mishaps: Mishaps | None = None,
    ) -> None:
        """`clock`: the sandbox's."""
        self._database = database
        self._committer = committer
        self._rings = rings
        self._clock = clock
        self._sender = sender
        self._mishaps: Mishaps = mishaps or NoMishaps()

    def parts(
        self,
        *,
        merchant_id: str,
        app_id: str,
        event_id: str,
        sequence: int,
        address: str,
        fields: Mapping[str, str],
        sign_type: str = "RSA2",
    ) -> list[object]:
        """The row and its first send, for the plan that handles the event. The same event and address: one id."""
        notify_id = hashlib.sha256(f"{event_id}\n{address}".encode()).hexdigest()[:34]
        now = self._clock.now()
        row = {
            "id": notify_id,
            "merchant_id": merchant_id,
            "app_id": app_id,
            "event_id": event_id,
            "sequence": sequence,
            "address": address,
            "sign_type": sign_type,
            "fields": _text({name: value for name, value in fields.items() if value != ""}),
            "state": "pending",
            "tries": 0,
            "attempts": "[]",
            "version": 1,
            "created_at": now,
            "due_at": now,
            "ended_at": None,
        }
        return [Insert(NOTICES, row), Due(SEND, notify_id, now)]

    async def send(self, work: DueWork) -> Plan | None:
        """Due kind `alipay.notify`: send once, and write what came of it. Ends accepted, dead, or due again."""
        row = await self._row(work.subject_id)
        if row is None or row.state != "pending":
            return Plan(work.merchant_id, [DueDone(SEND, work.subject_id)])
        mishap = await self._mishaps.take(row.app_id, row.fields)
        if mishap is not None and mishap[0] == "notify_late":
            later = self._clock.now() + timedelta(seconds=int(mishap[1] or "60"))
            change = Change(NOTICES, row.id, {"due_at": later}, expected=row.version)
            return Plan(row.merchant_id, [change, Due(SEND, row.id, later)])
        heard = Heard(None, b"", "lost_by_fault")
        if mishap is None or mishap[0] != "notify_lose":
            heard = await self._post(row)
        if mishap is not None and mishap[0] == "notify_twice":
            heard = await self._post(row)
        return self._outcome(row, heard, due_at=work.due_at)

    async def resend(self, notify_id: str) -> Row[Any] | None:
        """Send once more by hand, whatever became of it; the answer as the row holds it then. None: no such notice.

        The schedule of one that is still under way goes on as it was.
        """
        row = await self._row(notify_id)
        if row is None:
            return None
        heard = await self._post(row)
        values: dict[str, Any] = {"attempts": _text(self._attempts(row, heard))}
        parts: list[object] = []
        if heard.is_accepted and row.state != "accepted":
            values |= {"state": "accepted", "due_at": None, "ended_at": self._clock.now()}
            parts.append(DueDone(SEND, row.id))
        change = Change(NOTICES, row.id, values, expected=row.version)
        try:
            await self._committer.commit(Plan(row.merchant_id, [change, *parts]))
        except PlanRefused as refused:  # the schedule's own send came between; both stand in the shop's log
            log.info("alipay_gateway.notice_moved_on", notice=row.id, refusal=str(refused))
        return await self._row(notify_id)

    async def page(
        self, app_id: str, *, state: str | None = None, after: str | None = None, limit: int = 50
    ) -> list[Row[Any]]:
        """Notices for an app, the newest first; those before `after`."""
        query = select(_notices).where(_notices.c.app_id == app_id)
        if state is not None:
            query = query.where(_notices.c.state == state)
        if after is not None:
            began = select(_notices.c.created_at).where(_notices.c.id == after).scalar_subquery()
            query = query.where(_notices.c.created_at < began)
        query = query.order_by(_notices.c.created_at.desc(), _notices.c.sequence.desc()).limit(limit)
        async with self._database.read_auth() as connection:
            return list((await connection.execute(query)).all())

    async def find(self, app_id: str, notify_id: str) -> Row[Any] | None:
        """One notice of an app."""
        row = await self._row(notify_id)
        return row if row is not None and row.app_id == app_id else None

    async def _post(self, row: Row[Any]) -> Heard:
        ring = await self._rings.of(row.app_id)
        form = signed_form(ring.platform, row.fields, sign_type=row.sign_type, notify_id=row.id, at=self._clock.now())
        content_type = "application/x-www-form-urlencoded; charset=utf-8"
        return await self._sender.post(row.address, urlencode(form).encode(), content_type=content_type)

    def _outcome(self, row: Row[Any], heard: Heard, *, due_at: datetime) -> Plan:
        tries, now = row.tries + 1, self._clock.now()
        again = None if heard.is_accepted else next_due(tries=tries, due_at=due_at, now=now)
        state = "accepted" if heard.is_accepted else "dead" if again is None else "pending"
        values = {
            "state": state,
            "tries": tries,
            "attempts": _text(self._attempts(row, heard)),
            "due_at": again,
            "ended_at": None if state == "pending" else now,
        }
        next_step = DueDone(SEND, row.id) if again is None else Due(SEND, row.id, again)
        log.info("alipay_gateway.notice_sent", notice=row.id, tries=tries, state=state, status=heard.status)
        return Plan(row.merchant_id, [Change(NOTICES, row.id, values, expected=row.version), next_step])

    def _attempts(self, row: Row[Any], heard: Heard) -> list[dict[str, Any]]:
        attempt = {
            "at": self._clock.now().isoformat(),
            "status": heard.status,
            "excerpt": heard.body.decode("utf-8", "replace").replace("\x00", "\ufffd"),
            "error": heard.error,
        }
        return [*row.attempts, attempt][-ATTEMPTS_KEPT:]

    async def _row(self, notify_id: str) -> Row[Any] | None:
        async with self._database.read_auth() as connection:
            return (await connection.execute(select(_notices).where(_notices.c.id == notify_id))).one_or_none()


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()
