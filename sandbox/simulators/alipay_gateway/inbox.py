"""A notify_url that is ready for use: it keeps what comes, verifies it as a client would, and answers as it was told.

One for each app, at `/sandbox/inbox/<app number>`; anything under that address arrives there too.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy import Row, select

from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Committer, Insert, Plan, Remove
from platform_core.kernel.database.pools import Database
from platform_core.kernel.ids import Ids
from sandbox.simulators.alipay_gateway.models_tools import INBOX
from sandbox.simulators.alipay_gateway.notices import Heard, Sender
from sandbox.simulators.alipay_gateway.numbers import Numbers
from sandbox.simulators.alipay_gateway.protocol import split_pairs
from sandbox.simulators.alipay_gateway.settings import AppSettings, InboxAnswer
from sandbox.simulators.alipay_gateway.signatures import KeySignatures, record_of
from sandbox.simulators.alipay_gateway.signing import Pair

BODY_BYTES_MAX: Final = 256 * 1024
KEPT: Final = 500
SWEPT_EACH: Final = 20
HANG_S: Final = 20.0
"""Longer than whoever sends a notice waits."""
_NOT_KEPT: Final = frozenset({b"authorization", b"cookie"})
_inbox = INBOX.table


@dataclass(frozen=True, slots=True)
class Reply:
    """What the inbox answers."""

    status: int
    body: bytes
    media_type: str = "text/plain"
    wait_s: float = 0.0


REPLIES: Final[dict[InboxAnswer, Reply]] = {
    "success": Reply(200, b"success"),
    "fail": Reply(200, b"fail"),
    "json": Reply(200, b'{"code":"success"}', "application/json"),
    "error": Reply(500, b"Internal Server Error"),
    "hang": Reply(200, b"success", wait_s=HANG_S),
}


class Inbox:
    """Keeps the last 500 messages of each app."""

    def __init__(
        self,
        *,
        database: Database,
        committer: Committer,
        clock: Clock,
        ids: Ids,
        numbers: Numbers,
        signatures: KeySignatures,
        settings: AppSettings,
        sender: Sender,
    ) -> None:
        """`clock`: the sandbox's."""
        self._database = database
        self._committer = committer
        self._clock = clock
        self._ids = ids
        self._numbers = numbers
        self._signatures = signatures
        self._settings = settings
        self._sender = sender

    async def receive(
        self, app_number: str, *, path: str, headers: Sequence[Pair], query: bytes, body: bytes
    ) -> Reply | None:
        """Keep a message and say what to answer; None: no app has this number, and nothing is kept.

        A body over 256 KiB is kept without what is beyond, and does not verify.
        """
        number = await self._numbers.app_behind(app_number)
        if number is None or number.native_id is None:
            return None
        answer = (await self._settings.of(app_number)).inbox_answer
        is_verified, finding = await self._verify(number.native_id, split_pairs(body or query))
        row = {
            "id": self._ids.mint("sai"),
            "app_number": app_number,
            "path": path,
            "headers": msgspec.json.encode(
                [[n.decode("latin-1"), v.decode("latin-1")] for n, v in headers if n.lower() not in _NOT_KEPT]
            ).decode(),
            "body": body[:BODY_BYTES_MAX],
            "is_verified": is_verified and len(body) <= BODY_BYTES_MAX,
            "finding": finding,
            "answer": answer,
            "received_at": self._clock.now(),
        }
        old = await self._old(app_number)
        await self._committer.commit(Plan(None, [Insert(INBOX, row), *(Remove(INBOX, id_) for id_ in old)]))
        return REPLIES[answer]

    async def page(self, app_number: str, *, after: str = "", limit: int = 50) -> list[Row[Any]]:
        """Messages in the order in which they came, those behind `after`; without it, the latest ones."""
        query = select(_inbox).where(_inbox.c.app_number == app_number)
        behind = query.where(_inbox.c.id > after).order_by(_inbox.c.id)
        query = behind if after else query.order_by(_inbox.c.id.desc())
        async with self._database.read_auth() as connection:
            rows = list((await connection.execute(query.limit(limit))).all())
        return rows if after else rows[::-1]

    async def find(self, app_number: str, message_id: str) -> Row[Any] | None:
        """One message of an app."""
        query = select(_inbox).where(_inbox.c.id == message_id, _inbox.c.app_number == app_number)
        async with self._database.read_auth() as connection:
            return (await connection.execute(query)).one_or_none()

    async def forward(self, row: Row[Any], address: str) -> Heard:
        """Send a message on as it came, to a program under development."""
        return await self._sender.post(address, row.body, content_type=content_type_of(row))

    async def _verify(self, app_id: str, pairs: Sequence[Pair]) -> tuple[bool, str | None]:
        values = dict(pairs)
        if b"sign" not in values:
            return False, None
        found = await self._signatures.examine_from_us(
            app_id,
            pairs=pairs,
            signature=values[b"sign"].decode("latin-1"),
            sign_type=values.get(b"sign_type", b"RSA2").decode("latin-1"),
        )
        return found.is_valid, msgspec.json.encode(record_of(found)).decode()

    async def _old(self, app_number: str) -> Sequence[str]:
        query = select(_inbox.c.id).where(_inbox.c.app_number == app_number).order_by(_inbox.c.id.desc())
        async with self._database.read_auth() as connection:
            return (await connection.execute(query.offset(KEPT).limit(SWEPT_EACH))).scalars().all()


def content_type_of(row: Row[Any]) -> str:
    """The media type that a message came with."""
    return next((value for name, value in row.headers if name.lower() == "content-type"), "application/octet-stream")


def as_curl(row: Row[Any], address: str) -> str:
    """The message as a command that sends it to `address` again, byte by byte."""
    body = row.body.decode("latin-1")
    data = shlex.quote(body) if body.isascii() and body.isprintable() else _dollar_quoted(row.body)
    return (
        f"curl -sS {shlex.quote(address)} -H {shlex.quote('content-type: ' + content_type_of(row))} --data-raw {data}"
    )


def _dollar_quoted(body: bytes) -> str:
    """Bytes for a shell that knows `$'...'`."""
    shown = "".join(chr(b) if 32 <= b < 127 and b not in b"'\\" else f"\\x{b:02x}" for b in body)
    return f"$'{shown}'"
