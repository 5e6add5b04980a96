"""The levels of confinement, and what this machine offers for each before anything is tried.

A level counts when it was measured: the zygote proves one at its start and every worker measures itself again
(`selftest`). What stands here tells people why a level is out of reach and which line repairs that.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from sandbox.runtime.lockdown import cgroups, landlock, libc


class Level(IntEnum):
    """How far a plugin's process is kept from everything else; each holds all that stands below it."""

    L0 = 0
    """In the host's process."""
    L1 = 1
    """A process of its own: it cannot crash the host. Not isolation."""
    L2 = 2
    """Landlock, seccomp, no privileges: the least for other people's code."""
    L3 = 3
    """Namespaces and a root of its own."""
    L4 = 4
    """A uid of its own."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What the kernel and this user bring along."""

    system: str
    kernel: str
    architecture: str
    uid: int
    landlock_abi: int
    """0: none."""
    has_seccomp: bool
    """Whether a filter may kill a process (SECCOMP_RET_KILL_PROCESS, Linux 4.14)."""
    user_namespace_bar: str
    """The sysctl that forbids user namespaces to ordinary users; empty when none is known to."""
    group: Path | None
    """The cgroup (version 2) in which groups may be made for plugins."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Why a level is out of reach."""

    level: Level
    part: str
    """`system`, `architecture`, `landlock`, `seccomp`, `user namespaces` or `uid per worker`."""
    words: str
    repair: str


def look_at_machine() -> Machine:
    """Ask the kernel; nothing is changed and no process is started."""
    return Machine(
        system=platform.system(),
        kernel=platform.release(),
        architecture=platform.machine(),
        uid=os.geteuid(),
        landlock_abi=landlock.abi(),
        has_seccomp=libc.can_kill_by_filter(),
        user_namespace_bar=_bar(),
        group=cgroups.delegated_group(),
    )


def gaps(machine: Machine) -> list[Gap]:
    """What is missing for each level above L1, lowest first; empty on a machine that offers everything."""
    found: list[Gap] = []
    if machine.system != "Linux":
        words = f"{machine.system} has no counterpart of Landlock and seccomp"
        return [Gap(Level.L2, "system", words, "Run Arsenal in its Linux container")]
    if machine.architecture not in ("x86_64", "aarch64"):
        words = f"there is no table of kernel calls for {machine.architecture}"
        found.append(Gap(Level.L2, "architecture", words, "Use a machine with x86_64 or aarch64"))
    if machine.landlock_abi < 1:
        words = f"the kernel {machine.kernel} offers no Landlock"
        repair = "Use Linux 5.13 or newer and add landlock to the kernel's parameter lsm=, then restart the machine"
        found.append(Gap(Level.L2, "landlock", words, repair))
    if not machine.has_seccomp:
        words = "seccomp filters cannot be installed"
        found.append(
            Gap(Level.L2, "seccomp", words, "Use a kernel with CONFIG_SECCOMP_FILTER=y, outside of other sandboxes")
        )
    if machine.uid != 0 and machine.user_namespace_bar:
        words = f"user namespaces are closed to ordinary users by {machine.user_namespace_bar}"
        found.append(Gap(Level.L3, "user namespaces", words, _repair_of_namespaces(machine.user_namespace_bar)))
    if machine.uid != 0:
        words = "the zygote is not root and cannot give each worker a uid"
        found.append(
            Gap(
                Level.L4,
                "uid per worker",
                words,
                "Run the worker host as root: docs/explanation/isolation.md, section Levels",
            )
        )
    return found


def best_promised(machine: Machine) -> Level:
    """The highest level without a gap below it; whether it holds is for the zygote to prove."""
    return Level(min([gap.level for gap in gaps(machine)], default=Level.L4 + 1) - 1)


def _repair_of_namespaces(bar: str) -> str:
    if bar == "kernel.apparmor_restrict_unprivileged_userns":
        return "Give the interpreter an AppArmor profile that says: userns, (docs/explanation/isolation.md)"
    value = 1 if bar == "kernel.unprivileged_userns_clone" else 15_000
    return f"Run: sysctl -w {bar}={value}"


def _bar() -> str:
    """Which sysctl closes user namespaces.

    `user.max_user_namespaces`: namespaces(7). `kernel.unprivileged_userns_clone`: Debian's kernel patch.
    `kernel.apparmor_restrict_unprivileged_userns`: Ubuntu 23.10 and newer. Read 2026-11-22.
    """
    closed_at = {
        "user.max_user_namespaces": "0",
        "kernel.unprivileged_userns_clone": "0",
        "kernel.apparmor_restrict_unprivileged_userns": "1",
    }
    for name, value in closed_at.items():
        try:
            found = Path("/proc/sys", *name.split(".")).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if found == value:
            return name
    return ""
