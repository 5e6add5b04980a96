"""One asking of one hook: begins each plugin's call, collects what comes, and leaves nothing open behind it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

import msgspec
import structlog

from platform_core.contracts.fields import Cut, Payload
from platform_core.contracts.hooks import CONTRACT, HookSpec
from platform_core.contracts.runtime import Answered, Fault, FaultKind, OutsideCall, Pending, Runtime
from platform_core.kernel.clock import Clock
from platform_core.plugin_host.answers import Answer
from platform_core.plugin_host.breakers import Breakers, Ticket
from platform_core.plugin_host.calls import CallFacts, Calls, OpenCall
from platform_core.plugin_host.crews import Crew, Seat
from platform_core.plugin_host.installed import Tier
from platform_core.plugin_host.majors import Major
from platform_core.plugin_host.members import Key
from platform_core.plugin_host.metrics import measure
from platform_core.plugin_host.problems import location_of
from platform_core.plugin_host.trusted import Direct, Refusal, TrustedCall, TrustedRuns

log = structlog.get_logger(__name__)
ID_BYTES: Final = 16
LEAST_S: Final = 0.001
"""With less than this left of the time of all together, a plugin is not asked any more."""
Judge = Callable[[Any], Fault | None]
"""Says what is wrong with a value; it counts as the plugin's own fault."""

_monotonic = time.monotonic


class Quarantine(Protocol):
    """Versions that committed a security fault: never called until two people lift it."""

    def holds(self, plugin_id: str, version: str) -> bool:
        """Whether it is in quarantine. From memory: every call asks."""
        ...

    def fault(
        self, plugin_id: str, version: str, fault: Fault, *, merchant_id: str | None = None, call_id: str | None = None
    ) -> None:
        """Put it there, at once and for all merchants. Must not block."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What calls of plugins are made with; handed in by bootstrap."""

    calls: Calls
    runtimes: Mapping[Tier, Runtime]
    """Of the tiers `confined` and `remote`, where there are any."""
    trusted: TrustedRuns
    breakers: Breakers
    quarantine: Quarantine
    clock: Clock
    entropy: Callable[[int], bytes]


class Underway:
    """A call that was begun."""

    __slots__ = ("call_id", "handle", "is_over", "pending", "seat", "started", "ticket")

    def __init__(
        self, seat: Seat, *, call_id: str, handle: str, ticket: Ticket, pending: Pending, started: float
    ) -> None:
        self.seat = seat
        self.call_id = call_id
        self.handle = handle
        self.ticket = ticket
        self.pending = pending
        self.started = started
        self.is_over = False


class Asking:
    """What pluggy's proxies get as `ctx`; the payload rides beside it."""

    __slots__ = ("_json", "_now", "_tails", "_tools", "_trimmed", "crew", "idempotency_key", "merchant_id",
                 "parts", "payload", "store_id", "until")  # fmt: skip

    def __init__(
        self,
        tools: Tools,
        crew: Crew,
        *,
        merchant_id: str,
        store_id: str | None,
        idempotency_key: str,
        until: float | None = None,
    ) -> None:
        """`until`: when the time of all plugins together is over, by time.monotonic()."""
        self._tools = tools
        self._now: datetime = tools.clock.now()
        self._trimmed: dict[Cut, Payload] = {}
        self._json: dict[Cut, bytes] = {}
        self._tails: dict[str, bytes] = {}
        self.crew = crew
        self.merchant_id = merchant_id
        self.store_id = store_id
        self.idempotency_key = idempotency_key
        self.until = until
        self.parts: list[object] = []
        self.payload: Payload | None = None

    def ask(self, key: Key, payload: Payload) -> Answer | Underway:
        """Begin one plugin's call, as its proxy asks. Never raises, never None."""
        seat = self.crew.seats[key]
        if self._tools.quarantine.holds(*key):
            return self._unbegun(seat, Fault(FaultKind.QUARANTINED, "two people must lift it"))
        ticket = seat.breaker.admit()
        if ticket is None:
            return self._unbegun(seat, Fault(FaultKind.BREAKER_OPEN, "it failed too often lately"))
        started = _monotonic()
        deadline = started + seat.deadline_s
        if self.until is not None and self.until < deadline:
            deadline = self.until
            if deadline < started + LEAST_S:
                seat.breaker.abandon(ticket)
                return self._unbegun(seat, Fault(FaultKind.TIMEOUT, "the time of all plugins together was over"))
        handle = ""
        try:
            facts = self._facts(seat, deadline)
            opened = self._tools.calls.open(facts)
            handle = opened.handle
            pending = self._begin(seat, payload, facts, opened, started=started)
        except Exception as error:  # noqa: BLE001 - a raising proxy would lose the other plugins' answers
            log.error("plugin.not_begun", plugin=key[0], version=key[1], hook=seat.major.spec.name, **_facts_of(error))
            seat.breaker.abandon(ticket)
            if handle:
                self._close(handle)
            return self._unbegun(seat, Fault(FaultKind.UNAVAILABLE, type(error).__name__))
        return Underway(seat, call_id=facts.call_id, handle=handle, ticket=ticket, pending=pending, started=started)

    def asked(self, major: Major, caller: Any, payload: Payload) -> list[Answer | Underway]:  # Any: pluggy is untyped
        """Call pluggy once for the plugins that speak this major."""
        spec = major.spec
        self.payload = payload
        known = major.payload_from(payload)
        made: list[Answer | Underway] = caller(**{spec.arguments[0]: self, spec.arguments[1]: known})
        return made

    async def collect(self, begun: Sequence[Answer | Underway]) -> list[Answer]:
        """Wait for all. What runs on this loop has its turn once everything else was sent."""
        if len(begun) == 1:
            one = begun[0]
            return [await self.finish(one) if isinstance(one, Underway) else one]
        waiting = [one for one in begun if isinstance(one, Underway)]
        waiting.sort(key=lambda one: isinstance(one.pending, Direct))
        answers = [one for one in begun if isinstance(one, Answer)]
        in_turn = [one for one in waiting[1:] if hasattr(one.pending, "finished_at")]
        tasks = [asyncio.create_task(self.finish(one)) for one in waiting[1:] if one not in in_turn]
        try:
            for one in (*waiting[:1], *in_turn):
                answers.append(await self.finish(one))
            for task in tasks:
                answers.append(await task)
        except BaseException:
            for task in tasks:
                task.cancel()
            for one in waiting:  # a task that is cancelled early does not even begin
                self._leave(one)
            self.forsake()
            raise
        return answers

    async def finish(self, underway: Underway, judge: Judge | None = None) -> Answer:
        """Wait for one call, void its handle, count it. `judge` has the last word on its value."""
        if isinstance(underway.pending, Direct):
            underway.started = _monotonic()
        try:
            outcome = await underway.pending.outcome()
        except asyncio.CancelledError:
            self._leave(underway)
            self.forsake()
            raise
        except Exception as error:  # noqa: BLE001 - a runtime's fault must not become the other plugins'
            plugin_id, hook = underway.seat.breaker_key
            log.error("plugin.runtime_raised", plugin=plugin_id, hook=hook, **_facts_of(error))
            outcome = Fault(FaultKind.UNAVAILABLE, type(error).__name__)
        return self._settled(underway, outcome, judge)

    def _settled(self, underway: Underway, outcome: Answered | Fault, judge: Judge | None) -> Answer:
        seat = underway.seat
        finished_at = getattr(underway.pending, "finished_at", None)  # of a `TimedPending`
        took_s = (finished_at or _monotonic()) - underway.started
        answer = seat.answer(call_id=underway.call_id)
        answer.ms = took_s * 1000
        underway.is_over = True
        is_misused = self._close(underway.handle)
        if isinstance(outcome, Fault):
            answer.fault = outcome
        elif is_misused:
            answer.fault = Fault(FaultKind.FOREIGN_HANDLE, "it showed a handle that was not this call's")
        elif not isinstance(outcome.value, seat.major.result_types):
            answer.fault = Fault(FaultKind.BAD_RESULT, f"{type(outcome.value).__name__} is no result of this hook")
        else:
            answer.value, answer.fault = _judged(seat, outcome.value, judge)
        kind = None if answer.fault is None else answer.fault.kind
        if answer.fault is not None and answer.fault.is_security:
            self._tools.quarantine.fault(
                *seat.enabled.release.key, answer.fault, merchant_id=self.merchant_id, call_id=underway.call_id
            )
        self._tools.breakers.record(
            seat.breaker_key,
            underway.ticket,
            version=answer.version,
            fault=kind,
            share=took_s / seat.deadline_s,
        )
        measure(answer, took_s)
        return answer

    def _facts(self, seat: Seat, deadline: float) -> CallFacts:
        spec = seat.major.spec
        return CallFacts(
            call_id=self._tools.entropy(ID_BYTES).hex(),
            enabled=seat.enabled,
            merchant_id=self.merchant_id,
            hook=spec,
            operation=spec.name,
            store_id=self.store_id,
            now=self._now,
            deadline=deadline,
            idempotency_key=self.idempotency_key,
        )

    def _begin(self, seat: Seat, payload: Payload, facts: CallFacts, opened: OpenCall, *, started: float) -> Pending:
        tier = seat.enabled.release.tier
        if tier == "trusted":
            return self._begin_trusted(seat, payload, facts, opened)
        runtime = self._tools.runtimes.get(tier)
        if runtime is None:
            return Refusal(Fault(FaultKind.UNAVAILABLE, f"this process has no runtime for {tier} plugins"))
        spec = facts.hook
        deadline_ms = round((facts.deadline - started) * 1000)
        head = b'{"call_id":"%b","deadline_ms":%d,' % (facts.call_id.encode(), deadline_ms)
        return runtime.begin(
            OutsideCall(
                id=facts.call_id,
                handle=opened.handle,
                binding=seat.binding,
                target=spec.name,
                major=spec.version,
                context=head + self._tail(spec),
                arguments=self._json_of(seat.cut, payload),
                deadline=facts.deadline,
                result=seat.major.adapter,
                gate=opened.gate,
            )
        )

    def _begin_trusted(self, seat: Seat, payload: Payload, facts: CallFacts, opened: OpenCall) -> Pending:
        binding = seat.binding
        call = TrustedCall(
            release=seat.enabled.release,
            function=seat.member.implementations[facts.hook.name],
            major=seat.major,
            facts=facts,
            payload=self._trimmed_for(seat.cut, payload),
            config=binding.config,
            mode=binding.mode,
            locale=binding.locale,
            deadline_ms=seat.deadline_ms,
            clients=opened.clients,
        )
        return self._tools.trusted.begin(call)

    def _trimmed_for(self, cut: Cut, payload: Payload) -> Payload:
        trimmed = self._trimmed.get(cut)
        if trimmed is None:
            trimmed = self._trimmed[cut] = cut.apply(payload)
        return trimmed

    def _json_of(self, cut: Cut, payload: Payload) -> bytes:
        """The payload for a field set, written once."""
        known = self._json.get(cut)
        if known is None:
            trimmed = self._trimmed_for(cut, payload)
            known = self._json[cut] = type(trimmed).__pydantic_serializer__.to_json(trimmed)
        return known

    def _tail(self, spec: HookSpec) -> bytes:
        """The part of the context that all plugins of this asking share."""
        tail = self._tails.get(spec.name)
        if tail is None:
            facts = {
                "hook": spec.name,
                "contract": CONTRACT,
                "store_id": self.store_id,
                "now": self._now,
                "idempotency_key": self.idempotency_key,
            }
            tail = self._tails[spec.name] = msgspec.json.encode(facts)[1:]
        return tail

    def _leave(self, underway: Underway) -> None:
        """The caller gave up: void the handle, hold nothing against the plugin. Idempotent."""
        if not underway.is_over:
            underway.is_over = True
            underway.seat.breaker.abandon(underway.ticket)
            self._close(underway.handle)

    def forsake(self) -> None:
        """There will be no decision: state writes vanish, audit rows stay. Idempotent."""
        self._tools.calls.forsake(self.parts)
        self.parts.clear()

    def forget_payload(self) -> None:
        """The payload changes: what was cut and written of it is of no use any more."""
        self._trimmed.clear()
        self._json.clear()

    def _close(self, handle: str) -> bool:
        """Void a handle and keep what its call left; whether it was misused."""
        trail = self._tools.calls.close(handle)
        if trail.parts:
            self.parts.extend(trail.parts)
        return trail.is_handle_misused

    def _unbegun(self, seat: Seat, fault: Fault) -> Answer:
        answer = seat.answer(fault=fault)
        measure(answer, None)
        return answer


def _judged(seat: Seat, value: Any, judge: Judge | None) -> tuple[Any, Fault | None]:  # Any: results of hooks
    """The value as the newest major has it, or what is wrong with it."""
    try:
        newest = seat.major.result_to_newest(value)
        fault = None if judge is None else judge(newest)
    except Exception as error:  # noqa: BLE001 - a value that our own rules stumble over must not lose the others'
        plugin_id, hook = seat.breaker_key
        log.error("plugin.judge_failed", plugin=plugin_id, hook=hook, **_facts_of(error))
        fault = Fault(FaultKind.BAD_RESULT, f"the host could not judge it ({type(error).__name__})")
    return (newest, None) if fault is None else (None, fault)


def _facts_of(error: Exception) -> dict[str, str]:
    """For the log. No traceback: its frames hold handles and settings of merchants."""
    return {"error": type(error).__name__, "where": location_of(error.__traceback__)}
