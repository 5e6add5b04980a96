"""refresh_token (RFC 6749 section 6, RFC 9700 section 4.14).

Confidential clients keep theirs: it is worthless without their own proof. A public client's is used once; its successor
is derived from it, so that a retry within the grace gets the same one and nothing readable is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from authlib.oauth2.rfc6749 import InvalidGrantError
from authlib.oauth2.rfc6749.grants import RefreshTokenGrant
from sqlalchemy.ext.asyncio import AsyncEngine

from platform_core.identity.deps import IdentityDeps
from platform_core.identity.models import ACCESS_GRANTS
from platform_core.identity.models_oauth import FAMILIES, REFRESH_TOKENS
from platform_core.identity.oauth.clients import METHODS, Client
from platform_core.identity.oauth.families import LIFE_OF, REUSED, Families
from platform_core.identity.oauth.handles import make_handle, read_handle, successor_secret
from platform_core.identity.oauth.server import TokenRequest
from platform_core.identity.oauth.tokens import Acting
from platform_core.identity.principal import narrowed
from platform_core.identity.repository_oauth import RefreshState, read_refresh
from platform_core.kernel.commit import Change, Plan, Unchanged

GRACE: Final = timedelta(seconds=30)
GRACE_MAX: Final = timedelta(seconds=60)
EXTENDED_EVERY: Final = timedelta(hours=1)
"""How often the life of a token that is kept is written: it ends at most this much too early."""


@dataclass(frozen=True, slots=True)
class _Token:
    """A refresh token as Authlib sees it."""

    state: RefreshState
    client: Client

    def check_client(self, client: Client) -> bool:
        """Whether it is this client's."""
        return client is self.client

    def get_scope(self) -> str:
        """What is left of what was consented to; a lesser wish leaves the family's scopes alone (F27)."""
        return " ".join(sorted(self.client.allowed))


class _Refresh(RefreshTokenGrant):  # type: ignore[misc]  # Authlib ships no types
    TOKEN_ENDPOINT_AUTH_METHODS = list(METHODS)  # noqa: RUF012 - Authlib's name and kind
    INCLUDE_NEW_REFRESH_TOKEN = True  # if `acting` has one
    families: Families  # these two are set by the subclass that `Refresh` makes
    grace: timedelta

    def authenticate_refresh_token(self, refresh_token: str) -> _Token | None:
        """The token, if it may still be used by this client with this key."""
        request: TokenRequest = self.request
        state: RefreshState | None = request.prepared
        client = request.shown_client
        if state is None or state.family.client_id != client.get_client_id():
            return None
        family, token, now = state.family, state.token, request.now
        if family.state != "active" or min(family.expires_at, token.expires_at) <= now:
            return None
        if family.dpop_jkt is not None and family.dpop_jkt != request.proof_jkt:
            return None
        if not state.grant.is_active or state.grant.merchant_mode != client.state.mode:
            return None
        if token.used_at is not None and not self._is_retry(state):
            request.plan_on_error = self.families.end(
                family.id,
                merchant_id=family.merchant_id,
                client_id=family.client_id,
                version=family.version,
                why=REUSED,
            )
            return None
        return _Token(state, client)

    def _is_retry(self, state: RefreshState) -> bool:
        """Whether a used token may be shown again: soon after, and while nobody went on with its successor."""
        within = self.request.now - state.token.used_at <= self.grace
        return bool(self.grace and within and state.is_successor_unused)

    def authenticate_user(self, refresh_token: _Token) -> Acting | None:
        """Whom the token acts for (F08)."""
        acting: Acting | None = self.request.acting
        return acting

    def create_token_response(self) -> Any:
        """Authlib's answer, and the plan for the profile."""
        request: TokenRequest = self.request
        state: RefreshState = request.prepared
        if not request.shown_client.allowed:
            raise InvalidGrantError()  # the merchant took all of it back
        plan = Plan(state.family.merchant_id).add(
            Unchanged(ACCESS_GRANTS, state.grant.grant_id, state.grant.version),
            Unchanged(FAMILIES, state.family.id, state.family.version),
        )
        if request.shown_client.state.profile == "public":
            self._rotate(plan, state)
        else:
            self._extend(plan, state)
        answer = super().create_token_response()
        request.plan = plan
        return answer

    def revoke_old_credential(self, refresh_token: _Token) -> None:
        """The plan does (F07)."""

    def _rotate(self, plan: Plan, state: RefreshState) -> None:
        """Use the token up and make its successor; on a retry hand out the one that was made."""
        request: TokenRequest = self.request
        assert request.acting is not None, "prepared"
        token, family = state.token, state.family
        secret = successor_secret(self.families.deps.vault, request.form["refresh_token"])
        if token.used_at is not None:
            plan.add(Unchanged(REFRESH_TOKENS, token.successor_id, 1))  # still unused
            request.acting.refresh_token = make_handle(token.successor_id, secret)
            return
        successor_id = self.families.deps.ids.mint("rft")
        unused = LIFE_OF[request.shown_client.state.profile].unused
        plan.add(
            Change(
                REFRESH_TOKENS,
                token.id,
                {"used_at": request.now, "successor_id": successor_id},
                expected=token.version,
            ),
            self.families.refresh_row(
                successor_id,
                secret,
                family_id=family.id,
                merchant_id=family.merchant_id,
                expires_at=min(request.now + unused, family.expires_at),
                now=request.now,
            ),
        )
        request.acting.refresh_token = make_handle(successor_id, secret)

    def _extend(self, plan: Plan, state: RefreshState) -> None:
        """Count the unused days anew."""
        request: TokenRequest = self.request
        unused = LIFE_OF[request.shown_client.state.profile].unused
        until = min(request.now + unused, state.family.expires_at)
        if until - state.token.expires_at >= EXTENDED_EVERY:
            plan.add(Change(REFRESH_TOKENS, state.token.id, {"expires_at": until}))


class Refresh:
    """The grant type."""

    name: Final = "refresh_token"
    extensions: Final = ()

    def __init__(self, deps: IdentityDeps, reads: AsyncEngine, *, grace: timedelta = GRACE) -> None:
        """`grace`: how long a public client may repeat a use; 0 to 60 s, else ValueError."""
        if not timedelta(0) <= grace <= GRACE_MAX:
            raise ValueError("the grace of refresh tokens is 0 to 60 seconds")
        self._deps = deps
        self._reads = reads
        self.authlib = type("Refresh", (_Refresh,), {"families": Families(deps), "grace": grace})

    async def prepare(self, request: TokenRequest) -> None:
        """See `GrantType`."""
        handle = read_handle(request.form.get("refresh_token", ""), "rft")
        if handle is None:
            return
        async with self._reads.connect() as connection:
            state = await read_refresh(connection, handle[0], now=request.now)
        if state is None or not self._deps.vault.matches(handle[0], handle[1], state.token.digest):
            return
        family, client = state.family, request.shown_client
        request.prepared = state
        client.allowed = frozenset(family.scopes.split()) & state.grant.scopes
        request.acting = Acting.consented(
            family, state.grant, family_id=family.id, scopes=client.allowed, jkt=request.proof_jkt
        )
        stores = family.stores.split() if family.stores is not None else None
        request.acting.stores = narrowed(state.grant.stores, stores)
