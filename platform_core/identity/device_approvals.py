"""A person decides what a device may do: enters its code, compares, chooses the store, approves or refuses.

RFC 8628 sections 3.3 and 5.1: a code of 34 bits is guarded by its ten minutes and by five tries in ten minutes for each
session; each try is claimed before it is looked up, so that many at once are no way around the bound.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from sqlalchemy import Row

from platform_core.identity import base64url
from platform_core.identity.consent import Approved, ConsentView, GrantParts, ScopeLine
from platform_core.identity.deps import IdentityDeps, single_reads
from platform_core.identity.errors import CHANGED_MEANWHILE
from platform_core.identity.errors_device import (
    DEVICE_CODE_UNKNOWN,
    DEVICE_DECIDED,
    DEVICE_STORE_NEEDED,
    DEVICE_TRIES_USED,
)
from platform_core.identity.models_device import DEVICE_DECISIONS
from platform_core.identity.oauth.device import PAGE, read_user_code, user_code_digest
from platform_core.identity.oauth.handles import make_handle, read_handle
from platform_core.identity.oauth.requests import AuthorizationRequest
from platform_core.identity.repository_device import find_by_user_code, read_device
from platform_core.identity.seen_jti import AlreadySeen, claim
from platform_core.identity.sessions import SignedIn
from platform_core.kernel.commit import Audit, Duplicate, Insert, Plan, PlanRefused

TRIES_MAX: Final = 5
TRIES_SPAN_S: Final = 600


class Consents(Protocol):
    """What shows and makes grants."""

    async def view(self, request: AuthorizationRequest, who: SignedIn) -> ConsentView:
        """What the page says about a request."""
        ...

    async def grant_parts(self, request: AuthorizationRequest, who: SignedIn, approved: Approved) -> GrantParts:
        """The parts that give the grant or change it."""
        ...


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """A device that waits. `handle` names it in this session's form, and means nothing in another's."""

    handle: str
    device_id: str
    request: AuthorizationRequest
    view: ConsentView

    @property
    def lines(self) -> tuple[ScopeLine, ...]:
        """What is given. Optional scopes are not: each would need a choice of its own, as the consent page has it."""
        return tuple(line for line in self.view.lines if not line.is_optional)


class DeviceApprovals:
    """Finds and decides what devices ask for."""

    def __init__(self, deps: IdentityDeps, consent: Consents, *, issuer: str) -> None:
        self._deps = deps
        self._consent = consent
        self._issuer = issuer
        self._reads = single_reads(deps.database)

    async def find(self, typed: str, who: SignedIn) -> DeviceRequest:
        """The device that shows this code. Each call is one of five tries in ten minutes.

        429 `identity.device_tries_used`, 404 `identity.device_code_unknown`, 422 `identity.grant_refused`.
        """
        now = self._deps.clock.now()
        await self._claim_try(who, now)
        code = read_user_code(typed)
        device_id = None
        if code is not None:
            async with self._reads.connect() as connection:
                digest = user_code_digest(self._deps.vault, code)
                device_id = await find_by_user_code(connection, digest, now=now)
        if device_id is None:
            raise DEVICE_CODE_UNKNOWN.error()
        return await self._shown(device_id, who)

    async def reopen(self, handle: str, who: SignedIn) -> DeviceRequest:
        """The device that this session found before. 404 `identity.device_code_unknown`; 422 as `find`."""
        read = read_handle(handle, "dvc")
        if read is None or make_handle(read[0], self._mark(read[0], who)) != handle:
            raise DEVICE_CODE_UNKNOWN.error()
        return await self._shown(read[0], who)

    async def approve(self, device: DeviceRequest, who: SignedIn, *, store_id: str | None) -> None:
        """Give the grant, bound to one store, and let the device know at its next poll.

        422 `identity.device_store_needed`, `identity.grant_refused`; 403 `identity.consent_refused`; 401
        `identity.step_up_required`; 409 `identity.device_decided`, `identity.changed_meanwhile`.
        """
        choices = {store.id for store in device.view.stores}
        if store_id not in choices:
            raise DEVICE_STORE_NEEDED.error()
        scopes = frozenset(line.name for line in device.lines)
        approved = Approved(scopes=scopes, stores=frozenset({store_id}), details=(), expires_at=None)
        grant = await self._consent.grant_parts(device.request, who, approved)
        row = self._decision(device, who, outcome="approved")
        row |= {"grant_id": grant.grant_id, "family_id": self._deps.ids.mint("fam"), "stores": store_id}
        facts = {"grant": grant.grant_id, "version": grant.version, "family": row["family_id"], "store": store_id}
        told = Audit("device.approved", who.person_id, device.device_id, who.merchant_id, self._facts(device, facts))
        await self._commit(device, who, (*grant.parts, Insert(DEVICE_DECISIONS, row), told))

    async def decline(self, device: DeviceRequest, who: SignedIn) -> None:
        """Let the device know that it may not. 409 `identity.device_decided`."""
        row = self._decision(device, who, outcome="declined")
        told = Audit("device.declined", who.person_id, device.device_id, who.merchant_id, self._facts(device, {}))
        await self._commit(device, who, (Insert(DEVICE_DECISIONS, row), told))

    def _facts(self, device: DeviceRequest, more: Mapping[str, object]) -> dict[str, object]:
        scopes = sorted(line.name for line in device.lines)
        return {"app": device.request.app_id, "client": device.request.client_id, "scopes": scopes, **more}

    async def _claim_try(self, who: SignedIn, now: datetime) -> None:
        span = int(now.timestamp()) // TRIES_SPAN_S
        until = now + timedelta(seconds=TRIES_SPAN_S)
        for number in range(TRIES_MAX):
            part = claim("device_try", who.session_id, f"{span}.{number}", until, issued=now)
            try:
                await self._deps.committer.commit(Plan(None).add(part))
            except PlanRefused as refused:
                if isinstance(refused.refusal, AlreadySeen):
                    continue
                raise DEVICE_TRIES_USED.error(retry_after_s=60) from refused
            return
        raise DEVICE_TRIES_USED.error(retry_after_s=TRIES_SPAN_S)

    async def _shown(self, device_id: str, who: SignedIn) -> DeviceRequest:
        now = self._deps.clock.now()
        async with self._reads.connect() as connection:
            state = await read_device(connection, device_id, now=now)
        if state is None or state.code.expires_at <= now:
            raise DEVICE_CODE_UNKNOWN.error()
        if state.decision is not None:
            raise DEVICE_DECIDED.error()
        request = self._request(state.code)
        view = await self._consent.view(request, who)
        return DeviceRequest(make_handle(device_id, self._mark(device_id, who)), device_id, request, view)

    def _request(self, code: Row[tuple[object, ...]]) -> AuthorizationRequest:
        """As if the device had come by the authorization endpoint: consent sees no difference."""
        return AuthorizationRequest(
            client_id=code.client_id,
            app_id=code.app_id,
            mode=code.mode,
            redirect_uri=f"{self._issuer}{PAGE}",
            scopes=frozenset(code.scopes.split()),
            state=None,
            code_challenge="",
            resource=code.resource,
            details=tuple(json.loads(code.details)),
            dpop_jkt=None,
            prompt=frozenset(),
            max_age=None,
            acr_values=(),
            ui_locales=(),
            nonce=None,
            grant_management_action=None,
            grant_id=None,
            par_id=None,
            opened_at=code.created_at,
        )

    def _mark(self, device_id: str, who: SignedIn) -> str:
        return base64url.encode(self._deps.vault.digest(device_id, f"shown to {who.session_id}"))

    def _decision(self, device: DeviceRequest, who: SignedIn, *, outcome: str) -> dict[str, object]:
        return {
            "id": device.device_id,
            "merchant_id": who.merchant_id,
            "client_id": device.request.client_id,
            "person_id": who.person_id,
            "outcome": outcome,
            "grant_id": None,
            "family_id": None,
            "stores": None,
            "scopes": " ".join(sorted(line.name for line in device.lines)),
            "details": json.dumps(device.request.details),
            "acr": who.acr,
            "auth_time": who.auth_time,
            "version": 1,
            "created_at": self._deps.clock.now(),
            "used_at": None,
        }

    async def _commit(self, device: DeviceRequest, who: SignedIn, parts: tuple[object, ...]) -> None:
        try:
            await self._deps.committer.commit(Plan(who.merchant_id).add(*parts))
        except PlanRefused as refused:
            refusal = refused.refusal
            if isinstance(refusal, Duplicate) and refusal.table == DEVICE_DECISIONS.name:
                raise DEVICE_DECIDED.error() from refused
            raise CHANGED_MEANWHILE.error({"id": device.device_id}) from refused
