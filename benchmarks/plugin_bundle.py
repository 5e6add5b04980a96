"""Plugins as wheels and bundles made on the spot: for benchmarks, and for the tests of the runtime."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

PLUGIN_ID = "example.acme.probe"
VERSION = "1.0.0"


def manifest_text(
    *,
    plugin_id: str = PLUGIN_ID,
    version: str = VERSION,
    hooks: Sequence[str] = ("check_payment",),
    providers: Sequence[Mapping[str, object]] = (),
    resources: Mapping[str, object] | None = None,
    about: Mapping[str, object] | None = None,
) -> str:
    """A `plugin.toml` that holds."""
    kept = {
        "id": plugin_id,
        "version": version,
        "name": {"zh": "探针", "en": "Probe"},
        "summary": {"zh": "测试用", "en": "For tests"},
        "publisher": "isv_acme",
        "license": "Apache-2.0",
        "support": "help@acme.example",
        "contract": ">=1.0,<2",
    } | dict(about or {})
    lines = ["manifest = 1"]
    lines.append(f"hooks = {_toml([{'name': name} for name in hooks])}")
    lines.append(f"providers = {_toml(list(providers))}")
    lines.append(f"resources = {_toml(dict(resources or {}))}")
    lines.append("[plugin]")
    lines += [f"{name} = {_toml(value)}" for name, value in kept.items()]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name} = {_toml(inner)}" for name, inner in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(inner) for inner in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def wheel(
    files: Mapping[str, str | bytes],
    *,
    name: str = "acme_probe",
    version: str = VERSION,
    entry_point: str | None = "acme_probe",
    unlisted: Sequence[str] = (),
    modes: Mapping[str, int] | None = None,
) -> bytes:
    """A wheel; RECORD leaves out what is `unlisted`."""
    info = f"{name}-{version}.dist-info"
    members = {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}
    members[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
    members[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    if entry_point is not None:
        members[f"{info}/entry_points.txt"] = f"[arsenal.plugins]\nprobe = {entry_point}\n".encode()
    rows = [f"{path},sha256={_told(body)},{len(body)}" for path, body in members.items() if path not in unlisted]
    members[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,"]).encode()
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, body in members.items():
            member = zipfile.ZipInfo(path, date_time=(2026, 1, 1, 0, 0, 0))
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = (modes or {}).get(path, 0o100644) << 16
            archive.writestr(member, body)
    return made.getvalue()


def _told(body: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=").decode()


def bundle(
    wheels: Mapping[str, bytes], *, plugin: str, files: Mapping[str, bytes] | None = None, index: object = None
) -> bytes:
    """A bundle of wheels by file name; `index` replaces its `hashes.json`."""
    members = {f"wheels/{name}": body for name, body in wheels.items()} | dict(files or {})
    told = index or {
        "bundle": 1,
        "plugin": plugin,
        "files": {name: hashlib.sha256(body).hexdigest() for name, body in members.items()},
    }
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("hashes.json", json.dumps(told))
        for name, body in members.items():
            archive.writestr(name, body)
    return made.getvalue()


def plugin_bundle(
    folder: Path,
    code: str,
    *,
    plugin_id: str = PLUGIN_ID,
    version: str = VERSION,
    hooks: Sequence[str] = ("check_payment",),
    providers: Sequence[Mapping[str, object]] = (),
    resources: Mapping[str, object] | None = None,
) -> Path:
    """A bundle file in `folder` with one plugin, whose package holds `code`."""
    text = manifest_text(plugin_id=plugin_id, version=version, hooks=hooks, providers=providers, resources=resources)
    file = f"acme_probe-{version}-py3-none-any.whl"
    made = wheel({"acme_probe/__init__.py": code, "acme_probe/plugin.toml": text}, version=version)
    path = folder / f"{plugin_id}-{version}.arsenal"
    path.write_bytes(bundle({file: made}, plugin=file))
    return path
