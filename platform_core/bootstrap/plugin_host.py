"""The plugin host of one process, put together: life, gate, generations, runtimes, dispatch."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime

from platform_core.bootstrap.confined import Confined
from platform_core.bootstrap.gate import PluginGate, make_gate
from platform_core.bootstrap.loud import Loud
from platform_core.bootstrap.plugin_life import plugin_life
from platform_core.bootstrap.remote import Remote, make_remote
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
from platform_core.identity.signing_keys import SigningKeys
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Committer, Plan
from platform_core.kernel.entropy import Entropy
from platform_core.kernel.pagination import Cursors
from platform_core.kernel.settings import Settings
from platform_core.plugin_host.asking import Tools
from platform_core.plugin_host.assembly import PluginLife
from platform_core.plugin_host.breakers import Breakers
from platform_core.plugin_host.call_counts import CallCounts
from platform_core.plugin_host.discovery import Plugin, discover
from platform_core.plugin_host.dispatch import Dispatcher
from platform_core.plugin_host.egress import Egress
from platform_core.plugin_host.gate import level_by_tier
from platform_core.plugin_host.generations import Generations, Sources
from platform_core.plugin_host.health_rows import BreakerRows, HealthDeps
from platform_core.plugin_host.hook_teller import HookTeller
from platform_core.plugin_host.host_releases import admitted
from platform_core.plugin_host.installed import Enabled, Release, Tier
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
    counts: CallCounts
    dispatcher: Dispatcher
    generations: Generations | None
    """None: these plugins and no others."""
    confined: Confined
    warmth: Warmth
    trusted: TrustedRuns
    remote: Remote
    traces: TraceDeps
    desk: TraceDesk
    loud: Loud

    async def open(self, stack: AsyncExitStack, *, is_asking: bool) -> None:
        """After the committer and the feed; what it opens closes with the stack."""
        await self.gate.start()
        stack.push_async_callback(self.gate.stop)
        await self.breaker_rows.start()
        stack.push_async_callback(self.breaker_rows.stop)
        await self.counts.start()
        stack.push_async_callback(self.counts.stop)
        stack.callback(self.trusted.close)
        stack.push_async_callback(self.confined.stop)
        stack.push_async_callback(self.remote.stop)
        if self.generations is not None and is_asking:
            await self.loud.began()
            await self.generations.start()
            stack.push_async_callback(self.generations.stop)
            self.life.enablement.prepare_with(self.warmth.prepare)
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


@dataclass(frozen=True, slots=True)
class Outside:
    """Makes releases ready that run elsewhere: `generations.Outside`."""

    confined: Confined
    remote: Remote
    loud: Loud
    objects: ObjectTools
    described: dict[tuple[str, str, str, str], object] = field(default_factory=dict)

    async def __call__(self, releases: Sequence[Release], /) -> tuple[tuple[Plugin, ...], tuple[Problem, ...]]:
        """Workers where one is needed, said loudly where they are not isolated; endpoints; objects."""
        if any(release.tier == "confined" for release in releases):
            await self.confined.start()
            await self.loud.loaded(releases)
        await self.remote.endpoints.read(releases)
        return await outside_plugins(releases, self.objects, known=self.described)


def teller_of(host: PluginHost) -> HookTeller:
    """Who calls `on_` hooks for deliveries."""
    return HookTeller(
        host.dispatcher,
        {**PAYMENT_NEWS, on_plugin_changed.__name__: (on_plugin_changed, plugin_change_of)},
        host.life.enablement,
    )


def _breakers(deps: IdentityDeps, feed: RevocationFeed) -> tuple[BreakerRows, Breakers]:
    """Breakers, and the rows through which processes tell each other."""
    health = HealthDeps(database=deps.database, committer=deps.committer, clock=deps.clock, ids=deps.ids)
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
    keys: SigningKeys


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


def _confined(settings: Settings, gate: PluginGate, life: PluginLife) -> Confined:
    """The confined tier; hears of quarantines, and ends workers of what is switched off."""
    confined = Confined(
        settings.home / "plugins",
        required=Level[settings.sandbox_require],
        listener=gate.faults,
        quarantined=gate.quarantines.held,
    )
    gate.quarantines.follow(confined.changed)
    life.stops.add(confined)
    return confined


def _tools(gate: PluginGate, runtimes: Mapping[Tier, Runtime], breakers: Breakers, clock: Clock) -> Tools:
    return Tools(
        calls=gate.calls,
        runtimes=runtimes,
        trusted=TrustedRuns(),
        breakers=breakers,
        quarantine=gate.quarantines,
        clock=clock,
        entropy=Entropy(),
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

    def level_of(enabled: Enabled) -> str:
        return confined.level if enabled.release.tier == "confined" else level_by_tier(enabled)

    egress = Egress(simulators=settings.egress_simulators)
    gate = make_gate(deps, feed, parts.directory, egress=egress, clock=clock, level_of=level_of)
    confined = _confined(settings, gate, life)
    loud = Loud(settings, confined, committer=deps.committer, problems=gate.problems)
    remote = make_remote(deps, gate, life.enablement, keys=parts.keys, settings=settings, clock=clock)
    life.stops.add(remote.runtime)
    rows, breakers = _breakers(deps, feed)
    tools = _tools(gate, {"confined": confined, "remote": remote.runtime}, breakers, clock)
    points, unlisted = admitted(discover(), life.deps.allow_list)
    dispatcher = Dispatcher(registry or load_installed(points), life.enablement, tools)
    counts = CallCounts(deps.committer, clock=clock, ids=deps.ids)
    dispatcher.listeners.count(gate.faults)
    dispatcher.listeners.count(counts)
    if settings.trace_hooks:
        dispatcher.listeners.add(LogTrace())
    objects = ObjectTools(
        enablement=life.enablement,
        tools=tools,
        leftovers=Leftovers(deps.committer),
        listeners=dispatcher.listeners,
    )
    sources = Sources(
        database=deps.database,
        allow_list=life.deps.allow_list,
        points=points,
        outside=Outside(confined, remote, loud, objects),
        unlisted=unlisted,
        is_development=settings.is_development,
    )
    every = Generations(sources, feed, swap=dispatcher.swap, note=gate.problems.note)
    generations = every if registry is None else None
    traces = TraceDeps(database=deps.database, committer=deps.committer, clock=deps.clock, ids=deps.ids, feed=feed)
    return PluginHost(
        life=life,
        gate=gate,
        breaker_rows=rows,
        counts=counts,
        dispatcher=dispatcher,
        generations=generations,
        confined=confined,
        warmth=Warmth(confined, life.enablement, generations, database=deps.database, feed=feed),
        trusted=tools.trusted,
        remote=remote,
        loud=loud,
        traces=traces,
        desk=_desk(traces, dispatcher, confined, is_development=settings.is_development),
    )
