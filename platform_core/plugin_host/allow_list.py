"""Who runs in the host's process: the operator's `plugins.allow.toml`, and the tier that follows from it.

[[plugins]]
id = "dev.example.cash"
version = "1.0.0"
tree_hash = "5f0c..."                     # `arsenal plugin hash FOLDER`
reviewers = ["Li Na", "Wang Fang"]        # two different people
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from platform_core.contracts.manifest import Manifest, PluginId, Version
from platform_core.contracts.tree_hash import tree_hash
from platform_core.plugin_host.installed import Tier

_NOT_PART: Final = frozenset({"__pycache__", ".git"})


class AllowListUnreadable(ValueError):
    """The file is there and cannot be used. Nothing is trusted by guessing: the process does not start."""


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: PluginId
    version: Version
    tree_hash: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    reviewers: Annotated[list[Annotated[str, StringConstraints(min_length=1, max_length=80)]], Field(min_length=2)]

    @field_validator("reviewers")
    @classmethod
    def _are_two(cls, names: list[str]) -> list[str]:
        if len({name.strip().casefold() for name in names}) < 2:
            raise ValueError("two different people review what is trusted")
        return names


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    plugins: list[_Entry] = Field(default=[])


@dataclass(frozen=True, slots=True)
class AllowList:
    """Which releases are trusted: by plugin and version, the hash of their files."""

    hashes: Mapping[tuple[str, str], str]

    @classmethod
    def read(cls, path: Path) -> AllowList:
        """The list in a file. Raises AllowListUnreadable."""
        try:
            found = _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise AllowListUnreadable(f"{path} cannot be read: {error}") from error
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, f['loc']))}: {f['msg']}" for f in error.errors(include_url=False))
            raise AllowListUnreadable(f"{path}: {faults}") from error
        hashes: dict[tuple[str, str], str] = {}
        for entry in found.plugins:
            if hashes.setdefault((entry.id, entry.version), entry.tree_hash) != entry.tree_hash:
                raise AllowListUnreadable(f"{path} names {entry.id} {entry.version} twice, with different hashes")
        return cls(hashes)

    def admits(self, plugin_id: str, version: str, tree_hash: str) -> bool:
        """Whether exactly this release is on the list."""
        return bool(tree_hash) and self.hashes.get((plugin_id, version)) == tree_hash

    def names(self, plugin_id: str, version: str) -> bool:
        """Whether this version is on the list, be it with another hash: then somebody must be told."""
        return (plugin_id, version) in self.hashes

    def tier_of(self, manifest: Manifest, tree_hash: str) -> Tier:
        """Where a release runs. A manifest never claims trust; native code never gets it."""
        if manifest.plugin.runtime == "remote":
            return "remote"
        is_trusted = self.admits(manifest.plugin.id, manifest.plugin.version, tree_hash)
        return "trusted" if is_trusted and not manifest.plugin.has_native_code else "confined"


NOBODY: Final = AllowList({})


def tree_hash_of(folder: Path) -> str:
    """The hash of a package of the host's environment; byte code is not part of it: Python writes that by itself.

    A link is refused with ValueError: what it leads to could change unseen.
    """
    for path in folder.rglob("*"):
        if path.is_symlink() and not _NOT_PART & set(path.relative_to(folder).parts):
            raise ValueError(f"{path} is a link")
    return tree_hash(folder, leaving_out=_NOT_PART)
