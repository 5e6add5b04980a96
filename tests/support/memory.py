"""The tests' PostgreSQL in memory: what a run makes there nobody keeps, and a fresh database costs a tenth.

Copying the template makes about 900 small files. On a disk that takes 0.1 s at best and over a second beside others who
write; in memory it takes 0.02 s. The server is the same and keeps its settings, `fsync` among them: what it waits for
answers sooner.
"""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from platform_core.kernel.database.embedded import EmbeddedPostgres

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - tmpfs, for all (shm_overview(7), read 2026-11-22); our folder is ours
ROOM_BYTES = 1 << 30  # a server of the tests takes some 100 MiB and, by WAL_MB, not much more; two run side by side
WAL_MB = 256
CONNECTIONS = 400  # six servers under 40 requests at once took 170 of the default's 200, besides those of this process
PREFIX = "arsenal-test-"


def has_room(folder: Path = SHARED_MEMORY, *, room_bytes: int = ROOM_BYTES) -> bool:
    """Whether the folder, and the memory behind it, hold what a run makes."""
    if not folder.is_dir():
        return False
    return min(shutil.disk_usage(folder).free, psutil.virtual_memory().available) >= room_bytes


def place() -> Path:
    """Where a run's server is kept: in memory where there is room, else among temporary files."""
    return SHARED_MEMORY if has_room() else Path(tempfile.gettempdir())


@contextmanager
def run_folder(parent: Path) -> Iterator[Path]:
    """A folder of this run's own, removed with it; what a run that was killed left there is removed by the next.

    A run holds the lock in its folder: where nobody does, the run is gone. A PostgreSQL that it left behind ends by
    itself, because it looks for its postmaster.pid once a minute.
    """
    for left in parent.glob(f"{PREFIX}*"):
        _remove_if_left(left)
    with (
        tempfile.TemporaryDirectory(prefix=PREFIX, dir=parent) as name,
        (Path(name) / "lock").open("w", encoding="ascii") as lock,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield Path(name)


def _remove_if_left(folder: Path) -> None:
    try:
        with (folder / "lock").open(encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (folder / "pg").exists():  # or its run has yet to take the lock
                shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # in use, or another user's, or without a lock: none of our business
        return


class TestPostgres(EmbeddedPostgres):
    """The embedded server of a run, in `place`."""

    __test__ = False  # no test, whatever its name makes pytest think

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.is_in_memory = folder.is_relative_to(SHARED_MEMORY)

    def start(self, *, database: str = "arsenal") -> str:
        """As the embedded server does, for more servers than one; in memory its log is kept short."""
        super().start(database=database)
        self.sql(f"ALTER SYSTEM SET max_connections = {CONNECTIONS}")
        if self.is_in_memory:
            self.sql(f"ALTER SYSTEM SET max_wal_size = '{WAL_MB}MB'")
        self.stop()  # max_connections wants it
        return super().start(database=database)

    def create_database(self, name: str, *, template: str = "template0") -> None:
        """As the embedded server does; in memory, files are copied, not written to the log first.

        Each such copy makes a checkpoint before and after (CREATE DATABASE, PostgreSQL 18, read 2026-11-22): dear on a
        disk, cheap here.
        """
        if not self.is_in_memory or template == "template0":
            super().create_database(name, template=template)
            return
        assert name.replace("_", "").isalnum(), name
        self.sql(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
