"""The sandbox that a command speaks to: its address, an app's credentials, and requests that name the next step."""

from __future__ import annotations

import os
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from platform_core.bootstrap.demo import DEMO_ENV
from platform_core.bootstrap.environment import load_settings
from platform_core.bootstrap.terminal import FOUND_FAULTS, UNREACHABLE, WRONG_USE, CliFailure
from sandbox.testbed.trigger_till import PlatformAway, Till, TillRefused

VARIABLES: Final = ("ARSENAL_URL", "ARSENAL_CLIENT_ID", "ARSENAL_CLIENT_SECRET")
ACQUIRER: Final = "ARSENAL_ACQUIRER_URL"
SANDBOX: Final = "/sandbox/v1"
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """The platform to speak to, and the app to speak as. `app`: its client id."""

    url: str
    client_id: str
    client_secret: str
    acquirer_url: str

    def till(self, client: httpx.AsyncClient, *, patience_s: float = 10.0) -> Till:
        """A client for the app."""
        return Till(client, self.url, self.client_id, self.client_secret, patience_s=patience_s)


def find_target() -> Target:
    """From the environment, else from what `arsenal demo` wrote. CliFailure when something is missing."""
    return target_of(load_settings().home / DEMO_ENV)


def target_of(written: Path) -> Target:
    """From the environment, else from that file. CliFailure when something is missing."""
    known: dict[str, str] = {}
    if written.exists():
        pairs = (shlex.split(line)[0].partition("=") for line in written.read_text(encoding="utf-8").splitlines())
        known = {name: value for name, _, value in pairs}
    if all(os.environ.get(name) for name in VARIABLES):
        known |= {name: os.environ[name] for name in (*VARIABLES, ACQUIRER) if name in os.environ}
    missing = [name for name in VARIABLES if not known.get(name)]
    if missing:
        raise CliFailure(
            f"Not known where the sandbox is, and who asks: {', '.join(missing)} and {written} are missing.",
            "Run: arsenal demo (in another shell), or set the three variables",
            status=WRONG_USE,
            code="cli.no_target",
        )
    url, client_id, client_secret = (known[name] for name in VARIABLES)
    return Target(url.rstrip("/"), client_id, client_secret, known.get(ACQUIRER, "").rstrip("/"))


@asynccontextmanager
async def speaking(target: Target) -> AsyncIterator[httpx.AsyncClient]:
    """A client for the block; what goes wrong in it is a CliFailure."""
    try:
        async with httpx.AsyncClient(timeout=40.0, trust_env=False) as client:
            yield client
    except (PlatformAway, httpx.TransportError) as error:
        raise CliFailure(
            f"{target.url} does not answer: {error}.",
            "Run: arsenal demo, or arsenal serve with ARSENAL_IS_SANDBOX=true",
            status=UNREACHABLE,
            code="cli.platform_unreachable",
        ) from error
    except TillRefused as error:
        raise refused(error) from error


def refused(error: TillRefused) -> CliFailure:
    """What the platform said, with its own next step; a door that is not there is no sandbox's."""
    code = str(error.problem.get("code", ""))
    if (
        error.status == httpx.codes.NOT_FOUND
        and SANDBOX in str(error.problem.get("instance", ""))
        and (code == "kernel.not_found")
    ):
        hint = "Serve it with ARSENAL_IS_SANDBOX=true, or name another: ARSENAL_URL"
        return CliFailure("This platform is no sandbox.", hint, code="cli.no_sandbox", status=WRONG_USE)
    hint = str(error.problem.get("hint") or "Check the app's scopes and credentials, then run: arsenal doctor")
    detail = str(error.problem.get("detail") or error)
    return CliFailure(detail, hint, code=code or "cli.refused", status=FOUND_FAULTS)
