"""Installing bundles. A bundle brings every wheel; nothing is resolved, downloaded, built or run.

A bundle is a zip file named `<anything>.arsenal` that holds

    hashes.json     {"bundle": 1, "plugin": "<file name of the plugin's wheel>", "files": {"<path>": "<sha256 hex>"}}
    wheels/*.whl    the plugin's own wheel and every wheel that it needs
    sbom.json       its bill of materials, where there is one
    signature.json  the publisher's signature over hashes.json, where there is one; whoever publishes it checks it

and nothing else; `files` names every file but `hashes.json` and `signature.json`. The manifest is `plugin.toml` in the
package that the plugin's entry point (group `arsenal.plugins`) is in.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import re
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path, PurePosixPath
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from platform_core.contracts.hooks import ENTRY_POINT_GROUP
from platform_core.contracts.manifest import Manifest
from platform_core.contracts.manifest_findings import ManifestRefused, errors
from platform_core.contracts.manifest_rules import read
from platform_core.contracts.tree_hash import tree_hash
from sandbox.runtime.installed import (
    INSTALLED_FILE,
    REMOVED_PREFIX,
    TREE,
    HostFacts,
    Installed,
    NotInstalled,
    delete_tree,
    folder_of,
    read_installed,
)
from sandbox.runtime.release import RELEASE_FILE, WorkerRelease
from sandbox.runtime.wheels import BYTES_MAX, Budget, BundleRefused, unpack

INDEX: Final = "hashes.json"
MANIFEST: Final = "plugin.toml"
_UNHASHED: Final = frozenset({INDEX, "signature.json"})
_BESIDE: Final = frozenset({"sbom.json", *_UNHASHED})
_WHEEL: Final = re.compile(r"wheels/[A-Za-z0-9_.+!-]{1,200}\.whl")
_INDEX_BYTES_MAX: Final = 256 * 1024
_MANIFEST_BYTES_MAX: Final = 256 * 1024
_INCOMING_PREFIX: Final = ".incoming-"
_LOCK: Final = ".lock"


class Index(BaseModel):
    """`hashes.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    bundle: Literal[1]
    plugin: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.+!-]{1,200}\.whl$")]
    files: dict[str, Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]]


def install(bundle: Path, *, plugins: Path) -> Installed:
    """Unpack a bundle into a folder of its own, whole or not at all. Blocks: call it from a thread.

    The same bundle once more changes nothing. Raises BundleRefused, also for another bundle of an installed version.
    """
    if bundle.stat().st_size > BYTES_MAX:
        raise BundleRefused("size", f"{bundle.name} has more than {BYTES_MAX} bytes.")
    content = bundle.read_bytes()
    plugins.mkdir(parents=True, exist_ok=True)
    with _alone(plugins):
        incoming = plugins / f"{_INCOMING_PREFIX}{uuid.uuid4().hex}"
        incoming.mkdir(mode=0o755)
        try:
            manifest, made = _unpack(content, incoming=incoming, plugins=plugins)
            return _put_in_place(incoming, made=made, manifest=manifest, plugins=plugins)
        finally:
            if incoming.exists():
                delete_tree(incoming)


@contextmanager
def _alone(plugins: Path) -> Iterator[None]:
    """One installation at a time; what a crash left behind is taken away first."""
    descriptor = os.open(plugins / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for left in plugins.iterdir():
            if left.name.startswith((_INCOMING_PREFIX, REMOVED_PREFIX)):
                delete_tree(left)
        yield
    finally:
        os.close(descriptor)


def _unpack(content: bytes, *, incoming: Path, plugins: Path) -> tuple[Manifest, Installed]:
    tree = incoming / TREE
    tree.mkdir(mode=0o755)
    index, wheels = _wheels_of(content)
    budget = Budget()
    own: PurePosixPath | None = None
    for name, wheel in wheels.items():
        info = unpack(wheel, name=name, into=tree, budget=budget)
        own = info if name == index.plugin else own
    if own is None:
        raise BundleRefused(
            "hashes", f"{INDEX} names {index.plugin} as the plugin's wheel, and it is not in the bundle."
        )
    point = _entry_point(tree, own=own)
    path, manifest = _manifest(tree, point)
    _judge(manifest, Distribution.at(tree / own), budget)
    about = manifest.plugin
    release = WorkerRelease(
        plugin_id=about.id,
        version=about.version,
        folder=folder_of(plugins, about.id, about.version).absolute() / TREE,
        module=point.value,
        memory_mb=manifest.resources.memory_mb,
        tree_hash=tree_hash(tree),
    )
    facts = HostFacts(
        hooks=tuple(sorted(use.name for use in manifest.hooks)),
        providers=tuple(sorted(f"{use.hook}/{use.id}" for use in manifest.providers)),
        workers_max=manifest.resources.workers_max,
        is_per_call=manifest.resources.worker_scope == "per_call",
        manifest=path,
        bundle_hash=hashlib.sha256(content).hexdigest(),
    )
    return manifest, Installed(release=release, facts=facts)


def _wheels_of(content: bytes) -> tuple[Index, dict[str, bytes]]:
    """The index and the wheels by file name, each compared with its hash."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _read_wheels(archive)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise BundleRefused("not-a-bundle", f"The bundle cannot be read as a zip file: {error}") from error


def _read_wheels(archive: zipfile.ZipFile) -> tuple[Index, dict[str, bytes]]:
    names = [member.filename for member in archive.infolist() if not member.is_dir()]
    strange = [name for name in names if name not in _BESIDE and not _WHEEL.fullmatch(name)]
    if strange or len(set(names)) != len(names) or INDEX not in names:
        raise BundleRefused(
            "not-a-bundle", f"A bundle holds {INDEX} and wheels/*.whl, once each; here is {strange[:3]}."
        )
    try:
        index = Index.model_validate_json(_bounded(archive, INDEX, _INDEX_BYTES_MAX))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise BundleRefused("not-a-bundle", f"{INDEX}: {first['loc']}: {first['msg']}") from None
    if set(index.files) != set(names) - _UNHASHED:
        odd = sorted(set(index.files) ^ (set(names) - _UNHASHED))
        raise BundleRefused("hashes", f"{INDEX} and the bundle differ about {', '.join(odd[:5])}.")
    left, wheels = BYTES_MAX, {}
    for name in sorted(index.files):
        found = _bounded(archive, name, left)
        left -= len(found)
        if hashlib.sha256(found).hexdigest() != index.files[name]:
            raise BundleRefused("hashes", f"{name} is not what {INDEX} says.")
        if name.startswith("wheels/"):
            wheels[name.removeprefix("wheels/")] = found
    return index, wheels


def _bounded(archive: zipfile.ZipFile, name: str, bytes_max: int) -> bytes:
    with archive.open(name) as file:
        content = file.read(bytes_max + 1)
    if len(content) > bytes_max:
        raise BundleRefused("size", f"{name} has more than {bytes_max} bytes.")
    return content


def _entry_point(tree: Path, *, own: PurePosixPath) -> EntryPoint:
    """The one entry point of the bundle, read without importing anything."""
    found = [
        (Path(str(distribution._path)).name, point)  # type: ignore[attr-defined]  # the folder of a PathDistribution
        for distribution in distributions(path=[str(tree)])
        for point in distribution.entry_points
        if point.group == ENTRY_POINT_GROUP
    ]
    if len(found) != 1 or found[0][0] != str(own):
        where = ", ".join(f"{name}: {point.value}" for name, point in found) or "none"
        raise BundleRefused(
            "entry-point", f"The plugin's wheel has one entry point in the group {ENTRY_POINT_GROUP}; here: {where}."
        )
    return found[0][1]


def _manifest(tree: Path, point: EntryPoint) -> tuple[str, Manifest]:
    """`plugin.toml` of the entry point's package, with its path below the tree."""
    parts = point.module.split(".")
    for depth in range(len(parts), 0, -1):
        path = PurePosixPath(*parts[:depth], MANIFEST)
        file = tree / path
        if file.is_file():
            break
    else:
        raise BundleRefused("manifest", f"There is no {MANIFEST} in the package of {point.module}.")
    if file.stat().st_size > _MANIFEST_BYTES_MAX:
        raise BundleRefused("manifest", f"{path} has more than {_MANIFEST_BYTES_MAX} bytes.")
    try:
        return str(path), read(file.read_text(encoding="utf-8"))
    except ManifestRefused as refused:
        faults = " ".join(str(finding) for finding in errors(refused.findings))
        raise BundleRefused("manifest", f"{path}: {faults} Run `arsenal plugin check`.") from None
    except UnicodeDecodeError as error:
        raise BundleRefused("manifest", f"{path}: {error}. Run `arsenal plugin check`.") from None


def _judge(manifest: Manifest, wheel: Distribution, budget: Budget) -> None:
    about = manifest.plugin
    if about.runtime != "python":
        raise BundleRefused("manifest", f"{about.id} runs at its publisher's; it has no wheel to install.")
    if budget.has_native_code and not about.has_native_code:
        raise BundleRefused(
            "native-code", "The bundle has compiled code and its manifest does not say so. Set plugin.has_native_code."
        )
    if _plain(wheel.version) != _plain(about.version):
        raise BundleRefused(
            "version", f"The wheel is version {wheel.version}, {MANIFEST} says {about.version}; they are the same."
        )


def _plain(version: str) -> str:
    """A version without the marks in which SemVer and PEP 440 differ: 1.0.0-rc.1 and 1.0.0rc1 are the same."""
    core = re.match(r"[0-9]+\.[0-9]+\.[0-9]+", version)
    rest = version[core.end() :] if core else version
    return (core.group() if core else "") + re.sub(r"[-.]", "", rest)


def _put_in_place(incoming: Path, *, made: Installed, manifest: Manifest, plugins: Path) -> Installed:
    """Make it durable and read-only, then rename it to its place: there it is whole, or not at all."""
    about = manifest.plugin
    place = folder_of(plugins, about.id, about.version)
    if place.exists():
        try:
            there = read_installed(plugins, plugin_id=about.id, version=about.version)
        except NotInstalled as error:
            raise BundleRefused("version-taken", f"{error}. Remove it first.") from error
        if there.facts.bundle_hash == made.facts.bundle_hash:
            return there
        raise BundleRefused(
            "version-taken", f"{about.id} {about.version} is installed from another bundle. Publish a new version."
        )
    (incoming / RELEASE_FILE).write_text(made.release.model_dump_json(), encoding="utf-8")
    (incoming / INSTALLED_FILE).write_text(made.facts.model_dump_json(), encoding="utf-8")
    _seal(incoming)
    place.parent.mkdir(mode=0o755, exist_ok=True)
    incoming.rename(place)
    place.chmod(0o555)
    for folder in (place.parent, plugins):
        _sync(folder)
    return made


def _seal(folder: Path) -> None:
    """Files 0444, folders 0555 (the top one stays writable until it is in place), all of it on the disk."""
    for at, folders, files in os.walk(folder, topdown=False):
        for name in files:
            file = Path(at, name)
            _sync(file)
            file.chmod(0o444)
        for name in folders:
            Path(at, name).chmod(0o555)
        _sync(Path(at))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
