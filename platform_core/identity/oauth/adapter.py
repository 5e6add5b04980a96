"""`OAuthServer` by Authlib: one read before, Authlib's synchronous part on values alone, one write after if need be.

Authlib does no input or output here, so it runs on the loop: it holds it for about 0.1 ms, most of which is the ES256
signature, and needs neither threads nor connections of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import structlog
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata

from platform_core.contracts.scopes import catalogue
from platform_core.identity import repository
from platform_core.identity.access import audience
from platform_core.identity.app_secrets import is_well_formed
from platform_core.identity.deps import IdentityDeps, single_reads
from platform_core.identity.errors import ACCESS_UNAVAILABLE
from platform_core.identity.models import APP_SECRETS
from platform_core.identity.oauth.clients import METHODS, Client, Credentials, match_secret, read_credentials
from platform_core.identity.oauth.protocol import OAuthAnswer, OAuthRefusal, OAuthRequest
from platform_core.identity.oauth.server import DESCRIPTIONS, AuthlibServer, TokenGenerator, TokenRequest
from platform_core.identity.revocation import DATABASE_AWAY
from platform_core.identity.signing_keys import SigningKeys
from platform_core.kernel.commit import Change, Plan, PlanRefused
from platform_core.kernel.errors import PlatformError

USE_RECORDED_EVERY: Final = timedelta(hours=1)
_CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="arsenal"'}
log = structlog.get_logger(__name__)


class AuthlibOAuthServer:
    """The authorization server of one process."""

    def __init__(self, deps: IdentityDeps, keys: SigningKeys, *, public_origin: str) -> None:
        """Raises ValueError for an origin that is neither https nor loopback: tokens would travel in the clear."""
        self._deps = deps
        self._keys = keys
        self._reads = single_reads(deps.database)
        self._origin = public_origin
        self._audience = audience(public_origin)
        generator = TokenGenerator(
            issuer=public_origin,
            audience=self._audience,
            keys=lambda: keys.signing,
            clock=deps.clock,
            ids=deps.ids,
        )
        self._server = AuthlibServer(generator)
        self._metadata = _metadata(public_origin)

    async def issue_token(self, request: OAuthRequest) -> OAuthAnswer:
        """See `OAuthServer`."""
        try:
            if request.form.get("resource", self._audience) != self._audience:
                raise OAuthRefusal("invalid_target", "The resource is not served here.")
            if "grant_type" not in request.form:
                raise OAuthRefusal("invalid_request", "The parameter grant_type is missing.")
            client = await self._authenticate(read_credentials(request.authorization, request.form))
        except OAuthRefusal as refusal:
            return _refuse(refusal, request)
        # The address is ours, not the Host header's (F10).
        token_request = TokenRequest(uri=self._origin + request.path, form=dict(request.form), client=client)
        answer: OAuthAnswer = self._server.create_token_response(token_request)
        if token_request.refused is None:
            await self._record_use(client)
        return answer

    def jwks(self) -> Mapping[str, Any]:
        """See `OAuthServer`."""
        return self._keys.jwks()

    def metadata(self) -> Mapping[str, Any]:
        """See `OAuthServer`."""
        return self._metadata

    async def _authenticate(self, shown: Credentials | None) -> Client:
        """The client that proved itself. Raises `OAuthRefusal` in one text for all that did not (F35)."""
        state = None
        if shown is not None and is_well_formed(shown.secret):
            try:
                async with self._reads.connect() as connection:
                    now = self._deps.clock.now()
                    state = await repository.read_client_state(connection, shown.client_id, now=now)
            except DATABASE_AWAY as error:
                raise ACCESS_UNAVAILABLE.error(retry_after_s=1) from error
            secret = match_secret(self._deps.vault, state, shown.secret)
            if state is not None and secret is not None and state.is_active:
                return Client(state, secret, shown.method)
        raise OAuthRefusal("invalid_client", DESCRIPTIONS["invalid_client"])

    async def _record_use(self, client: Client) -> None:
        """Note at most hourly that the secret is in use. Failing to note it does not fail the token."""
        now, last = self._deps.clock.now(), client.secret.last_used_at
        if last is not None and now - last < USE_RECORDED_EVERY:
            return
        plan = Plan(client.state.owner_merchant_id)
        plan.add(Change(APP_SECRETS, client.secret.id, {"last_used_at": now}))
        try:
            await self._deps.committer.commit(plan)
        except (PlatformError, PlanRefused) as error:
            log.warning("identity.secret_use_not_recorded", secret=client.secret.id, error=str(error))


def _refuse(refusal: OAuthRefusal, request: OAuthRequest) -> OAuthAnswer:
    """401 with a challenge for whoever used the header, else 400 (RFC 6749 section 5.2)."""
    if refusal.error == "invalid_client" and request.authorization is not None:
        refusal.status = 401
        return refusal.answer(_CHALLENGE)
    return refusal.answer()


def _metadata(origin: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "issuer": origin,
        "token_endpoint": f"{origin}/oauth/token",
        "jwks_uri": f"{origin}/oauth/jwks",
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": list(METHODS),
        "scopes_supported": [scope.name for scope in catalogue().values() if scope.is_for_apps],
        "ui_locales_supported": ["en", "zh"],
    }
    checked = AuthorizationServerMetadata(metadata)
    for name in metadata:
        getattr(checked, f"validate_{name}")()
    # Required by RFC 8414 section 2, and truly empty: there is no authorization endpoint yet.
    return {**metadata, "response_types_supported": []}
