"""The HTTP half of Idempotency-Key: read it, tell one request from another, answer a repetition.

The header is that of draft-ietf-httpapi-idempotency-key-header-07 (read 2026-11-22), whose value is a quoted string;
bare values, which most clients send, are taken too. The key lives in the plan that it protects: see
`kernel.commit.idempotency`.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import text
from starlette.requests import Request
from starlette.responses import Response

from platform_core.kernel.clock import Clock
from platform_core.kernel.commit.idempotency import IdempotencyAnswer, IdempotencyClaim, Replayed
from platform_core.kernel.database.pools import Database
from platform_core.kernel.errors import declare
from platform_core.kernel.i18n import Text

BODY_BYTES_MAX: Final = 64 * 1024
WAIT_S: Final = 5.0
POLL_S: Final = 0.1
STALE_S: Final = 30.0
_KEY: Final = re.compile(r"[!-~]{1,255}", re.ASCII)

KEY_MISSING: Final = declare(
    "kernel.idempotency_key_missing",
    status=400,
    title=Text(en="Idempotency-Key is missing", zh="缺少 Idempotency-Key"),
    detail=Text(
        en="A request that writes carries the header Idempotency-Key.", zh="写入请求须携带 Idempotency-Key 请求头。"
    ),
    hint=Text(
        en="Send a new random key with each act, and the same key when you repeat it.",
        zh="每次操作使用新的随机键；重试时使用相同的键。",
    ),
)
KEY_MALFORMED: Final = declare(
    "kernel.idempotency_key_malformed",
    status=400,
    title=Text(en="Idempotency-Key is malformed", zh="Idempotency-Key 格式不正确"),
    detail=Text(
        en="Idempotency-Key is one value of 1 to 255 visible ASCII characters.",
        zh="Idempotency-Key 须为单个值，由 1 至 255 个可见 ASCII 字符组成。",
    ),
    hint=Text(en="Send a UUID, for instance.", zh="例如可使用 UUID。"),
)
KEY_REUSED: Final = declare(
    "kernel.idempotency_key_reused",
    status=422,
    title=Text(en="Idempotency-Key belongs to another request", zh="Idempotency-Key 已用于其他请求"),
    detail=Text(
        en="This key was used with another method, path or body; nothing was done.",
        zh="该键已用于不同的方法、路径或请求体；本次未执行任何操作。",
    ),
    hint=Text(en="Use a new key for a new request.", zh="新请求请使用新的键。"),
)
IN_FLIGHT: Final = declare(
    "kernel.in_flight",
    status=409,
    is_retryable=True,
    title=Text(en="The first request is still under way", zh="首个请求仍在处理中"),
    detail=Text(
        en="A request with this Idempotency-Key has no answer yet.", zh="使用该 Idempotency-Key 的请求尚无结果。"
    ),
    hint=Text(
        en="Repeat it with the same key after the time in Retry-After.", zh="请在 Retry-After 所示时间后用同一键重试。"
    ),
)


class IdempotentRequest(msgspec.Struct, frozen=True):
    """One request as its key stands for it. `fingerprint` comes from `fingerprint()`."""

    client_id: str
    key: str
    fingerprint: bytes

    def claim(
        self, *, created_at: datetime, object_id: str | None = None, status: int | None = None, body: str | None = None
    ) -> IdempotencyClaim:
        """The part that claims the key: with the answer if this plan completes the act, else in flight."""
        assert (status is None) == (body is None), "an answer is status and body"
        assert body is None or len(body.encode()) <= BODY_BYTES_MAX, "answers are bounded where they are made"
        return IdempotencyClaim(self.client_id, self.key, self.fingerprint, object_id, created_at, status, body)

    def answer(self, *, status: int, body: str) -> IdempotencyAnswer:
        """The part that answers an act claimed in flight by an earlier plan."""
        assert len(body.encode()) <= BODY_BYTES_MAX, "answers are bounded where they are made"
        return IdempotencyAnswer(self.client_id, self.key, status, body)


def parse_key(values: Sequence[str]) -> str:
    """The key in the values of all such headers. Raises `kernel.idempotency_key_missing` or `..._malformed`."""
    if not values:
        raise KEY_MISSING.error(param="/header/Idempotency-Key")
    key = values[0].strip(" \t")
    if key.startswith('"'):
        key = key[1:-1] if len(key) > 1 and key.endswith('"') else ""
    if len(values) > 1 or _KEY.fullmatch(key) is None:
        raise KEY_MALFORMED.error(param="/header/Idempotency-Key")
    return key


def read_idempotency(request: Request, *, client_id: str, body: bytes) -> IdempotentRequest:
    """The request as its key stands for it; `body` is `canonical`, or empty. Raises as `parse_key` does."""
    scope = request.scope
    key = parse_key([value.decode("latin-1") for name, value in scope["headers"] if name == b"idempotency-key"])
    return IdempotentRequest(client_id, key, fingerprint(method=scope["method"], path=scope["path"], body=body))


def canonical(document: object) -> bytes:
    """One encoding for all bodies that mean the same: members sorted, no white space. Fractions stand as written."""
    return _CANONICAL.encode(document)


_CANONICAL: Final = msgspec.json.Encoder(order="sorted", decimal_format="number")


def fingerprint(*, method: str, path: str, body: bytes) -> bytes:
    """SHA-256 of what must be equal for a request to count as a repetition; `body` as `canonical` encodes it."""
    return hashlib.sha256(b"%s %s\n%s" % (method.encode(), path.encode(), body)).digest()


async def find_record(database: Database, *, merchant_id: str | None, request: IdempotentRequest) -> Replayed | None:
    """What stands under the key now, by the workers' role; the caller has authorised the request for this merchant."""
    async with database.read_all() as connection:
        values = {"client_id": request.client_id, "merchant_id": merchant_id or "", "key": request.key}
        row = (await connection.execute(_FIND, values)).one_or_none()
        return None if row is None else Replayed(bytes(row[0]), row[1], row[2], row[3], row[4])


_FIND: Final = text(
    "SELECT fingerprint, status, body, object_id, created_at FROM idempotency "
    "WHERE client_id = :client_id AND merchant_id = :merchant_id AND key = :key"
)


async def answer_replay(
    replayed: Replayed,
    request: IdempotentRequest,
    *,
    look: Callable[[], Awaitable[Replayed | None]],
    present: Callable[[str | None], Awaitable[str]],
    clock: Clock,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Response:
    """Answer a request whose key is taken. It is authorised anew before it comes here, and never reaches a provider.

    `look` reads the record again (see `find_record`); `present` gives the encoded state of the record's object, which
    a request gets with 202 when the first one has been in flight for over 30 s. Raises 422
    `kernel.idempotency_key_reused`, or 409 `kernel.in_flight` when the first request has no answer after 5 s of
    waiting.
    """
    if replayed.fingerprint != request.fingerprint:
        raise KEY_REUSED.error(param="/header/Idempotency-Key")
    deadline = clock.monotonic() + WAIT_S
    while replayed.status is None:
        if (clock.now() - replayed.created_at).total_seconds() > STALE_S:
            return _response(202, await present(replayed.object_id))
        if clock.monotonic() >= deadline:
            raise IN_FLIGHT.error(retry_after_s=1)
        await sleep(POLL_S)
        replayed = await look() or replayed
    assert replayed.body is not None, "status and body are stored together"
    return _response(replayed.status, replayed.body)


def _response(status: int, body: str) -> Response:
    media_type = "application/problem+json" if status >= 400 else "application/json"
    headers = {"idempotency-replayed": "true", "cache-control": "no-store"}
    return Response(body, status_code=status, headers=headers, media_type=media_type)
