"""What commands say: tables for people, one JSON document for programs, and errors that name the next step."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from platform_core.kernel.errors import PlatformError

P = ParamSpec("P")
R = TypeVar("R")

FOUND_FAULTS: Final = 1  # the command did its work, and what it looked at is not in order
WRONG_USE: Final = 2  # arguments or settings that cannot be used
UNREACHABLE: Final = 3  # a database, broker or server that the command needs is not there

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


@dataclass(slots=True)
class CliFailure(Exception):
    """Why a command ends without success: in words, with the command or step that comes next."""

    message: str
    next_step: str
    status: int = FOUND_FAULTS
    code: str = "cli.failed"
    facts: Mapping[str, Any] | None = None  # whatever JSON holds

    def __str__(self) -> str:
        return f"{self.message} {self.next_step}"


class Terminal:
    """Standard output of one command."""

    def __init__(self, *, is_json: bool) -> None:
        self.is_json = is_json
        self.console = Console(soft_wrap=True, highlight=False, quiet=is_json)

    def say(self, text: str) -> None:
        """A line for people, markup allowed."""
        self.console.print(text)

    def warn(self, text: str | None) -> None:
        """A line that nobody may miss, on standard error also where a program reads the answer; None: nothing."""
        if text is not None:
            Console(stderr=True, soft_wrap=True, highlight=False).print(f"[bold red]{escape(text)}[/]")

    def table(self, columns: Iterable[str], rows: Iterable[Iterable[object]], *, title: str | None = None) -> None:
        """A table for people; numbers are right-aligned."""
        if self.is_json:
            return
        made = Table(title=title, title_justify="left")
        listed = [list(row) for row in rows]
        for place, name in enumerate(columns):
            is_number = bool(listed) and all(isinstance(row[place], int | float) for row in listed)
            made.add_column(name, justify="right" if is_number else "left", overflow="fold")
        for row in listed:
            made.add_row(*(escape(str(value)) for value in row))
        self.console.print(made)

    def document(self, value: Mapping[str, Any]) -> None:
        """The one document for programs, on one line; nothing without --json."""
        if self.is_json:
            sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
            sys.stdout.flush()


def reporting(command: Callable[P, R]) -> Callable[P, R]:
    """A command whose failures are told as a sentence, or with --json as `{"error": ...}`, and set the exit status."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except CliFailure as failure:
            raise typer.Exit(_tell(failure, is_json=bool(kwargs.get("is_json")))) from failure
        except PlatformError as error:
            hint = error.hint("en") or "Run: arsenal doctor"
            status = UNREACHABLE if error.is_retryable else FOUND_FAULTS
            told = CliFailure(error.detail("en"), hint, status=status, code=error.code)
            raise typer.Exit(_tell(told, is_json=bool(kwargs.get("is_json")))) from error

    return run


def _tell(failure: CliFailure, *, is_json: bool) -> int:
    if is_json:
        Terminal(is_json=True).document(
            {
                "error": {
                    "code": failure.code,
                    "message": failure.message,
                    "next_step": failure.next_step,
                    **(failure.facts or {}),
                }
            }
        )
    else:
        errors = Console(stderr=True, soft_wrap=True, highlight=False)
        errors.print(f"[bold red]error:[/] {escape(failure.message)}")
        errors.print(f"[bold]next:[/] {escape(failure.next_step)}")
    return failure.status
