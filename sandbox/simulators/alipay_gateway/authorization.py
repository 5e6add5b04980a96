"""A merchant lets an app in by the protocol's words: consent page, app_auth_code, app_auth_token, and who acts by it.

What is given is a grant of the platform like any other, of kind gateway; the token only points at it. So the grant's
end is the token's, at once, and limits are those of the grant. Source: opendocs.alipay.com, "Third-party application
authorisation", read 2026-11-22.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import msgspec
from sqlalchemy import Row

from platform_core.contracts.scopes import catalogue as scope_catalogue
from platform_core.delivery.catalogue import EventSeen
from platform_core.identity import repository, repository_grants
from platform_core.identity.consent import Approved, Consent, Declined
from platform_core.identity.errors import CHANGED_MEANWHILE, GRANT_REFUSED
from platform_core.identity.grants import Grants
from platform_core.identity.oauth.authorize import AUTHORIZATION_REFUSED, UNKNOWN_CLIENT, UNKNOWN_REDIRECT
from platform_core.identity.oauth.requests import (
    AUTHORIZATION_STALE,
    SIGN_IN_TOO_WEAK,
    AuthorizationRequest,
    ConsentTokens,
)
from platform_core.identity.principal import Principal
from platform_core.identity.redirects import is_registered
from platform_core.identity.sessions import SignedIn
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Audit, Committer, Plan, PlanRefused
from platform_core.kernel.database.pools import Database
from platform_core.kernel.i18n import Text
from platform_core.kernel.ids import Ids
from sandbox.simulators.alipay_gateway.actors import OwnApps, bad_token
from sandbox.simulators.alipay_gateway.auth_tokens import AuthTokens, Issued, TokenRefused
from sandbox.simulators.alipay_gateway.methods import catalogue
from sandbox.simulators.alipay_gateway.notices import Notices, local_time
from sandbox.simulators.alipay_gateway.numbers import Numbers
from sandbox.simulators.alipay_gateway.protocol import GatewayError
from sandbox.simulators.alipay_gateway.settings import AppSettings

DOOR: Final = "alipay_gateway"
CONSUMER: Final = "alipay_gateway.authorizations"
ENDED: Final = frozenset({"grant.revoked", "grant.expired"})
STATE_LENGTH_MAX: Final = 1024


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationParts:
    """What authorisations are put together from. `clock`: the real one; `origin`: the platform's own address."""

    database: Database
    committer: Committer
    clock: Clock
    ids: Ids
    consent: Consent
    grants: Grants
    consent_tokens: ConsentTokens
    origin: str
    numbers: Numbers
    tokens: AuthTokens
    notices: Notices
    settings: AppSettings
    own_apps: OwnApps


class AppAuthorizations:
    """The door of merchants' authorisations, and the `Actors` of the gateway."""

    def __init__(self, parts: AuthorizationParts) -> None:
        self._parts = parts

    async def open(self, *, app_number: str, redirect_uri: str, state: str, browser: str) -> str:
        """The address of the consent page for `/oauth2/appToAppAuth.htm`. Writes nothing.

        Raises `identity.authorization_refused` for an unknown app, or an address that it did not register.
        """
        parts = self._parts
        client = await self.client_at(app_number, redirect_uri)
        if len(state) > STATE_LENGTH_MAX or not state.isprintable():
            raise AUTHORIZATION_REFUSED.error({"reason": UNKNOWN_REDIRECT})
        request = AuthorizationRequest(
            client_id=client.id,
            app_id=client.app_id,
            mode="test",
            redirect_uri=redirect_uri,
            scopes=await self._package(client.app_id),
            state=state or None,
            code_challenge="",
            resource=f"{parts.origin}/v1",
            details=(),
            dpop_jkt=None,
            prompt=frozenset(),
            max_age=None,
            acr_values=(),
            ui_locales=(),
            nonce=None,
            grant_management_action="replace",
            grant_id=None,
            par_id=None,
            opened_at=parts.clock.now(),
            door=DOOR,
        )
        return f"{parts.origin}/consent?token={parts.consent_tokens.seal(request, browser)}"

    async def client_at(self, app_number: str, redirect_uri: str) -> Row[Any]:
        """The app's test client, if the address is one of its. Raises `identity.authorization_refused`."""
        number = await self._parts.numbers.app_behind(app_number)
        client = None if number is None else await self._client(str(number.native_id))
        if client is None:
            raise AUTHORIZATION_REFUSED.error({"reason": UNKNOWN_CLIENT})
        if not is_registered(redirect_uri, client.redirect_uris.split(), any_port=client.profile == "public"):
            raise AUTHORIZATION_REFUSED.error({"reason": UNKNOWN_REDIRECT})
        return client

    async def decide(self, request: AuthorizationRequest, who: SignedIn, decision: Approved | Declined) -> str:
        """The address to send the browser to, with app_auth_code or access_denied, once all is committed.

        In one plan: the grant, the code, the end of the tokens before, the app's notice, the audit row.
        """
        parts, now = self._parts, self._parts.clock.now()
        client = await self._client(request.app_id)
        is_known = client is not None and is_registered(
            request.redirect_uri, client.redirect_uris.split(), any_port=client.profile == "public"
        )
        if not is_known or not request.is_open(now):
            raise AUTHORIZATION_STALE.error()
        if who.merchant_id is None:
            raise GRANT_REFUSED.error({"reason": _NO_MERCHANT})
        app_number = await self._number(request.app_id)
        answer = {"app_id": app_number, "state": request.state or ""}
        if isinstance(decision, Approved):
            plan, code = await self._approved(request, who, decision, app_number=app_number)
            answer["app_auth_code"] = code
        else:
            plan = Plan(who.merchant_id)
            plan.add(Audit("authorization.declined", who.person_id, request.client_id, who.merchant_id))
            answer["error"] = "access_denied"
        try:
            await parts.committer.commit(plan)
        except PlanRefused as refused:
            raise CHANGED_MEANWHILE.error({"id": request.app_id}) from refused
        return with_query(request.redirect_uri, answer)

    async def _approved(
        self, request: AuthorizationRequest, who: SignedIn, approved: Approved, *, app_number: str
    ) -> tuple[Plan, str]:
        parts, merchant_id, now = self._parts, str(who.merchant_id), self._parts.clock.now()
        if not request.accepts(who, now):
            raise SIGN_IN_TOO_WEAK.error()
        before = await parts.grants.active_of(request.app_id, merchant_id)
        if before is not None and before.kind != "gateway":
            # Given by another door: what the app has there is not taken away by asking here.
            request = dataclasses.replace(request, grant_management_action="merge")
        grant = await parts.consent.grant_parts(request, who, approved)
        user_id = await parts.numbers.of_seller(merchant_id)
        code, written = parts.tokens.code(
            "merchant",
            app_id=request.app_id,
            merchant_id=merchant_id,
            user_id=user_id,
            scopes=sorted(approved.scopes),
            grant_id=grant.grant_id,
        )
        code_id = str(written.row["id"])
        plan = Plan(merchant_id, [*grant.parts, written])
        plan.add(*await parts.tokens.replacing("merchant", app_id=request.app_id, merchant_id=merchant_id))
        facts = {"client": request.client_id, "grant": grant.grant_id, "door": DOOR, "scopes": sorted(approved.scopes)}
        plan.add(Audit("authorization.given", who.person_id, code_id, merchant_id, facts))
        detail = {"app_auth_code": code, "auth_time": local_time(now)}
        plan.add(
            *await self._notice(
                request.app_id,
                app_number,
                merchant_id,
                event_id=code_id,
                sequence=grant.version,
                status="execute_auth",
                detail=detail,
            )
        )
        return plan, code

    async def exchange(self, app_id: str, *, grant_type: str, code: str, refresh_token: str) -> dict[str, Any]:
        """The fields of alipay.open.auth.token.app. Raises 40002 isv.code-invalid, isv.refresh-token-invalid, ..."""
        tokens = self._parts.tokens
        try:
            if grant_type == "authorization_code":
                issued = await tokens.exchange("merchant", app_id=app_id, code=code)
            elif grant_type == "refresh_token":
                issued = await tokens.refresh("merchant", app_id=app_id, refresh_token=refresh_token)
            else:
                raise GatewayError(
                    "40002", "isv.grant-type-invalid", "grant_type 应为 authorization_code 或 refresh_token"
                )
        except TokenRefused as refused:
            raise refusal_of(refused.reason) from refused
        if await self._grant(issued) is None:
            raise refusal_of("code" if grant_type == "authorization_code" else "refresh")
        told = await self._told(issued)
        return {**told, "tokens": [told]}

    async def about(self, app_id: str, app_auth_token: str) -> dict[str, Any]:
        """The fields of alipay.open.auth.token.app.query. Raises 20001 for a token that does not hold."""
        row, grant = await self._standing(app_id, app_auth_token)
        scopes = frozenset(grant.scopes.split())
        left_s = int((row.expires_at - self._parts.clock.now()).total_seconds())
        return {
            "user_id": row.user_id,
            "auth_app_id": await self._parts.numbers.of_app(row.merchant_id, merchant_id=row.merchant_id),
            "expires_in": str(left_s),
            "auth_methods": [method.name for method in catalogue().values() if method.scope in scopes],
            "auth_start": local_time(row.created_at),
            "auth_end": local_time(row.expires_at),
            "status": "valid",
        }

    async def actor(self, app_id: str, app_auth_token: str, auth_token: str, method: str) -> Principal:
        """See `seams.Actors`."""
        if auth_token:
            await self.customer(app_id, auth_token)
        scope = catalogue()[method].scope
        if not app_auth_token or scope is None:  # an app refreshes a token that is over, and clients send it along
            return await self._parts.own_apps.actor(app_id, "", "", method)
        _, grant = await self._standing(app_id, app_auth_token)
        if scope not in grant.scopes.split():
            raise GatewayError("20001", "aop.invalid-app-auth-token-no-api", f"授权中不包含接口 {method}")
        client = await self._client(app_id)
        if client is None:
            raise bad_token()
        return await self._parts.own_apps.granted(app_id, client, grant)

    async def customer(self, app_id: str, auth_token: str) -> str:
        """The end user behind auth_token, as 2088 number. Raises 20001."""
        try:
            row = await self._parts.tokens.find("customer", app_id=app_id, token=auth_token)
        except TokenRefused as refused:
            if refused.reason == "token_expired":
                raise GatewayError("20001", "aop.auth-token-time-out", "访问令牌已过期") from refused
            raise GatewayError("20001", "aop.invalid-auth-token", "无效的访问令牌") from refused
        user: str = row.user_id
        return user

    async def ended(self, event: EventSeen) -> Plan | None:
        """The notice that a grant is over (consumer of `ENDED`), for grants that the gateway gave a token on."""
        row = await self._parts.tokens.of_grant(event.object_id)
        if row is None or event.merchant_id is None:
            return None
        app_number = await self._number(row.app_id)
        detail = {"cancel_time": local_time(event.occurred_at)}
        notice = await self._notice(
            row.app_id,
            app_number,
            event.merchant_id,
            event_id=event.id,
            sequence=event.sequence,
            status="cancel_auth",
            detail=detail,
        )
        return Plan(event.merchant_id, notice)

    async def _notice(
        self,
        app_id: str,
        app_number: str,
        merchant_id: str,
        *,
        event_id: str,
        sequence: int,
        status: str,
        detail: Mapping[str, str],
    ) -> list[object]:
        """open_app_auth_notify to the app's gateway address."""
        parts = self._parts
        auth_app_id = await parts.numbers.of_app(merchant_id, merchant_id=merchant_id)
        user_id = await parts.numbers.of_seller(merchant_id)
        told = {"detail": {**detail, "app_id": app_number, "auth_app_id": auth_app_id, "user_id": user_id}}
        return parts.notices.parts(
            merchant_id=merchant_id,
            app_id=app_id,
            event_id=event_id,
            sequence=sequence,
            address=await parts.settings.gateway_address(app_number),
            fields={
                "notify_type": "open_app_auth_notify",
                "app_id": app_number,
                "auth_app_id": auth_app_id,
                "status": status,
                "biz_content": msgspec.json.encode(told).decode(),
            },
        )

    async def _standing(self, app_id: str, app_auth_token: str) -> tuple[Row[Any], Row[Any]]:
        """A token that holds, and its grant. Raises 20001."""
        try:
            row = await self._parts.tokens.find("merchant", app_id=app_id, token=app_auth_token)
        except TokenRefused as refused:
            if refused.reason == "token_expired":
                raise GatewayError("20001", "aop.app-auth-token-time-out", "应用授权令牌已过期") from refused
            raise bad_token() from refused
        grant = await self._grant(row)
        if grant is None:
            raise bad_token()
        return row, grant

    async def _grant(self, of: Row[Any] | Issued) -> Row[Any] | None:
        """The active grant that a token stands on."""
        async with self._parts.database.read_auth() as connection:
            grant = await repository_grants.read_grant_by_id(connection, str(of.grant_id))
        return grant if grant is not None and _is_active(grant, self._parts.clock.now()) else None

    async def _told(self, issued: Issued) -> dict[str, str]:
        merchant_id = str(issued.merchant_id)
        return {
            "app_auth_token": issued.access,
            "app_refresh_token": issued.refresh,
            "auth_app_id": await self._parts.numbers.of_app(merchant_id, merchant_id=merchant_id),
            "user_id": issued.user_id,
            "expires_in": str(issued.expires_in_s),
            "re_expires_in": str(issued.refresh_expires_in_s),
        }

    async def _package(self, app_id: str) -> frozenset[str]:
        """What an app asks for: the scopes that it declared, else those of all methods."""
        async with self._parts.database.read_auth() as connection:
            declared = await repository_grants.read_app_scopes(connection, app_id)
        asked = {row.scope for row in declared} or {method.scope for method in catalogue().values() if method.scope}
        known = scope_catalogue()
        return frozenset(name for name in asked if name in known and known[name].is_for_apps)

    async def _number(self, app_id: str) -> str:
        """The app's number, which is its owner's row where that is a merchant."""
        async with self._parts.database.read_auth() as connection:
            app = await repository.read_app(connection, app_id)
        return await self._parts.numbers.of_app(app_id, merchant_id=None if app is None else app.merchant_id)

    async def _client(self, app_id: str) -> Row[Any] | None:
        async with self._parts.database.read_auth() as connection:
            app = await repository.read_app(connection, app_id)
            client = await repository.read_client_of(connection, app_id, mode="test")
        is_active = app is not None and app.state == "active" and client is not None and client.state == "active"
        return client if is_active else None


def with_query(address: str, values: Mapping[str, str]) -> str:
    """An address with more in its query; blank values are left out."""
    query = urlencode({name: value for name, value in values.items() if value})
    return f"{address}{'&' if urlsplit(address).query else '?'}{query}"


def _is_active(grant: Row[Any], now: datetime) -> bool:
    return grant.state == "active" and (grant.expires_at is None or grant.expires_at > now)


_NO_MERCHANT: Final = Text(en="you act for no merchant", zh="您当前未代表任何商户")
_REFUSED: Final = {
    "code": ("isv.code-invalid", "授权码无效、已使用或已过期"),
    "refresh": ("isv.refresh-token-invalid", "刷新令牌无效或已使用"),
    "refresh_expired": ("isv.refresh-token-time-out", "刷新令牌已过期"),
}


def refusal_of(reason: str) -> GatewayError:
    """40002 for a code or a refresh token that gives nothing."""
    return GatewayError("40002", *_REFUSED[reason])
