"""Plugins of the host's own environment: found by their entry points without import, entered as releases."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Final

import structlog

from platform_core.contracts.hooks import ENTRY_POINT_GROUP
from platform_core.contracts.manifest import Manifest
from platform_core.kernel.commit import Audit, Change, Plan, PlanRefused
from platform_core.kernel.commit.audit import PLATFORM
from platform_core.kernel.errors import PlatformError
from platform_core.plugin_host import repository
from platform_core.plugin_host.allow_list import AllowList, tree_hash_of
from platform_core.plugin_host.errors import RELEASE_EXISTS
from platform_core.plugin_host.host_deps import EVERYBODY, HostDeps, Unpacked, encoded
from platform_core.plugin_host.models import RELEASES
from platform_core.plugin_host.off_list import noted_off_list
from platform_core.plugin_host.permissions import record
from platform_core.plugin_host.problem_book import Noted
from platform_core.plugin_host.releases import Releases, Submission, read_manifest
from platform_core.plugin_host.repository import Record

log = structlog.get_logger(__name__)

DISTRIBUTION: Final = "arsenal"
MANIFEST_FILE: Final = "plugin.toml"


class NotFound(Exception):
    """An entry point whose package or manifest cannot be found."""


@dataclass(frozen=True, slots=True)
class Found:
    """A plugin of the environment as its files say."""

    manifest: Manifest
    unpacked: Unpacked
    folder: Path


@dataclass(frozen=True, slots=True)
class HostReleases:
    """Enters what the environment holds. Nobody reviews it here: whoever installed it has done so."""

    deps: HostDeps
    releases: Releases

    async def register(self, points: Sequence[EntryPoint]) -> list[str]:
        """Enter each plugin as a published release; done again it changes nothing. The ids, in the order given.

        One that cannot be read is logged and left out.
        """
        ids: list[str] = []
        for point in points:
            try:
                found = read_found(point)
                await self._enter(found)
                ids.append(found.manifest.plugin.id)
            except (NotFound, PlatformError, ValueError) as error:
                log.warning("plugins.host_release_unreadable", entry_point=point.value, error=str(error))
        return ids

    async def _enter(self, found: Found) -> None:
        about = found.manifest.plugin
        async with self.deps.database.read_auth() as connection:
            row = await repository.read_version(connection, about.id, about.version)
        if row is None:
            await self._submit(found)
        elif row.is_from_host and row.tree_hash != found.unpacked.tree_hash:
            await self._refresh(row, found)

    async def _submit(self, found: Found) -> None:
        about = found.manifest.plugin
        await self.deps.parties.ensure_isv(about.publisher, name=about.publisher)
        wanted = Submission(unpacked=found.unpacked, isv_id=about.publisher, by=PLATFORM, is_from_host=True)
        try:
            made = await self.releases.submit(wanted)
            if made.state == "in_review":
                await self.releases.approve_of_host(made.id)
            await self.releases.publish(made.id, by=PLATFORM, isv_id=None)
        except PlatformError as error:
            if error.declared is not RELEASE_EXISTS:  # another process of this installation was faster
                raise

    async def _refresh(self, row: Record, found: Found) -> None:
        """Its files were changed in place, as only the host's own can be: the row says what runs."""
        hooks = {use.name for use in found.manifest.hooks} | {use.hook for use in found.manifest.providers}
        schema = found.unpacked.config_schema
        values: dict[str, Any] = {  # Any: columns of the table
            "manifest": encoded(record(found.manifest)),
            "config_schema": None if schema is None else schema.decode(),
            "hooks": " ".join(sorted(hooks)),
            "tree_hash": found.unpacked.tree_hash,
        }
        facts = {"plugin": row.plugin_id, "version": row.version, "from": row.tree_hash, "to": values["tree_hash"]}
        plan = Plan(None).add(
            Change(RELEASES, row.id, values, expected=row.row_version),
            Audit("plugin_release.refreshed", PLATFORM, row.id, None, facts),
            self.deps.news(EVERYBODY, merchant_id=None, kind="plugins"),
        )
        try:
            await self.deps.committer.commit(plan)
        except PlanRefused:
            log.info("plugins.host_release_refreshed_elsewhere", plugin=row.plugin_id)


def own_points() -> tuple[EntryPoint, ...]:
    """The entry points of this very distribution: its plugins are as much the host's code as the host."""
    try:
        points = distribution(DISTRIBUTION).entry_points
    except PackageNotFoundError:  # a checkout that was not installed has none
        return ()
    return tuple(point for point in points if point.group == ENTRY_POINT_GROUP)


def allow_list_of_host(points: Sequence[EntryPoint]) -> AllowList:
    """The list that admits these plugins exactly as their files are now."""
    hashes: dict[tuple[str, str], str] = {}
    for point in points:
        try:
            found = read_found(point)
        except (NotFound, PlatformError, ValueError) as error:
            log.warning("plugins.host_release_unreadable", entry_point=point.value, error=str(error))
            continue
        hashes[found.manifest.plugin.id, found.manifest.plugin.version] = found.unpacked.tree_hash
    return AllowList(hashes)


def admitted(points: Sequence[EntryPoint], allow_list: AllowList) -> tuple[tuple[EntryPoint, ...], tuple[Noted, ...]]:
    """Those whose id, version and tree hash the list names, and what is to be told of the others. Imports nothing."""
    good: list[EntryPoint] = []
    others: list[Noted] = []
    for point in points:
        try:
            found = read_found(point)
        except (NotFound, PlatformError, ValueError) as error:
            log.warning("plugin.manifest_unreadable", entry_point=point.value, error=str(error))
            continue
        about, tree_hash = found.manifest.plugin, found.unpacked.tree_hash
        if allow_list.tier_of(found.manifest, tree_hash) == "trusted":
            good.append(point)
        else:
            others.append(noted_off_list(about.id, about.version, tree_hash=tree_hash))
    return tuple(good), tuple(others)


def read_found(point: EntryPoint) -> Found:
    """What an entry point's package says of itself. Raises NotFound, or what `read_manifest` raises."""
    folder = _folder_of(point.module)
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise NotFound(f"{folder} has no {MANIFEST_FILE}")
    text = path.read_text(encoding="utf-8")
    manifest = read_manifest(text)
    schema = None
    if manifest.config is not None:
        schema_path = folder / manifest.config.schema_
        schema = schema_path.read_bytes() if schema_path.is_file() else None
    unpacked = Unpacked(
        manifest=text, config_schema=schema, tree_hash=tree_hash_of(folder), bundle_hash="", findings=()
    )
    return Found(manifest, unpacked, folder)


def _folder_of(module: str) -> Path:
    """The folder of a package, without importing it or any package around it."""
    path: Sequence[str] | None = None
    spec: ModuleSpec | None = None
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        spec = _spec(".".join(parts[:count]), path)
        if spec is None:
            raise NotFound(f"there is no package {module} in this environment")
        if spec.submodule_search_locations is None:
            break
        path = list(spec.submodule_search_locations)
    assert spec is not None, "a module's name has a part"
    if path:
        return Path(path[0])
    raise NotFound(f"{module} is a single file; a plugin is a package with its manifest inside")


def _spec(name: str, path: Sequence[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        spec = finder.find_spec(name, path)
        if spec is not None:
            return spec
    return None
