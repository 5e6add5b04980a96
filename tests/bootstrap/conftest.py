"""The command line in a folder and an environment of its own."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
from typer.testing import CliRunner, Result

from platform_core.bootstrap.cli import app
from platform_core.kernel.database.embedded import EmbeddedPostgres

ARSENAL = (sys.executable, "-m", "platform_core.bootstrap")


@contextmanager
def unmarked() -> Iterator[None]:
    """Undo what a command does to its process: logs, signals, warnings."""
    root, handler = logging.getLogger(), signal.getsignal(signal.SIGTERM)
    handlers, level, structured = root.handlers[:], root.level, structlog.get_config()
    try:
        with warnings.catch_warnings():
            yield
    finally:
        root.handlers[:], root.level = handlers, level
        structlog.configure(**structured)
        if signal.getsignal(signal.SIGTERM) is not handler:
            signal.signal(signal.SIGTERM, handler)


@dataclass(frozen=True, slots=True)
class CommandLine:
    """Runs `arsenal` in this process, with these variables and no other of ours."""

    env: Mapping[str, str]

    def run(self, *arguments: str, **changed: str) -> Result:
        """The outcome of a command; `changed` are further variables."""
        cleared = dict.fromkeys((name for name in os.environ if name.startswith("ARSENAL_")), None)
        with unmarked():
            return CliRunner().invoke(app, list(arguments), env={**cleared, **self.env, **changed})

    def process_env(self, **changed: str) -> dict[str, str]:
        """The environment for a process."""
        others = {name: value for name, value in os.environ.items() if not name.startswith("ARSENAL_")}
        return {**others, **self.env, **changed}


def one_document(text: str) -> dict[str, Any]:
    """The one JSON document that a command printed; nothing else may stand beside it."""
    assert text.count("\n") == 1, text
    return dict(json.loads(text))


@pytest.fixture
def command_line(database_url: str, tmp_path: Path) -> CommandLine:
    """The command line on a fresh, migrated database."""
    return CommandLine({"ARSENAL_HOME": str(tmp_path / "home"), "ARSENAL_DATABASE_URL": database_url})


@pytest.fixture
def unmigrated(postgres: EmbeddedPostgres, tmp_path: Path) -> Iterator[CommandLine]:
    """The command line on a database without a table."""
    name = f"empty_{os.getpid()}"
    postgres.create_database(name)
    yield CommandLine({"ARSENAL_HOME": str(tmp_path / "home"), "ARSENAL_DATABASE_URL": postgres.url(name)})
    postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts `arsenal` as a process; what still runs at the end of the test is killed by its id."""
    started: list[subprocess.Popen[str]] = []

    def begin(line: CommandLine, *arguments: str, **changed: str) -> subprocess.Popen[str]:
        with (tmp_path / f"{arguments[0]}.log").open("w") as log:
            process = subprocess.Popen(
                [*ARSENAL, *arguments], env=line.process_env(**changed), stdout=subprocess.PIPE, stderr=log, text=True
            )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=30)
