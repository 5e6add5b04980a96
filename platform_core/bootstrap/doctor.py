"""What `arsenal doctor` looks at: each check says how it found a part of the installation, and the next command."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import asyncpg
from celery import Celery

from platform_core.bootstrap.environment import misspelt
from platform_core.bootstrap.readiness import DATABASE_AWAY
from platform_core.bootstrap.sandbox import sandbox_folders
from platform_core.delivery.celery_app import make_celery
from platform_core.identity.vault import SealBroken, Vault
from platform_core.kernel.database import migrations
from platform_core.kernel.database.pools import Database, DatabaseUrls
from platform_core.kernel.settings import Settings, variable_of
from platform_core.plugin_host.registry import load_installed

State = Literal["ok", "warning", "failed"]
PYTHON_MIN: Final = (3, 11)
POSTGRES_MIN: Final = 150_000
SKEW_S_MAX: Final = 2.0
BROKER_WITHIN_S: Final = 5.0
ROLES: Final = ("app", "writer", "auth", "job")
# A lost power cord must lose no acknowledged payment.
DURABLE: Final = {
    "fsync": ("on",),
    "full_page_writes": ("on",),
    "synchronous_commit": ("on", "remote_apply", "remote_write"),
}
_SIGNING_KEY: Final = "SELECT id, sealed FROM signing_key WHERE state = 'current'"


@dataclass(frozen=True, slots=True)
class Finding:
    """How one part was found. `next_step` is empty where nothing is to be done."""

    name: str
    state: State
    words: str
    next_step: str = ""


def look_at_process(settings: Settings) -> list[Finding]:
    """Python, settings, keys, plugins: what needs nothing else to run."""
    return [_python(), *_settings(settings), *_keys(settings), *_plugins()]


def unstarted_database(settings: Settings) -> Finding | None:
    """The embedded database before its first start; looking must not create it. None when there is one to look at."""
    if settings.database_url is not None or (settings.home / "pg" / "PG_VERSION").exists():
        return None
    words = f"the embedded database under {settings.home / 'pg'} does not exist yet"
    return Finding("database", "warning", words, "Run: arsenal serve (creates it), or arsenal demo")


async def look_at_database(settings: Settings, urls: DatabaseUrls, vault_key: bytes) -> list[Finding]:
    """Reachability, version, durability, roles, migrations, clock and keys; what cannot be reached ends the list."""
    try:
        connection = await asyncpg.connect(urls.owner, timeout=5)
    except (*DATABASE_AWAY, ValueError) as error:
        return [_away(error)]
    try:
        found = [await _version(connection), await _durability(connection), await _clock(connection)]
    finally:
        await connection.close()
    missing = sorted(migrations.heads_expected(sandbox_folders(settings)) - await migrations.heads_found(urls.owner))
    if missing:
        return [*found, Finding("migrations", "failed", f"missing: {', '.join(missing)}", "Run: arsenal migrate")]
    found.append(Finding("migrations", "ok", "at head"))
    roles = await _roles(urls)
    found.append(roles)
    if roles.state == "ok":
        found.append(await _vault(urls, vault_key))
    return found


async def look_at_broker(settings: Settings) -> Finding:
    """Whether wake-ups can be sent. Without a broker nothing is lost; rows wait until the dispatcher's next look."""
    celery = make_celery(settings) if settings.broker_url is not None else None
    if celery is None:
        folder = settings.home / "broker"
        can_write = os.access(folder if folder.exists() else settings.home.parent, os.W_OK)
        words = f"files under {folder}"
        if can_write:
            return Finding("broker", "ok", words)
        return Finding("broker", "failed", f"{words} cannot be written", "Choose another folder: ARSENAL_HOME=...")
    assert settings.broker_url is not None
    place = urlsplit(settings.broker_url.get_secret_value())
    where = f"{place.scheme}://{place.hostname}:{place.port or 'default'}"
    try:
        async with asyncio.timeout(BROKER_WITHIN_S):
            await asyncio.to_thread(_connect, celery)
    except Exception as error:  # noqa: BLE001 - each transport raises its own classes
        words = f"{where} does not answer: {type(error).__name__}"
        return Finding("broker", "failed", words, "Check ARSENAL_BROKER_URL and that the broker runs")
    return Finding("broker", "ok", where)


def _connect(celery: Celery) -> None:
    with celery.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, timeout=3)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < PYTHON_MIN:
        return Finding("python", "failed", version, "Install Python 3.11 or newer and run: make runtime")
    return Finding("python", "ok", version)


def _settings(settings: Settings) -> Iterable[Finding]:
    for name, meant in misspelt().items():
        words = f"{name} is no setting" + (f"; {meant} was probably meant" if meant else "")
        yield Finding("settings", "failed", words, f"Run: unset {name}" + (f" and set {meant}" if meant else ""))
    changed = sorted(variable_of(name) for name in settings.model_fields_set)
    yield Finding("settings", "ok", ", ".join(changed) if changed else "all at their defaults")
    origin = urlsplit(settings.public_origin)
    if origin.scheme == "http" and origin.hostname not in ("127.0.0.1", "localhost", "::1"):
        words = f"{settings.public_origin} sends tokens in the clear"
        yield Finding("public origin", "warning", words, "Put TLS in front and set ARSENAL_PUBLIC_ORIGIN=https://...")


def _keys(settings: Settings) -> Iterable[Finding]:
    for name, file in (("secrets_key", "secrets.key"), ("cursor_key", "cursor.key")):
        path = settings.home / file
        if getattr(settings, name) is not None:
            yield Finding("keys", "ok", f"{variable_of(name)} is set")
        elif settings.database_url is not None:
            words = f"{variable_of(name)} is unset: each machine would make a key of its own under {path}"
            yield Finding("keys", "warning", words, f"Set {variable_of(name)} to the same text in every process")
        elif path.exists() and path.stat().st_mode & 0o077:
            yield Finding("keys", "failed", f"{path} can be read by others", f"Run: chmod 600 {path}")
        else:
            yield Finding("keys", "ok", f"{path}" if path.exists() else f"{path} is made at the first start")


def _plugins() -> Iterable[Finding]:
    registry = load_installed()
    for problem in registry.problems:
        words = f"{problem.plugin_id}: {problem.message}"
        yield Finding(
            "plugins", "failed", words, f"Correct or uninstall the plugin {problem.plugin_id} {problem.where}"
        )
    names = ", ".join(registry.plugin_ids) or "none"
    yield Finding("plugins", "ok" if registry.plugin_ids else "warning", f"in use: {names}")


def _away(error: BaseException) -> Finding:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return Finding(
        "database", "failed", f"does not answer: {reason}", "Check ARSENAL_DATABASE_URL and that the server runs"
    )


async def _version(connection: asyncpg.Connection[Any]) -> Finding:
    number = int(await connection.fetchval("SHOW server_version_num"))
    words = f"PostgreSQL {await connection.fetchval('SHOW server_version')}"
    if number < POSTGRES_MIN:
        return Finding("database", "failed", words, "Upgrade to PostgreSQL 15 or newer")
    return Finding("database", "ok", words)


async def _durability(connection: asyncpg.Connection[Any]) -> Finding:
    found = {name: str(await connection.fetchval(f"SHOW {name}")) for name in DURABLE}
    weak = [f"{name} = {value}" for name, value in found.items() if value not in DURABLE[name]]
    if weak:
        words = f"{', '.join(weak)}: an acknowledged payment could be lost"
        return Finding("durability", "failed", words, "Set fsync, full_page_writes and synchronous_commit to on")
    return Finding("durability", "ok", ", ".join(f"{name} = {value}" for name, value in found.items()))


async def _clock(connection: asyncpg.Connection[Any]) -> Finding:
    before = datetime.now(UTC)
    theirs = await connection.fetchval("SELECT clock_timestamp()")
    after = datetime.now(UTC)
    skew_s = max((before - theirs).total_seconds(), (theirs - after).total_seconds(), 0.0)
    words = f"{skew_s:.3f} s away from the database's"
    if skew_s > SKEW_S_MAX:
        return Finding("clock", "failed", words, "Let both machines follow the same time servers (chrony, NTP)")
    return Finding("clock", "ok", words)


async def _roles(urls: DatabaseUrls) -> Finding:
    database = Database(urls, application_name="arsenal-doctor")
    wrong = [words for role in ROLES if (words := await _fault_of_role(database, role))]
    if wrong:
        return Finding("roles", "failed", "; ".join(wrong), "See docs/how-to/production.md, then run: arsenal migrate")
    return Finding("roles", "ok", ", ".join(f"arsenal_{role}" for role in ROLES))


async def _fault_of_role(database: Database, role: str) -> str:
    try:
        connection = await database.connect(role)
    except (*DATABASE_AWAY, ValueError) as error:
        return f"arsenal_{role}: {type(error).__name__}"
    try:
        is_over = await connection.fetchval(
            "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"
        )
        return f"arsenal_{role} sees past row-level security" if is_over else ""
    finally:
        await connection.close()


async def _vault(urls: DatabaseUrls, vault_key: bytes) -> Finding:
    connection = await Database(urls, application_name="arsenal-doctor").connect("auth")
    try:
        row = await connection.fetchrow(_SIGNING_KEY)
    finally:
        await connection.close()
    if row is None:
        return Finding("sealed secrets", "ok", "none yet")
    try:
        Vault(vault_key).open(row["id"], row["sealed"])
    except SealBroken:
        words = "what this database holds was sealed under another key"
        return Finding("sealed secrets", "failed", words, "Set ARSENAL_SECRETS_KEY, or ARSENAL_HOME, as they were")
    return Finding("sealed secrets", "ok", "open with this installation's key")
