"""Who acts when a plugin uses an operation: the plugin, under the grant that the merchant gave its app."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from platform_core.contracts.versions import LIVING
from platform_core.identity import repository_grants
from platform_core.identity.directory import MerchantDirectory
from platform_core.identity.feed_cache import FeedCache
from platform_core.identity.models import GrantKind, Mode
from platform_core.identity.principal import Principal
from platform_core.identity.rar import Granted, granted_of
from platform_core.identity.revocation import RevocationFeed
from platform_core.kernel.clock import Clock
from platform_core.kernel.database.pools import Database
from platform_core.plugin_host.calls import CallFacts
from platform_core.plugin_host.gate_errors import GRANT_NEEDED

_PREFIX: Final = "plugin:"


@dataclass(frozen=True, slots=True)
class _Grant:
    app_id: str
    merchant_id: str
    kind: GrantKind
    is_active: bool
    scopes: frozenset[str]
    stores: frozenset[str] | None
    details: Granted
    version: int
    expires_at: datetime | None


def client_id_of(plugin_id: str) -> str:
    """Under which name a plugin's writes are idempotent and audited."""
    return f"{_PREFIX}{plugin_id}"


class Principals:
    """One per process. A revoked or narrowed grant is seen within a second; what is metered is exact at once."""

    def __init__(self, *, database: Database, directory: MerchantDirectory, feed: RevocationFeed, clock: Clock) -> None:
        """`clock` is the real one, by which grants end."""
        self._database = database
        self._directory = directory
        self._clock = clock
        self._grants = FeedCache(self._read, kind="grant", feed=feed, clock=clock)

    async def of(self, facts: CallFacts, *, scopes: frozenset[str]) -> Principal:
        """The plugin as a caller. Raises 403 `plugin.grant_needed` when there is no living grant.

        `scopes`: those of the call; what the grant no longer covers is left out.
        """
        grant_id = facts.enabled.grant_id
        grant = None if grant_id is None else await self._grants.get(grant_id)
        if grant is None or not self._lives(grant) or grant.merchant_id != facts.merchant_id:
            raise GRANT_NEEDED.error()
        merchant = await self._directory.get(facts.merchant_id)
        mode: Mode = merchant.mode
        return Principal(
            kind="app",
            client_id=client_id_of(facts.enabled.release.plugin_id),
            app_id=grant.app_id,
            merchant_id=facts.merchant_id,
            standing=merchant.standing,
            mode=mode,
            scopes=scopes & grant.scopes,
            stores=grant.stores,
            grant_id=grant_id,
            grant_version=grant.version,
            grant_kind=grant.kind,
            details=grant.details,
            token_id=facts.call_id,
            key_id="",
            expires_at=int(self._clock.now().timestamp()) + 60,
            api_version=LIVING[-1].date,
        )

    def _lives(self, grant: _Grant) -> bool:
        return grant.is_active and (grant.expires_at is None or grant.expires_at > self._clock.now())

    async def _read(self, grant_id: str) -> _Grant | None:
        async with self._database.read_auth() as connection:
            row = await repository_grants.read_grant_by_id(connection, grant_id)
        if row is None:
            return None
        return _Grant(
            app_id=row.app_id,
            merchant_id=row.merchant_id,
            kind=row.kind,
            is_active=row.state == "active",
            scopes=frozenset(row.scopes.split()),
            stores=frozenset(row.stores.split()) if row.stores is not None else None,
            details=granted_of(row.details),
            version=row.version,
            expires_at=row.expires_at,
        )
