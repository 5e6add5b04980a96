"""Installed releases: one folder for each plugin and version, read-only, and the hash that says it is unchanged.

`<plugins>/<plugin id>/<version>/` holds `tree/` (all wheels of the bundle, unpacked side by side), `release.json` (for
the zygote) and `installed.json` (for the host).
"""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sandbox.runtime.release import ReleaseUnreadable, WorkerRelease, read_release

TREE: Final = "tree"
INSTALLED_FILE: Final = "installed.json"
REMOVED_PREFIX: Final = ".removed-"


class NotInstalled(Exception):
    """There is no such release, or what is there cannot be read."""


class HostFacts(BaseModel):
    """What `installed.json` says: everything the host wants to know without reading the wheels again."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    hooks: tuple[str, ...]
    """All of the manifest, in order of their names."""
    providers: tuple[str, ...]
    """`<register hook>/<object id>`."""
    workers_max: int = Field(ge=1, le=4)
    is_per_call: bool
    manifest: str
    """Path of `plugin.toml` below `tree/`."""
    bundle_hash: str
    """SHA-256 of the bundle, in hex."""


class Installed(BaseModel):
    """A release as it stands on the disk."""

    model_config = ConfigDict(frozen=True)

    release: WorkerRelease
    facts: HostFacts

    @property
    def hooks(self) -> tuple[str, ...]:
        """Names of the hooks."""
        return self.facts.hooks

    @property
    def providers(self) -> tuple[str, ...]:
        """`<register hook>/<object id>`."""
        return self.facts.providers

    @property
    def workers_max(self) -> int:
        """Workers for one merchant."""
        return self.facts.workers_max

    @property
    def is_per_call(self) -> bool:
        """Whether each call has a worker of its own."""
        return self.facts.is_per_call

    @property
    def manifest_path(self) -> Path:
        """Where `plugin.toml` is."""
        return self.release.folder / self.facts.manifest


def folder_of(plugins: Path, plugin_id: str, version: str) -> Path:
    """Where a release is, or would be."""
    return plugins / plugin_id / version


def read_installed(plugins: Path, *, plugin_id: str, version: str) -> Installed:
    """A release's facts. Raises NotInstalled. Does not compare the tree hash."""
    try:
        release = read_release(plugins, plugin_id=plugin_id, version=version)
        text = (folder_of(plugins, plugin_id, version) / INSTALLED_FILE).read_bytes()
        return Installed(release=release, facts=HostFacts.model_validate_json(text))
    except (ReleaseUnreadable, OSError, ValidationError) as error:
        raise NotInstalled(f"{plugin_id} {version} is not installed, or cannot be read: {error}") from error


def remove(plugins: Path, *, plugin_id: str, version: str) -> bool:
    """Take a release away, at once and whole; False when it is not there. End its workers first."""
    gone = plugins / f"{REMOVED_PREFIX}{uuid.uuid4().hex}"
    folder = folder_of(plugins, plugin_id, version)
    try:
        folder.chmod(0o755)  # An ordinary user may move a folder to another parent only when it may write to it.
        folder.rename(gone)
    except FileNotFoundError:
        return False
    delete_tree(gone)
    if not any(folder.parent.iterdir()):
        folder.parent.rmdir()
    return True


def delete_tree(folder: Path) -> None:
    """Delete a folder whose folders are read-only."""
    for at, _, _ in os.walk(folder, followlinks=False):
        Path(at).chmod(0o755)
    shutil.rmtree(folder)
