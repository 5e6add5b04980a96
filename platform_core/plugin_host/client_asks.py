"""Carries out what a call asks by the clients of its `ctx`: its plugin's store, egress, secrets, problems."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec
from pydantic import ValidationError

from platform_core.contracts.runtime import Told
from platform_core.kernel.clock import Clock
from platform_core.kernel.errors import validation_failed
from platform_core.kernel.http.validation import faults_of
from platform_core.plugin_host import asks, egress_secrets, keyrings, secrets
from platform_core.plugin_host.calls import CallFacts
from platform_core.plugin_host.egress import Egress, Sent
from platform_core.plugin_host.egress_rules import outgoing
from platform_core.plugin_host.gate_errors import EGRESS_EXHAUSTED, EGRESS_NOT_SENT, SECRET_UNFIT
from platform_core.plugin_host.problem_book import ProblemBook, Reported
from platform_core.plugin_host.secrets import Keys, PluginSecrets
from platform_core.plugin_host.state_parts import Quota
from platform_core.plugin_host.state_reader import StateReader
from platform_core.plugin_host.state_session import StateSession

FETCHES_MAX: Final = 5
MARGIN_S: Final = 0.05  # of the time left, kept for telling the plugin
BLOB_BYTES_MAX: Final = 256 * 1024
_NULL: Final = Told()
AskModel = TypeVar("AskModel", bound=asks.Ask)
Handler = Callable[["OwnAsks", Any, Sequence[bytes], float], Awaitable[Told]]  # Any: the ask's own model


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTools:
    """What the clients work with."""

    states: StateReader
    egress: Egress
    secrets: PluginSecrets
    problems: ProblemBook


class OwnAsks:
    """The clients of one call."""

    __slots__ = ("_facts", "_fetches", "_sent", "_state", "_tools")

    def __init__(self, tools: ClientTools, facts: CallFacts, *, clock: Clock) -> None:
        self._tools = tools
        self._facts = facts
        self._fetches = 0
        self._sent = Sent()
        manifest = facts.enabled.release.manifest
        self._state = StateSession(
            tools.states,
            merchant_id=facts.merchant_id,
            plugin_id=facts.enabled.release.plugin_id,
            quota=Quota(manifest.state.bytes_max, manifest.state.keys_max),
            clock=clock,
        )

    @property
    def has_sent(self) -> bool:
        """Whether a byte of any request may have left."""
        return self._sent.is_sent

    @staticmethod
    def shows_outside(operation: str) -> bool:
        """Whether an ask reaches beyond the plugin's own things, so that it is accounted for at once."""
        return operation == "egress.fetch"

    def parts(self, *, may_refuse: bool) -> list[object]:
        """What the call wrote, for a plan."""
        part = self._state.part(may_refuse=may_refuse)
        return [] if part is None else [part]

    async def carry_out(
        self, operation: str, arguments: Mapping[str, Any], blobs: Sequence[bytes], *, left_s: float
    ) -> Told:
        """Check the arguments and do it. Raises PlatformError: nothing was written or sent."""
        try:
            ask = asks.CLIENT_ASKS[operation].model_validate(dict(arguments))
        except ValidationError as error:
            raise validation_failed(faults_of(error.errors(include_url=False, include_input=False))) from None
        return await _HANDLERS[operation](self, ask, blobs, left_s)

    async def _get(self, ask: asks.StateGet, blobs: Sequence[bytes], left_s: float) -> Told:
        return _told(await self._state.get(ask.key))

    async def _list(self, ask: asks.StateList, blobs: Sequence[bytes], left_s: float) -> Told:
        return _told(await self._state.items(ask.prefix, ask.limit))

    async def _put(self, ask: asks.StatePut, blobs: Sequence[bytes], left_s: float) -> Told:
        return _told(await self._state.put(ask.key, ask.value, ask.expected_version, ask.ttl_s))

    async def _increment(self, ask: asks.StateIncrement, blobs: Sequence[bytes], left_s: float) -> Told:
        return _told(await self._state.increment(ask.key, ask.by, ask.ttl_s))

    async def _delete(self, ask: asks.StateDelete, blobs: Sequence[bytes], left_s: float) -> Told:
        await self._state.delete(ask.key)
        return _NULL

    async def _fetch(self, ask: asks.Fetch, blobs: Sequence[bytes], left_s: float) -> Told:
        if self._fetches >= FETCHES_MAX:
            raise EGRESS_EXHAUSTED.error({"max": FETCHES_MAX})
        self._fetches += 1
        manifest = self._facts.enabled.release.manifest
        request = outgoing(
            manifest,
            method=ask.method,
            url=ask.url,
            headers=ask.headers,
            body=b"".join(blobs),
            media_type=ask.media_type,
        )
        request, used = await egress_secrets.filled(
            request, names_in_body=ask.secrets, manifest=manifest, read=self._token
        )
        timeout_s = min(left_s - MARGIN_S, ask.timeout_s or left_s)
        if timeout_s <= 0:
            raise EGRESS_NOT_SENT.error({"reason": "the call's time is over"})
        sent = Sent()
        try:
            answer = await self._tools.egress.fetch(request, timeout_s=timeout_s, secrets=used, sent=sent)
        finally:
            self._sent.is_sent |= sent.is_sent
        body = answer.body
        chunks = tuple(body[start : start + BLOB_BYTES_MAX] for start in range(0, len(body), BLOB_BYTES_MAX))
        return _told({"status": answer.status, "headers": answer.headers}, chunks)

    async def _token(self, name: str) -> bytes:
        keys = await self._keys(name)
        try:
            keyrings.check("token", keys.materials[0])
        except keyrings.KeyUnfit as error:
            raise SECRET_UNFIT.error({"name": name, "reason": str(error)}) from error
        return keys.materials[0]

    async def _keys(self, name: str) -> Keys:
        facts = self._facts
        return await self._tools.secrets.keys(facts.enabled, facts.merchant_id, name, at_hand=facts.secrets)

    async def _mac(self, ask: asks.SecretMessage, blobs: Sequence[bytes], left_s: float) -> Told:
        return _told_bytes(secrets.mac(await self._keys(ask.name), ask.message))

    async def _sign(self, ask: asks.SecretMessage, blobs: Sequence[bytes], left_s: float) -> Told:
        return _told_bytes(await secrets.sign(await self._keys(ask.name), ask.message))

    async def _verify(self, ask: asks.SecretVerify, blobs: Sequence[bytes], left_s: float) -> Told:
        return _told(secrets.verify(await self._keys(ask.name), ask.message, ask.signature))

    async def _open(self, ask: asks.SecretOpen, blobs: Sequence[bytes], left_s: float) -> Told:
        return _told_bytes(secrets.open_message(await self._keys(ask.name), ask.message, ask.associated_data))

    async def _report(self, ask: asks.Report, blobs: Sequence[bytes], left_s: float) -> Told:
        release = self._facts.enabled.release
        self._tools.problems.reported(
            Reported(
                plugin_id=release.plugin_id,
                plugin_version=release.version,
                merchant_id=self._facts.merchant_id,
                hook=self._facts.hook.name,
                key=ask.key,
                message=ask.message,
                hint=ask.hint,
                severity=ask.severity,
                call_id=self._facts.call_id,
            )
        )
        return _NULL


_HANDLERS: Final[Mapping[str, Handler]] = {
    "state.get": OwnAsks._get,
    "state.list": OwnAsks._list,
    "state.put": OwnAsks._put,
    "state.increment": OwnAsks._increment,
    "state.delete": OwnAsks._delete,
    "egress.fetch": OwnAsks._fetch,
    "secrets.mac": OwnAsks._mac,
    "secrets.sign": OwnAsks._sign,
    "secrets.verify": OwnAsks._verify,
    "secrets.open": OwnAsks._open,
    "problems.report": OwnAsks._report,
}


def _told(value: object, blobs: tuple[bytes, ...] = ()) -> Told:
    return Told(value=msgspec.json.encode(value), blobs=blobs)


def _told_bytes(raw: bytes) -> Told:
    return _told(b64encode(raw).decode())
