"""What `arsenal doctor` says about confinement: the level that was proven just now, and what each part offers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from platform_core.bootstrap.doctor import Finding, State
from platform_core.bootstrap.loud import ISOLATED
from platform_core.kernel.settings import Settings
from sandbox.runtime.levels import Gap, Level, Machine, gaps, look_at_machine
from sandbox.runtime.requests import Unproven, ZygoteSettings
from sandbox.runtime.spawner import Spawner, SpawnFailed

_PROVEN_WITHIN_S: Final = 10.0
"""For one throwaway worker; a busy machine is not a worse one."""


async def look_at_sandbox(settings: Settings) -> list[Finding]:
    """Start a zygote, let it prove its level, end it. One finding for the level, one for each part it rests on."""
    machine = look_at_machine()
    required = Level[settings.sandbox_require]
    lacking = gaps(machine)
    try:
        level, unproven = await proven(settings, required)
    except SpawnFailed as failed:
        return [Finding("sandbox", "failed", f"no worker can be started: {failed}", first_repair(lacking, required))]
    return [
        _level(level, settings=settings, lacking=lacking, unproven=unproven),
        *_parts(machine, required=required, lacking=lacking),
    ]


async def proven(settings: Settings, required: Level) -> tuple[Level, tuple[Unproven, ...]]:
    """The level that a zygote proves just now, and why no higher one. Raises SpawnFailed."""
    told = ZygoteSettings(
        required=required, plugins=(settings.home / "plugins").absolute(), entry=None, spawn_within_s=_PROVEN_WITHIN_S
    )
    spawner = Spawner(told)
    try:
        await spawner.start()
        return spawner.level, spawner.unproven
    finally:
        await spawner.close()


def _level(level: Level, *, settings: Settings, lacking: list[Gap], unproven: tuple[Unproven, ...]) -> Finding:
    required = Level[settings.sandbox_require]
    words = f"attained {level.name}, required {required.name}"
    if unproven:
        words += "; " + ", ".join(
            f"{each.level.name} failed at {' '.join(filter(None, (each.step, each.path)))}: {each.words}"
            for each in unproven
        )
    if level < required:
        words += "; plugins that are not trusted are not loaded"
        return Finding("sandbox", "failed", words, first_repair(lacking, required))
    if required < ISOLATED:
        words += f"; less than isolation, accepted by {settings.sandbox_accept}"
        return Finding("sandbox", "warning", words, "Run: unset ARSENAL_SANDBOX_REQUIRE, once the gaps are closed")
    return Finding("sandbox", "ok", words)


def first_repair(lacking: list[Gap], required: Level) -> str:
    """What helps towards the required level."""
    repairs = [gap.repair for gap in lacking if gap.level <= required]
    return repairs[0] if repairs else "See docs/explanation/isolation.md, section When a level cannot be had"


def _parts(machine: Machine, *, required: Level, lacking: list[Gap]) -> Iterator[Finding]:
    """What a level rests on. A part that only a higher level than the required one needs is a hint, no fault."""
    yield Finding("kernel", "ok", f"{machine.system} {machine.kernel} on {machine.architecture}")
    said = {gap.part: gap for gap in lacking}
    present = {
        "landlock": f"ABI {machine.landlock_abi}",
        "seccomp": "filters that kill",
        "user namespaces": "open to ordinary users" if machine.uid else "not needed, this is root",
        "uid per worker": "this is root",
    }
    for name, words in present.items():
        gap = said.get(name)
        if gap is None:
            yield Finding(name, "ok", words)
        else:
            state: State = "failed" if gap.level <= required else "ok"
            yield Finding(name, state, f"{gap.words} (for {gap.level.name})", gap.repair)
    if machine.group is not None:
        yield Finding("cgroups", "ok", f"one for each plugin, below {machine.group}")
    else:
        words = "no part of cgroup version 2 is handed to us: memory is bounded by worker and by their number"
        repair = "Give the service Delegate=yes and DelegateSubgroup=host in its systemd unit"
        yield Finding("cgroups", "ok", words, repair)
