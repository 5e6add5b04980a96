"""One number for all files of a folder: what a reviewer saw, what was installed and what runs are the same."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Set
from pathlib import Path
from typing import Final

_CHUNK_BYTES: Final = 1024 * 1024


def tree_hash(folder: Path, *, leaving_out: Set[str] = frozenset()) -> str:
    """SHA-256, in hex, over the lines `<sha256>  <path>` of all files, ordered by path (`/` between its parts).

    What is neither file nor folder counts as itself, unread, so that a link in place of a file changes the hash.
    `leaving_out`: names of files and folders that do not count, wherever they are. Raises OSError for what cannot be
    read.
    """
    total = hashlib.sha256()
    for path in sorted(_files_below(folder, leaving_out), key=lambda path: path.relative_to(folder).as_posix()):
        name = path.relative_to(folder).as_posix()
        mode = path.lstat().st_mode
        what = _hash_of(path) if stat.S_ISREG(mode) else f"special {stat.S_IFMT(mode):o}"
        total.update(f"{what}  {name}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def _files_below(folder: Path, leaving_out: Set[str]) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise error

    found: list[Path] = []
    for at, folders, files in os.walk(folder, onerror=refuse, followlinks=False):
        folders[:] = [name for name in folders if name not in leaving_out]
        found += [Path(at, name) for name in files if name not in leaving_out]
        found += [Path(at, name) for name in folders if Path(at, name).is_symlink()]
    return found


def _hash_of(path: Path) -> str:
    digest = hashlib.sha256()
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
