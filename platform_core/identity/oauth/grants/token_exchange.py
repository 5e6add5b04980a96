"""Token exchange (RFC 8693): an embedded app gets its token for whoever is signed in; a token is passed on, lessened.

What comes out lies within the asking client's own grant and within what the subject may, lives ten minutes and brings
no refresh token. `act` says who passed it on, two deep at most. Authlib's package is empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from authlib.oauth2.rfc6749 import BaseGrant, TokenEndpointMixin
from authlib.oauth2.rfc6749.errors import InvalidScopeError, UnauthorizedClientError

from platform_core.identity import repository
from platform_core.identity.access import Access, audience
from platform_core.identity.deps import IdentityDeps, single_reads
from platform_core.identity.models import ACCESS_GRANTS
from platform_core.identity.oauth.clients import METHODS
from platform_core.identity.oauth.protocol import OAuthRefusal
from platform_core.identity.oauth.server import TokenRequest
from platform_core.identity.oauth.tokens import STORES_IN_TOKEN_MAX, Acting
from platform_core.identity.principal import narrowed
from platform_core.identity.repository_oauth import GrantState, read_grant_state
from platform_core.identity.session_tokens import SessionTokenRefused, SessionTokens
from platform_core.kernel.commit import Plan, Unchanged
from platform_core.kernel.errors import PlatformError

GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a name
SESSION_TOKEN: Final = "urn:ietf:params:oauth:token-type:jwt"  # noqa: S105 - a name
ACTORS_MAX: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whom the new token is for, whatever kind of token said so. `once`: the part that uses that token up."""

    merchant_id: str
    scopes: frozenset[str]
    stores: frozenset[str] | None
    actors: tuple[str, ...]
    family_id: str | None = None
    acr: str | None = None
    auth_time: int | None = None
    once: object | None = None


class _Exchange(BaseGrant, TokenEndpointMixin):  # type: ignore[misc]  # Authlib ships no types
    GRANT_TYPE = GRANT_TYPE
    TOKEN_ENDPOINT_AUTH_METHODS = list(METHODS)  # noqa: RUF012 - Authlib's name and kind

    def validate_token_request(self) -> None:
        """The client, and that it asks for no more than lies within grant and subject."""
        client = self.authenticate_token_endpoint_client()
        if not client.check_grant_type(GRANT_TYPE):
            raise UnauthorizedClientError()
        self.request.client = client
        self.scope = client.get_allowed_scope(self.request.form.get("scope"))
        if self.scope is None:
            raise InvalidScopeError()

    def create_token_response(self) -> Any:
        """The new token; its plan uses the session token up, if the grant is still as it was read."""
        request: TokenRequest = self.request
        token = self.generate_token(user=request.acting, scope=self.scope, include_refresh_token=False)
        token["issued_token_type"] = ACCESS_TOKEN
        request.plan = request.prepared
        return 200, token, self.TOKEN_RESPONSE_HEADER


class TokenExchange:
    """The grant type."""

    name: Final = GRANT_TYPE
    authlib = _Exchange
    extensions: Final = ()

    def __init__(self, deps: IdentityDeps, access: Access, sessions: SessionTokens, *, public_origin: str) -> None:
        self._access = access
        self._sessions = sessions
        self._clock = deps.clock
        self._audience = audience(public_origin)
        self._reads = single_reads(deps.database)

    async def prepare(self, request: TokenRequest) -> None:
        """See `GrantType`. Raises `OAuthRefusal` for whatever stands in the way."""
        client = request.shown_client
        if not client.check_grant_type(GRANT_TYPE):
            return  # Authlib says so
        self._check_form(request)
        subject = await self._subject(request)
        async with self._reads.connect() as connection:
            row = await repository.read_active_grant(connection, client.state.app_id, merchant_id=subject.merchant_id)
            grant = await read_grant_state(connection, row.id, now=request.now) if row is not None else None
        if grant is None or not grant.is_active or grant.merchant_mode != client.state.mode:
            raise OAuthRefusal("unauthorized_client", "No grant of the subject's merchant stands behind the client.")
        actors = (client.state.client_id, *subject.actors)
        if len(actors) > ACTORS_MAX:
            raise OAuthRefusal("invalid_request", "The token was passed on too often.")
        client.allowed = grant.scopes & subject.scopes
        plan = Plan(grant.merchant_id).add(Unchanged(ACCESS_GRANTS, grant.grant_id, grant.version))
        request.prepared = plan.add(subject.once) if subject.once is not None else plan
        request.acting = _acting(grant, subject, client_id=client.state.client_id, actors=actors)
        request.acting.jkt = request.proof_jkt

    def _check_form(self, request: TokenRequest) -> None:
        form = request.form
        if "actor_token" in form or "actor_token_type" in form:
            raise OAuthRefusal("invalid_request", "There is no actor token: the client is the actor.")
        if "subject_token" not in form or "subject_token_type" not in form:
            raise OAuthRefusal("invalid_request", "The subject token or its type is missing.")
        if form.get("requested_token_type", ACCESS_TOKEN) != ACCESS_TOKEN:
            raise OAuthRefusal("invalid_request", "Only access tokens are issued.")
        if form.get("audience", self._audience) != self._audience:
            raise OAuthRefusal("invalid_target", "The audience is not served here.")
        if request.shown_client.state.profile == "public" and request.proof_jkt is None:
            raise OAuthRefusal("invalid_dpop_proof", "A public client must bind the token to a key.")

    async def _subject(self, request: TokenRequest) -> Subject:
        kind, token = request.form["subject_token_type"], request.form["subject_token"]
        if kind == SESSION_TOKEN:
            return await self._of_session(token, request)
        if kind == ACCESS_TOKEN:
            return await self._of_access_token(token, request)
        raise OAuthRefusal("invalid_request", "The type of the subject token is not known.")

    async def _of_session(self, token: str, request: TokenRequest) -> Subject:
        try:
            found = await self._sessions.read(token, client_id=request.shown_client.state.client_id)
        except SessionTokenRefused as refused:
            raise _unfit() from refused
        return Subject(
            merchant_id=found.merchant_id,
            scopes=found.scopes,
            stores=found.stores,
            actors=(),
            acr=found.acr,
            auth_time=found.auth_time,
            once=found.claim(),
        )

    async def _of_access_token(self, token: str, request: TokenRequest) -> Subject:
        try:
            who, _ = await self._access.inspect(token)
        except PlatformError as error:
            if error.status >= 500:
                raise
            raise _unfit() from error
        # A bound token is taken from whoever holds its key alone, here as at the API.
        if who.merchant_id is None or (who.jkt is not None and who.jkt != request.proof_jkt):
            raise _unfit()
        return Subject(
            merchant_id=who.merchant_id,
            scopes=who.scopes,
            stores=who.stores,
            actors=who.actors or (who.client_id,),
            family_id=who.family_id,  # what ends the subject's family ends what was made of it
            acr=who.acr,
            auth_time=who.auth_time,
        )


def _acting(grant: GrantState, subject: Subject, *, client_id: str, actors: tuple[str, ...]) -> Acting:
    acting = Acting.within(
        grant,
        client_id=client_id,
        family_id=subject.family_id,
        acr=subject.acr,
        auth_time=subject.auth_time,
        actors=_nested(actors),
    )
    acting.stores = narrowed(grant.stores, subject.stores)
    if acting.stores != grant.stores and acting.stores is not None and len(acting.stores) > STORES_IN_TOKEN_MAX:
        raise OAuthRefusal("invalid_request", "The subject's stores are too many for one token.")
    return acting


def _nested(actors: tuple[str, ...]) -> dict[str, Any]:
    """`act` of RFC 8693 section 4.1: the latest outside."""
    first, *rest = actors
    return {"sub": first, "act": _nested(tuple(rest))} if rest else {"sub": first}


def _unfit() -> OAuthRefusal:
    return OAuthRefusal("invalid_request", "The subject token is not valid for this exchange.")
