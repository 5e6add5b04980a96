"""One cgroup for each plugin: on a hierarchy of plain files that shows what is written, in order to be judged anywhere.

What the kernel makes of the values is its own business; few machines hand a part of version 2 to their tests.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.runtime.levels import Level
from sandbox.runtime.lockdown.cgroups import GroupLimits, delegated_group, open_to_children, prepare
from sandbox.runtime.spawner import SpawnFailed
from tests.support.confined import PLAIN, TEST_LEVEL, VERSION, install, plugins_folder, spawning, working

FILES = ("memory.max", "memory.swap.max", "pids.max", "cpu.max", "cgroup.procs")
MIB = 1024 * 1024


@pytest.fixture
def plugins() -> Iterator[Path]:
    with plugins_folder() as folder:
        install(folder, memory_mb=128)
        yield folder


def make_group(folder: Path, *files: str) -> Path:
    """A group with the files that the kernel would put there."""
    folder.mkdir(parents=True)
    for name in files:
        (folder / name).touch()
    return folder


def written(group: Path) -> dict[str, str]:
    return {each.name: each.read_text(encoding="ascii") for each in group.iterdir() if each.is_file()}


def test_limits_are_those_of_all_workers_together(tmp_path: Path) -> None:
    group = make_group(tmp_path / "plugin", *FILES)
    prepare(group, limits=GroupLimits(workers=8, cpu_percent=150), memory_mb=256, processes=64)
    assert written(group) == {
        "memory.max": str(2048 * MIB),
        "memory.swap.max": "0",
        "pids.max": "512",
        "cpu.max": "150000 100000",
        "cgroup.procs": "",
    }


def test_a_limit_that_cannot_be_set_is_an_error(tmp_path: Path) -> None:
    group = make_group(tmp_path / "plugin", "memory.max", "cpu.max")
    with pytest.raises(FileNotFoundError, match=r"pids\.max"):
        prepare(group, limits=GroupLimits(), memory_mb=256, processes=64)
    with pytest.raises(FileNotFoundError, match="subtree_control"):
        open_to_children(tmp_path)


@pytest.mark.parametrize(
    ("controllers", "mark", "is_found"),
    [("cpu memory pids io", b"1", True), ("memory pids", b"1", False), ("cpu memory pids", None, False)],
    ids=["handed over", "without cpu", "somebody else's"],
)
def test_only_a_group_that_was_handed_over_is_used(
    tmp_path: Path, controllers: str, mark: bytes | None, *, is_found: bool
) -> None:
    service = make_group(tmp_path / "fs" / "arsenal.service", "cgroup.controllers")
    (service / "cgroup.controllers").write_text(controllers, encoding="ascii")
    make_group(service / "host")
    if mark is not None:
        os.setxattr(service, "user.delegate", mark)
    own = tmp_path / "own"
    own.write_text("3:cpu:/\n0::/arsenal.service/host\n", encoding="ascii")
    assert delegated_group(hierarchy=tmp_path / "fs", own=own) == (service if is_found else None)
    own.write_text("3:cpu:/\n0::/\n", encoding="ascii")
    assert delegated_group(hierarchy=tmp_path / "fs", own=own) is None


async def test_a_worker_is_born_in_its_plugin_s_group(plugins: Path, tmp_path: Path) -> None:
    top = make_group(tmp_path / "top", "cgroup.subtree_control")
    group = make_group(top / PLAIN, *FILES)
    async with spawning(plugins, level=TEST_LEVEL, group=top) as spawner, working(spawner) as worker:
        assert await worker.run("result = 'born'") == "born"
    assert written(group) == (
        {
            "memory.max": str(8 * 128 * MIB),
            "memory.swap.max": "0",
            "pids.max": "512",
            "cpu.max": "100000 100000",
            "cgroup.procs": "0",
        }
        if TEST_LEVEL >= Level.L4
        else dict.fromkeys(FILES, "")
    )


@pytest.mark.parametrize("level", [level for level in Level if Level.L4 <= level <= TEST_LEVEL])
async def test_a_group_that_cannot_be_had_bears_no_worker(plugins: Path, tmp_path: Path, level: Level) -> None:
    """It is made in a plain folder, where the kernel puts no files: the first of them is missing."""
    top = make_group(tmp_path / "top", "cgroup.subtree_control")
    async with spawning(plugins, level=level, group=top) as spawner:
        with pytest.raises(SpawnFailed) as failed:
            await spawner.spawn(PLAIN, VERSION, 0)
        assert (failed.value.step, failed.value.path) == ("cgroup", str(top / PLAIN / "memory.max"))
        assert written(top) == {"cgroup.subtree_control": "+cpu +memory +pids"}
        for name in FILES[:-1]:
            (top / PLAIN / name).touch()
        with pytest.raises(SpawnFailed) as failed:
            await spawner.spawn(PLAIN, VERSION, 0)
        assert (failed.value.step, failed.value.path) == ("cgroup", str(top / PLAIN / "cgroup.procs"))
