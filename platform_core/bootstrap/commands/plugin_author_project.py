"""A plugin's folder as its author keeps it: where package, manifest and tests are."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from platform_core.bootstrap.terminal import WRONG_USE, CliFailure
from platform_core.contracts.hooks import ENTRY_POINT_GROUP

MANIFEST: Final = "plugin.toml"
LEFT_OUT: Final = frozenset({"tests", "wheels", "dist", "build", "__pycache__"})
BESIDE: Final = frozenset({"pyproject.toml", "README.md", "LICENSE"})
"""Files that stand in the package's folder when that is the project's own, and are no part of the package."""


@dataclass(frozen=True, slots=True)
class Project:
    """One plugin. The package stands below the folder, or is the folder itself."""

    folder: Path
    package: Path

    @property
    def name(self) -> str:
        """The import package in the wheel."""
        return self.package.name

    @property
    def manifest(self) -> Path:
        """The manifest."""
        return self.package / MANIFEST

    @property
    def tests(self) -> Path:
        """Its own tests."""
        return self.folder / "tests"

    def pyproject(self) -> dict[str, Any]:  # Any: what TOML holds
        """`pyproject.toml`, empty when there is none or it is no TOML."""
        try:
            return tomllib.loads((self.folder / "pyproject.toml").read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
            return {}

    def requirements(self) -> list[str]:
        """What the wheel needs at run time."""
        found = self.pyproject().get("project", {}).get("dependencies", [])
        return [each for each in found if isinstance(each, str)]

    def entry_points(self) -> dict[str, str]:
        """Entry points of our group."""
        found = self.pyproject().get("project", {}).get("entry-points", {}).get(ENTRY_POINT_GROUP, {})
        return {str(name): str(value) for name, value in found.items()}

    def files(self) -> Iterator[Path]:
        """What belongs into the wheel, ordered by path. Links are among them, for whoever judges them."""
        yield from sorted(path for path in _below(self.package) if path.is_symlink() or path.is_file())

    def sources(self) -> dict[Path, str]:
        """The package's Python files with their text, ordered by path."""
        found = (path for path in self.files() if path.suffix == ".py" and not path.is_symlink())
        return {path: path.read_text(encoding="utf-8", errors="replace") for path in found}


def _below(package: Path) -> Iterator[Path]:
    for path in package.iterdir():
        if path.name in LEFT_OUT or path.name.startswith(".") or path.name.endswith(".egg-info"):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _below(path)
        elif path.name not in BESIDE or path.parent != package:
            yield path


def find_project(folder: Path) -> Project:
    """The plugin in a folder. CliFailure when there is none, or more than one."""
    at = folder.resolve()
    if not at.is_dir():
        raise CliFailure(f"{folder} is no folder.", "Run: arsenal plugin new <name> --hook <hook>", status=WRONG_USE)
    if (at / MANIFEST).is_file():
        return Project(at, at)
    found = sorted(path.parent for path in at.glob(f"*/{MANIFEST}"))
    if len(found) != 1:
        said = f"{at} holds {len(found)} plugins; a plugin's folder has one {MANIFEST}, inside its package."
        raise CliFailure(said, "Name the plugin's own folder: arsenal plugin check <folder>", status=WRONG_USE)
    return Project(at, found[0])
