"""Faults planted in a zygote: `faults:<how>_<step>` names one, and importing it plants it.

What is broken is the leaf that a step calls, never what reports it. This module is imported by the zygote.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from sandbox.runtime import birth, sources, zygote
from sandbox.runtime.lockdown import landlock, libc, namespaces, privileges
from sandbox.runtime.lockdown.namespaces import Source
from tests.sandbox.runtime import entries

MISSING = Path("/usr/lib/a-source-that-is-missing")
LEAVES: dict[str, tuple[object, str]] = {
    "descriptors": (birth, "_place_descriptors"),
    "namespaces": (namespaces, "enter"),
    "root": (namespaces, "build_root"),
    "uid": (privileges, "become"),
    "fork": (birth, "_worker"),
    "go": (birth, "_wait_for_go"),
    "privileges": (privileges, "drop_capabilities"),
    "limits": (privileges, "limit"),
    "landlock": (landlock, "restrict"),
    "seccomp": (libc, "install_filter"),
    "selftest": (birth, "_measure"),
}


def _raise(*_: object, **__: object) -> NoReturn:
    raise OSError(5, "planted", "/planted/path")


def _stand_still(*_: object, **__: object) -> None:
    time.sleep(3600)


def _die(*_: object, **__: object) -> None:
    os.abort()


HOW: dict[str, Callable[..., None]] = {"raises": _raise, "stands": _stand_still, "dies": _die}


def __getattr__(name: str) -> object:
    """Plant the fault that the name speaks of, once the level is proven, and hand over a worker's entry."""
    how, _, step = name.partition("_")
    if how in HOW and step in LEAVES:
        _after_the_proof(lambda: setattr(*LEAVES[step], HOW[how]))
    elif name == "no_room":
        _after_the_proof(_forbid_two_forks)
    elif name == "missing_source":
        shared = sources.interpreter_sources
        sources.interpreter_sources = lambda: [*shared(), Source(MISSING, is_folder=True)]
    elif name == "no_filter":
        libc.install_filter = lambda program: None
    elif name == "lame_filter":
        libc.trace_me = lambda: None
    elif name == "no_landlock":
        landlock.restrict = lambda *_, **__: None
    elif name == "thread":
        threading.Thread(target=_stand_still, daemon=True).start()
    else:
        raise AttributeError(name)
    return entries.obey


def _forbid_two_forks() -> None:
    fork, failures = libc.fork, iter((errno.EAGAIN, errno.ENOMEM))

    def fork_or_fail() -> int:
        number = next(failures, None)
        if number is not None:
            raise OSError(number, os.strerror(number))
        return fork()

    libc.fork = fork_or_fail


def _after_the_proof(plant: Callable[[], None]) -> None:
    prove = zygote.Zygote.prove

    def prove_then_plant(self: zygote.Zygote) -> object:
        started = prove(self)
        plant()
        return started

    zygote.Zygote.prove = prove_then_plant  # type: ignore[method-assign, assignment]  # the fault
