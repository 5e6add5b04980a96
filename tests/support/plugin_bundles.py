"""Bundles of the plugins in plugins/, made the way a publisher's tools make them."""

from __future__ import annotations

import base64
import hashlib
import json
import tomllib
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
NOTHING: Final[Mapping[str, bytes]] = MappingProxyType({})
_EPOCH: Final = (2026, 11, 22, 0, 0, 0)
_LEFT_OUT: Final = frozenset({"tests", "__pycache__", "pyproject.toml"})


def bundle_of(
    name: str,
    folder: Path,
    *,
    version: str | None = None,
    publisher: str = "isv_arsenal",
    more: Mapping[str, bytes] = NOTHING,
) -> Path:
    """`plugins/<name>` as `<name>.arsenal` in a folder; `version` in place of the manifest's own, `more` files."""
    source = ROOT / "plugins" / name
    files = {
        path.relative_to(source).as_posix(): path.read_bytes()
        for path in sorted(source.rglob("*"))
        if path.is_file() and not _LEFT_OUT & set(path.relative_to(source).parts)
    }
    files |= more
    manifest = tomllib.loads(files["plugin.toml"].decode())
    own = str(manifest["plugin"]["version"])
    if version is not None:
        files["plugin.toml"] = files["plugin.toml"].replace(f'"{own}"'.encode(), f'"{version}"'.encode(), 1)
    files["plugin.toml"] = files["plugin.toml"].replace(b'"isv_arsenal"', f'"{publisher}"'.encode(), 1)
    return packed(name, files, folder, version=version or own)


def packed(name: str, files: dict[str, bytes], folder: Path, *, version: str) -> Path:
    """A bundle of one wheel, with these files in the package `name`."""
    wheel = wheel_of(name, files, version=version)
    file = f"{name}-{version}-py3-none-any.whl"
    index = {"bundle": 1, "plugin": file, "files": {f"wheels/{file}": hashlib.sha256(wheel).hexdigest()}}
    path = folder / f"{name}-{version}.arsenal"
    path.write_bytes(_zipped({"hashes.json": json.dumps(index).encode(), f"wheels/{file}": wheel}))
    return path


def wheel_of(name: str, files: dict[str, bytes], *, version: str) -> bytes:
    """A wheel with one package of that name, and its entry point."""
    info = f"{name}-{version}.dist-info"
    members = {f"{name}/{path}": content for path, content in files.items()}
    members |= {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[arsenal.plugins]\n{name} = {name}\n".encode(),
    }
    record = "".join(f"{path},sha256={_digest(content)},{len(content)}\n" for path, content in members.items())
    return _zipped(members | {f"{info}/RECORD": f"{record}{info}/RECORD,,\n".encode()})


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def _zipped(members: dict[str, bytes]) -> bytes:
    made = BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in members.items():
            archive.writestr(zipfile.ZipInfo(path, _EPOCH), content)
    return made.getvalue()
