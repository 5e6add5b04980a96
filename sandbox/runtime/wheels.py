"""What a wheel may hold, judged and unpacked without running anything of it.

Wheels are zip files by the "Binary distribution format" of packaging.python.org (read 2026-11-22): a `.dist-info`
folder with WHEEL, METADATA and RECORD, which lists every file with its SHA-256.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
import stat
import sys
import unicodedata
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

BYTES_MAX: Final = 64 * 1024 * 1024
FILES_MAX: Final = 5_000
_PATH_MAX: Final = 240
_NATIVE_SUFFIXES: Final = re.compile(r"\.(so|pyd|dll|dylib|a|o)(\.[0-9]+)*$")
_NATIVE_STARTS: Final = (b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"!<arch>")
_NEVER_SUFFIXES: Final = {
    ".pth": "it would run at every interpreter's start",
    ".egg-link": "it points outside",
    ".pyc": "it hides what is run from whoever reviews the source",
    ".pyo": "it hides what is run from whoever reviews the source",
}
_NEVER_MODULES: Final = frozenset({"sitecustomize", "usercustomize"})
OUR_NAMES: Final = frozenset({"platform_core", "sandbox", "capability_packs", "arsenal", "tests", "benchmarks", "docs"})
PRELOADED_NAMES: Final = frozenset(
    {"pluggy", "pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection"}
)
_UNLISTED: Final = ("RECORD", "RECORD.jws", "RECORD.p7s")
_MODULE_SUFFIXES: Final = re.compile(r"(\.[A-Za-z0-9_.-]+)?\.(py|so|pyd|pyi)$")


class BundleRefused(Exception):
    """The bundle is not installed; nothing of it is left on the disk."""

    def __init__(self, rule: str, message: str) -> None:
        """`rule`: a slug for the rule that was broken; `message`: which file, and what would be right."""
        super().__init__(message)
        self.rule = rule


@dataclass(slots=True)
class Budget:
    """How much more a bundle may unpack to."""

    bytes_left: int = BYTES_MAX
    files_left: int = FILES_MAX
    has_native_code: bool = False
    """Whether anything compiled was seen."""
    taken: dict[str, str] = field(default_factory=dict)
    """Paths unpacked so far as a file system that ignores case sees them, with their wheel."""


def unpack(wheel: bytes, *, name: str, into: Path, budget: Budget) -> PurePosixPath:
    """Judge every member and write it below `into`; the name of the `.dist-info` folder. Raises BundleRefused."""
    try:
        with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            paths = {member.filename: _path_of(member, wheel=name) for member in members}
            info = _info_folder(paths.values(), wheel=name)
            listed = _record(archive, info, wheel=name)
            for member in members:
                _write(
                    archive, member, path=paths[member.filename], listed=listed, wheel=name, into=into, budget=budget
                )
    except (zipfile.BadZipFile, UnicodeDecodeError, EOFError, NotImplementedError, RuntimeError) as error:
        raise BundleRefused("not-a-wheel", f"{name} cannot be read as a zip file: {error}") from error
    return info


def _path_of(member: zipfile.ZipInfo, *, wheel: str) -> PurePosixPath:
    """Where a member goes. Refuses what would land elsewhere, or is no plain file."""
    text = member.filename
    path = PurePosixPath(text)
    is_odd = "\\" in text or "\0" in text or not text.isprintable() or unicodedata.normalize("NFC", text) != text
    if is_odd or path.is_absolute() or ":" in text or ".." in path.parts or str(path) != text or len(text) > _PATH_MAX:
        raise BundleRefused("path", f"{wheel}: the member {text!r} lands outside its folder, or its name is not plain.")
    mode = member.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG) or mode & (stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX):
        raise BundleRefused(
            "mode", f"{wheel}: {text} is a link, a device or has setuid bits; only plain files may come."
        )
    if member.flag_bits & 0x1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BundleRefused("compression", f"{wheel}: {text} is encrypted, or compressed otherwise than by deflate.")
    _judge_name(path, wheel=wheel)
    return path


def is_taken(module: str) -> bool:
    """Whether a plugin may not bring this top-level name: Python's own, ours, or of a library that workers preload."""
    return module in sys.stdlib_module_names or module in OUR_NAMES or module in PRELOADED_NAMES


def _judge_name(path: PurePosixPath, *, wheel: str) -> None:
    top = path.parts[0]
    why = _NEVER_SUFFIXES.get(path.suffix.lower())
    if why is not None:
        raise BundleRefused("refused-file", f"{wheel}: {path} may not come: {why}.")
    if top.endswith(".data"):
        raise BundleRefused("scripts", f"{wheel}: {path} would be put outside the import folder. Build without it.")
    module = _MODULE_SUFFIXES.sub("", top) if len(path.parts) == 1 else top
    if path.stem in _NEVER_MODULES or module in _NEVER_MODULES:
        raise BundleRefused("refused-file", f"{wheel}: {path} may not come: it would run at every interpreter's start.")
    if is_taken(module):
        raise BundleRefused("name-taken", f"{wheel}: the top-level name {module} is taken. Give the package its own.")


def _info_folder(paths: Iterable[PurePosixPath], *, wheel: str) -> PurePosixPath:
    found = {path.parts[0] for path in paths if path.parts[0].endswith(".dist-info")}
    if len(found) != 1:
        raise BundleRefused("not-a-wheel", f"{wheel} has {len(found)} .dist-info folders; a wheel has one.")
    return PurePosixPath(found.pop())


def _record(archive: zipfile.ZipFile, info: PurePosixPath, *, wheel: str) -> dict[str, str]:
    """SHA-256 by path, as RECORD lists them (urlsafe base64 without padding)."""
    try:
        member = archive.getinfo(f"{info}/RECORD")
    except KeyError:
        raise BundleRefused("hashes", f"{wheel} has no RECORD; every file needs its hash.") from None
    if member.file_size > FILES_MAX * 400:
        raise BundleRefused("size", f"{wheel}: RECORD has {member.file_size} bytes.")
    rows = csv.reader(io.StringIO(archive.read(member).decode("utf-8")))
    return {row[0]: row[1].removeprefix("sha256=") for row in rows if len(row) == 3 and row[1].startswith("sha256=")}


def _write(
    archive: zipfile.ZipFile,
    member: zipfile.ZipInfo,
    *,
    path: PurePosixPath,
    listed: dict[str, str],
    wheel: str,
    into: Path,
    budget: Budget,
) -> None:
    content = _content(archive, member, wheel=wheel, budget=budget)
    told = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode("ascii")
    is_listed_itself = path.parts[0].endswith(".dist-info") and path.name in _UNLISTED
    if not is_listed_itself and listed.get(member.filename) != told:
        raise BundleRefused("hashes", f"{wheel}: {path} is not what RECORD says, or is missing there.")
    if _NATIVE_SUFFIXES.search(path.name) or content.startswith(_NATIVE_STARTS):
        budget.has_native_code = True
    folded = str(path).casefold()
    if folded in budget.taken:
        raise BundleRefused("file-twice", f"{wheel}: {path} comes a second time, after {budget.taken[folded]}.")
    budget.taken[folded] = wheel
    target = into / path
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            file.write(content)
    except (FileExistsError, NotADirectoryError) as error:
        raise BundleRefused("file-twice", f"{wheel}: {path} stands where something else is.") from error


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo, *, wheel: str, budget: Budget) -> bytes:
    """A member's bytes; it is read no further than the budget goes, whatever it says of its size."""
    budget.files_left -= 1
    if budget.files_left < 0:
        raise BundleRefused("size", f"The bundle has more than {FILES_MAX} files.")
    with archive.open(member) as file:
        content = file.read(budget.bytes_left + 1)
    budget.bytes_left -= len(content)
    if budget.bytes_left < 0:
        raise BundleRefused("size", f"{wheel}: the bundle unpacks to more than {BYTES_MAX} bytes.")
    return content
