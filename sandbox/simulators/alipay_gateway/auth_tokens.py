"""Codes and tokens of the gateway's two authorisations: a merchant's (app_auth_code) and an end user's (auth_code).

All are opaque and kept as keyed hashes. A code is exchanged once, a refresh token is used once: the database holds one
token for each source. They live by the real clock, as all tokens of the platform.
Lifetimes: opendocs.alipay.com, "alipay.open.auth.token.app" and "alipay.system.oauth.token", read 2026-11-22.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal

from sqlalchemy import Row, select

from platform_core.identity.oauth.handles import make_handle, make_secret, read_handle
from platform_core.identity.vault import Vault
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Change, Committer, Duplicate, Insert, Plan, PlanRefused, VersionConflict
from platform_core.kernel.database.pools import Database
from platform_core.kernel.entropy import entropy as process_entropy
from platform_core.kernel.ids import Ids
from sandbox.simulators.alipay_gateway.models_tools import AUTH_CODES, AUTH_TOKENS

Kind = Literal["merchant", "customer"]
Reason = Literal["code", "refresh", "refresh_expired", "token", "token_expired"]
CODE_LIFE: Final = timedelta(hours=24)
LIVES: Final[dict[Kind, tuple[timedelta, timedelta]]] = {
    "merchant": (timedelta(seconds=31_536_000), timedelta(seconds=32_140_800)),
    "customer": (timedelta(days=15), timedelta(days=30)),
}
"""How long a token and its refresh token live."""
TRIES_MAX: Final = 5
_codes, _tokens = AUTH_CODES.table, AUTH_TOKENS.table


class TokenRefused(Exception):
    """A code or token that gives nothing; the reason says which error of the protocol it is."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Final = reason


@dataclass(frozen=True, slots=True)
class Issued:
    """A new token, in clear for this one answer."""

    id: str
    access: str
    refresh: str
    expires_in_s: int
    refresh_expires_in_s: int
    merchant_id: str | None
    grant_id: str | None
    user_id: str


class AuthTokens:
    """Mints and finds. Writes through the committer."""

    def __init__(
        self,
        *,
        database: Database,
        committer: Committer,
        vault: Vault,
        clock: Clock,
        ids: Ids,
        entropy: Callable[[int], bytes] = process_entropy,
    ) -> None:
        """`clock`: the real one."""
        self._database = database
        self._committer = committer
        self._vault = vault
        self._clock = clock
        self._ids = ids
        self._entropy = entropy

    def code(
        self,
        kind: Kind,
        *,
        app_id: str,
        merchant_id: str | None,
        user_id: str,
        scopes: Sequence[str],
        grant_id: str | None = None,
    ) -> tuple[str, Insert]:
        """A code, and the part that writes it, for the plan of the decision that it stands for."""
        code_id, secret, now = self._ids.mint("aac"), make_secret(self._entropy), self._clock.now()
        row = {
            "id": code_id,
            "merchant_id": merchant_id,
            "kind": kind,
            "app_id": app_id,
            "grant_id": grant_id,
            "user_id": user_id,
            "scopes": " ".join(sorted(scopes)),
            "digest": self._vault.digest(code_id, secret),
            "created_at": now,
            "expires_at": now + CODE_LIFE,
        }
        return make_handle(code_id, secret), Insert(AUTH_CODES, row)

    async def exchange(self, kind: Kind, *, app_id: str, code: str) -> Issued:
        """A token for a code, which is used up. What the app had of the same giver is replaced.

        Raises TokenRefused `code`: unknown, of another app, used, or older than 24 hours.
        """
        handle = read_handle(code, "aac")
        if handle is None:
            raise TokenRefused("code")
        async with self._database.read_auth() as connection:
            row = (await connection.execute(select(_codes).where(_codes.c.id == handle[0]))).one_or_none()
        is_good = (
            row is not None
            and self._vault.matches(handle[0], handle[1], row.digest)
            and (row.kind, row.app_id) == (kind, app_id)
            and self._clock.now() < row.expires_at
        )
        if row is None or not is_good:
            raise TokenRefused("code")
        return await self._issue(row, source=row.id, reason="code")

    async def refresh(self, kind: Kind, *, app_id: str, refresh_token: str) -> Issued:
        """A token for a refresh token, which is used up, and whose own token is replaced.

        Raises TokenRefused `refresh` or `refresh_expired`.
        """
        row = await self._by_handle(kind, app_id, refresh_token, digest="refresh")
        if row is None or row.state != "active":
            raise TokenRefused("refresh")
        if self._clock.now() >= row.refresh_expires_at:
            raise TokenRefused("refresh_expired")
        return await self._issue(row, source=row.id, reason="refresh")

    async def find(self, kind: Kind, *, app_id: str, token: str) -> Row[Any]:
        """The row behind a token that holds. Raises TokenRefused `token` or `token_expired`."""
        row = await self._by_handle(kind, app_id, token, digest="access")
        if row is None or row.state != "active":
            raise TokenRefused("token")
        if self._clock.now() >= row.expires_at:
            raise TokenRefused("token_expired")
        return row

    async def of_grant(self, grant_id: str) -> Row[Any] | None:
        """The latest token on a merchant's grant, whether it still holds or not."""
        query = select(_tokens).where(_tokens.c.grant_id == grant_id).order_by(_tokens.c.created_at.desc()).limit(1)
        async with self._database.read_auth() as connection:
            return (await connection.execute(query)).one_or_none()

    async def replacing(
        self, kind: Kind, *, app_id: str, merchant_id: str | None, user_id: str | None = None
    ) -> list[Change]:
        """Parts that end what an app holds of a merchant or an end user."""
        query = select(_tokens.c.id, _tokens.c.version).where(
            _tokens.c.kind == kind,
            _tokens.c.app_id == app_id,
            _tokens.c.merchant_id.is_not_distinct_from(merchant_id),
            _tokens.c.state == "active",
        )
        if user_id is not None:
            query = query.where(_tokens.c.user_id == user_id)
        async with self._database.read_auth() as connection:
            rows = (await connection.execute(query)).all()
        return [Change(AUTH_TOKENS, row.id, {"state": "replaced"}, expected=row.version) for row in rows]

    async def _by_handle(self, kind: Kind, app_id: str, text: str, *, digest: str) -> Row[Any] | None:
        handle = read_handle(text, "aat")
        if handle is None:
            return None
        async with self._database.read_auth() as connection:
            row = (await connection.execute(select(_tokens).where(_tokens.c.id == handle[0]))).one_or_none()
        if row is None or (row.kind, row.app_id) != (kind, app_id):
            return None
        known = row.access_digest if digest == "access" else row.refresh_digest
        return row if self._vault.matches(f"{handle[0]}/{digest}", handle[1], known) else None

    async def _issue(self, row: Row[Any], *, source: str, reason: Reason) -> Issued:
        """`row`: the code or the token before."""
        for _ in range(TRIES_MAX):
            issued, made = self._made(row, source)
            older = await self.replacing(row.kind, app_id=row.app_id, merchant_id=row.merchant_id, user_id=row.user_id)
            try:
                await self._committer.commit(Plan(row.merchant_id, [made, *older]))
            except PlanRefused as refused:
                if isinstance(refused.refusal, Duplicate):
                    raise TokenRefused(reason) from refused
                if isinstance(refused.refusal, VersionConflict):
                    continue
                raise
            return issued
        raise TimeoutError(f"{source}: tokens were replaced too often meanwhile")

    def _made(self, row: Row[Any], source: str) -> tuple[Issued, Insert]:
        token_id, now = self._ids.mint("aat"), self._clock.now()
        access, refresh = make_secret(self._entropy), make_secret(self._entropy)
        life, refresh_life = LIVES[row.kind]
        values = {
            "id": token_id,
            "merchant_id": row.merchant_id,
            "kind": row.kind,
            "source": source,
            "app_id": row.app_id,
            "grant_id": row.grant_id,
            "user_id": row.user_id,
            "scopes": row.scopes,
            "access_digest": self._vault.digest(f"{token_id}/access", access),
            "refresh_digest": self._vault.digest(f"{token_id}/refresh", refresh),
            "state": "active",
            "version": 1,
            "created_at": now,
            "expires_at": now + life,
            "refresh_expires_at": now + refresh_life,
        }
        issued = Issued(
            id=token_id,
            access=make_handle(token_id, access),
            refresh=make_handle(token_id, refresh),
            expires_in_s=int(life.total_seconds()),
            refresh_expires_in_s=int(refresh_life.total_seconds()),
            merchant_id=row.merchant_id,
            grant_id=row.grant_id,
            user_id=row.user_id,
        )
        return issued, Insert(AUTH_TOKENS, values)
