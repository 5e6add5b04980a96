"""A stage for dispatch: plugins with manifests, and small fakes of what stands around it."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from platform_core.contracts.fields import Money
from platform_core.contracts.hooks import hookimpl
from platform_core.contracts.manifest import Manifest
from platform_core.contracts.payments import Basket, BasketLine, PaymentToCheck, RouteOffer, RoutingQuestion
from platform_core.contracts.runtime import Answered, Fault, FaultKind, OutsideCall
from platform_core.kernel.clock import ManualClock
from platform_core.plugin_host.asking import Tools
from platform_core.plugin_host.breakers import Breakers, Opening
from platform_core.plugin_host.calls import CallFacts, OpenCall, Trail
from platform_core.plugin_host.discovery import Plugin
from platform_core.plugin_host.dispatch import Dispatcher
from platform_core.plugin_host.installed import (
    Enabled,
    EnablementUnreadable,
    HookPolicy,
    MerchantPlugins,
    Release,
    Tier,
)
from platform_core.plugin_host.registry import Registry, build
from platform_core.plugin_host.trusted import TrustedRuns
from tests.support.patience import HEARD_S

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
WORDS = {"zh": "测试", "en": "For a test"}
SCOPES = ("payments:read", "baskets:read", "members:read", "refunds:read")
MERCHANT = "mer_one"

Outcome = Answered | Fault


def manifest(
    plugin_id: str, *, version: str = "1.0.0", hooks: Sequence[Mapping[str, Any]] = (), **tables: Any
) -> Manifest:
    """A manifest in form, as its TOML would give it."""
    about = {
        "id": plugin_id,
        "version": version,
        "name": WORDS,
        "summary": WORDS,
        "publisher": "isv_1",
        "license": "Apache-2.0",
        "support": "help@acme.example",
        "contract": tables.pop("contract", ">=1.0,<2"),
    }
    text = {"manifest": 1, "plugin": about, "hooks": list(hooks) or [{"name": "check_payment", "fields": ["amount"]}]}
    text["scopes"] = [{"name": scope, "purpose": WORDS} for scope in SCOPES]
    return Manifest.model_validate(text | tables, strict=False)


def release(plugin_id: str, *, tier: Tier = "confined", version: str = "1.0.0", **about: Any) -> Release:
    """A release."""
    made = manifest(plugin_id, version=version, **about)
    return Release(plugin_id=plugin_id, version=version, tier=tier, manifest=made)


def trusted(plugin_id: str, *, version: str = "1.0.0", fields: Sequence[str] = ("amount",), **hooks: Any) -> Plugin:
    """A trusted plugin of functions by hook; `tables` and `deadline_ms` of its manifest under those names."""
    tables = hooks.pop("tables", {})
    deadline = {"deadline_ms": hooks.pop("deadline_ms")} if "deadline_ms" in hooks else {}
    uses = [{"name": name, "fields": list(fields), **deadline} for name in hooks]
    made = release(plugin_id, tier="trusted", version=version, hooks=uses, **tables)
    return Plugin(plugin_id, SimpleNamespace(**{name: hookimpl(one) for name, one in hooks.items()}), made)


def outside(plugin_id: str, **about: Any) -> Plugin:
    """A plugin that runs elsewhere."""
    return Plugin(plugin_id, SimpleNamespace(), release(plugin_id, **about))


@dataclass
class FakePending:
    """A call under way at the fake runtime."""

    call: OutsideCall
    play: Callable[[OutsideCall], Outcome]
    delay_s: float

    async def outcome(self) -> Outcome:
        if not self.delay_s:  # there already, however late the host comes to look
            await asyncio.sleep(0)
            return self.play(self.call)
        left_s = self.call.deadline - time.monotonic()
        await asyncio.sleep(min(self.delay_s, max(left_s, 0.0)))
        return self.play(self.call) if self.delay_s <= left_s else Fault(FaultKind.TIMEOUT)


class FakeRuntime:
    """Runs scripted plugins: by id, what each answers, and after how long."""

    level = "L2"

    def __init__(self) -> None:
        self.begun: list[OutsideCall] = []
        self.collected: list[str] = []
        self.scripts: dict[str, Callable[[OutsideCall], Outcome]] = {}
        self.delays_s: dict[str, float] = {}

    def script(self, plugin_id: str, play: Callable[[OutsideCall], Outcome] | Outcome, *, delay_s: float = 0.0) -> None:
        """What a plugin does from now on."""
        self.scripts[plugin_id] = play if callable(play) else lambda _: play
        self.delays_s[plugin_id] = delay_s

    def begin(self, call: OutsideCall, /) -> FakePending:
        self.begun.append(call)
        plugin_id = call.binding.plugin_id

        def play(call: OutsideCall) -> Outcome:
            self.collected.append(plugin_id)
            return self.scripts[plugin_id](call)

        return FakePending(call, play, self.delays_s.get(plugin_id, 0.0))

    async def end(self, plugin_id: str, *, version: str | None = None, merchant_id: str | None = None) -> None:
        raise AssertionError("dispatch ends no workers")


class FakeGate:
    async def tell(self, ask: object, /) -> Any:
        raise AssertionError("nobody asks here")


@dataclass
class FakeLog:
    lines: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    def info(self, message: str, **facts: object) -> None:
        self.lines.append((message, facts))

    warning = info


class FakeClients:
    """Clients of a trusted plugin's thread: a store of counts."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.log = FakeLog()
        self.state = self

    def increment(self, key: str, by: int = 1, *, ttl_s: int | None = None) -> int:
        self.counts[key] = self.counts.get(key, 0) + by
        return self.counts[key]


@dataclass(frozen=True)
class FakeOpenCall:
    """An `OpenCall`."""

    handle: str
    gate: FakeGate
    clients: FakeClients


class FakeCalls:
    """Counts handles: each opened is closed once."""

    def __init__(self) -> None:
        self.opened: list[CallFacts] = []
        self.open_handles: set[str] = set()
        self.clients = FakeClients()
        self.misused: set[str] = set()
        self.forsaken: list[object] = []
        self._numbers = itertools.count()

    def open(self, facts: CallFacts) -> OpenCall:
        handle = f"{next(self._numbers):032x}"
        self.opened.append(facts)
        self.open_handles.add(handle)
        return FakeOpenCall(handle=handle, gate=FakeGate(), clients=self.clients)  # type: ignore[return-value]

    def close(self, handle: str) -> Trail:
        if handle not in self.open_handles:
            return Trail()
        self.open_handles.remove(handle)
        facts = self.opened[int(handle, 16)]
        plugin_id = facts.enabled.release.plugin_id
        return Trail(parts=(f"row of {plugin_id}",), is_handle_misused=plugin_id in self.misused)

    def forsake(self, parts: Iterable[object], /) -> None:
        self.forsaken.extend(parts)


class FakeEnablement:
    """What is enabled, by merchant."""

    def __init__(self) -> None:
        self.merchants: dict[str, MerchantPlugins] = {}
        self.is_readable = True

    def enable(
        self,
        *plugins: Plugin | Release,
        merchant_id: str = MERCHANT,
        dry_run: Sequence[str] = (),
        scopes: Sequence[str] = SCOPES,
        policy: HookPolicy | None = None,
    ) -> MerchantPlugins:
        """Exactly these, in this order."""
        releases = [one if isinstance(one, Release) else one.release for one in plugins]
        enabled = tuple(
            Enabled(
                release=one,
                installation_id=f"ins_{one.plugin_id}",
                grant_id=None,
                scopes=frozenset(scopes),
                revision=1,
                config=b'{"limit":3}',
                is_dry_run=one.plugin_id in dry_run,
            )
            for one in releases
            if one is not None
        )
        digest = " ".join(f"{one.release.plugin_id}@{one.release.version}" for one in enabled)
        made = MerchantPlugins(
            merchant_id=merchant_id,
            mode="live",
            locale="zh",
            plugins=enabled,
            policy=policy or HookPolicy(),
            digest=digest,
        )
        self.merchants[merchant_id] = made
        return made

    async def of(self, merchant_id: str) -> MerchantPlugins:
        if not self.is_readable:
            raise EnablementUnreadable
        found = self.merchants.get(merchant_id)
        return self.enable(merchant_id=merchant_id) if found is None else found


@dataclass
class FakeQuarantine:
    """Versions and the faults that brought them there."""

    held: dict[tuple[str, str], Fault] = field(default_factory=dict)

    def holds(self, plugin_id: str, version: str) -> bool:
        return (plugin_id, version) in self.held

    def fault(
        self, plugin_id: str, version: str, fault: Fault, *, merchant_id: str | None = None, call_id: str | None = None
    ) -> None:
        assert merchant_id is not None
        assert call_id is not None
        self.held[plugin_id, version] = fault


@dataclass
class FakeBook:
    """Openings as they were announced."""

    openings: list[Opening] = field(default_factory=list)

    def opened(self, opening: Opening, /) -> None:
        self.openings.append(opening)


class Stage:
    """A dispatcher among fakes."""

    def __init__(self, *plugins: Plugin) -> None:
        self.clock = ManualClock(NOON)
        self.book = FakeBook()
        self.calls = FakeCalls()
        self.runtime = FakeRuntime()
        self.runtimes: dict[Tier, Any] = {"confined": self.runtime}
        self.trusted = TrustedRuns()
        self.enablement = FakeEnablement()
        numbers = itertools.count(1)
        self.quarantine = FakeQuarantine()
        self.breakers = Breakers(self.clock, self.book)
        tools = Tools(
            calls=self.calls,
            runtimes=self.runtimes,
            trusted=self.trusted,
            breakers=self.breakers,
            quarantine=self.quarantine,
            clock=self.clock,
            entropy=lambda count: next(numbers).to_bytes(count, "big"),
        )
        self.registry: Registry = build(plugins)
        assert self.registry.problems == ()
        self.dispatcher = Dispatcher(self.registry, self.enablement, tools)
        self.enablement.enable(*plugins)

    def close(self) -> None:
        """End threads that do nothing, and see that no handle is left."""
        self.trusted.close()
        assert self.calls.open_handles == set()


class Stages:
    """Makes stages and ends them."""

    def __init__(self) -> None:
        self._made: list[Stage] = []

    def __call__(self, *plugins: Plugin) -> Stage:
        self._made.append(Stage(*plugins))
        return self._made[-1]

    def close(self) -> None:
        for stage in self._made:
            stage.close()


def payment(amount_minor: int = 1_200) -> PaymentToCheck:
    """A payment to check."""
    return PaymentToCheck(
        payment_id="pay_1",
        out_trade_no="o1",
        subject="tea",
        form="merchant_scan",
        channel=None,
        amount=Money(amount_minor=amount_minor, currency="CNY"),
        store_id="sto_1",
        terminal_id=None,
        operator_id=None,
        attempt=1,
        created_at=NOON,
    )


def basket(*lines: tuple[int, int], coupon_ids: tuple[str, ...] | None = None) -> Basket:
    """A basket of lines (quantity, unit price)."""
    made = tuple(
        BasketLine(
            line_id=f"l{place}", sku="s", name="tea", category="c", quantity=count, unit_minor=unit, discount_minor=0
        )
        for place, (count, unit) in enumerate(lines)
    )
    total = Money(amount_minor=sum(count * unit for count, unit in lines), currency="CNY")
    return Basket(basket_id="bas_1", store_id=None, lines=made, total=total, coupon_ids=coupon_ids)


def question(*route_ids: str) -> RoutingQuestion:
    """Routes to rank."""
    offers = tuple(
        RouteOffer(route_id=one, provider_id="p", cost_bp=38, success_bp=None, health="up") for one in route_ids
    )
    return RoutingQuestion(
        payment_id="pay_1",
        amount=Money(amount_minor=100, currency="CNY"),
        form="merchant_scan",
        store_id=None,
        routes=offers,
    )


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for what a thread does by itself. AssertionError when it never does."""
    end = time.monotonic() + HEARD_S
    while not is_so():
        assert time.monotonic() < end, "it never came"
        await asyncio.sleep(0.005)
