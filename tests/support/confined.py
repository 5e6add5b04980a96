"""Real zygotes and workers for tests: a worker runs what a test tells it and answers.

`ARSENAL_TEST_LEVEL` (L1 to L4) states what this machine must attain; one that attains less fails, it does not skip.
Unset, it is what kernel and user promise (`levels.best_promised`), and every test up to that level must pass.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from sandbox.runtime.levels import Level, best_promised, look_at_machine
from sandbox.runtime.release import WorkerRelease, release_file
from sandbox.runtime.requests import ZygoteSettings
from sandbox.runtime.spawner import ExitStatus, Spawned, Spawner
from tests.support.patience import HEARD_S

TEST_LEVEL: Final = Level[os.environ.get("ARSENAL_TEST_LEVEL", best_promised(look_at_machine()).name)]
LEVELS: Final = [level for level in Level if Level.L1 <= level <= TEST_LEVEL]
CONFINED: Final = [level for level in LEVELS if level >= Level.L2]
OBEY: Final = "tests.sandbox.runtime.entries:obey"
PLAIN: Final = "com.example.plain"
VERSION: Final = "1.0.0"
NOBODY: Final = 65534


def name_of(level: Level) -> str:
    """For the ids of parametrised tests."""
    return level.name


@contextmanager
def plugins_folder() -> Iterator[Path]:
    """A folder for installed releases that other users may read, as an installation is."""
    folder = Path(tempfile.mkdtemp(prefix="arsenal-plugins-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def install(plugins: Path, *, plugin_id: str = PLAIN, memory_mb: int = 256, **files: str) -> WorkerRelease:
    """Lay down a release as the installer does; `files` are modules by name."""
    target = release_file(plugins, plugin_id, VERSION)
    release = WorkerRelease(
        plugin_id=plugin_id,
        version=VERSION,
        folder=target.parent / "site",
        module="plain",
        memory_mb=memory_mb,
        tree_hash="0" * 64,
    )
    release.folder.mkdir(parents=True)
    for name, text in {"plain": "VALUE = 1\n", **files}.items():
        (release.folder / f"{name}.py").write_text(text, encoding="utf-8")
    target.write_text(release.model_dump_json(), encoding="utf-8")
    return release


@asynccontextmanager
async def spawning(
    plugins: Path,
    *,
    level: Level,
    entry: str = OBEY,
    python: Path | None = None,
    within_s: float = HEARD_S,
    **changed: Any,  # Any: fields of ZygoteSettings
) -> AsyncIterator[Spawner]:
    """A started spawner that tries no higher level than `level`."""
    told = {"required": Level.L1, "level_max": level, "spawn_within_s": within_s, **changed}
    settings = ZygoteSettings(plugins=plugins, entry=entry, **told)
    spawner = Spawner(settings, python=python, start_within_s=3 * HEARD_S, answer_within_s=within_s + 1)
    try:
        await spawner.start()
        yield spawner
    finally:
        await spawner.close()


class Worker:
    """A worker that does as it is told."""

    def __init__(self, spawner: Spawner, spawned: Spawned) -> None:
        self.spawned = spawned
        self._spawner = spawner

    async def run(self, code: str) -> Any:
        """Run statements in the worker; what they left in `result`, or the words of what they raised."""
        loop = asyncio.get_running_loop()
        channel = self.spawned.channel
        async with asyncio.timeout(HEARD_S):
            await loop.sock_sendall(channel, json.dumps(code).encode() + b"\n")
            text = b""
            while not text.endswith(b"\n"):
                chunk = await loop.sock_recv(channel, 65536)
                if not chunk:
                    raise EOFError("the worker hung up")
                text += chunk
        return json.loads(text)

    async def end_of(self, code: str) -> ExitStatus:
        """Run statements that end the worker, and tell how it ended."""
        with suppress(EOFError, ConnectionResetError):
            raise AssertionError(f"survived with {await self.run(code)!r}: {code}")
        return await self._spawner.reap(self.spawned)

    def said_by_kernel(self, name: str) -> str:
        """What stands in /proc/<pid>/<name>."""
        return Path(f"/proc/{self.spawned.pid}/{name}").read_text(encoding="utf-8")

    def status(self) -> dict[str, str]:
        """Its line-wise status."""
        lines = self.said_by_kernel("status").splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@asynccontextmanager
async def working(spawner: Spawner, *, plugin_id: str = PLAIN, slot: int = 0) -> AsyncIterator[Worker]:
    """One worker, killed and reaped at the end."""
    spawned = await spawner.spawn(plugin_id, VERSION, slot)
    try:
        yield Worker(spawner, spawned)
    finally:
        await put_down(spawner, spawned)


async def put_down(spawner: Spawner, spawned: Spawned) -> None:
    """Kill and reap a worker, whether it still runs or not, and close its descriptors."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(spawned.pidfd, signal.SIGKILL)
    with suppress(Exception):  # reaped before
        await spawner.reap(spawned)
    spawned.close()


def is_running(spawned: Spawned) -> bool:
    """Whether a worker lives, asked without touching it."""
    try:
        signal.pidfd_send_signal(spawned.pidfd, 0)
        state = Path(f"/proc/{spawned.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state not in "ZX"


def ordinary_python(folder: Path) -> Path | None:
    """An interpreter that runs as an ordinary user: itself, or for root a wrapper that first becomes nobody."""
    if os.geteuid() != 0:
        return None
    own = Path(getattr(sys, "_base_executable", sys.executable))
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    candidates = [own, Path("/usr/local/bin") / name, Path("/usr/bin") / name]
    python = next(each for each in candidates if each.exists() and _is_open_to_all(each))
    wrapper = folder / "ordinary-python"
    setpriv = shutil.which("setpriv")
    assert setpriv is not None, "setpriv of util-linux is needed to run as an ordinary user"
    switch = f"exec {setpriv} --reuid={NOBODY} --regid={NOBODY} --clear-groups {python}"
    wrapper.write_text(f'#!/bin/sh\n{switch} "$@"\n', encoding="utf-8")
    wrapper.chmod(0o755)
    return wrapper


def _is_open_to_all(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in (path.resolve(), *path.resolve().parents))
