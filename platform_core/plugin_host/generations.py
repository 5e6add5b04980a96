"""Which releases a process asks: read from rows, made into a generation, put in place of the one before.

Rows decide. A release is in a generation while it is published, and as long after that as an installation runs it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint
from types import SimpleNamespace
from typing import Any, Final, Protocol

import structlog
from sqlalchemy import text

from platform_core.contracts.hooks import PROJECT, hookimpl
from platform_core.identity.revocation import DATABASE_AWAY, RevocationFeed
from platform_core.kernel.database.pools import Database
from platform_core.kernel.errors import PlatformError
from platform_core.plugin_host.allow_list import AllowList
from platform_core.plugin_host.discovery import Plugin, load
from platform_core.plugin_host.host_deps import EVERYBODY, manifest_of
from platform_core.plugin_host.host_releases import NotFound, read_found
from platform_core.plugin_host.installed import Release
from platform_core.plugin_host.off_list import is_off_list, noted_off_list
from platform_core.plugin_host.problem_book import Noted
from platform_core.plugin_host.problems import Problem
from platform_core.plugin_host.registry import Registry, build, with_problems

log = structlog.get_logger(__name__)
RELEASES_MAX: Final = 1_000
HELD_S: Final = 0.5
RETRY_S: Final = 1.0
_MARK: Final = f"{PROJECT}_impl"
_IN_USE: Final = text(
    """
SELECT r.plugin_id, r.version, r.manifest, r.tree_hash, r.is_from_host FROM plugin_release AS r
JOIN plugin AS p ON p.id = r.plugin_id
WHERE r.state = 'published' OR r.state = 'draft' AND :is_development AND NOT EXISTS (
  SELECT FROM plugin_installation AS i WHERE i.release_id = r.id AND i.state = 'removed')
  OR r.published_at IS NOT NULL AND EXISTS (
  SELECT FROM plugin_installation AS i WHERE i.release_id = r.id AND i.state <> 'removed')
ORDER BY p.position, r.plugin_id, r.published_at LIMIT :limit
"""
)


class Outside(Protocol):
    """Makes releases that run elsewhere ready for a generation."""

    async def __call__(self, releases: Sequence[Release], /) -> tuple[tuple[Plugin, ...], tuple[Problem, ...]]: ...


@dataclass(frozen=True, slots=True)
class Sources:
    """What generations are made of."""

    database: Database
    allow_list: AllowList
    points: Sequence[EntryPoint]
    """Of the host's environment: where trusted releases are. All of them are imported: those that are admitted."""
    outside: Outside
    is_development: bool = False
    """Whether drafts are asked too: those that somebody develops."""
    unlisted: Sequence[Noted] = ()
    """Of what the environment holds and the list does not name: not imported, and somebody is told."""


class Generations:
    """Keeps a process on the newest generation."""

    def __init__(
        self,
        sources: Sources,
        feed: RevocationFeed,
        *,
        swap: Callable[[Registry], None],
        note: Callable[[Noted], None],
    ) -> None:
        """`swap` puts a generation in place, `note` opens a problem."""
        self._sources = sources
        self._swap = swap
        self._note = note
        self._told: set[str] = set()
        self._turn = asyncio.Lock()
        self._trusted: Mapping[tuple[str, str], tuple[str, object]] | None = None
        self._feed = feed
        self._newest: Registry | None = None
        self._following: asyncio.Task[None] | None = None
        self._is_wanted = False

    async def start(self) -> None:
        """Ask the newest generation, and follow what changes."""
        for noted in self._sources.unlisted:
            self._tell(noted)
        self._feed.listen("plugins", self._heard)  # first, so that no change falls between reading and listening
        await self.refresh()

    async def stop(self) -> None:
        """Give up what is being made."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)

    async def refresh(self) -> Registry:
        """Read, build, swap."""
        async with self._turn:
            return await self._made()

    async def include(self, keys: Iterable[tuple[str, str]]) -> None:
        """Ask a generation that has these plugins and versions: nothing to do where the newest one has them.

        For whoever hears that something is enabled before this process has heard that it was published.
        """
        wanted = tuple(keys)
        async with self._turn:
            if self._newest is None or any(self._newest.member(key) is None for key in wanted):
                await self._made()

    async def _made(self) -> Registry:
        releases = await self._read()
        own, problems = await asyncio.to_thread(self._own)
        plugins, faults = await self._plugins(releases, own)
        made = with_problems(build(plugins), (*problems, *faults))
        for problem in made.problems:
            log.warning("plugin.left_out", plugin=problem.plugin_id, kind=problem.kind, message=problem.message)
        self._newest = made
        self._swap(made)
        return made

    async def _heard(self, subject_id: str) -> None:
        """Begin at once. The feed waits for it for a moment, not longer: its own poll is over after a second, and a
        process that starts its first worker takes longer than that.
        """
        if subject_id != EVERYBODY:
            return
        self._is_wanted = True
        if self._following is None or self._following.done():
            self._following = asyncio.create_task(self._follow(), name="plugin_host.generations")
        await asyncio.wait({self._following}, timeout=HELD_S)

    async def _follow(self) -> None:
        """Until nothing newer was heard of while the last generation was made."""
        while self._is_wanted:
            self._is_wanted = False
            try:
                await self.refresh()
            except DATABASE_AWAY as error:
                log.warning("plugin.generation_put_off", error=type(error).__name__)
                self._is_wanted = True
                await asyncio.sleep(RETRY_S)

    async def _read(self) -> list[Release]:
        kind = {"is_development": self._sources.is_development}
        async with self._sources.database.read_all() as connection:
            rows = (await connection.execute(_IN_USE, {"limit": RELEASES_MAX, **kind})).all()
        releases = [self._release(row) for row in rows]
        for release in releases:
            if is_off_list(release, self._sources.allow_list):
                self._tell(noted_off_list(*release.key, tree_hash=release.tree_hash))
        return releases

    def _tell(self, noted: Noted) -> None:
        """Once in each process."""
        if noted.slot not in self._told:
            self._told.add(noted.slot)
            self._note(noted)

    def _release(self, row: Any) -> Release:  # Any: a row
        manifest = manifest_of(row.manifest)
        return Release(
            plugin_id=row.plugin_id,
            version=row.version,
            tier=self._sources.allow_list.tier_of(manifest, row.tree_hash),
            manifest=manifest,
            tree_hash=row.tree_hash,
        )

    async def _plugins(
        self, releases: Sequence[Release], own: Mapping[tuple[str, str], tuple[str, object]]
    ) -> tuple[list[Plugin], tuple[Problem, ...]]:
        """In the operator's order. What the environment holds and no row names hands over its objects all the same."""
        elsewhere, problems = await self._sources.outside([one for one in releases if one.tier != "trusted"])
        by_key = {plugin.release.key: plugin for plugin in elsewhere if plugin.release is not None}
        plugins: list[Plugin] = []
        for release in releases:
            if release.key in by_key:
                plugins.append(by_key[release.key])
            elif release.tier == "trusted" and release.key in own:
                plugins.append(Plugin(release.plugin_id, own[release.key][1], release))
        named = {plugin.id for plugin in plugins}
        plugins += [Plugin(key[0], made) for key, (_, made) in own.items() if key[0] not in named]
        return plugins, problems

    def _own(self) -> tuple[Mapping[tuple[str, str], tuple[str, object]], tuple[Problem, ...]]:
        """The environment's plugins, imported once; by plugin and version, with the entry point's name."""
        if self._trusted is not None:
            return self._trusted, ()
        keys: dict[str, tuple[str, str]] = {}
        for point in self._sources.points:
            try:
                about = read_found(point).manifest.plugin
            except (NotFound, PlatformError, ValueError) as error:
                log.warning("plugin.manifest_unreadable", entry_point=point.value, error=str(error))
                continue
            keys[point.name] = (about.id, about.version)
        loaded, problems = load([point for point in self._sources.points if point.name in keys])
        self._trusted = {keys[one.id]: (one.id, once(one.implementations)) for one in loaded}
        return self._trusted, problems


def once(implementations: object) -> object:
    """The same implementations, of which each `register_` function makes its object once for all generations.

    An object may hold connections; a second one would leave those of the first open.
    """
    kept: dict[str, object] = {}
    for name in dir(implementations):
        function = getattr(implementations, name, None)
        if callable(function) and isinstance(getattr(function, _MARK, None), dict):
            kept[name] = hookimpl(cache(function)) if name.startswith("register_") else function
    return SimpleNamespace(**kept)
