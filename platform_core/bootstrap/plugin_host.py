"""The plugin host of one process, put together: life, gate, generations, runtimes, dispatch."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime

from platform_core.bootstrap.confined import Confined
from platform_core.bootstrap.gate import PluginGate, make_gate
from platform_core.bootstrap.plugin_life import plugin_life
from platform_core.bootstrap.warmth import Warmth
from platform_core.capabilities.payments.news import NEWS as PAYMENT_NEWS
from platform_core.contracts.plugins import on_plugin_changed
from platform_core.contracts.runtime import Runtime
from platform_core.identity.apps import Apps
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.directory import MerchantDirectory
from platform_core.identity.grants import Grants
from platform_core.identity.parties import Parties
from platform_core.identity.revocation import RevocationFeed
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Committer, Plan
from platform_core.kernel.entropy import Entropy
from platform_core.kernel.pagination import Cursors
from platform_core.kernel.settings import Settings
from platform_core.plugin_host.asking import Tools
from platform_core.plugin_host.assembly import PluginLife
from platform_core.plugin_host.breakers import Breakers
from platform_core.plugin_host.discovery import Plugin, discover
from platform_core.plugin_host.dispatch import Dispatcher
from platform_core.plugin_host.egress import Egress
from platform_core.plugin_host.generations import Generations, Sources
from platform_core.plugin_host.health_rows import BreakerRows, HealthDeps
from platform_core.plugin_host.hook_teller import HookTeller
from platform_core.plugin_host.installed import Release, Tier
from platform_core.plugin_host.listening import LogTrace
from platform_core.plugin_host.object_calls import ObjectTools
from platform_core.plugin_host.outside_objects import outside_plugins
from platform_core.plugin_host.problems import Problem
from platform_core.plugin_host.registry import Registry, load_installed
from platform_core.plugin_host.telling import plugin_change_of
from platform_core.plugin_host.tracing import TraceDeps, TraceDesk
from platform_core.plugin_host.trusted import TrustedRuns
from sandbox.runtime.levels import Level


@dataclass(frozen=True, slots=True)
class PluginHost:
    """What is open of it."""

    life: PluginLife
    gate: PluginGate
    breaker_rows: BreakerRows
    dispatcher: Dispatcher
    generations: Generations | None
    """None: these plugins and no others."""
    confined: Confined
    warmth: Warmth
    trusted: TrustedRuns
    traces: TraceDeps
    desk: TraceDesk

    async def open(self, stack: AsyncExitStack, *, is_asking: bool) -> None:
        """After the committer and the feed; what it opens closes with the stack."""
        await self.gate.start()
        stack.push_async_callback(self.gate.stop)
        await self.breaker_rows.start()
        stack.push_async_callback(self.breaker_rows.stop)
        stack.callback(self.trusted.close)
        stack.push_async_callback(self.confined.stop)
        if self.generations is not None and is_asking:
            await self.generations.start()
            await self.warmth.start()
            stack.push_async_callback(self.warmth.stop)
            await self.desk.start()
            stack.push_async_callback(self.desk.stop)


@dataclass(frozen=True, slots=True)
class Leftovers:
    """Commits what a provider's call left, in a plan of its own."""

    committer: Committer

    async def commit(self, merchant_id: str, parts: Sequence[object], /) -> None:
        """All of them or, with an exception, none."""
        await self.committer.commit(Plan(merchant_id, [*parts]))


def teller_of(host: PluginHost) -> HookTeller:
    """Who calls `on_` hooks for deliveries."""
    return HookTeller(
        host.dispatcher,
        {**PAYMENT_NEWS, on_plugin_changed.__name__: (on_plugin_changed, plugin_change_of)},
        host.life.enablement,
    )


def _breakers(health: HealthDeps, feed: RevocationFeed) -> tuple[BreakerRows, Breakers]:
    """Breakers, and the rows through which processes tell each other."""
    made: list[Breakers] = []

    def hear(*, plugin_id: str, hook: str, version: str, why: str, until: datetime, open_s: int) -> None:
        made[0].hear(plugin_id=plugin_id, hook=hook, version=version, why=why, until=until, open_s=open_s)

    rows = BreakerRows(health, feed, hear=hear)
    made.append(Breakers(health.clock, rows))
    return rows, made[0]


def _desk(traces: TraceDeps, dispatcher: Dispatcher, confined: Confined, *, is_development: bool) -> TraceDesk:
    """Who writes down what this process asks while somebody watches."""
    return TraceDesk(
        traces,
        dispatcher.listeners,
        process=f"{os.getpid()}@{socket.gethostname()}"[:100],
        is_development=is_development,
        registry=lambda: dispatcher.registry,
        warm=confined.readied,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityParts:
    """What the host needs of identity."""

    directory: MerchantDirectory
    grants: Grants
    apps: Apps
    parties: Parties
    cursors: Cursors


def _life(
    deps: IdentityDeps, feed: RevocationFeed, parts: IdentityParts, *, settings: Settings, clock: Clock
) -> PluginLife:
    return plugin_life(
        deps,
        feed,
        grants=parts.grants,
        apps=parts.apps,
        parties=parts.parties,
        cursors=parts.cursors,
        settings=settings,
        clock=clock,
    )


def make_plugin_host(
    deps: IdentityDeps,
    feed: RevocationFeed,
    parts: IdentityParts,
    *,
    settings: Settings,
    clock: Clock,
    registry: Registry | None,
) -> PluginHost:
    """Nothing is opened. `clock` is that of business, `deps` has the real one. Raises AllowListUnreadable.

    `registry`: these plugins and no others; None: those of the environment, and what releases say once it is opened.
    """
    life = _life(deps, feed, parts, settings=settings, clock=clock)
    egress = Egress(simulators=settings.egress_simulators)
    gate = make_gate(deps, feed, parts.directory, egress=egress, clock=clock)
    confined = Confined(
        settings.home / "plugins",
        required=Level[settings.sandbox_require],
        listener=gate.faults,
        quarantined=gate.quarantines.held,
    )
    gate.quarantines.follow(confined.changed)
    life.stops.add(confined)
    health = HealthDeps(database=deps.database, committer=deps.committer, clock=deps.clock, ids=deps.ids)
    rows, breakers = _breakers(health, feed)
    runtimes: Mapping[Tier, Runtime] = {"confined": confined}
    tools = Tools(
        calls=gate.calls,
        runtimes=runtimes,
        trusted=TrustedRuns(),
        breakers=breakers,
        quarantine=gate.quarantines,
        clock=clock,
        entropy=Entropy(),
    )
    dispatcher = Dispatcher(registry or load_installed(), life.enablement, tools)
    dispatcher.listeners.add(gate.faults)
    if settings.trace_hooks:
        dispatcher.listeners.add(LogTrace())
    objects = ObjectTools(
        enablement=life.enablement,
        tools=tools,
        leftovers=Leftovers(deps.committer),
        listeners=dispatcher.listeners,
    )

    async def outside(releases: Sequence[Release]) -> tuple[tuple[Plugin, ...], tuple[Problem, ...]]:
        if any(release.tier == "confined" for release in releases):
            await confined.start()
        return await outside_plugins(releases, objects)

    sources = Sources(
        database=deps.database,
        allow_list=life.deps.allow_list,
        points=discover(),
        outside=outside,
        is_development=settings.is_development,
    )
    warmth = Warmth(confined, life.enablement, deps.database, feed)
    generations = None if registry is not None else Generations(sources, feed, swap=dispatcher.swap)
    traces = TraceDeps(database=deps.database, committer=deps.committer, clock=deps.clock, ids=deps.ids, feed=feed)
    desk = _desk(traces, dispatcher, confined, is_development=settings.is_development)
    return PluginHost(life, gate, rows, dispatcher, generations, confined, warmth, tools.trusted, traces, desk)
