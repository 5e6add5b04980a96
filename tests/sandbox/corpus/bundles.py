"""The corpus's plugins as real wheels in real bundles."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.plugin_bundle import bundle, manifest_text, wheel
from sandbox.runtime.install import install

HERE: Final = Path(__file__).parent
HOSTILE: Final = "example.corpus.hostile"
NEIGHBOUR: Final = "example.corpus.neighbour"
VERSION: Final = "1.0.0"
HOOKS: Final = ("amend_basket", "check_payment", "render_receipt")


def version_of(number: int) -> str:
    """The release that carries the boot-time behaviour of that number, from 1."""
    return f"1.0.{number}"


def install_hostile(
    plugins: Path, folder: Path, *, version: str = VERSION, boot: Mapping[str, Any] | None = None
) -> None:
    """Install the hostile plugin; `boot` names what it does while it is imported."""
    files: dict[str, str | bytes] = {
        f"corpus_hostile/{source.name}": source.read_bytes() for source in sorted((HERE / "hostile").glob("*.py"))
    }
    if boot is not None:
        files["corpus_hostile/boot.json"] = json.dumps(boot)
    _install(plugins, folder, plugin_id=HOSTILE, package="corpus_hostile", version=version, hooks=HOOKS, files=files)


def install_neighbour(plugins: Path, folder: Path) -> None:
    """Install the plugin that behaves."""
    files: dict[str, str | bytes] = {"corpus_neighbour/__init__.py": (HERE / "neighbour/__init__.py").read_bytes()}
    _install(
        plugins,
        folder,
        plugin_id=NEIGHBOUR,
        package="corpus_neighbour",
        version=VERSION,
        hooks=("check_payment",),
        files=files,
    )


def _install(
    plugins: Path,
    folder: Path,
    *,
    plugin_id: str,
    package: str,
    version: str,
    hooks: Sequence[str],
    files: Mapping[str, str | bytes],
) -> None:
    text = manifest_text(plugin_id=plugin_id, version=version, hooks=hooks)
    name = f"{package}-{version}-py3-none-any.whl"
    made = wheel({**files, f"{package}/plugin.toml": text}, name=package, version=version, entry_point=package)
    path = folder / f"{plugin_id}-{version}.arsenal"
    path.write_bytes(bundle({name: made}, plugin=name))
    install(path, plugins=plugins)
    path.unlink()
