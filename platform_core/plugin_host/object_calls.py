"""Calls of methods of objects that outside plugins hand over through `register_` hooks: payment providers, channels.

The object stays in its worker or on its server; what travels are the fields of the method's one argument, without its
`ctx`, and the result. Between is the same gate, with the secrets that come with the call.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, Final, Protocol, get_type_hints

import msgspec
import structlog
from pydantic import BaseModel, ConfigDict, TypeAdapter, create_model

from platform_core.contracts import blobs
from platform_core.contracts.hooks import CONTRACT, PROVIDER_CALL_MS, HookSpec, promised_methods
from platform_core.contracts.plugin import HookContext, PluginContext
from platform_core.contracts.runtime import Answered, Binding, Fault, FaultKind, OutsideCall, Pending
from platform_core.plugin_host.answers import Answer, HookSeen, degraded_by
from platform_core.plugin_host.asking import ID_BYTES, Tools
from platform_core.plugin_host.breakers import Ticket
from platform_core.plugin_host.calls import CallFacts, OpenCall, Trail
from platform_core.plugin_host.installed import Enabled, Enablement, EnablementUnreadable, MerchantPlugins, Release
from platform_core.plugin_host.listening import Listeners
from platform_core.plugin_host.metrics import measure
from platform_core.plugin_host.problems import location_of
from platform_core.plugin_host.secrets import Sealed, TrustedContext
from platform_core.plugin_host.trusted import Refusal

log = structlog.get_logger(__name__)
_CONTEXT: Final = "ctx"
PLATFORM: Final = "platform"
"""Stands for the merchant where an object is asked what it is."""
NOT_BEGUN: Final = frozenset(
    {
        FaultKind.SATURATED,
        FaultKind.BREAKER_OPEN,
        FaultKind.UNAVAILABLE,
        FaultKind.QUARANTINED,
        FaultKind.NOT_CONFINED,
        FaultKind.LOAD,
        FaultKind.BOOT_TIMEOUT,
    }
)
"""Faults of calls that never reached the plugin."""


class Leftovers(Protocol):
    """Commits what a call left, in a plan of its own."""

    async def commit(self, merchant_id: str, parts: Sequence[object], /) -> None:
        """All of them or, with an exception, none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectTools:
    """What calls of objects are made with."""

    enablement: Enablement
    tools: Tools
    leftovers: Leftovers
    listeners: Listeners = field(default_factory=Listeners)
    """Whoever wants to see each call, as the dispatcher's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodCall:
    """One call of one method, as its capability asked."""

    method: str
    argument: Any  # Any: the method's one argument, a dataclass of the contract; None where it has none
    deadline_s: float
    now: datetime
    idempotency_key: str
    store_id: str | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """What came of it."""

    outcome: Answered | Fault
    has_left: bool
    """Whether anything may have reached somebody outside: then nobody knows what a fault means."""


@dataclass(frozen=True, slots=True)
class _Method:
    parts: TypeAdapter[Any] | None  # Any: a model of the argument's fields; None for a method without one
    shape: type[BaseModel] | None
    result: TypeAdapter[Any]

    def dump(self, argument: Any) -> tuple[bytes, tuple[bytes, ...]]:  # Any: a dataclass of the contract
        if self.parts is None or self.shape is None:
            return b"{}", ()
        values = {name: getattr(argument, name) for name in self.shape.model_fields}
        return blobs.dump(self.parts, self.shape.model_construct(**values))


@cache
def method_of(hook: HookSpec, method: str) -> _Method:
    """How a method's argument and result travel; the Protocol is what the hookspec returns."""
    hints = get_type_hints(promised_methods(hook)[method], include_extras=True)
    result: TypeAdapter[Any] = TypeAdapter(hints.pop("return"))
    argument = next(iter(hints.values()), None)
    if argument is None:
        return _Method(None, None, result)
    names = {"PluginContext": PluginContext, "HookContext": HookContext}
    types = get_type_hints(argument, localns=names, include_extras=True)
    fields: dict[str, Any] = {  # Any: what create_model takes
        one.name: (types[one.name], ...) for one in dataclasses.fields(argument) if one.name != _CONTEXT
    }
    shape = create_model(argument.__name__, __config__=ConfigDict(frozen=True), **fields)
    return _Method(TypeAdapter(shape), shape, result)


@dataclass(frozen=True, slots=True)
class OutsideObject:
    """One object of one plugin, whichever of its versions the merchant runs."""

    tools: ObjectTools
    plugin_id: str
    hook: HookSpec
    object_id: str

    async def call(self, call: MethodCall, *, is_new: bool) -> Said:
        """Ask it for the merchant whose context rides in the argument. Raises CancelledError alone.

        `is_new`: begins something; a plugin that is being drained gets no such calls.
        """
        merchant_id, sealed = _origin(call.argument.ctx)
        try:
            plugins = await self.tools.enablement.of(merchant_id)
        except EnablementUnreadable:
            return Said(Fault(FaultKind.UNAVAILABLE, "nobody can say which plugins are enabled"), False)
        enabled = next((one for one in plugins.plugins if one.release.plugin_id == self.plugin_id), None)
        if enabled is None:
            return Said(Fault(FaultKind.UNAVAILABLE, "the plugin is not enabled"), False)
        if is_new and self.plugin_id in plugins.draining:
            return Said(Fault(FaultKind.UNAVAILABLE, "the plugin takes nothing new"), False)
        binding = _binding(enabled, plugins)
        return await self._ask(call, enabled, binding, sealed=sealed, operation=self._target(call.method))

    async def describe(self, release: Release) -> Any:  # Any: the Protocol's type of description, or a Fault
        """What the object says it is, asked of one version for no merchant."""
        enabled = Enabled(
            release=release,
            installation_id="",
            grant_id=None,
            scopes=frozenset(),
            revision=0,
            config=b"{}",
        )
        binding = Binding(
            plugin_id=release.plugin_id,
            version=release.version,
            merchant_id=PLATFORM,
            mode="live",
            locale="en",
            revision=0,
            config=b"{}",
        )
        call = MethodCall(
            method="describe",
            argument=None,
            deadline_s=self.hook.rule.each_ms / 1000,
            now=self.tools.tools.clock.now(),
            idempotency_key="describe",
        )
        said = await self._ask(call, enabled, binding, sealed={}, operation=self.hook.name)
        return said.outcome if isinstance(said.outcome, Fault) else said.outcome.value

    def _target(self, method: str) -> str:
        return f"{self.hook.name}/{self.object_id}.{method}"

    async def _ask(
        self, call: MethodCall, enabled: Enabled, binding: Binding, *, sealed: Sealed, operation: str
    ) -> Said:
        """Breaker, handle, runtime, and what the call left."""
        tools, release = self.tools.tools, enabled.release
        if tools.quarantine.holds(*release.key):
            return self._unasked(enabled, Fault(FaultKind.QUARANTINED, "two people must lift it"))
        breaker = tools.breakers.of(self.plugin_id, self.hook.name)
        ticket = breaker.admit()
        if ticket is None:
            return self._unasked(enabled, Fault(FaultKind.BREAKER_OPEN, "it failed too often lately"))
        started = time.monotonic()
        deadline = started + min(call.deadline_s, PROVIDER_CALL_MS / 1000)
        facts = self._facts(call, enabled, binding, sealed=sealed, operation=operation, deadline=deadline)
        opened = tools.calls.open(facts)
        try:
            outcome = await self._outcome(call, facts, binding, opened)
        except asyncio.CancelledError:
            breaker.abandon(ticket)
            tools.calls.forsake(tools.calls.close(opened.handle).parts)
            raise
        return await self._settled(facts, opened, ticket, outcome, started=started)

    async def _outcome(
        self, call: MethodCall, facts: CallFacts, binding: Binding, opened: OpenCall
    ) -> Answered | Fault:
        try:
            return await self._begun(call, facts, binding, opened).outcome()
        except Exception as error:  # noqa: BLE001 - a runtime's fault must not become the capability's
            where = location_of(error.__traceback__)
            log.error("plugin.runtime_raised", plugin=self.plugin_id, error=type(error).__name__, where=where)
            return Fault(FaultKind.UNAVAILABLE, type(error).__name__)

    async def _settled(
        self, facts: CallFacts, opened: OpenCall, ticket: Ticket, outcome: Answered | Fault, *, started: float
    ) -> Said:
        """Void the handle, count, and keep what the call left."""
        tools, release = self.tools.tools, facts.enabled.release
        took_s = time.monotonic() - started
        trail = tools.calls.close(opened.handle)
        if trail.is_handle_misused and not isinstance(outcome, Fault):
            outcome = Fault(FaultKind.FOREIGN_HANDLE, "it showed a handle that was not this call's")
        fault = outcome if isinstance(outcome, Fault) else None
        if fault is not None and fault.is_security:
            tools.quarantine.fault(*release.key, fault, merchant_id=facts.merchant_id, call_id=facts.call_id)
        tools.breakers.record(
            (self.plugin_id, self.hook.name),
            ticket,
            version=release.version,
            fault=None if fault is None or is_refusal(fault) else fault.kind,
            share=took_s / (facts.deadline - started),
        )
        answer = self._answer(facts.enabled, facts.call_id, outcome)
        answer.ms, answer.deadline_ms = took_s * 1000, int((facts.deadline - started) * 1000)
        self._tell(facts, answer, took_s)
        await self._keep(facts.merchant_id, trail)
        return Said(outcome, _has_left(release, trail, fault))

    def _begun(self, call: MethodCall, facts: CallFacts, binding: Binding, opened: OpenCall) -> Pending:
        method = method_of(self.hook, call.method)
        arguments, beside = method.dump(call.argument)
        tier = facts.enabled.release.tier
        runtime = self.tools.tools.runtimes.get(tier)
        if runtime is None:
            return Refusal(Fault(FaultKind.UNAVAILABLE, f"this process has no runtime for {tier} plugins"))
        context = {
            "call_id": facts.call_id,
            "hook": self.hook.name,
            "contract": CONTRACT,
            "store_id": call.store_id,
            "now": call.now,
            "deadline_ms": int((facts.deadline - time.monotonic()) * 1000),
            "idempotency_key": call.idempotency_key,
        }
        return runtime.begin(
            OutsideCall(
                id=facts.call_id,
                handle=opened.handle,
                binding=binding,
                target=self._target(call.method),
                major=self.hook.version,
                context=msgspec.json.encode(context),
                arguments=arguments,
                deadline=facts.deadline,
                result=method.result,
                gate=opened.gate,
                blobs=beside,
            )
        )

    def _facts(
        self, call: MethodCall, enabled: Enabled, binding: Binding, *, sealed: Sealed, operation: str, deadline: float
    ) -> CallFacts:
        return CallFacts(
            call_id=self.tools.tools.entropy(ID_BYTES).hex(),
            enabled=enabled,
            merchant_id=binding.merchant_id,
            hook=self.hook,
            operation=operation,
            store_id=call.store_id,
            now=call.now,
            deadline=deadline,
            idempotency_key=call.idempotency_key,
            secrets=sealed,
        )

    async def _keep(self, merchant_id: str, trail: Trail) -> None:
        """Commit what the call left, before its outcome is put to the books."""
        if not trail.parts:
            return
        try:
            await self.tools.leftovers.commit(merchant_id, trail.parts)
        except Exception as error:  # noqa: BLE001 - what became of the money must be told, whatever became of the rest
            log.error("plugin.leftovers_lost", plugin=self.plugin_id, error=type(error).__name__)
            self.tools.tools.calls.forsake(trail.parts)

    def _tell(self, facts: CallFacts, answer: Answer, took_s: float) -> None:
        """Count it, and show it to whoever watches."""
        measure(answer, took_s)
        listeners = self.tools.listeners
        if facts.merchant_id == PLATFORM:
            return
        answer.is_used = answer.fault is None
        listeners.answered((answer,), facts.merchant_id)
        if listeners:
            listeners.saw(
                HookSeen(
                    hook=facts.operation,
                    merchant_id=facts.merchant_id,
                    store_id=facts.store_id,
                    idempotency_key=facts.idempotency_key,
                    answers=(answer,),
                    degraded=degraded_by([answer]),
                    result=None,
                )
            )

    def _unasked(self, enabled: Enabled, fault: Fault) -> Said:
        measure(self._answer(enabled, "", fault), None)
        return Said(fault, False)

    def _answer(self, enabled: Enabled, call_id: str, outcome: Answered | Fault) -> Answer:
        release = enabled.release
        return Answer(
            plugin_id=release.plugin_id,
            version=release.version,
            tier=release.tier,
            hook=self.hook.name,
            call_id=call_id,
            fault=outcome if isinstance(outcome, Fault) else None,
        )


def is_refusal(fault: Fault) -> bool:
    """Whether a method raised what its Protocol lets it raise: a forged notice or a missing bill is no fault of it."""
    return fault.kind is FaultKind.EXCEPTION and fault.detail.partition(":")[0] in ("NoticeRefused", "LookupError")


def _has_left(release: Release, trail: Trail, fault: Fault | None) -> bool:
    """A confined plugin reaches the outside through the gate alone; what a remote one did, nobody here knows."""
    if release.tier == "remote":
        return fault is None or fault.kind not in NOT_BEGUN
    return trail.has_sent


def _origin(ctx: object) -> tuple[str, Mapping[str, Sequence[str]]]:
    """The merchant that a call is for, and the sealed secrets that came with it."""
    if isinstance(ctx, TrustedContext):
        return ctx.secrets.merchant_id, ctx.secrets.sealed
    assert isinstance(ctx, HookContext), "the host makes the contexts of providers' calls"
    return ctx.merchant_id, {}


def _binding(enabled: Enabled, plugins: MerchantPlugins) -> Binding:
    return Binding(
        plugin_id=enabled.release.plugin_id,
        version=enabled.release.version,
        merchant_id=plugins.merchant_id,
        mode=plugins.mode,
        locale=plugins.locale,
        revision=enabled.revision,
        config=enabled.config,
    )


Make = Callable[[OutsideObject, Any], object]  # Any: the object's description
