"""A platform that answers on a real port, for pages whose examples are programs of their own."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import uvicorn

from platform_core.bootstrap.app import attach, create_app
from platform_core.bootstrap.platform import open_platform
from platform_core.identity.schemas import AppCreate, GrantCreate
from platform_core.kernel.clock import Clock
from platform_core.kernel.database.pools import DatabaseUrls
from platform_core.kernel.settings import Settings
from platform_core.plugin_host.registry import Registry
from tests.docs.markdown import ROOT, examples
from tests.support.world import World


@asynccontextmanager
async def serving(
    database_url: str, *, clock: Clock, home: Path, acquirer_url: str, registry: Registry | None = None
) -> AsyncIterator[World]:
    """A world whose client speaks to a server on loopback; the acquirer's notices arrive there too."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
        settings = Settings(home=home, public_origin=origin, is_webhook_loopback_allowed=True)
        urls = DatabaseUrls(owner=database_url)
        async with open_platform(settings, urls, clock=clock, registry=registry) as platform:
            app = create_app(None, public_origin=origin, ids=platform.ids)  # type: ignore[arg-type]  # attached by hand
            attach(app, platform)
            server = uvicorn.Server(uvicorn.Config(app, lifespan="off", ws="none", log_config=None, access_log=False))
            task = asyncio.create_task(server.serve(sockets=[listener]))
            try:
                async with httpx.AsyncClient(base_url=origin, timeout=30) as client:
                    yield World(platform, app, client, acquirer_url)
            finally:
                server.should_exit = True
                await task


async def environment(world: World, *, merchant_id: str, scopes: Sequence[str]) -> dict[str, str]:
    """What the pages' examples read: the address, and the credentials of a new app of the merchant."""
    platform = world.platform
    app = await platform.apps.create_app(
        AppCreate(name="Page", mode="test", merchant_id=merchant_id, api_version="2026-11-22")
    )
    await platform.grants.create(
        GrantCreate(
            app_id=app.id, merchant_id=merchant_id, mode="test", scopes=scopes, stores=None, given_by="per_owner"
        )
    )
    return {
        "ARSENAL_URL": str(world.client.base_url).rstrip("/"),
        "ARSENAL_CLIENT_ID": app.client.id,
        "ARSENAL_CLIENT_SECRET": app.secret.secret,
    }


def blocks(page: str, *, test: str, language: str) -> list[str]:
    """The page's blocks of a language that this test runs, in order."""
    return [example.text for example in examples(ROOT / page) if example.language == language and test in example.mark]


def files(page: str, *, test: str) -> dict[str, str]:
    """The page's blocks that are whole files: each names itself in a comment on its first line."""
    found = {}
    for example in examples(ROOT / page):
        first = example.text.partition("\n")[0]
        if test in example.mark and first.startswith(("# ", "// ")):
            found[first.partition(" ")[2].strip()] = example.text
    return found


async def run(command: Sequence[str], *, folder: Path, extra: Mapping[str, str]) -> str:
    """Run a program to its end in a folder and return what it printed; it must succeed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = await asyncio.to_thread(
        subprocess.run,
        command,
        cwd=folder,
        env={**os.environ, "PATH": path, **extra},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


async def run_shell(script: str, *, folder: Path, extra: Mapping[str, str]) -> str:
    """Run a page's shell text as its reader would type it."""
    return await run(["bash", "-euo", "pipefail", "-c", script], folder=folder, extra=extra)
