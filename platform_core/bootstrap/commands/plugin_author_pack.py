"""Packing: a plugin's folder as a wheel and as a bundle, always the same bytes for the same files.

Formats: "Binary distribution format" and "Core metadata" of packaging.python.org, CycloneDX 1.6 (read 2026-11-22). The
bundle is what `sandbox/runtime/install.py` unpacks. Members are stored and not compressed, since compressors differ
between machines.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Any, Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from platform_core.bootstrap.commands.plugin_author_project import Project
from platform_core.bootstrap.terminal import CliFailure
from platform_core.contracts.hooks import ENTRY_POINT_GROUP
from platform_core.contracts.manifest import Manifest
from platform_core.contracts.manifest_findings import ManifestRefused
from platform_core.contracts.manifest_rules import read

PROVIDED: Final = frozenset(
    {"arsenal", "pluggy", "pydantic", "pydantic-core", "annotated-types", "typing-extensions", "typing-inspection"}
)
"""What every worker has already; a bundle must not bring it."""
_MOMENT: Final = (1980, 1, 1, 0, 0, 0)
_MODE: Final = 0o100644 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A packed plugin."""

    file_name: str
    content: bytes
    manifest: Manifest
    wheels: Mapping[str, bytes]
    """By file name, the plugin's own first."""

    @property
    def sha256(self) -> str:
        """Of the bundle, hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()


def pack(project: Project, *, wheels: Path | None = None) -> Bundle:
    """The bundle. Runs nothing of the plugin's and downloads nothing; CliFailure says what is missing.

    `wheels`: where the dependencies' wheels are; by default `wheels/` in the project's folder.
    """
    try:
        manifest = read(project.manifest.read_text(encoding="utf-8"))
    except ManifestRefused as refused:
        raise CliFailure(f"{len(refused.findings)} findings in plugin.toml.", "Run: arsenal plugin check") from refused
    if manifest.plugin.runtime == "remote":
        raise CliFailure("A remote plugin has no wheel to pack.", "Run: arsenal plugin submit")
    own_name, own = _wheel(project, manifest)
    needed = _dependencies(project.requirements(), wheels or project.folder / "wheels")
    packed = {own_name: own} | needed
    files = {f"wheels/{name}": content for name, content in packed.items()}
    files["sbom.json"] = _json(_sbom(manifest, packed))
    index = {
        "bundle": 1,
        "plugin": own_name,
        "files": {name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)},
    }
    about = manifest.plugin
    content = _zip({"hashes.json": _json(index)} | {name: files[name] for name in sorted(files)})
    return Bundle(file_name=f"{about.id}-{about.version}.arsenal", content=content, manifest=manifest, wheels=packed)


def _wheel(project: Project, manifest: Manifest) -> tuple[str, bytes]:
    """The plugin's own wheel: pure Python, with the manifest's version."""
    about, points = manifest.plugin, project.entry_points()
    if list(points.values()) != [project.name]:
        raise CliFailure(
            f"pyproject.toml names {points or 'no entry point'} in the group {ENTRY_POINT_GROUP}.",
            f'Write: [project.entry-points."{ENTRY_POINT_GROUP}"] {project.name} = "{project.name}"',
        )
    try:
        version = str(Version(about.version))
    except InvalidVersion as error:
        step = "Use 1.4.0, or 1.4.0-rc.1 for one that comes before it."
        raise CliFailure(f"{about.version} is SemVer and no version of a wheel (PEP 440).", step) from error
    info = f"{project.name}-{version}.dist-info"
    members: dict[str, bytes] = {}
    for path in project.files():
        members[f"{project.name}/{path.relative_to(project.package).as_posix()}"] = path.read_bytes()
    license_file = project.folder / "LICENSE"
    if license_file.is_file():
        members[f"{info}/licenses/LICENSE"] = license_file.read_bytes()
    members[f"{info}/METADATA"] = _metadata(project, manifest, version=version)
    members[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: arsenal\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    lines = "".join(f"{name} = {value}\n" for name, value in sorted(points.items()))
    members[f"{info}/entry_points.txt"] = f"[{ENTRY_POINT_GROUP}]\n{lines}".encode()
    listed = [f"{name},sha256={_record_hash(content)},{len(content)}" for name, content in sorted(members.items())]
    record = "\n".join([*listed, f"{info}/RECORD,,", ""]).encode()
    ordered = {name: members[name] for name in sorted(members)} | {f"{info}/RECORD": record}
    return f"{project.name}-{version}-py3-none-any.whl", _zip(ordered)


def _record_hash(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode("ascii")


def _metadata(project: Project, manifest: Manifest, *, version: str) -> bytes:
    about, told = manifest.plugin, project.pyproject().get("project", {})
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {told.get('name', project.name)}",
        f"Version: {version}",
        f"Summary: {about.summary.en}",
        f"License-Expression: {about.license}",
        f"Requires-Python: {told.get('requires-python', '>=3.11')}",
        *(f"Requires-Dist: {requirement}" for requirement in project.requirements()),
    ]
    return ("\n".join(lines) + "\n").encode()


def _dependencies(requirements: Iterable[str], folder: Path) -> dict[str, bytes]:
    """The wheels that these requirements need, theirs included, out of a folder. CliFailure names what is missing."""
    there = _wheels_in(folder)
    taken: dict[str, bytes] = {}
    missing: list[str] = []
    pending = list(requirements)
    seen: set[str] = set()
    while pending:
        text = pending.pop(0)
        try:
            wanted = Requirement(text)
        except InvalidRequirement as error:
            raise CliFailure(
                f"{text!r} is no requirement (PEP 508).", "Mend dependencies in pyproject.toml."
            ) from error
        name = canonicalize_name(wanted.name)
        if (
            name in PROVIDED
            or name in seen
            or (wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}))
        ):
            continue
        seen.add(name)
        found = there.get(name)
        if found is None or not wanted.specifier.contains(found.version, prereleases=True):
            missing.append(f"'{text}'")
            continue
        taken[found.file_name] = found.content
        pending += found.metadata.get_all("Requires-Dist") or []
    if missing:
        raise CliFailure(
            f"{', '.join(missing)} is needed, and {folder} has no such wheel; a bundle brings every wheel.",
            f"Run: pip download --only-binary :all: --dest {folder} {' '.join(missing)}",
        )
    return {name: taken[name] for name in sorted(taken)}


@dataclass(frozen=True, slots=True)
class _Wheel:
    file_name: str
    version: Version
    content: bytes
    metadata: Message


def _wheels_in(folder: Path) -> dict[str, _Wheel]:
    found: dict[str, _Wheel] = {}
    for path in sorted(folder.glob("*.whl")) if folder.is_dir() else []:
        try:
            name, version, _, _ = parse_wheel_filename(path.name)
        except InvalidWheelFilename as error:
            raise CliFailure(f"{path.name} is not named as a wheel.", f"Take it out of {folder}.") from error
        if name in found:
            raise CliFailure(f"{folder} has {name} twice.", "Keep the version that was tested.")
        content = path.read_bytes()
        found[name] = _Wheel(path.name, version, content, metadata_of(content))
    return found


def metadata_of(wheel: bytes) -> Message:
    """METADATA of a wheel. CliFailure when it has none."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        names = [name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)]
        if len(names) != 1:
            raise CliFailure("A wheel has one METADATA.", "Build or download the wheel anew.")
        return Parser().parsestr(archive.read(names[0]).decode("utf-8"))


def _sbom(manifest: Manifest, wheels: Mapping[str, bytes]) -> dict[str, Any]:  # Any: JSON
    """CycloneDX 1.6 without time and serial number, which would make two equal bundles differ."""
    components = []
    for content in wheels.values():
        told = metadata_of(content)
        name, version = canonicalize_name(str(told["Name"])), str(told["Version"])
        part: dict[str, Any] = {
            "type": "library",
            "name": name,
            "version": version,
            "purl": f"pkg:pypi/{name}@{version}",
            "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(content).hexdigest()}],
        }
        said = told["License-Expression"] or told["License"]
        if said:
            part["licenses"] = [{"license": {"name": str(said).splitlines()[0]}}]
        components.append(part)
    about = manifest.plugin
    subject = {"type": "application", "name": about.id, "version": about.version}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": subject},
        "components": components,
    }


def _json(value: object) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()


def _zip(members: Mapping[str, bytes]) -> bytes:
    """A zip file of stored members in this order, all of the same moment and mode."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            member = zipfile.ZipInfo(name, _MOMENT)
            member.external_attr = _MODE
            member.create_system = 3
            archive.writestr(member, content)
    return made.getvalue()
