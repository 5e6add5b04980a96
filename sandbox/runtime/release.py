"""What an installed release says of itself to the zygote: `release.json`, written by the installer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

_LABEL: Final = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
PluginId = Annotated[str, StringConstraints(pattern=rf"^{_LABEL}(?:\.{_LABEL}){{2,4}}$", max_length=128)]
"""Reverse DNS, 3 to 5 lower-case labels."""
Version = Annotated[str, StringConstraints(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+(?:[-+][0-9A-Za-z.+-]+)?$", max_length=64)]
"""SemVer. Neither this nor a plugin's id can name another folder: no slash, and no label is empty."""
EntryPoint = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][\w.]*(?::[A-Za-z_][\w.]*)?$", max_length=200)]

RELEASE_FILE: Final = "release.json"
RELEASE_BYTES_MAX: Final = 16 * 1024


class WorkerRelease(BaseModel):
    """One version of a plugin as a worker needs to know it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    plugin_id: PluginId
    version: Version
    folder: Path
    """The unpacked wheels, an absolute path below the folder of `release.json`: what goes on `sys.path`."""
    module: EntryPoint
    """The entry point: `module` or `module:attribute`."""
    memory_mb: int = Field(default=256, ge=64, le=1024)
    """Address space, MiB."""
    tree_hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of the tree, in hexadecimal (isolation.md section 9)."""


class ReleaseUnreadable(Exception):
    """A release that is missing or does not say what it must; `path` is the file."""

    def __init__(self, path: Path, words: str) -> None:
        super().__init__(f"{path}: {words}")
        self.path = path
        self.words = words


def release_file(plugins: Path, plugin_id: str, version: str) -> Path:
    """Where a release is described: `<plugins>/<plugin id>/<version>/release.json`."""
    return plugins / plugin_id / version / RELEASE_FILE


def read_release(plugins: Path, *, plugin_id: str, version: str) -> WorkerRelease:
    """Read and check a release. ReleaseUnreadable names the file; a link in place of the file is not followed."""
    path = release_file(plugins, plugin_id, version)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            text = os.read(descriptor, RELEASE_BYTES_MAX + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ReleaseUnreadable(path, os.strerror(error.errno or 0)) from error
    if len(text) > RELEASE_BYTES_MAX:
        raise ReleaseUnreadable(path, f"longer than {RELEASE_BYTES_MAX} bytes")
    try:
        release = WorkerRelease.model_validate_json(text)
    except ValidationError as error:
        raise ReleaseUnreadable(path, str(error.errors(include_url=False, include_input=False))) from error
    if (release.plugin_id, release.version) != (plugin_id, version):
        raise ReleaseUnreadable(path, f"speaks of {release.plugin_id} {release.version}")
    if path.parent not in release.folder.parents or ".." in release.folder.parts:
        raise ReleaseUnreadable(path, f"its code is said to be in {release.folder}, outside of {path.parent}")
    return release
