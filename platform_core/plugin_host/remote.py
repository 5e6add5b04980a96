"""The third runtime: plugins on their publisher's own server, asked by signed HTTPS POST.

The body is JSON of the two frames that a confined worker gets, `{"configure": ..., "call": ..., "ask_url": ...}`; the
answer is that of its `result` frame. Blobs stand beside it in base64 (RFC 4648 section 4). The call's `handle` is a
hook token, with which the plugin asks at `ask_url` what others ask by `ctx`, as long as the call lasts. The signature
is that of Standard Webhooks (specification 1.0, read 2026-11-22) over the whole body, its message id the call's. No
redirects, 64 KiB of answer, the same deadlines; a call is never repeated.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hmac import compare_digest
from typing import Annotated, Any, Final, Literal, Protocol

import msgspec
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from platform_core.contracts.runtime import Answered, Fault, FaultKind, OutsideCall
from platform_core.kernel.clock import Clock
from platform_core.kernel.http.guarded_client import GuardedClient, OutboundFailed
from platform_core.kernel.http.webhook_signing import signed_headers
from platform_core.plugin_host.trusted import Refusal

ANSWER_BYTES_MAX: Final = 64 * 1024
CALLS_MAX: Final = 64
"""Under way at one plugin; one that hangs holds no other plugin's connections."""
_DETAIL_MAX: Final = 300
_NEVER_REACHED: Final = frozenset({"url_refused", "address_refused", "name_unknown", "connect", "tls"})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one version of a plugin is asked."""

    url: str
    secrets: Sequence[bytes]
    """That requests are signed with, the newest first; a second one while it is being rotated."""


class Endpoints(Protocol):
    """Knows the remote plugins."""

    def of(self, plugin_id: str, version: str, /) -> Endpoint | None:
        """From memory; None when there is none."""
        ...


class HookTokens(Protocol):
    """Mints what a remote plugin calls back with (identity.md section 6)."""

    async def mint(self, call: OutsideCall, /) -> str:
        """An access token for this call alone: its scopes, its deadline. It leads to the same gate as the handle."""
        ...

    def void(self, call: OutsideCall, /) -> None:
        """The call is over: its token opens nothing any more. Also for calls that got none."""
        ...


class _Said(BaseModel):
    """The answer, with the value unread."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    t: Literal["result"]
    id: Annotated[str, Field(min_length=32, max_length=32)]
    value: Any = None  # Any: JSON; the result's adapter reads it
    error_type: Annotated[str, Field(min_length=1, max_length=80)] | None = None
    detail: Annotated[str, Field(max_length=_DETAIL_MAX)] = ""
    blobs: Annotated[tuple[str, ...], Field(max_length=8, strict=False)] = ()


_SAID: Final = TypeAdapter(_Said)


class _Underway:
    """A request that was sent off."""

    __slots__ = ("task",)

    def __init__(self, task: asyncio.Task[Answered | Fault]) -> None:
        self.task = task

    async def outcome(self) -> Answered | Fault:
        """Wait for the answer. Cancelled only with whoever waits; a plugin that is ended answers `died`."""
        try:
            return await self.task
        except asyncio.CancelledError:
            if self.task.cancelled() and not _is_cancelling():
                return Fault(FaultKind.DIED, "the plugin was suspended or changed during the call")
            self.task.cancel()
            raise


def _is_cancelling() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class RemoteRuntime:
    """`Runtime` over HTTPS. Belongs to one event loop; close it with `aclose`."""

    def __init__(
        self, client: GuardedClient, endpoints: Endpoints, tokens: HookTokens, clock: Clock, *, ask_url: str
    ) -> None:
        """`clock` dates the signatures: the real one. `ask_url`: where plugins show their hook tokens."""
        self._client = client
        self._endpoints = endpoints
        self._tokens = tokens
        self._clock = clock
        self._ask_url = ask_url
        self._under_way: dict[str, dict[asyncio.Task[Answered | Fault], OutsideCall]] = {}

    @property
    def level(self) -> str:
        """Nothing is known of the other side."""
        return "remote"

    def begin(self, call: OutsideCall, /) -> _Underway | Refusal:
        """Send it at once, or say why not; never blocks, never raises."""
        binding = call.binding
        endpoint = self._endpoints.of(binding.plugin_id, binding.version)
        if endpoint is None:
            return Refusal(Fault(FaultKind.UNAVAILABLE, "nobody knows this version's endpoint"))
        under_way = self._under_way.setdefault(binding.plugin_id, {})
        if len(under_way) >= CALLS_MAX:
            return Refusal(Fault(FaultKind.SATURATED, f"{CALLS_MAX} calls of this plugin are under way"))
        task = asyncio.get_running_loop().create_task(self._ask(call, endpoint), name=f"remote plugin {call.id}")
        under_way[task] = call
        task.add_done_callback(lambda done: under_way.pop(done, None))
        return _Underway(task)

    async def end(self, plugin_id: str, *, version: str | None = None, merchant_id: str | None = None) -> None:
        """Let go of calls under way; they end as `died`. What the other side does with them nobody here can stop."""
        for task, call in list(self._under_way.get(plugin_id, {}).items()):
            is_meant = version in (None, call.binding.version) and merchant_id in (None, call.binding.merchant_id)
            if is_meant:
                task.cancel()

    async def aclose(self) -> None:
        """Let go of everything."""
        tasks = [task for under_way in self._under_way.values() for task in under_way]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _ask(self, call: OutsideCall, endpoint: Endpoint) -> Answered | Fault:
        try:
            return await self._asked(call, endpoint)
        finally:
            self._tokens.void(call)

    async def _asked(self, call: OutsideCall, endpoint: Endpoint) -> Answered | Fault:
        try:
            async with asyncio.timeout(max(call.deadline - time.monotonic(), 0.0)):
                body = _written(call, await self._tokens.mint(call), ask_url=self._ask_url)
                headers = signed_headers(message_id=call.id, body=body, at=self._clock.now(), secrets=endpoint.secrets)
                answer = await self._client.send(
                    "POST",
                    endpoint.url,
                    headers={**headers, "content-type": "application/json"},
                    content=body,
                    body_bytes_max=ANSWER_BYTES_MAX + 1,
                )
        except TimeoutError:
            return Fault(FaultKind.TIMEOUT, "no whole answer by the deadline")
        except OutboundFailed as failed:
            return _not_answered(failed)
        if answer.status != 200:
            return Fault(FaultKind.EXCEPTION, f"its server answered {answer.status}")
        if len(answer.body) > ANSWER_BYTES_MAX:
            return Fault(FaultKind.OVERSIZE, f"its answer is longer than {ANSWER_BYTES_MAX} bytes")
        return read_answer(call, answer.body)


def _not_answered(failed: OutboundFailed) -> Fault:
    if failed.kind in _NEVER_REACHED:
        return Fault(FaultKind.LOAD, f"its server could not be reached: {failed.kind}")
    return Fault(FaultKind.TIMEOUT if failed.kind == "timeout" else FaultKind.DIED, f"no whole answer: {failed.kind}")


def _written(call: OutsideCall, token: str, *, ask_url: str) -> bytes:
    """The request's body. Context, arguments and configuration are JSON already, and go in as they are."""
    binding = call.binding
    return msgspec.json.encode(
        {
            "configure": {
                "t": "configure",
                "merchant_id": binding.merchant_id,
                "mode": binding.mode,
                "locale": binding.locale,
                "revision": binding.revision,
                "config": msgspec.Raw(binding.config),
            },
            "call": {
                "t": "call",
                "target": call.target,
                "version": call.major,
                "id": call.id,
                "handle": token,
                "deadline_ms": max(1, int((call.deadline - time.monotonic()) * 1000)),
                "ctx": msgspec.Raw(call.context),
                "args": msgspec.Raw(call.arguments),
                "blobs": [base64.b64encode(blob).decode("ascii") for blob in call.blobs],
            },
            "ask_url": ask_url,
        }
    )


def read_answer(call: OutsideCall, body: bytes) -> Answered | Fault:
    """What an answer's body says: read by the result's model, unknown keys, NaN and Infinity refused. Pure."""
    if b"NaN" in body or b"Infinity" in body:
        return Fault(FaultKind.MALFORMED, "its answer holds NaN or Infinity")
    try:
        said = _SAID.validate_json(body, strict=True)
        blobs = tuple(base64.b64decode(blob, validate=True) for blob in said.blobs)
    except (ValidationError, binascii.Error, ValueError):
        return Fault(FaultKind.MALFORMED, "its answer is no result")
    if not compare_digest(said.id, call.id):
        return Fault(FaultKind.FORGED_ID, "its answer names another call")
    if said.error_type is not None:
        return Fault(FaultKind.EXCEPTION, _printable(f"{said.error_type}: {said.detail}"))
    try:
        value = call.result.validate_json(
            msgspec.json.encode(said.value), strict=True, extra="forbid", context={"blobs": blobs}
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = "/".join(str(part) for part in first["loc"])[:80]
        return Fault(FaultKind.BAD_RESULT, f"the result's model refuses it: {where or 'value'}: {first['type']}")
    return Answered(value, blobs)


def _printable(text: str) -> str:
    return text.encode("unicode_escape").decode("ascii")[:_DETAIL_MAX]
