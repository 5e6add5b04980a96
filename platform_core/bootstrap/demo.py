"""`arsenal demo`: everything on this machine, 200 paid orders through HTTP, and a check of all that came of them."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx

from platform_core.bootstrap.demo_checks import (
    Books,
    Check,
    check_books,
    check_doubts,
    check_orders,
    check_webhooks,
    read_books,
)
from platform_core.bootstrap.demo_plan import ORDERS, orders_for
from platform_core.bootstrap.demo_plugin import DemoPlugin, attained, check_plugin, play_hurried, put_in_place
from platform_core.bootstrap.demo_processes import Child, child
from platform_core.bootstrap.demo_receiver import Inbox, receiving
from platform_core.bootstrap.platform import Platform, open_platform
from platform_core.bootstrap.sandbox_target import DEMO_ENV, remember_apps
from platform_core.kernel.database.pools import DatabaseUrls
from platform_core.kernel.http.version import VERSION
from platform_core.kernel.settings import PREFIX, Settings
from sandbox.testbed.seed import Credentials, Seeded, SeededMerchant, Seeding, seed
from sandbox.testbed.trigger import Order, Played, Player
from sandbox.testbed.trigger_till import PlatformAway, Till, TillRefused

AT_ONCE: Final = 12
TIMEOUT: Final = httpx.Timeout(30.0)


class Watcher:
    """Is told how the demo goes; the command line shows it."""

    def step(self, words: str) -> None:
        """What happens next."""

    def warn(self, words: str) -> None:
        """Something that nobody may overlook."""

    def heard(self, order: Order, state: str) -> None:
        """An order was seen in a state."""

    def ended(self, played: Played) -> None:
        """An order came to its end."""

    def serving(self, url: str, env_path: Path) -> None:
        """The server answers, and the credentials are written."""


@dataclass(slots=True)
class DemoResult:
    """What came of it."""

    url: str
    seconds: float = 0.0
    played: list[Played] = field(default_factory=list)
    books: list[Books] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    webhooks: Counter[str] = field(default_factory=Counter)
    plugin: DemoPlugin | None = None

    @property
    def failed(self) -> list[Check]:
        """The checks that did not hold."""
        return [check for check in self.checks if not check.is_held]


@dataclass(slots=True)
class Scene:
    """What runs while the demo runs."""

    url: str
    acquirer_url: str
    platform: Platform
    seeded: Seeded
    client: httpx.AsyncClient
    inbox: Inbox
    children: Sequence[Child]
    plugin: DemoPlugin

    @property
    def guarded(self) -> SeededMerchant:
        """The merchant who uses the plugin: not the one whose credentials shells get."""
        return self.seeded.merchants[1]

    def till(self, credentials: Credentials) -> Till:
        """A client for an app."""
        return Till(self.client, self.url, credentials.client_id, credentials.client_secret)


@asynccontextmanager
async def scene(settings: Settings, urls: DatabaseUrls, watcher: Watcher) -> AsyncIterator[Scene]:
    """Acquirer, server, worker, receiver and everybody who trades; all of it ends with the block."""
    env, logs = child_env(settings), settings.home / "logs"
    arsenal = [sys.executable, "-m", "platform_core.bootstrap"]
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=TIMEOUT, trust_env=False))
        watcher.step("simulated acquirer")
        command = [sys.executable, "-m", "sandbox.simulators.acquirer", "--port", "0"]
        acquirer = await stack.enter_async_context(child("acquirer", command, env=env, log=logs / "acquirer.log"))
        watcher.step("server")
        acquirer_url = str(acquirer.said["url"])
        env["ARSENAL_ACQUIRER_URL"] = acquirer_url
        command = [*arsenal, "serve", "--json"]
        server = await stack.enter_async_context(child("server", command, env=env, log=logs / "server.log"))
        url = str(server.said["url"])
        watcher.step("worker")
        command = [*arsenal, "worker", "--json"]
        worker_env = {**env, "ARSENAL_PUBLIC_ORIGIN": url}
        worker = await stack.enter_async_context(child("worker", command, env=worker_env, log=logs / "worker.log"))
        inbox = stack.enter_context(receiving())
        watcher.step("an ISV and three merchants")
        found = {"public_origin": url, "is_development": True, "acquirer_url": acquirer_url}
        opened = settings.model_copy(update=found)
        platform = await stack.enter_async_context(
            open_platform(opened, urls, is_asking_plugins=False, application_name="arsenal-demo")
        )
        seeded = await seed(
            Seeding(
                parties=platform.parties,
                apps=platform.apps,
                grants=platform.grants,
                setup=platform.payment_setup,
                acquirer_url=acquirer_url,
                api_version=VERSION,
            )
        )
        watcher.step("a plugin, from its wheel")
        plugin = await attained(settings, seeded.merchants[1])
        made = Scene(url, acquirer_url, platform, seeded, client, inbox, (acquirer, server, worker), plugin)
        await put_in_place(platform, made.guarded, plugin)
        if plugin.why_not:
            watcher.warn(f"NO PLUGIN RUNS: {plugin.why_not}")
        await introduce(made)
        yield made


async def introduce(scene: Scene) -> None:
    """Tell the acquirer of the merchants, and the platform where the ISV wants to hear of events."""
    for merchant in scene.seeded.merchants:
        known = {"merchant_no": merchant.acquirer_no, "key": merchant.acquirer_key.hex()}
        (await scene.client.post(f"{scene.acquirer_url}/_merchants", json=known)).raise_for_status()
    hub = scene.till(scene.seeded.hub)
    wanted = {"url": scene.inbox.url, "event_types": ["*"], "description": "demo"}
    endpoint = await hub.post("/webhook-endpoints", wanted, key=f"demo-{scene.seeded.isv_id}")
    scene.inbox.know(endpoint["secret"])


def child_env(settings: Settings) -> dict[str, str]:
    """The environment of the demo's processes: ours, but with the embedded database and broker under this home."""
    env = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}
    return env | {
        "ARSENAL_HOME": str(settings.home.resolve()),
        "ARSENAL_LISTEN_HOST": settings.listen_host,
        "ARSENAL_LISTEN_PORT": str(settings.listen_port),
        "ARSENAL_LANGUAGE": settings.language,
        "ARSENAL_LOG_LEVEL": settings.log_level,
        "ARSENAL_IS_WEBHOOK_LOOPBACK_ALLOWED": "true",
        "ARSENAL_SANDBOX_REQUIRE": settings.sandbox_require,
        **({"ARSENAL_SANDBOX_ACCEPT": settings.sandbox_accept} if settings.sandbox_accept else {}),
        "ARSENAL_IS_DEVELOPMENT": "true",
        "ARSENAL_IS_SANDBOX": "true",
    }


def write_env(path: Path, scene: Scene) -> None:
    """What shells need of the demo, with the first merchant's credentials; readable by its owner alone."""
    merchant = scene.seeded.merchants[0]
    values = {
        "ARSENAL_URL": scene.url,
        "ARSENAL_CLIENT_ID": merchant.till.client_id,
        "ARSENAL_CLIENT_SECRET": merchant.till.client_secret,
        "ARSENAL_ACQUIRER_URL": scene.acquirer_url,
        "ARSENAL_MERCHANT": merchant.id,
    }
    lines = [f"{name}={shlex.quote(value)}" for name, value in values.items()]
    # From whatever folder: `arsenal` is found, and finds this platform.
    lines.append(f"export ARSENAL_HOME={shlex.quote(str(path.parent.resolve()))}")
    lines.append("export ARSENAL_IS_SANDBOX=true")
    lines.append(f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH")
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def remember(settings: Settings, scene: Scene) -> None:
    """Keep the credentials of everybody, for `--app`: `hub` is the ISV's, a merchant's goes by its first word."""
    tills = {merchant.name.split()[0].lower(): merchant.till for merchant in scene.seeded.merchants}
    known = {"hub": scene.seeded.hub, **tills}
    remember_apps(settings.home, {name: asdict(credentials) for name, credentials in known.items()})


async def play(scene: Scene, watcher: Watcher, result: DemoResult) -> Sequence[str]:
    """Play all orders, a few at a time; returns what went wrong with those that have no result."""
    run = f"demo_{datetime.now(UTC):%Y%m%d%H%M%S}"
    await play_hurried(scene.till(scene.guarded.till), scene.plugin, run=run)
    players = {
        merchant.id: Player(scene.till(merchant.till), acquirer_url=scene.acquirer_url)
        for merchant in scene.seeded.merchants
    }
    failed: list[str] = []
    begun = asyncio.Semaphore(AT_ONCE)

    async def one(merchant: SeededMerchant, order: Order) -> None:
        try:
            # An order in doubt waits for the janitor without holding up the others.
            async with begun:
                playing = asyncio.create_task(players[merchant.id].play(order, watcher.heard))
                await asyncio.wait([playing], timeout=1.0)
            played = await playing
        except (TillRefused, PlatformAway, httpx.HTTPError) as error:
            failed.append(f"{order.scenario.name} {order.number}: {error}")
            return
        result.played.append(played)
        watcher.ended(played)

    async with asyncio.TaskGroup() as group:
        for merchant, order in orders_for(scene.seeded.merchants, run=run):
            group.create_task(one(merchant, order))
    return failed


async def check(scene: Scene, result: DemoResult, failed: Sequence[str]) -> None:
    """Look at everything once more from outside, and at the ledger from inside."""
    tills = [scene.till(merchant.till) for merchant in scene.seeded.merchants]
    result.checks.append(check_orders(result.played, failed, ORDERS))
    result.checks.append(check_doubts(result.played))
    if not scene.plugin.why_not:
        till = scene.till(scene.guarded.till)
        result.checks.append(await check_plugin(scene.platform, scene.guarded, till, scene.plugin))
    for merchant, till in zip(scene.seeded.merchants, tills, strict=True):
        result.books.append(await read_books(merchant.name, till))
    result.checks.append(check_books(result.books))
    result.checks.append(await check_webhooks(scene.inbox, tills))
    result.webhooks = Counter(scene.inbox.types)
    report = await scene.platform.ledger.verify(scene.platform.clock.now())
    words = f"{report.accounts} accounts, {report.transfers} transfers: every rule holds"
    result.checks.append(Check("ledger verify", report.is_clean, words if report.is_clean else str(report.offences[0])))
    dead = [each.name for each in scene.children if not each.is_alive]
    words = f"ended early: {', '.join(dead)}" if dead else "acquirer, server and worker ran throughout"
    result.checks.append(Check("processes", not dead, words))


@asynccontextmanager
async def sandbox(settings: Settings, urls: DatabaseUrls, watcher: Watcher) -> AsyncIterator[Scene]:
    """A scene whose credentials are written for shells."""
    async with scene(settings, urls, watcher) as made:
        path = settings.home / DEMO_ENV
        write_env(path, made)
        remember(settings, made)
        watcher.serving(made.url, path)
        yield made


async def run_demo(settings: Settings, urls: DatabaseUrls, watcher: Watcher) -> AsyncGenerator[DemoResult, None]:
    """The result once everything was played and checked; the platform serves until the iterator is closed."""
    began = time.monotonic()
    async with sandbox(settings, urls, watcher) as made:
        result = DemoResult(made.url, plugin=made.plugin)
        watcher.step(f"{ORDERS} orders")
        failed = await play(made, watcher, result)
        watcher.step("checks")
        await check(made, result, failed)
        result.seconds = time.monotonic() - began
        yield result


def as_document(result: DemoResult) -> Mapping[str, Any]:
    """The result for programs."""
    scenarios = Counter(each.order.scenario.name for each in result.played)
    return {
        "url": result.url,
        "seconds": round(result.seconds, 1),
        "orders": len(result.played),
        "scenarios": dict(sorted(scenarios.items())),
        "were_unknown": sum(each.was_unknown for each in result.played),
        "merchants": [
            {
                "name": each.merchant,
                "orders": each.orders,
                "gross_minor": each.gross_minor,
                "fees_minor": each.fees_minor,
                "refunds_minor": each.refunds_minor,
                "net_minor": each.net_minor,
                "balance_minor": each.balance_minor,
            }
            for each in result.books
        ],
        "webhooks": dict(sorted(result.webhooks.items())),
        "plugin": result.plugin.document() if result.plugin is not None else None,
        "checks": [{"name": each.name, "held": each.is_held, "words": each.words} for each in result.checks],
    }
