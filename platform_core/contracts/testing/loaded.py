"""A plugin in the tests' own process: its manifest, and its marked functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.resources import files
from types import ModuleType

from platform_core.contracts import catalogue
from platform_core.contracts.inspection import Implementation, marked_functions
from platform_core.contracts.manifest import Manifest
from platform_core.contracts.manifest_rules import read


class NotAPlugin(Exception):
    """What was given cannot be used as a plugin; says why and what comes next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedPlugin:
    """A plugin that is ready to be called."""

    manifest: Manifest
    hooks: Mapping[str, Implementation] = field(repr=False)
    """Its implementations by hook, exactly those that the manifest names."""

    @property
    def id(self) -> str:
        """The plugin's id."""
        return self.manifest.plugin.id


def load_plugin(package: str | ModuleType) -> LoadedPlugin:
    """Import a plugin's package and read the `plugin.toml` inside it.

    Raises ManifestRefused for the manifest, NotAPlugin when functions and manifest do not fit each other.
    """
    module = import_module(package) if isinstance(package, str) else package
    manifest = read(files(module).joinpath("plugin.toml").read_text(encoding="utf-8"))
    found, findings = marked_functions(module, catalogue.hooks())
    if findings:
        raise NotAPlugin("\n".join(f"{finding.hook}: {finding.message}" for finding in findings))
    declared = {use.name for use in manifest.hooks}
    if missing := sorted(declared - found.keys()):
        raise NotAPlugin(
            f"plugin.toml names {', '.join(missing)}, and {module.__name__} has no such function with @hookimpl. "
            f"Import it in {module.__name__}/__init__.py, or remove it from hooks."
        )
    if extra := sorted(found.keys() - declared):
        raise NotAPlugin(
            f"{module.__name__} implements {', '.join(extra)}, which plugin.toml does not name. Add it to hooks."
        )
    return LoadedPlugin(manifest=manifest, hooks={name: found[name] for name in sorted(found)})
