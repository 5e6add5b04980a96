"""Landlock: from here on files can be read below a few folders, and nothing else can be done to any file.

Rights by ABI: kernel documentation userspace-api/landlock.rst and include/uapi/linux/landlock.h, read 2026-11-22. Known
here up to ABI 9; what a later ABI adds (ABI 10: UDP) is closed by seccomp, which lets no such socket be made.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from typing import Final

from sandbox.runtime.lockdown import libc

_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_VERSION: Final = 1
_PATH_BENEATH: Final = 1
_LOG_SAME_EXEC_OFF: Final = 1
"""No audit record for each refusal (ABI 7): a worker could fill the machine's log with them."""

READ_FILE: Final = 1 << 2
READ_DIR: Final = 1 << 3
FILES_BY_ABI: Final = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15, 9: 1 << 16}
"""Rights over files that each ABI added: the first 13, REFER, TRUNCATE, IOCTL_DEV, RESOLVE_UNIX."""
NETWORK_BY_ABI: Final = {4: 0b11}
"""BIND_TCP, CONNECT_TCP."""
SCOPES_BY_ABI: Final = {6: 0b11}
"""Abstract Unix sockets and signals of processes outside."""


def abi() -> int:
    """The kernel's Landlock ABI; 0 when it has none, or it is switched off."""
    if os.uname().sysname != "Linux":
        return 0
    try:
        return libc.syscall(_CREATE_RULESET, None, 0, _VERSION)
    except OSError:
        return 0


def handled(table: dict[int, int], version: int) -> int:
    """All rights of a table that an ABI knows."""
    return sum(rights for since, rights in table.items() if since <= version)


def restrict(folders: Iterable[str], *, files: Iterable[str], version: int) -> None:
    """Allow this thread to read and list below `folders` and to read `files`, and no other right that the ABI knows.

    Needs no_new_privs. OSError names the path that could not be opened.
    """
    attributes = struct.pack(
        "=QQQ", handled(FILES_BY_ABI, version), handled(NETWORK_BY_ABI, version), handled(SCOPES_BY_ABI, version)
    )
    ruleset = libc.syscall(_CREATE_RULESET, attributes, len(attributes), 0)
    try:
        for folder in folders:
            _allow(ruleset, folder, READ_FILE | READ_DIR)
        for file in files:
            _allow(ruleset, file, READ_FILE)
        libc.syscall(_RESTRICT_SELF, ruleset, _LOG_SAME_EXEC_OFF if version >= 7 else 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error
    finally:
        os.close(descriptor)
