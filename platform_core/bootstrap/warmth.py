"""A plugin stands ready before the first order needs it: a cold start takes longer than a check may.

What a merchant has just begun to use is loaded and warmed between the reading of its rows and the first order that is
decided by them. Such an order waits a little; without that it would be decided by the plugin's failure policy.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine, Sequence
from typing import Final

import structlog
from sqlalchemy import text

from platform_core.bootstrap.confined import Confined
from platform_core.identity.revocation import DATABASE_AWAY, RevocationFeed
from platform_core.kernel.database.pools import Database
from platform_core.plugin_host.generations import Generations
from platform_core.plugin_host.host_deps import EVERYBODY
from platform_core.plugin_host.installed import Enablement, EnablementUnreadable, MerchantPlugins, Release

log = structlog.get_logger(__name__)
WARMED_MAX: Final = 32
PREPARED_S_MAX: Final = 2.0
"""The first worker of a process takes one second on a busy machine, every later one some milliseconds."""
MERCHANTS_MAX: Final = 10_000
_IN_USE: Final = text(
    "SELECT DISTINCT i.merchant_id FROM plugin_installation AS i WHERE i.id IN ("
    "SELECT min(id) FROM plugin_installation WHERE state = 'enabled' GROUP BY release_id LIMIT :limit)"
)
_Key = tuple[str, str]


class Warmth:
    """Starts a spare worker of what is enabled: at the start, and whenever a merchant changes what it uses."""

    def __init__(
        self,
        confined: Confined,
        enablement: Enablement,
        generations: Generations | None,
        *,
        database: Database,
        feed: RevocationFeed,
    ) -> None:
        """`generations` None: the plugins of this process are what they are."""
        self._confined = confined
        self._enablement = enablement
        self._generations = generations
        self._database = database
        self._feed = feed
        self._prepared: OrderedDict[str, frozenset[_Key]] = OrderedDict()
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

    async def prepare(self, plugins: MerchantPlugins) -> None:
        """Make ready what this merchant did not use before; at most `PREPARED_S_MAX` long, the rest goes on behind.

        Never raises. What cannot be made ready answers by its failure policy, and is not waited for a second time.
        """
        keys = frozenset(enabled.release.key for enabled in plugins.plugins)
        added = keys - self._prepared.get(plugins.merchant_id, frozenset())
        self._prepared[plugins.merchant_id] = keys
        self._prepared.move_to_end(plugins.merchant_id)
        if len(self._prepared) > MERCHANTS_MAX:
            self._prepared.popitem(last=False)
        new = [enabled.release for enabled in plugins.plugins if enabled.release.key in added]
        if new:
            task = self._task(self._made_ready(new, plugins.merchant_id))
            await asyncio.wait({task}, timeout=PREPARED_S_MAX)

    async def _made_ready(self, releases: Sequence[Release], merchant_id: str) -> None:
        try:
            if self._generations is not None:
                await self._generations.include(release.key for release in releases)
        except DATABASE_AWAY as error:
            log.info("plugin.not_loaded", error=type(error).__name__)
        confined = [release.key for release in releases if release.tier == "confined"]
        await asyncio.gather(*(self._confined.warm(*key, merchant_id=merchant_id) for key in confined))

    async def _heard(self, subject_id: str) -> None:
        self._begin(subject_id)

    def _begin(self, subject_id: str) -> None:
        self._task(self._warm(subject_id))

    def _task(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name="plugin warmth")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    async def _warm(self, subject_id: str) -> None:
        """Read what is enabled, which prepares it; and have a spare of it."""
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
