"""A worker stands ready before the first order needs it: a cold start takes longer than a check may."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog
from sqlalchemy import text

from platform_core.bootstrap.confined import Confined
from platform_core.identity.revocation import DATABASE_AWAY, RevocationFeed
from platform_core.kernel.database.pools import Database
from platform_core.plugin_host.host_deps import EVERYBODY
from platform_core.plugin_host.installed import Enablement, EnablementUnreadable

log = structlog.get_logger(__name__)
WARMED_MAX: Final = 32
_IN_USE: Final = text(
    "SELECT DISTINCT i.merchant_id FROM plugin_installation AS i WHERE i.id IN ("
    "SELECT min(id) FROM plugin_installation WHERE state = 'enabled' GROUP BY release_id LIMIT :limit)"
)


class Warmth:
    """Starts a spare worker of what is enabled: at the start, and whenever a merchant changes what it uses."""

    def __init__(self, confined: Confined, enablement: Enablement, database: Database, feed: RevocationFeed) -> None:
        self._confined = confined
        self._enablement = enablement
        self._database = database
        self._feed = feed
        self._under_way: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """After the first generation; workers start in the background."""
        self._feed.listen("plugins", self._heard)
        self._begin(EVERYBODY)

    async def stop(self) -> None:
        """Give up what is starting."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def settled(self) -> None:
        """Wait for what is starting: for those who enabled something and want to see it run."""
        while self._under_way:
            await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _heard(self, subject_id: str) -> None:
        self._begin(subject_id)

    def _begin(self, subject_id: str) -> None:
        task = asyncio.create_task(self._warm(subject_id), name="plugin warmth")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _warm(self, subject_id: str) -> None:
        try:
            for merchant_id in await self._merchants(subject_id):
                for enabled in (await self._enablement.of(merchant_id)).plugins:
                    if enabled.release.tier == "confined":
                        await self._confined.warm(*enabled.release.key)
        except (EnablementUnreadable, *DATABASE_AWAY) as error:
            log.info("plugin.not_warmed", error=type(error).__name__)

    async def _merchants(self, subject_id: str) -> list[str]:
        if subject_id != EVERYBODY:
            return [subject_id]
        async with self._database.read_all() as connection:
            return list((await connection.execute(_IN_USE, {"limit": WARMED_MAX})).scalars())
