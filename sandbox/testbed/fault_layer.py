"""Where scripted faults of the native interface happen: around the application, for requests of the app that asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from platform_core.identity.access import Access
from platform_core.identity.requires import shown_token
from platform_core.kernel.errors import PlatformError
from sandbox.testbed.acquirer_client import AcquirerAway, AcquirerControls
from sandbox.testbed.faults import Fault, Faults

log = structlog.get_logger(__name__)

Json = Any  # whatever JSON holds
API: Final = "/v1/"
BODY_MAX: Final = 300_000
DROP: Final = "sandbox.drop"
"""In the scope, put there by a sandbox's server: a function that cuts the connection."""
RETRY: Final = frozenset({429, 503})


class FaultLayer:
    """An ASGI application around another."""

    def __init__(
        self, inner: ASGIApp, faults: Faults, access: Access, *, acquirer: AcquirerControls | None = None
    ) -> None:
        """`acquirer`: whose scenarios the effects `decline` and `user_paying` script; None: they do nothing."""
        self._inner = inner
        self._faults = faults
        self._access = access
        self._acquirer = acquirer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, or do to it what its app asked for."""
        app_id = await self._app_of(scope) if scope["type"] == "http" and scope["path"].startswith(API) else None
        operation = f"{scope.get('method', '')} {scope.get('path', '')}"
        if app_id is None or not await self._faults.waiting(app_id, operation):
            await self._inner(scope, receive, send)
            return
        raw, receive = await _buffered(receive)
        body = _json(raw)
        fault = await self._faults.use(app_id, operation, body, subject=operation)
        if fault is None:
            await self._inner(scope, receive, send)
        else:
            await self._happen(fault, body, scope, receive, send=send)

    async def _app_of(self, scope: Scope) -> str | None:
        """Whose request it is, if that can be told; whatever is wrong with the token is the application's to say."""
        try:
            return (await self._access.authenticate(shown_token(scope)[2])).app_id
        except PlatformError:
            return None

    async def _happen(
        self, fault: Fault, body: Any, scope: Scope, receive: Receive, *, send: Send
    ) -> None:  # Any: JSON
        if fault.effect == "http_status":
            await _refuse(fault, scope["path"], send)
        elif fault.effect == "drop_before":
            _drop(scope)
        elif fault.effect in ("drop_after", "truncated", "webhook_before_answer"):
            answer: list[Message] = []
            await self._inner(scope, receive, _collect(answer))
            await _spoil(fault, answer, scope, send)
        else:
            if fault.effect == "latency":
                await asyncio.sleep(fault.number / 1000)
            else:
                await self._script(fault, body)
            await self._inner(scope, receive, send)

    async def _script(self, fault: Fault, body: Any) -> None:  # Any: JSON
        number = body.get("out_trade_no") if isinstance(body, dict) else None
        if self._acquirer is None or not isinstance(number, str):
            return
        scenario = f"paying-{fault.argument}" if fault.effect == "user_paying" else fault.argument
        try:
            await self._acquirer.post("/_script", {"operation": "", "subject": number, "scenario": scenario})
        except AcquirerAway as away:
            log.warning("sandbox.fault_not_scripted", fault=fault.id, error=str(away))


async def _spoil(fault: Fault, answer: list[Message], scope: Scope, send: Send) -> None:
    if fault.effect == "webhook_before_answer":
        await asyncio.sleep(fault.number / 1000)
        for message in answer:
            await send(message)
        return
    if fault.effect == "truncated" and answer:
        await send(answer[0])
        whole = b"".join(message.get("body", b"") for message in answer[1:])
        await send({"type": "http.response.body", "body": whole[: len(whole) // 2], "more_body": True})
        await asyncio.sleep(0)  # what was written leaves before the connection is cut
    _drop(scope)


def _drop(scope: Scope) -> None:
    drop: Callable[[], None] | None = scope.get(DROP)
    if drop is None:
        raise ConnectionAbortedError("a scripted fault cut the connection")
    drop()


async def _refuse(fault: Fault, path: str, send: Send) -> None:
    problem = {
        "type": "about:blank",
        "title": "A scripted fault",
        "status": fault.number,
        "detail": f"The fault {fault.id} of this app answered; nothing was done.",
        "instance": path,
        "code": "sandbox.fault",
        "retryable": fault.number in RETRY,
    }
    raw = json.dumps(problem).encode()
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(raw)).encode())]
    if fault.number in RETRY:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": fault.number, "headers": headers})
    await send({"type": "http.response.body", "body": raw})


def _collect(answer: list[Message]) -> Callable[[Message], Awaitable[None]]:
    async def keep(message: Message) -> None:
        answer.append(message)

    return keep


async def _buffered(receive: Receive) -> tuple[bytes, Receive]:
    """The body, and a `receive` that gives it again; one that is too large is passed on unread by us."""
    raw, messages = b"", []
    while True:
        message = await receive()
        messages.append(message)
        raw += message.get("body", b"")
        if message["type"] != "http.request" or not message.get("more_body") or len(raw) > BODY_MAX:
            break

    async def again() -> Message:
        return messages.pop(0) if messages else await receive()

    return raw, again


def _json(raw: bytes) -> Any:  # Any: JSON
    try:
        return json.loads(raw) if raw else {}
    except ValueError:
        return {}
