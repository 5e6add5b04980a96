"""The system's PostgreSQL 15 as an outside database: a cluster in a temporary folder, one login for each role."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from tests.support.processes import Daemon, free_port, says

BINARIES = Path("/usr/lib/postgresql/15/bin")
ROLES = ("app", "writer", "auth", "job")

# What docs/how-to/production.md tells an operator to run once as superuser. `{role}`: app, writer, auth, job.
SETUP = (
    "CREATE ROLE arsenal_owner LOGIN CREATEROLE PASSWORD '{password}'",
    "CREATE DATABASE arsenal OWNER arsenal_owner TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'",
)
SETUP_ROLE = (
    "CREATE ROLE arsenal_{role} LOGIN PASSWORD '{password}'",
    "GRANT arsenal_{role} TO arsenal_owner WITH ADMIN OPTION",
)


@dataclass(frozen=True, slots=True)
class OutsidePostgres:
    """A running server. `urls` has a URL for `owner` and for each of the roles."""

    daemon: Daemon
    superuser_url: str
    urls: dict[str, str]


def is_installed() -> bool:
    """Whether the system has it."""
    return (BINARIES / "postgres").exists()


def unprivileged_user() -> str | None:
    """Who runs servers that refuse to run as root; None when we are not root."""
    if os.geteuid() != 0:
        return None
    return next(name for name in ("postgres", "nobody") if _exists(name))


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


@asynccontextmanager
async def running_postgres15() -> AsyncIterator[OutsidePostgres]:
    """Start it on a free port of loopback, with password logins only; remove it at the end."""
    user = unprivileged_user()
    folder = Path(tempfile.mkdtemp(prefix="arsenal-pg15-"))
    try:
        password = secrets.token_hex(16)
        (folder / "password").write_text(password, encoding="ascii")
        if user is not None:
            shutil.chown(folder, user)
            shutil.chown(folder / "password", user)
        _initialise(folder, user)
        port = free_port()
        daemon = Daemon(
            "postgres15",
            [
                BINARIES / "postgres",
                "-D",
                folder / "data",
                "-k",
                folder,
                "-p",
                str(port),
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "shared_buffers=64MB",
                "-c",
                "max_connections=150",
            ],
            log=folder / "log",
            ready=says("database system is ready to accept connections"),
            user=user,
        )
        await daemon.start()
        try:
            superuser_url = f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres"
            yield OutsidePostgres(daemon, superuser_url, await _set_up(superuser_url, port))
        finally:
            await daemon.stop()
    finally:
        shutil.rmtree(folder)


def _initialise(folder: Path, user: str | None) -> None:
    subprocess.run(
        [
            BINARIES / "initdb", "-D", folder / "data", "-U", "postgres", "--encoding=UTF8", "--locale=C",
            "--auth=scram-sha-256", f"--pwfile={folder / 'password'}",
        ],
        check=True,
        capture_output=True,
        cwd=folder,
        user=user,
    )  # fmt: skip


async def _set_up(superuser_url: str, port: int) -> dict[str, str]:
    urls = {}
    connection = await asyncpg.connect(superuser_url)
    try:
        for role in ("owner", *ROLES):
            password = secrets.token_hex(16)
            for statement in SETUP if role == "owner" else SETUP_ROLE:
                await connection.execute(statement.format(role=role, password=password))
            urls[role] = f"postgresql://arsenal_{role}:{password}@127.0.0.1:{port}/arsenal"
    finally:
        await connection.close()
    return urls
