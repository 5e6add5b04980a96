"""From an authorization request to a code: opening the page, pushing a request before it, deciding on it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from sqlalchemy.ext.asyncio import AsyncEngine

from platform_core.identity import repository, repository_oauth
from platform_core.identity.consent import Approved, Declined, GrantParts
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.errors import CHANGED_MEANWHILE, GRANT_REFUSED
from platform_core.identity.models_oauth import CODES, PUSHED_REQUESTS, USED_ONCE
from platform_core.identity.oauth.authorize import (
    AUTHORIZATION_REFUSED,
    UNKNOWN_CLIENT,
    UNKNOWN_PUSHED,
    Rules,
    answer_address,
    check_client,
    error_address,
    must_push,
)
from platform_core.identity.oauth.clients import Client
from platform_core.identity.oauth.handles import make_handle, make_secret, read_handle
from platform_core.identity.oauth.protocol import OAuthAnswer, OAuthRefusal, Redirect
from platform_core.identity.oauth.requests import (
    AUTHORIZATION_STALE,
    SIGN_IN_TOO_WEAK,
    AuthorizationRequest,
    ConsentTokens,
)
from platform_core.identity.redirects import is_registered
from platform_core.identity.repository import ClientState
from platform_core.identity.sessions import SignedIn
from platform_core.kernel.commit import Audit, Duplicate, Insert, Plan, PlanRefused
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.i18n import Text

CODE_LIFE: Final = timedelta(seconds=60)
PUSHED_LIFE: Final = timedelta(seconds=90)
CONSENT_PATH: Final = "/consent"
_URN: Final = "urn:ietf:params:oauth:request_uri:"
_CREDENTIALS: Final = frozenset({"client_secret", "client_assertion", "client_assertion_type"})
_MARK_LIFE: Final = timedelta(days=1)  # longer than any request can be open


class GivesGrants(Protocol):
    """What turns a person's approval into a grant."""

    async def grant_parts(self, request: AuthorizationRequest, who: SignedIn, approved: Approved) -> GrantParts:
        """The parts that give the grant or change it. Raises PlatformErrors for what the person may not give."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorizations:
    """The front half of authorization_code."""

    deps: IdentityDeps
    reads: AsyncEngine
    issuer: str
    rules: Rules
    tokens: ConsentTokens
    consent: GivesGrants

    async def open(self, parameters: Mapping[str, str], *, browser: str, who: SignedIn | None) -> Redirect:
        """Where the browser goes from `/oauth/authorize`. Writes nothing."""
        par_id, extra = None, False
        if "request_uri" in parameters:
            par_id, pushed = await self._pushed(parameters)
            extra = any(pushed.get(name) != value for name, value in parameters.items() if name != "request_uri")
            parameters = pushed
        client = check_client(parameters, await self._client(parameters.get("client_id")))
        try:
            if extra:
                raise OAuthRefusal("invalid_request", "A parameter differs from what was pushed.")
            if par_id is None and must_push(client, ()):
                raise OAuthRefusal("invalid_request", "This client must push its requests.")
            request = await self._check(parameters, client, par_id=par_id)
            if par_id is None and must_push(client, request.details):
                raise OAuthRefusal("invalid_request", "A request that names amounts must be pushed.")
            if "none" in request.prompt:
                error = "login_required" if who is None else "interaction_required"
                raise OAuthRefusal(error, "The page is always shown.")
            token = self._seal(request, browser)
        except OAuthRefusal as refusal:
            return Redirect(error_address(refusal, parameters, issuer=self.issuer))
        return Redirect(f"{self.issuer}{CONSENT_PATH}?token={token}")

    async def push(self, form: Mapping[str, str], client: Client, *, proof_jkt: str | None) -> OAuthAnswer:
        """Keep a request for 90 s (RFC 9126 section 2). Raises `OAuthRefusal`."""
        if "request_uri" in form:
            raise OAuthRefusal("invalid_request", "A pushed request names no request_uri.")
        parameters = {name: value for name, value in form.items() if name not in _CREDENTIALS}
        parameters["client_id"] = client.state.client_id
        if proof_jkt is not None and parameters.setdefault("dpop_jkt", proof_jkt) != proof_jkt:
            raise OAuthRefusal("invalid_dpop_proof", "The proof is of another key than dpop_jkt names.")
        try:
            check_client(parameters, client.state)
        except PlatformError as error:
            raise OAuthRefusal("invalid_request", "The redirect_uri is missing or not registered.") from error
        self._seal(await self._check(parameters, client.state, par_id="par"), "nobody")  # that it will fit
        now = self.deps.clock.now()
        pushed_id, secret = self.deps.ids.mint("par"), make_secret(self.deps.entropy)
        row = {
            "id": pushed_id,
            "merchant_id": client.state.owner_merchant_id,
            "client_id": client.state.client_id,
            "digest": self.deps.vault.digest(pushed_id, secret),
            "parameters": json.dumps(parameters),
            "created_at": now,
            "expires_at": now + PUSHED_LIFE,
        }
        await self.deps.committer.commit(Plan(client.state.owner_merchant_id).add(Insert(PUSHED_REQUESTS, row)))
        uri = _URN + make_handle(pushed_id, secret)
        return OAuthAnswer(201, {"request_uri": uri, "expires_in": int(PUSHED_LIFE.total_seconds())})

    async def decide(self, request: AuthorizationRequest, who: SignedIn, decision: Approved | Declined) -> str:
        """See `OAuthServer`."""
        now = self.deps.clock.now()
        await self._check_still_open(request, now)
        if who.merchant_id is None:
            raise GRANT_REFUSED.error({"reason": _NO_MERCHANT})
        plan = Plan(who.merchant_id)
        if request.par_id is not None:
            mark = {"id": request.par_id, "merchant_id": who.merchant_id, "until": now + _MARK_LIFE}
            plan.add(Insert(USED_ONCE, mark))
        if isinstance(decision, Approved):
            answer = await self._approve(plan, request, who, decision)
        else:
            plan.add(Audit("authorization.declined", who.person_id, request.client_id, who.merchant_id))
            answer = {"error": "access_denied", "error_description": "The merchant said no."}
        await self._commit(plan, request)
        return answer_address(request.redirect_uri, {**answer, "state": request.state}, issuer=self.issuer)

    async def _approve(
        self, plan: Plan, request: AuthorizationRequest, who: SignedIn, approved: Approved
    ) -> dict[str, str | None]:
        """Put grant and code into the plan; the parameters of the answer."""
        now = self.deps.clock.now()
        if not request.accepts(who, now):
            raise SIGN_IN_TOO_WEAK.error()
        if not approved.scopes <= request.scopes:  # a form that was edited
            raise GRANT_REFUSED.error({"reason": _MORE_THAN_ASKED})
        grant = await self.consent.grant_parts(request, who, approved)
        plan.add(*grant.parts)
        code_id, secret = self.deps.ids.mint("cod"), make_secret(self.deps.entropy)
        row = {
            "id": code_id,
            "merchant_id": who.merchant_id,
            "client_id": request.client_id,
            "digest": self.deps.vault.digest(code_id, secret),
            "family_id": self.deps.ids.mint("fam"),
            "grant_id": grant.grant_id,
            "person_id": who.person_id,
            "redirect_uri": request.redirect_uri,
            "code_challenge": request.code_challenge,
            "scopes": " ".join(sorted(approved.scopes)),
            "details": json.dumps(_plain(approved.details)),
            "resource": request.resource,
            "nonce": request.nonce,
            "dpop_jkt": request.dpop_jkt,
            "acr": who.acr,
            "auth_time": who.auth_time,
            "version": 1,
            "created_at": now,
            "expires_at": now + CODE_LIFE,
            "used_at": None,
        }
        facts = {"client": request.client_id, "grant": grant.grant_id, "scopes": row["scopes"]}
        plan.add(Insert(CODES, row), Audit("authorization.given", who.person_id, code_id, who.merchant_id, facts))
        return {"code": make_handle(code_id, secret)}

    async def _commit(self, plan: Plan, request: AuthorizationRequest) -> None:
        try:
            await self.deps.committer.commit(plan)
        except PlanRefused as refused:
            if isinstance(refused.refusal, Duplicate) and refused.refusal.table == USED_ONCE.name:
                raise AUTHORIZATION_STALE.error() from refused
            raise CHANGED_MEANWHILE.error({"id": request.grant_id or request.app_id}) from refused

    async def _check_still_open(self, request: AuthorizationRequest, now: datetime) -> None:
        """That nothing ended while the person thought: ten minutes, the client, its address, the pushed request."""
        client = await self._client(request.client_id)
        is_known = (
            client is not None
            and client.is_active
            and is_registered(request.redirect_uri, client.redirect_uris, any_port=client.profile == "public")
        )
        if not is_known or not request.is_open(now):
            raise AUTHORIZATION_STALE.error()

    async def _check(
        self, parameters: Mapping[str, str], client: ClientState, *, par_id: str | None
    ) -> AuthorizationRequest:
        """The request, if it is valid. Raises `OAuthRefusal`."""
        now = self.deps.clock.now()
        request = self.rules.check(parameters, client, now=now, par_id=par_id)
        if request.grant_id is not None:
            async with self.reads.connect() as connection:
                grant = await repository_oauth.read_grant_state(connection, request.grant_id, now=now)
            if grant is None or not grant.is_active or grant.app_id != client.app_id:
                raise OAuthRefusal("invalid_grant_id", "The grant_id is no active grant of this client.")
        return request

    def _seal(self, request: AuthorizationRequest, browser: str) -> str:
        try:
            return self.tokens.seal(request, browser)
        except ValueError as error:
            raise OAuthRefusal("invalid_request", "The request is too long.") from error

    async def _client(self, client_id: str | None) -> ClientState | None:
        if client_id is None:
            return None
        return await repository.read_client_state(
            self.deps.database.singles("auth"), client_id, now=self.deps.clock.now()
        )

    async def _pushed(self, parameters: Mapping[str, str]) -> tuple[str, dict[str, str]]:
        """The parameters that were pushed. Raises `identity.authorization_refused`: no address is proven yet."""
        uri = parameters["request_uri"]
        handle = read_handle(uri.removeprefix(_URN), "par") if uri.startswith(_URN) else None
        if "client_id" not in parameters:
            raise AUTHORIZATION_REFUSED.error({"reason": UNKNOWN_CLIENT})
        if handle is None:
            raise AUTHORIZATION_REFUSED.error({"reason": UNKNOWN_PUSHED})
        async with self.reads.connect() as connection:
            row = await repository_oauth.read_pushed(connection, handle[0])
        is_fit = (
            row is not None
            and self.deps.vault.matches(handle[0], handle[1], row.digest)
            and row.client_id == parameters["client_id"]
            and self.deps.clock.now() < row.expires_at
            and not row.is_used
        )
        if row is None or not is_fit:
            raise AUTHORIZATION_REFUSED.error({"reason": UNKNOWN_PUSHED})
        return handle[0], json.loads(row.parameters)


_NO_MERCHANT: Final = Text(en="you act for no merchant", zh="您当前未代表任何商户")
_MORE_THAN_ASKED: Final = Text(en="more was ticked than the app asked for", zh="所选权限超出应用请求的范围")


def _plain(details: Sequence[Any]) -> list[Any]:
    return list(details)
