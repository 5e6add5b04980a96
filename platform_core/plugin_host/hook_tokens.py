"""Hook tokens: what a remote plugin shows while it is called, and the open call that each leads to.

A token is an access token (RFC 9068, read 2026-11-22) with the claim `call`; its scopes are what manifest, grant and
kind have in common, its end is the call's deadline. It leads to the gate and nowhere else. Where the process that
minted it is asked, it is void with the result; any other process (workers tell of events, servers are asked) reads the
rows behind it at each ask, and lets it live to the deadline.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Final

from joserfc import jwt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from platform_core.contracts.hooks import CATALOGUE
from platform_core.contracts.runtime import OutsideCall
from platform_core.identity.access import HOOK_CALL
from platform_core.identity.errors import TOKEN_INVALID
from platform_core.identity.signing_keys import ALGORITHM, SigningKeys
from platform_core.kernel.clock import Clock
from platform_core.kernel.entropy import entropy as process_entropy
from platform_core.plugin_host.calls import CallFacts
from platform_core.plugin_host.gate import GateCall, Gatekeeper
from platform_core.plugin_host.gate_errors import HANDLE_INVALID, STATE_UNAVAILABLE
from platform_core.plugin_host.health_rows import Quarantines
from platform_core.plugin_host.installed import Enabled, Enablement, EnablementUnreadable
from platform_core.plugin_host.permits import scopes_of_call
from platform_core.plugin_host.principals import client_id_of

MINTED_BY_BYTES: Final = 8
ELSEWHERE_MAX: Final = 4_096
"""Calls of other processes that are answered here at a time."""


class CallClaim(BaseModel):
    """The claim `call`: which call, of which release and installation, and the process that waits for its result."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: Annotated[str, Field(min_length=32, max_length=32)]
    plugin: str
    version: str
    installation: str
    hook: str
    operation: str
    store: str | None
    key: str
    until_ms: int
    """The deadline, milliseconds since the epoch, UTC; `exp` is the same in whole seconds, rounded up."""
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenGround:
    """Whose tokens they are, and for whom."""

    keys: SigningKeys
    issuer: str
    audience: str
    clock: Clock
    """The real one, by which tokens live."""


class HookTokens:
    """`remote.HookTokens` of one process."""

    def __init__(
        self, calls: Gatekeeper, ground: TokenGround, *, entropy: Callable[[int], bytes] = process_entropy
    ) -> None:
        self._calls = calls
        self._ground = ground
        self._open: dict[str, GateCall] = {}
        self.name: Final = entropy(MINTED_BY_BYTES).hex()
        """Of this process, in the tokens that it mints."""

    async def mint(self, call: OutsideCall, /) -> str:
        """A token for one call that the gate has open. LookupError where it is closed already."""
        gate = self._calls.gate_of(call.handle)
        if gate is None:
            raise LookupError(f"call {call.id} is not open")
        self._open[call.id] = gate
        ground, facts = self._ground, gate.facts
        now = ground.clock.now()
        until = now + timedelta(seconds=max(call.deadline - time.monotonic(), 0.0))
        claim = _claim(facts, until=until, by=self.name)
        claims = {
            "iss": ground.issuer,
            "sub": facts.merchant_id,
            "aud": ground.audience,
            "client_id": client_id_of(facts.enabled.release.plugin_id),
            "iat": int(now.timestamp()),
            "exp": math.ceil(until.timestamp()),
            "jti": facts.call_id,
            "scope": " ".join(sorted(scopes_of_call(facts))),
            "merchant": facts.merchant_id,
            "mode": call.binding.mode,
            HOOK_CALL: claim.model_dump(),
        }
        if facts.enabled.grant_id is not None:
            claims["grant_id"] = facts.enabled.grant_id
        header = {"alg": ALGORITHM, "typ": "at+jwt"}
        return jwt.encode(header, claims, ground.keys.signing, algorithms=[ALGORITHM])

    def void(self, call: OutsideCall, /) -> None:
        """The call is over."""
        self._open.pop(call.id, None)

    def open_call(self, call_id: str) -> GateCall | None:
        """A call that this process minted a token for, while it lasts."""
        gate = self._open.get(call_id)
        return gate if gate is not None and gate.is_open else None


def _claim(facts: CallFacts, *, until: datetime, by: str) -> CallClaim:
    release = facts.enabled.release
    return CallClaim(
        id=facts.call_id,
        plugin=release.plugin_id,
        version=release.version,
        installation=facts.enabled.installation_id,
        hook=facts.hook.name,
        operation=facts.operation,
        store=facts.store_id,
        key=facts.idempotency_key,
        until_ms=int(until.timestamp() * 1000),
        by=by,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HookCallTools:
    """What finding a token's call takes."""

    tokens: HookTokens
    calls: Gatekeeper
    enablement: Enablement
    quarantines: Quarantines
    clock: Clock
    """Of business."""
    real_clock: Clock


class HookCalls:
    """Finds the open call behind a token whose signature was checked. Belongs to one event loop."""

    def __init__(self, tools: HookCallTools) -> None:
        self._tools = tools
        self._elsewhere: dict[str, tuple[str, asyncio.TimerHandle]] = {}

    async def of(self, claims: Mapping[str, object]) -> GateCall:
        """The call. 401 `identity.token_invalid`, `plugin.handle_invalid`; 503 `plugin.state_unavailable`."""
        try:
            claim = CallClaim.model_validate(claims.get(HOOK_CALL))
        except ValidationError as error:  # signed by us, so a newer version of us: it says nothing that we can check
            raise TOKEN_INVALID.error() from error
        left_s = claim.until_ms / 1000 - self._tools.real_clock.now().timestamp()
        if left_s <= 0:
            raise HANDLE_INVALID.error()
        if claim.by == self._tools.tokens.name:
            found = self._tools.tokens.open_call(claim.id)
        else:
            found = await self._of_another(claim, str(claims.get("merchant")), left_s)
        if found is None:
            raise HANDLE_INVALID.error()
        return found

    def close(self) -> None:
        """Void what is open for other processes; their deadlines may be ahead yet."""
        for call_id in list(self._elsewhere):
            self._end(call_id)

    async def _of_another(self, claim: CallClaim, merchant_id: str, left_s: float) -> GateCall | None:
        """The call as the rows say now; kept to its deadline, so that its budget counts."""
        enabled = await self._enabled(claim, merchant_id)
        known = self._elsewhere.get(claim.id)
        if enabled is None:
            if known is not None:
                self._end(claim.id)
            return None
        if known is None:
            known = self._opened(claim, enabled, merchant_id, left_s)
        return None if known is None else self._tools.calls.gate_of(known[0])

    async def _enabled(self, claim: CallClaim, merchant_id: str) -> Enabled | None:
        try:
            plugins = await self._tools.enablement.of(merchant_id)
        except EnablementUnreadable as error:
            raise STATE_UNAVAILABLE.error() from error
        key = (claim.plugin, claim.version)
        if self._tools.quarantines.holds(*key):
            return None
        return next(
            (
                one
                for one in plugins.plugins
                if one.release.key == key and one.installation_id == claim.installation and one.release.tier == "remote"
            ),
            None,
        )

    def _opened(
        self, claim: CallClaim, enabled: Enabled, merchant_id: str, left_s: float
    ) -> tuple[str, asyncio.TimerHandle] | None:
        spec = CATALOGUE.get(claim.hook)
        if spec is None or len(self._elsewhere) >= ELSEWHERE_MAX:
            return None
        facts = CallFacts(
            call_id=claim.id,
            enabled=enabled,
            merchant_id=merchant_id,
            hook=spec,
            operation=claim.operation,
            store_id=claim.store,
            now=self._tools.clock.now(),
            deadline=time.monotonic() + left_s,
            idempotency_key=claim.key,
        )
        handle = self._tools.calls.open(facts).handle
        timer = asyncio.get_running_loop().call_later(left_s, self._end, claim.id)
        self._elsewhere[claim.id] = handle, timer
        return self._elsewhere[claim.id]

    def _end(self, call_id: str) -> None:
        handle, timer = self._elsewhere.pop(call_id)
        timer.cancel()
        self._tools.calls.forsake(self._tools.calls.close(handle).parts)
