"""What of the host a worker may read: the standard library, shared libraries, what `contracts` needs, nothing else."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import sysconfig
from collections.abc import Iterable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Final

from sandbox.runtime.lockdown.namespaces import Source

OUR_OPEN_PACKAGES: Final = ("platform_core.contracts", "sandbox.runtime")
"""Folders of ours that stay readable as a whole; of `kernel` only the modules that these import."""
_FOR_AUTHORS: Final = frozenset(
    {"testing", "versions", "fixtures", "manifest_checks", "manifest_findings", "manifest_lines", "manifest_rules"}
)
"""Of `contracts`: what serves to write and review plugins, not to run them."""
_LOADER_CACHES: Final = ("/etc/ld.so.cache", "/etc/ld-musl-x86_64.path", "/etc/ld-musl-aarch64.path")
_LIBRARY_FOLDERS: Final = ("/lib64", "/usr/lib64")


def interpreter_sources() -> list[Source]:
    """Standard library, shared libraries and the loader's cache. FileNotFoundError where there is no such library."""
    folders = {Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("platstdlib"))}
    folders |= {Path(entry) for entry in sys.path if entry and Path(entry).is_dir()}
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    libraries = [f"/lib/{multiarch}", f"/usr/lib/{multiarch}"] if multiarch else []
    present = [Path(each) for each in (*libraries, *_LIBRARY_FOLDERS) if Path(each).is_dir()]
    folders |= set(present) if present else {Path("/lib"), Path("/usr/lib")}
    files = {Path(each) for each in _LOADER_CACHES if Path(each).is_file()} | _mapped_libraries()
    return [Source(each, is_folder=True) for each in folders] + [Source(each, is_folder=False) for each in files]


def import_contract() -> None:
    """Import all of `contracts` that a running plugin may need.

    What serves its author stays out: it brings a quarter of the memory that each fork has to copy the tables of, and
    libraries (`cryptography`) that would stand in the way of a plugin that bundles its own.
    """
    waiting = ["platform_core.contracts"]
    while waiting:
        module = importlib.import_module(waiting.pop())
        for found in pkgutil.iter_modules(getattr(module, "__path__", ()), prefix=f"{module.__name__}."):
            if found.name.rpartition(".")[2] not in _FOR_AUTHORS:
                waiting.append(found.name)


def module_sources(modules: Iterable[ModuleType]) -> list[Source]:
    """Where loaded modules come from: our own as files, save the open packages; others by their top-level package."""
    found: set[Source] = set()
    for module in modules:
        spec = getattr(module, "__spec__", None)
        if not isinstance(spec, ModuleSpec) or not spec.has_location or spec.origin is None:
            continue
        top = spec.name.partition(".")[0]
        if top in sys.stdlib_module_names:
            continue
        if top in ("platform_core", "sandbox"):
            found.add(Source(Path(spec.origin), is_folder=False))
        else:
            found.add(_top_level(Path(spec.origin), spec.name))
    for name in OUR_OPEN_PACKAGES:
        found |= {Source(Path(folder), is_folder=True) for folder in sys.modules[name].__path__}
    return sorted(found, key=lambda each: each.path)


def _top_level(origin: Path, name: str) -> Source:
    """The folder of a module's top-level package, or its file when it is none."""
    depth = name.count(".") + (1 if origin.name.startswith("__init__.") else 0)
    if depth == 0:
        return Source(origin, is_folder=False)
    return Source(origin.parents[depth - 1], is_folder=True)


def _mapped_libraries() -> set[Path]:
    """Shared libraries that this process has loaded, such as libpython in a folder of its own."""
    found: set[Path] = set()
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    except OSError:
        return found
    for line in lines:
        path = line[line.find("/") :] if "/" in line else ""
        if ".so" in os.path.basename(path) and not path.endswith("(deleted)"):
            found.add(Path(path))
    return found
