"""The sandbox that a command speaks to: its address, an app's credentials, and requests that name the next step."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import httpx

from platform_core.bootstrap.environment import load_settings
from platform_core.bootstrap.terminal import FOUND_FAULTS, UNREACHABLE, WRONG_USE, CliFailure
from sandbox.testbed.trigger_till import PlatformAway, Till, TillRefused

VARIABLES: Final = ("ARSENAL_URL", "ARSENAL_CLIENT_ID", "ARSENAL_CLIENT_SECRET")
ACQUIRER: Final = "ARSENAL_ACQUIRER_URL"
SANDBOX: Final = "/sandbox/v1"
APPS: Final = "sandbox-apps.json"
DEMO_ENV: Final = "demo.env"
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


def find_target(app: str | None = None) -> Target:
    """From the environment, else from what `arsenal demo` wrote; `app`: another one that was seeded here, by its name.

    CliFailure when something is missing.
    """
    home = load_settings().home
    target = target_of(home / DEMO_ENV)
    if app is None:
        return target
    known = read_apps(home)
    found = known.get(app) or next((each for each in known.values() if each["client_id"] == app), None)
    if found is None:
        raise CliFailure(
            f"No app {app!r} was seeded here; there are: {', '.join(known) or 'none'}.",
            "Run: arsenal sandbox seed",
            status=WRONG_USE,
            code="cli.app_unknown",
        )
    return replace(target, client_id=found["client_id"], client_secret=found["client_secret"])


def read_apps(home: Path) -> dict[str, dict[str, str]]:
    """Credentials of the apps that were seeded from this folder, by name."""
    path = home / APPS
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def remember_apps(home: Path, apps: Mapping[str, Mapping[str, str]]) -> None:
    """Add credentials to those under `home`; the file is readable by its owner alone."""
    known = {**read_apps(home), **{name: dict(each) for name, each in apps.items()}}
    path = home / APPS
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(json.dumps(known, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


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
