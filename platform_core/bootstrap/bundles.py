"""Bundles unpacked by the sandbox into the folder of installed plugins: what the plugins' life asks for."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import mkdtemp

from platform_core.bootstrap.preflight import Preflight, preflight
from platform_core.contracts.manifest_findings import ManifestRefused
from platform_core.contracts.manifest_rules import read
from platform_core.plugin_host.host_deps import BundleRefused, Finding, Unpacked
from sandbox.runtime.install import install
from sandbox.runtime.installed import Installed, delete_tree, remove
from sandbox.runtime.levels import Level
from sandbox.runtime.wheels import BundleRefused as Refused


class InstalledBundles:
    """`host_deps.Bundles` over one folder, which every process of the installation reads."""

    def __init__(self, plugins: Path, *, required: Level) -> None:
        """`required`: the level of confinement in which a bundle is tried first."""
        self._plugins = plugins
        self._required = required

    async def unpack(self, bundle: Path) -> Unpacked:
        """Try it in a worker, then check and unpack, beside the event loop. The same bundle again: the same answer."""
        try:
            tried = await preflight(bundle, required=self._required)
        except (Refused, ManifestRefused) as error:
            raise BundleRefused(str(error)) from error
        if tried.broken:
            raise BundleRefused(f"REV-015: {tried.words}")
        return await self.place(bundle, _tried(tried))

    async def place(self, bundle: Path, *findings: Finding) -> Unpacked:
        """Check and unpack what is tried elsewhere: `findings` say how that went."""
        try:
            installed = await asyncio.to_thread(install, bundle, plugins=self._plugins.resolve())
            return await asyncio.to_thread(_unpacked, installed, *findings)
        except (Refused, ManifestRefused) as error:
            raise BundleRefused(str(error)) from error

    async def look(self, bundle: Path) -> Unpacked:
        """Unpack it into a folder that is gone afterwards: the installer's own judgement, without its place."""
        try:
            return await asyncio.to_thread(_looked, bundle)
        except (Refused, ManifestRefused) as error:
            raise BundleRefused(str(error)) from error

    async def discard(self, plugin_id: str, version: str) -> None:
        """Take the folder away."""
        await asyncio.to_thread(remove, self._plugins.resolve(), plugin_id=plugin_id, version=version)


def _tried(tried: Preflight) -> Finding:
    return Finding("REV-015", "pass" if tried.is_run else "needs_human", tried.words)


def _looked(bundle: Path) -> Unpacked:
    """Beside the bundle, so that it lies on the same disk."""
    folder = Path(mkdtemp(dir=bundle.parent))
    try:
        return _unpacked(install(bundle, plugins=folder))
    finally:
        delete_tree(folder)


def _unpacked(installed: Installed, *findings: Finding) -> Unpacked:
    text = installed.manifest_path.read_text(encoding="utf-8")
    manifest = read(text)
    schema = None if manifest.config is None else installed.manifest_path.parent / manifest.config.schema_
    return Unpacked(
        manifest=text,
        config_schema=None if schema is None else schema.read_bytes(),
        tree_hash=installed.release.tree_hash,
        bundle_hash=installed.facts.bundle_hash,
        findings=(Finding("REV-001", "pass", "The manifest is whole."), *findings),
    )
