"""The device grant at the token endpoint (RFC 8628 section 3.4): polled until a person decided, exchanged once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from authlib.oauth2.rfc6749 import InvalidGrantError
from authlib.oauth2.rfc8628 import DeviceCodeGrant

from platform_core.identity.deps import IdentityDeps, single_reads
from platform_core.identity.models import ACCESS_GRANTS
from platform_core.identity.models_device import DEVICE_CODES, DEVICE_DECISIONS
from platform_core.identity.oauth.clients import METHODS
from platform_core.identity.oauth.device import GRANT_TYPE
from platform_core.identity.oauth.families import Families
from platform_core.identity.oauth.handles import read_handle
from platform_core.identity.oauth.server import TokenRequest
from platform_core.identity.oauth.tokens import Acting
from platform_core.identity.principal import narrowed
from platform_core.identity.repository_device import DeviceState, read_device
from platform_core.kernel.commit import Change, Plan, Unchanged

SLOWER_BY_S: Final = 5


@dataclass(frozen=True, slots=True)
class _Credential:
    """A device code as Authlib sees it."""

    state: DeviceState
    scope: str
    has_expired: bool

    def get_client_id(self) -> str:
        """Whose it is."""
        client_id: str = self.state.code.client_id
        return client_id

    def get_scope(self) -> str:
        """What is left of what was approved."""
        return self.scope

    def get_user_code(self) -> str:
        """By which Authlib asks for the decision, which was read with the code."""
        id_: str = self.state.code.id
        return id_

    def is_expired(self) -> bool:
        """Whether it is older than ten minutes."""
        return self.has_expired


class _Poll(DeviceCodeGrant):  # type: ignore[misc]  # Authlib ships no types
    TOKEN_ENDPOINT_AUTH_METHODS = list(METHODS)  # noqa: RUF012 - Authlib's name and kind
    families: Families  # set by the subclass that `DeviceCode` makes

    def query_device_credential(self, device_code: str) -> _Credential:
        """The code, if it is this client's; Authlib would answer `invalid_request` and `unauthorized_client` (F19)."""
        request: TokenRequest = self.request
        state: DeviceState | None = request.prepared
        client = request.shown_client
        if state is None or state.code.client_id != client.get_client_id():
            raise InvalidGrantError()
        has_expired = state.code.expires_at <= request.now
        return _Credential(state, " ".join(sorted(client.allowed)), has_expired)

    def query_user_grant(self, user_code: str) -> tuple[Acting | None, bool] | None:
        """What was decided. A code that was exchanged, or whose grant moved away, is worth nothing."""
        request: TokenRequest = self.request
        state: DeviceState = request.prepared
        decision, grant = state.decision, state.grant
        if decision is None:
            return None
        if decision.outcome == "declined":
            return None, False
        is_living = grant is not None and grant.is_active and grant.merchant_mode == request.shown_client.state.mode
        if decision.used_at is not None or not is_living:
            raise InvalidGrantError()
        return request.acting, True

    def should_slow_down(self, credential: _Credential) -> bool:
        """Whether the device asks too early; noted either way, and an early one waits five seconds longer for good."""
        request: TokenRequest = self.request
        code = credential.state.code
        is_early = code.polled_at is not None and request.now < code.polled_at + timedelta(seconds=code.interval_s)
        values: dict[str, Any] = {"polled_at": request.now}
        if is_early:
            values["interval_s"] = code.interval_s + SLOWER_BY_S
        plan = Plan(code.merchant_id).add(Change(DEVICE_CODES, code.id, values, expected=code.version))
        request.plan_on_error = plan
        return is_early

    def create_token_response(self) -> Any:
        """Authlib's answer. The plan uses the decision up and makes the family, if the grant is as it was read."""
        request: TokenRequest = self.request
        state: DeviceState = request.prepared
        decision, grant, client = state.decision, state.grant, request.shown_client
        assert decision is not None, "approved"
        assert grant is not None, "approved"
        profile = client.state.profile
        family = {
            "id": decision.family_id,
            "merchant_id": decision.merchant_id,
            "client_id": decision.client_id,
            "grant_id": decision.grant_id,
            "person_id": decision.person_id,
            "scopes": decision.scopes,
            "details": decision.details,
            "resource": state.code.resource,
            "stores": decision.stores,
            "nonce": None,
            "dpop_jkt": request.proof_jkt if profile == "public" else None,
            "acr": decision.acr,
            "auth_time": decision.auth_time,
        }
        plan = Plan(decision.merchant_id).add(
            Unchanged(ACCESS_GRANTS, decision.grant_id, grant.version),
            Change(DEVICE_DECISIONS, decision.id, {"used_at": request.now}, expected=decision.version),
            self.families.make(family, profile=profile, now=request.now),
        )
        if client.check_grant_type("refresh_token"):
            assert request.acting is not None, "prepared"
            request.acting.refresh_token, row = self.families.make_refresh(family, profile=profile, now=request.now)
            plan.add(row)
        answer = super().create_token_response()
        request.plan = plan
        return answer


class DeviceCode:
    """The grant type."""

    name: Final = GRANT_TYPE
    extensions: Final = ()

    def __init__(self, deps: IdentityDeps) -> None:
        self._deps = deps
        self._reads = single_reads(deps.database)
        self.authlib = type("Poll", (_Poll,), {"families": Families(deps)})

    async def prepare(self, request: TokenRequest) -> None:
        """See `GrantType`."""
        handle = read_handle(request.form.get("device_code", ""), "dvc")
        if handle is None:
            return
        async with self._reads.connect() as connection:
            state = await read_device(connection, handle[0], now=request.now)
        if state is None or not self._deps.vault.matches(handle[0], handle[1], state.code.digest):
            return
        request.prepared = state
        decision, grant = state.decision, state.grant
        if decision is None or grant is None:
            return
        details = tuple(json.loads(decision.details))
        request.shown_client.allowed = frozenset(decision.scopes.split()) & grant.scopes
        request.shown_client.is_scopeless_allowed = bool(details)
        request.acting = Acting.within(
            grant,
            client_id=decision.client_id,
            family_id=decision.family_id,
            details=details,
            jkt=request.proof_jkt,
            acr=decision.acr,
            auth_time=decision.auth_time,
        )
        stores = decision.stores.split() if decision.stores is not None else None
        request.acting.stores = narrowed(grant.stores, stores)
