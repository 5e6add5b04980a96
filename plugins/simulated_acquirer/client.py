"""Signed HTTP to the acquirer. What is returned has a verified signature; all else is one of two exceptions."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from weakref import WeakKeyDictionary

import httpx

from platform_core.contracts.payments import ChannelAccount
from platform_core.contracts.plugin import PluginContext

ANSWER_BYTES_MAX: Final = 4 * 1024 * 1024
CONNECT_S_MAX: Final = 3.0
WINDOW_S: Final = 300
"""How old an answer or notice may be, seconds."""
_POOL: Final = httpx.Limits(max_connections=200, max_keepalive_connections=100, keepalive_expiry=20.0)
_UNSENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


class NotSent(Exception):
    """No byte of the request has left."""


class AnswerLost(Exception):
    """The request may have arrived, and there is no answer that can be believed."""

    def __init__(self, code: str, message: str) -> None:
        """`code`: timeout, connection_lost, answer_unsigned or answer_unreadable."""
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """With whom, under which name, and how to sign."""

    account: ChannelAccount
    ctx: PluginContext

    def setting(self, name: str) -> str:
        """A setting as text, empty when it is missing."""
        return str(self.account.settings.get(name, ""))

    def mac(self, message: bytes) -> str:
        """The signature of a message as it stands in a header."""
        return base64.b64encode(self.ctx.secrets.mac(self._key(), message)).decode()

    def is_signed(self, message: bytes, signature: str) -> bool:
        """Whether a header's signature is the acquirer's."""
        try:
            given = base64.b64decode(signature, validate=True)
        except (binascii.Error, ValueError):
            return False
        return self.ctx.secrets.verify(self._key(), message, given)

    def _key(self) -> str:
        return self.account.secret_names["signing_key"]


class AcquirerClient:
    """Keeps connections open, a pool for each event loop."""

    def __init__(self, nonce: Callable[[], str] = lambda: secrets.token_hex(16)) -> None:
        """`nonce` gives 16 to 64 characters, never the same twice."""
        self._nonce = nonce
        self._pools: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = WeakKeyDictionary()

    async def post(
        self, channel: Channel, operation: str, body: Mapping[str, object], *, now: datetime, deadline_s: float
    ) -> bytes:
        """The verified body of the answer. Raises NotSent and AnswerLost; takes no longer than `deadline_s`."""
        raw = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        path, timestamp, nonce = f"/v1/{operation}", str(int(now.timestamp())), self._nonce()
        text = "\n".join(("request", "POST", path, timestamp, nonce, "")).encode() + raw
        headers = {
            "content-type": "application/json",
            "x-acquirer-merchant": channel.setting("merchant_no"),
            "x-acquirer-timestamp": timestamp,
            "x-acquirer-nonce": nonce,
            "x-acquirer-signature": channel.mac(text),
        }
        timeout = httpx.Timeout(deadline_s, connect=min(CONNECT_S_MAX, deadline_s / 2), pool=deadline_s / 2)
        request = self._pool().build_request(
            "POST", channel.setting("gateway_url").rstrip("/") + path, content=raw, headers=headers, timeout=timeout
        )
        status, heads, answer = await self._exchange(request, deadline_s)
        signed = "\n".join(("answer", nonce, str(status), heads.get("x-acquirer-timestamp", ""), "")).encode() + answer
        if not channel.is_signed(signed, heads.get("x-acquirer-signature", "")):
            raise AnswerLost("answer_unsigned", f"The acquirer's answer {status} has no valid signature.")
        return answer

    async def _exchange(self, request: httpx.Request, deadline_s: float) -> tuple[int, httpx.Headers, bytes]:
        try:
            async with asyncio.timeout(deadline_s):
                answer = await self._pool().send(request, stream=True)
                try:
                    return answer.status_code, answer.headers, await _read(answer)
                finally:
                    await answer.aclose()
        except _UNSENT as error:
            raise NotSent(f"The acquirer could not be reached: {type(error).__name__}.") from error
        except (TimeoutError, httpx.TimeoutException) as error:
            raise AnswerLost("timeout", f"The acquirer did not answer within {deadline_s:g} s.") from error
        except httpx.HTTPError as error:
            raise AnswerLost("connection_lost", f"The connection ended early: {type(error).__name__}.") from error

    def _pool(self) -> httpx.AsyncClient:
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None:
            pool = self._pools[loop] = httpx.AsyncClient(limits=_POOL, trust_env=False)
        return pool

    async def aclose(self) -> None:
        """Close the running loop's connections."""
        pool = self._pools.pop(asyncio.get_running_loop(), None)
        if pool is not None:
            await pool.aclose()


async def _read(answer: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in answer.aiter_bytes():
        body += chunk
        if len(body) > ANSWER_BYTES_MAX:
            raise AnswerLost("answer_unreadable", f"The acquirer's answer exceeds {ANSWER_BYTES_MAX} bytes.")
    return bytes(body)
