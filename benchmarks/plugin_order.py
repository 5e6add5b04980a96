"""`plugin_order`: what a merchant's plugin costs that merchant's orders, and everybody else's.

One server, one merchant without plugins, others with one confined `check_payment` plugin each, driven in turns: orders
a second with an honest check over those without. Then the merchant without plugins again, while a neighbour sells at
64 connections as fast as it is answered: a neighbour without plugins, and neighbours whose plugins loop, leak, crash,
flood their logs, chatter into them or answer garbage.

What the others feel is the share of their orders that succeeds, and the ratio of their p99 to that beside the neighbour
without plugins, before and after in the same round. Their orders come at a steady pace, and a latency counts from when
the order was due: in a closed loop, a merchant that is held up sends less, and sees little of what holds it up. At the
end each plugin's problems, which its health page shows, must name what is wrong with it.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.figures import Figure, Goal, Rounds
from benchmarks.ground import Ground, Seller, bench_settings, fetch_token, open_ground, seed_sellers, serving
from benchmarks.load import Job, Outcome, WrongAnswer, drive
from benchmarks.options import Options
from benchmarks.plugin_bundle import plugin_bundle
from benchmarks.processes import Child
from platform_core.bootstrap.platform import Platform, open_platform
from platform_core.kernel.database.pools import DatabaseUrls
from platform_core.plugin_host.installations import Actor
from platform_core.plugin_host.releases import Submission
from platform_core.plugin_host.schemas import InstallationCreate, ReviewWrite

NAME = "plugin_order"
WARM_S = 2.0
PROBLEMS_S = 2.5
"""Longer than problems wait before they are written."""
CONNECTIONS = 64
WATCHED_CONNECTIONS = 32
WATCHED_PER_S = 200.0
"""Orders of the merchant whose p99 is watched, while the neighbour has all of `CONNECTIONS`: a twentieth of what the
server can do."""
HEAD: Final = """
import os
from platform_core.contracts.hooks import hookimpl
from platform_core.contracts.results import Verdict
kept = []
@hookimpl
def check_payment(ctx, payment):
"""
HONEST: Final = "honest"
MODES: Final[Mapping[str, str]] = {
    HONEST: "    return Verdict.allow()\n",
    "loops": "    while True: pass\n",
    "leaks": "    kept.append(bytearray(16 * 1024 * 1024)); return Verdict.allow()\n",
    "crashes": "    os._exit(3)\n",
    "floods": "    os.write(1, b'x' * 1_000_000); return Verdict.allow()\n",
    "chatters": "    os.write(1, b'out of tea\\n' * 5_000); return Verdict.allow()\n",
    "garbage": "    return {'decision': 'perhaps'}\n",
}
REASONS: Final[Mapping[str, str]] = {
    "loops": "timeout",
    "leaks": "memory",
    "crashes": "died",
    "floods": "timeout",
    "garbage": "bad_result",
}
"""The kind of problem that each plugin must have at the end. One that chatters loses lines, and is not at fault."""
CHECKED: Final = Goal(">=", 0.7, 0.85)
UNMOVED: Final = Goal("<=", 1.2, 1.1)
ALL: Final = Goal(">=", 1.0, 1.0)
"""The issue grants a fifth; no order of a merchant without plugins has a reason to fail."""


@dataclass
class Street:
    """The server, and who sells there."""

    server: Child
    plain: Seller
    other: Seller
    by_mode: Mapping[str, Seller]
    options: Options
    runs: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def orders(self, seller: Seller, *, connections: int, is_any_state: bool = False) -> Outcome:
        """One measurement. Raises `WrongAnswer`."""
        token = fetch_token(self.server.port, seller)
        run = f"r{next(self.runs)}"
        return drive(Job(self.server.port, [token], connections, self.options.seconds, run, is_any_state=is_any_state))

    def beside(self, neighbour: Seller) -> Outcome:
        """The merchant without plugins, while a neighbour sells."""
        token = fetch_token(self.server.port, self.plain)
        job = Job(
            self.server.port,
            [token],
            WATCHED_CONNECTIONS,
            self.options.seconds,
            f"r{next(self.runs)}",
            per_s=WATCHED_PER_S,
        )
        with ThreadPoolExecutor(1) as threads:
            other = threads.submit(self.orders, neighbour, connections=CONNECTIONS, is_any_state=True)
            watched = drive(job)
            other.result()
        return watched

    def round(self) -> Iterator[dict[str, float]]:
        """One measurement of each."""
        plain = self.orders(self.plain, connections=CONNECTIONS)
        checked = self.orders(self.by_mode[HONEST], connections=CONNECTIONS)
        yield {
            "plain_per_s": plain.orders_per_s,
            "checked_per_s": checked.orders_per_s,
            "plain_p99_ms": plain.p99_ms,
            "checked_p99_ms": checked.p99_ms,
        }
        before = self.beside(self.other)
        for mode, seller in self.by_mode.items():
            watched = self.beside(seller)
            yield {f"beside_{mode}_p99_ms": watched.p99_ms, f"beside_{mode}_success": watched.success}
        after = self.beside(self.other)
        yield {"beside_plain_p99_ms": (before.p99_ms + after.p99_ms) / 2}


def run(options: Options) -> list[Figure]:
    """All figures.

    Raises `WrongAnswer` when an order was not answered as it must be, but for the watched ones, whose success is a
    figure; and when a plugin's problems do not name what is wrong with it.
    """
    with open_ground() as ground, ExitStack() as stack:
        url = ground.database("app")
        sellers = seed_sellers(ground, url, count=2 + len(MODES))
        by_mode = dict(zip(MODES, sellers[2:], strict=True))
        asyncio.run(_install(ground, url, by_mode))
        server = stack.enter_context(serving(ground, url))
        street = Street(server, sellers[0], sellers[1], by_mode, options)
        for seller in (street.plain, by_mode[HONEST]):
            drive(Job(server.port, [fetch_token(server.port, seller)], 16, WARM_S, f"w{seller.client_id[-6:]}"))
        rounds = Rounds()
        for _ in range(options.rounds):
            for values in street.round():
                rounds.add(values)
        _check_health(ground, by_mode)
    return _figures(rounds)


def _check_health(ground: Ground, by_mode: Mapping[str, Seller]) -> None:
    """Each plugin's problems name the reason, at its own merchant. Raises `WrongAnswer`."""
    time.sleep(PROBLEMS_S)
    for mode, reason in REASONS.items():
        told = ground.sql(
            f"SELECT DISTINCT kind FROM plugin_problem WHERE plugin_id = 'example.acme.{mode}' "
            f"AND merchant_id = '{by_mode[mode].merchant_id}'",
            database="app",
        ).split()
        if reason not in told:
            raise WrongAnswer(f"the plugin that {mode} has problems {told}, and {reason} is not among them")


async def _install(ground: Ground, url: str, by_mode: Mapping[str, Seller]) -> None:
    """A plugin for each mode, published and enabled at its merchant alone."""
    settings = bench_settings(ground.home)
    async with open_platform(settings, DatabaseUrls(owner=url), is_asking_plugins=False) as platform:
        await platform.plugin_life.deps.parties.ensure_isv("isv_acme", name="Acme")
        for mode, seller in by_mode.items():
            code = HEAD + MODES[mode]
            bundle = plugin_bundle(ground.home, code, plugin_id=f"example.acme.{mode}")
            await _enable(platform, bundle, seller)


async def _enable(platform: Platform, bundle: Path, seller: Seller) -> None:
    life = platform.plugin_life
    assert life.bundles is not None
    unpacked = await life.bundles.place(bundle)  # untried: the worst of them would not get through the preflight
    wanted = Submission(unpacked=unpacked, isv_id="isv_acme", by="per_bench")
    made = await life.releases.submit(wanted)
    for number in range(made.reviews_needed):
        await life.releases.review(made.id, ReviewWrite(decision="approve", note="Bench."), reviewer=f"per_{number}")
    published = await life.releases.publish(made.id, by="per_bench", isv_id="isv_acme")
    actor = Actor(id="per_owner", merchant_id=seller.merchant_id)
    installed = await life.installations.install(actor, InstallationCreate(plugin_id=published.plugin_id))
    await life.installations.enable(actor, installed.id)


def _figures(rounds: Rounds) -> list[Figure]:
    figures = [Figure(NAME, "checked_against_plain", rounds.ratios("checked_per_s", "plain_per_s"), "x", CHECKED)]
    figures += [
        Figure(
            NAME,
            f"p99_beside_{mode}",
            rounds.ratios(f"beside_{mode}_p99_ms", "beside_plain_p99_ms"),
            "x",
            None if mode == HONEST else UNMOVED,
        )
        for mode in MODES
    ]
    figures += [Figure(NAME, f"success_beside_{mode}", rounds.of(f"beside_{mode}_success"), "", ALL) for mode in MODES]
    units = {"plain_per_s": "orders/s", "checked_per_s": "orders/s", "plain_p99_ms": "ms", "checked_p99_ms": "ms"}
    figures += [Figure(NAME, name, rounds.of(name), unit) for name, unit in units.items()]
    figures.append(Figure(NAME, "beside_plain_p99_ms", rounds.of("beside_plain_p99_ms"), "ms"))
    return figures
