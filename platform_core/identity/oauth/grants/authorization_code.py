"""authorization_code at the token endpoint (RFC 6749 section 4.1.3, RFC 7636): once, and bound to all it was given for.

The authorization endpoint is our own (`oauth/authorize.py`): of Authlib's, frictions F05, F13, F14, F24, F26 and F28
would leave nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from authlib.oauth2.rfc6749 import InvalidGrantError, OAuth2Error
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant
from authlib.oauth2.rfc7636 import CodeChallenge
from sqlalchemy.ext.asyncio import AsyncEngine

from platform_core.identity.deps import IdentityDeps
from platform_core.identity.models import ACCESS_GRANTS
from platform_core.identity.models_oauth import CODES
from platform_core.identity.oauth.clients import METHODS
from platform_core.identity.oauth.families import REUSED, Families
from platform_core.identity.oauth.handles import read_handle
from platform_core.identity.oauth.server import TokenRequest
from platform_core.identity.oauth.tokens import Acting
from platform_core.identity.repository_oauth import CodeState, read_code
from platform_core.kernel.commit import Change, Plan, Unchanged

_VERIFIER: Final = re.compile(r"[A-Za-z0-9\-._~]{43,128}", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Code:
    """A code as Authlib sees it."""

    state: CodeState
    scope: str

    def get_redirect_uri(self) -> str:
        """The address that the code was sent to."""
        uri: str = self.state.code.redirect_uri
        return uri

    def get_scope(self) -> str:
        """What is left of what was consented to."""
        return self.scope


class _Exchange(AuthorizationCodeGrant):  # type: ignore[misc]  # Authlib ships no types
    TOKEN_ENDPOINT_AUTH_METHODS = list(METHODS)  # noqa: RUF012 - Authlib's name and kind
    families: Families  # set by the subclass that `AuthorizationCode` makes

    def query_authorization_code(self, code: str, client: Any) -> _Code | None:
        """The code, if it is this client's and unused and its grant still stands.

        A code that was exchanged before ends the tokens that came of it (RFC 6749 section 4.1.2), not the grant.
        """
        request: TokenRequest = self.request
        state: CodeState | None = request.prepared
        if state is None or state.code.client_id != client.get_client_id():
            return None
        row = state.code
        if row.used_at is not None:
            if state.is_family_active:
                assert state.family_version is not None, "it is active"
                request.plan_on_error = self.families.end(
                    row.family_id,
                    merchant_id=row.merchant_id,
                    client_id=row.client_id,
                    version=state.family_version,
                    why=REUSED,
                )
            return None
        if row.expires_at <= request.now or not state.grant.is_active or state.grant.merchant_mode != client.state.mode:
            return None
        if row.dpop_jkt is not None and row.dpop_jkt != request.proof_jkt:
            return None
        return _Code(state, " ".join(sorted(client.allowed)))

    def authenticate_user(self, code: _Code) -> Acting | None:
        """Whom the token acts for."""
        acting: Acting | None = self.request.acting
        return acting

    def create_token_response(self) -> Any:
        """Authlib's answer. The plan uses the code up and makes the family, if the grant is still as it was read."""
        request: TokenRequest = self.request
        state: CodeState = request.prepared
        code, client = state.code, request.shown_client
        profile = client.state.profile
        family = {
            "id": code.family_id,
            "merchant_id": code.merchant_id,
            "client_id": code.client_id,
            "grant_id": code.grant_id,
            "person_id": code.person_id,
            "scopes": code.scopes,
            "details": code.details,
            "resource": code.resource,
            "stores": None,
            "nonce": code.nonce,
            "dpop_jkt": request.proof_jkt if profile == "public" else None,
            "acr": code.acr,
            "auth_time": code.auth_time,
        }
        plan = Plan(code.merchant_id).add(
            Unchanged(ACCESS_GRANTS, code.grant_id, state.grant.version),
            Change(CODES, code.id, {"used_at": request.now}, expected=code.version),
            self.families.make(family, profile=profile, now=request.now),
        )
        if client.check_grant_type("refresh_token"):
            assert request.acting is not None, "prepared"
            request.acting.refresh_token, row = self.families.make_refresh(family, profile=profile, now=request.now)
            plan.add(row)
        answer = super().create_token_response()
        request.plan = plan
        return answer

    def delete_authorization_code(self, code: _Code) -> None:
        """The plan does (F07)."""


class _S256(CodeChallenge):  # type: ignore[misc]  # Authlib ships no types
    """PKCE for every client, S256 alone (F13). A code whose verifier failed is burnt (F29)."""

    SUPPORTED_CODE_CHALLENGE_METHOD = ["S256"]  # noqa: RUF012 - Authlib's name and kind

    def validate_code_verifier(self, grant: _Exchange, result: object) -> None:
        """Refuse, and burn the code, unless the verifier is the one behind the challenge."""
        request: TokenRequest = grant.request
        code = request.prepared.code
        try:
            if _VERIFIER.fullmatch(request.form.get("code_verifier", "")) is None:
                raise InvalidGrantError()
            super().validate_code_verifier(grant, result)
        except OAuth2Error as error:
            request.plan_on_error = Plan(code.merchant_id)
            request.plan_on_error.add(Change(CODES, code.id, {"used_at": request.now}, expected=code.version))
            raise InvalidGrantError() from error

    def get_authorization_code_challenge(self, code: _Code) -> str:
        """Every code has one."""
        challenge: str = code.state.code.code_challenge
        return challenge

    def get_authorization_code_challenge_method(self, code: _Code) -> str:
        """Never `plain`."""
        return "S256"


class _IdToken:
    """An id_token for whoever asked for `openid`."""

    def __call__(self, grant: Any) -> None:
        """Authlib calls this for every request."""
        grant.register_hook("after_create_token_response", self.add)

    def add(self, grant: Any, response: tuple[int, dict[str, Any], object]) -> None:
        """Put it into the answer."""
        token = response[1]
        if "openid" in token.get("scope", "").split():
            generator = grant.server.generator
            request: TokenRequest = grant.request
            token["id_token"] = generator.make_id_token(request.shown_client, request.acting, token["access_token"])


class AuthorizationCode:
    """The grant type."""

    name: Final = "authorization_code"
    extensions: Final = (_S256(), _IdToken())

    def __init__(self, deps: IdentityDeps, reads: AsyncEngine) -> None:
        self._deps = deps
        self._reads = reads
        self.authlib = type("Exchange", (_Exchange,), {"families": Families(deps)})

    async def prepare(self, request: TokenRequest) -> None:
        """See `GrantType`."""
        handle = read_handle(request.form.get("code", ""), "cod")
        if handle is None:
            return
        async with self._reads.connect() as connection:
            state = await read_code(connection, handle[0], now=request.now)
        if state is None or not self._deps.vault.matches(handle[0], handle[1], state.code.digest):
            return
        code, client = state.code, request.shown_client
        request.prepared = state
        client.allowed = frozenset(code.scopes.split()) & state.grant.scopes
        request.acting = Acting.consented(
            code, state.grant, family_id=code.family_id, scopes=client.allowed, jkt=request.proof_jkt
        )
