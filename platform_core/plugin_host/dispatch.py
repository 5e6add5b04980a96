"""Asking plugins: who is enabled at the merchant, all of them by the kind's rule, one decision (plugins.md section 3).

Never inside a transaction. Nothing is written: what calls leave behind rides in `Decision.parts`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple, TypeVar

import structlog

from platform_core.contracts.fields import Payload
from platform_core.contracts.payments import Basket
from platform_core.contracts.plugin import HookContext
from platform_core.contracts.results import Acknowledged, BasketOperations, Ranking, Rendered, Verdict
from platform_core.contracts.runtime import Fault, FaultKind
from platform_core.plugin_host.answers import (
    OVERALL,
    Answer,
    Decision,
    Degraded,
    Delivered,
    HookSeen,
    degraded_by,
    unasked,
)
from platform_core.plugin_host.asking import Asking, Judge, Tools, Underway
from platform_core.plugin_host.baskets import Amended, amended
from platform_core.plugin_host.breakers import State
from platform_core.plugin_host.crews import Crew, Crews
from platform_core.plugin_host.depth import is_inside_hook
from platform_core.plugin_host.discovery import catalogue
from platform_core.plugin_host.installed import (
    Enabled,
    Enablement,
    EnablementUnreadable,
    HookPolicy,
    MerchantPlugins,
)
from platform_core.plugin_host.listening import Listeners
from platform_core.plugin_host.majors import Family, families, family_name
from platform_core.plugin_host.members import Key
from platform_core.plugin_host.merging import (
    ALLOW,
    Wanted,
    fault_of_drawing,
    full_ranking,
    merged_verdict,
    verdict_of_fault,
)
from platform_core.plugin_host.registry import Registry

log = structlog.get_logger(__name__)
P = TypeVar("P", bound=Payload)
R = TypeVar("R")
Hook = Callable[[HookContext, P], R]
"""A hookspec: the function itself, the newest major of its family."""
Built = Callable[[], P]
"""Builds the payload; called once at most, and not at all when nobody is asked."""

_ALLOWED: Final[Decision[Verdict]] = Decision(ALLOW)
_UNREADABLE: Final = Fault(FaultKind.UNAVAILABLE, "nobody can say which plugins are enabled")


class Pin(NamedTuple):
    """Generation and enablement of one moment: what one order is decided by from its first hook to its last."""

    crews: Crews
    merchant_id: str
    plugins: MerchantPlugins | None
    """None while nobody can say what is enabled."""


class Dispatcher:
    """Asks plugins. Belongs to one event loop."""

    def __init__(self, registry: Registry, enablement: Enablement, tools: Tools) -> None:
        self._enablement = enablement
        self._tools = tools
        self._families = {family.newest.name: family for family in families(catalogue()).values()}
        self._crews = Crews(registry, tools.breakers)
        self.listeners = Listeners()
        """Whoever wants to see each asking."""

    @property
    def registry(self) -> Registry:
        """The generation that new calls go to."""
        return self._crews.registry

    def swap(self, registry: Registry) -> None:
        """Ask another generation from now on. Calls under way, and orders that are pinned, finish on the old one."""
        self._crews = Crews(registry, self._tools.breakers)

    def breaker_state(self, plugin_id: str, hook: str) -> State:
        """How a plugin stands at a hook; an open breaker whose time is over is half-open: it lets a trial through."""
        return self._tools.breakers.of(plugin_id, hook).standing

    def forsake(self, parts: Iterable[object]) -> None:
        """The plan that a decision's parts would have ridden in is not to be: their audit rows are kept."""
        self._tools.calls.forsake(parts)

    async def pin(self, merchant_id: str) -> Pin:
        """What one order of this merchant is decided by; to be passed to each of its askings. Never raises."""
        try:
            plugins: MerchantPlugins | None = await self._enablement.of(merchant_id)
        except EnablementUnreadable:
            log.warning("plugin.enablement_unreadable", merchant_id=merchant_id)
            plugins = None
        return Pin(self._crews, merchant_id, plugins)

    def is_asked(self, hook: Callable[..., object], pin: Pin) -> bool:
        """Whether anybody implements a hook at the pinned merchant; also when nobody can say."""
        if is_inside_hook():
            return False
        return pin.plugins is None or pin.crews.of(self._family(hook), pin.plugins) is not None

    async def check(
        self,
        hook: Hook[P, Verdict],
        payload: Built[P],
        *,
        merchant_id: str,
        store_id: str | None,
        idempotency_key: str,
        amount_minor: int | None,
        pin: Pin | None = None,
    ) -> Decision[Verdict]:
        """Ask all at once: deny before review before allow. Whoever fails counts as review, or as deny from the
        merchant's amount on. Nobody enabled: allow. Nobody can say: review.
        """
        crew, pin = await self._crew(hook, merchant_id, pin)
        if crew is None:
            return _ALLOWED if pin.plugins is not None or is_inside_hook() else self._unreadable_check(hook)
        asking = self._asking(crew, pin, store_id=store_id, idempotency_key=idempotency_key)
        built = payload()
        begun: list[Answer | Underway] = []
        for major, caller in crew.callers:
            begun += asking.asked(major, caller, built)
        answers = await asking.collect(begun) if begun else []
        if crew.missing or len(answers) > 1:
            answers = _in_order(crew, [*answers, *crew.missing.values()])
        verdict = _verdict(answers, crew.policy, amount_minor=amount_minor)
        return self._decided(asking, verdict, answers)

    async def amend_basket(
        self,
        hook: Hook[Basket, BasketOperations],
        payload: Built[Basket],
        *,
        merchant_id: str,
        store_id: str | None,
        idempotency_key: str,
        pin: Pin | None = None,
    ) -> Decision[Amended | None]:
        """Ask one after another, each with what came before. An answer out of bounds is left out as a whole.

        None: nobody was asked, the basket stands as it is and was not built.
        """
        crew, pin = await self._crew(hook, merchant_id, pin)
        if crew is None:
            return self._nothing(hook, pin, None)
        asking = self._asking(crew, pin, store_id=store_id, idempotency_key=idempotency_key)
        so_far = Amended.untouched(payload())
        answers: list[Answer] = []
        for key in crew.order:
            answer, after = await self._amended(asking, pin, key, so_far)
            answers.append(answer)
            if after is not None and not answer.is_dry_run:
                so_far, answer.is_used = after, True
                asking.forget_payload()
        return self._decided(asking, so_far, answers)

    async def _amended(self, asking: Asking, pin: Pin, key: Key, so_far: Amended) -> tuple[Answer, Amended | None]:
        """Ask one plugin about the basket as it is now; the basket after its answer, None when that does not count."""
        taken: list[Amended] = []

        def judge(value: BasketOperations) -> Fault | None:
            after = amended(
                so_far,
                value.operations,
                plugin_id=key[0],
                version=key[1],
                discount_max_bp=asking.crew.policy.amend_discount_max_bp,
            )
            if isinstance(after, Fault):
                return after
            taken.append(after)
            return None

        answer = await self._one(asking, pin, key, so_far.basket, judge=judge)
        return answer, taken[0] if taken else None

    async def choose(
        self,
        hook: Hook[P, Ranking],
        payload: Built[P],
        *,
        offered: Sequence[str],
        merchant_id: str,
        store_id: str | None,
        idempotency_key: str,
        pin: Pin | None = None,
    ) -> Decision[Ranking]:
        """Ask in the operator's order until a ranking of `offered` ids comes; what it leaves out follows behind.

        Nobody, or nobody with a valid one: the order of `offered`. An empty ranking is no opinion: the next is asked.
        """
        crew, pin = await self._crew(hook, merchant_id, pin)
        default = Ranking.of(offered)
        if crew is None:
            return self._nothing(hook, pin, default)
        asking = self._asking(crew, pin, store_id=store_id, idempotency_key=idempotency_key)
        built, result = payload(), default
        answers: list[Answer] = []

        def judge(value: Ranking) -> Fault | None:
            ranked = full_ranking(value, offered)
            return ranked if isinstance(ranked, Fault) else None

        for key in crew.order:
            answer = await self._one(asking, pin, key, built, judge=judge)
            answers.append(answer)
            if answer.fault is None and answer.value.ids and not answer.is_dry_run:
                ranked = full_ranking(answer.value, offered)
                assert isinstance(ranked, Ranking), "it was judged"
                result, answer.is_used = ranked, True
                break
        return self._decided(asking, result, answers)

    async def render(
        self,
        hook: Hook[P, Rendered],
        payload: Built[P],
        *,
        wanted: Wanted,
        merchant_id: str,
        store_id: str | None,
        idempotency_key: str,
        pin: Pin | None = None,
    ) -> Decision[Rendered | None]:
        """Let the merchant's one owner draw: the first in the operator's order. None: use the built-in template."""
        crew, pin = await self._crew(hook, merchant_id, pin)
        if crew is None:
            return self._nothing(hook, pin, None)
        asking = self._asking(crew, pin, store_id=store_id, idempotency_key=idempotency_key)
        built, result = payload(), None
        answers: list[Answer] = []

        def judge(value: Rendered) -> Fault | None:
            return fault_of_drawing(value, wanted)

        for key in crew.order:
            answer = await self._one(asking, pin, key, built, judge=judge)
            answers.append(answer)
            if not answer.is_dry_run:
                result, answer.is_used = answer.value if answer.fault is None else None, answer.fault is None
                break
        return self._decided(asking, result, answers)

    async def tell(
        self,
        hook: Hook[P, Acknowledged],
        payload: P,
        *,
        plugin_id: str,
        merchant_id: str,
        store_id: str | None,
        idempotency_key: str,
        to: Enabled | None = None,
    ) -> Delivered:
        """Tell one plugin, once. Its acknowledgement, wish to be told later, or fault; and what its call left.

        `to` names the plugin as it was, for news that it is disabled; else what is enabled now is told.
        """
        pin = await self.pin(merchant_id)
        if to is not None and pin.plugins is not None:
            alone = replace(pin.plugins, plugins=(to,), digest=f"only {' '.join(to.release.key)}", suspended=())
            pin = pin._replace(plugins=alone)
        crew = None if pin.plugins is None else pin.crews.of(self._family(hook), pin.plugins)
        key = next((key for key in crew.order if key[0] == plugin_id), None) if crew is not None else None
        if crew is None or key is None:
            return _untold(plugin_id, hook.__name__, pin)
        asking = self._asking(crew, pin, store_id=store_id, idempotency_key=idempotency_key)
        answer = await self._one(asking, pin, key, payload)
        answer.is_used = answer.fault is None
        self._decided(asking, answer.value, [answer])
        return Delivered(answer=answer, parts=tuple(asking.parts))

    async def _crew(self, hook: Callable[..., object], merchant_id: str, pin: Pin | None) -> tuple[Crew | None, Pin]:
        """Who is asked; None for nobody, also inside of a hook."""
        if pin is None:
            pin = await self.pin(merchant_id)
        assert pin.merchant_id == merchant_id, "an order is pinned at its own merchant"
        if pin.plugins is None or is_inside_hook():
            return None, pin
        return pin.crews.of(self._family(hook), pin.plugins), pin

    def _family(self, hook: Callable[..., object]) -> Family:
        return self._families[hook.__name__]  # KeyError: the host speaks the newest major alone

    def _asking(self, crew: Crew, pin: Pin, *, store_id: str | None, idempotency_key: str) -> Asking:
        all_ms = crew.family.newest.rule.all_ms
        return Asking(
            self._tools,
            crew,
            merchant_id=pin.merchant_id,
            store_id=store_id,
            idempotency_key=idempotency_key,
            until=None if all_ms is None else time.monotonic() + all_ms / 1000,
        )

    async def _one(self, asking: Asking, pin: Pin, key: Key, payload: Payload, *, judge: Judge | None = None) -> Answer:
        """Ask one plugin through its own caller."""
        crew = asking.crew
        if key in crew.missing:
            return crew.missing[key]
        (begun,) = asking.asked(crew.seats[key].major, crew.single(pin.crews.registry, key), payload)
        return begun if isinstance(begun, Answer) else await asking.finish(begun, judge)

    def _decided(self, asking: Asking, result: R, answers: list[Answer]) -> Decision[R]:
        degraded = degraded_by(answers)
        decision = Decision(result, tuple(answers), degraded, tuple(asking.parts))
        listeners = self.listeners
        if answers:
            listeners.answered(answers, asking.merchant_id)
        if listeners:
            listeners.saw(
                HookSeen(
                    hook=asking.crew.family.newest.name,
                    merchant_id=asking.merchant_id,
                    store_id=asking.store_id,
                    idempotency_key=asking.idempotency_key,
                    answers=decision.answers,
                    degraded=degraded,
                    result=result,
                    payload=asking.payload,
                    seats=asking.crew.seats,
                )
            )
        return decision

    def _nothing(self, hook: Callable[..., object], pin: Pin, result: R) -> Decision[R]:
        """The policy of the milder kinds when nobody was asked: go on without."""
        if pin.plugins is not None or is_inside_hook():
            return Decision(result)
        return Decision(result, degraded=(Degraded(OVERALL, "", hook.__name__, FaultKind.UNAVAILABLE),))

    def _unreadable_check(self, hook: Callable[..., object]) -> Decision[Verdict]:
        verdict = verdict_of_fault("The platform", _UNREADABLE, amount_minor=None, deny_above_minor=None)
        return Decision(verdict, degraded=(Degraded(OVERALL, "", hook.__name__, FaultKind.UNAVAILABLE),))


def _in_order(crew: Crew, answers: Sequence[Answer]) -> list[Answer]:
    by_key = {(answer.plugin_id, answer.version): answer for answer in answers}
    return [by_key[key] for key in crew.order]


def _verdict(answers: Sequence[Answer], policy: HookPolicy, *, amount_minor: int | None) -> Verdict:
    verdicts: list[Verdict] = []
    for answer in answers:
        if answer.is_dry_run:
            continue
        if answer.fault is None:
            answer.is_used = True
            verdicts.append(answer.value)
        else:
            deny_above = policy.check_deny_above_minor.get(family_name(answer.hook))
            verdicts.append(
                verdict_of_fault(answer.plugin_id, answer.fault, amount_minor=amount_minor, deny_above_minor=deny_above)
            )
    return merged_verdict(verdicts)


def _untold(plugin_id: str, hook: str, pin: Pin) -> Delivered:
    """Why nobody could be told: nobody can say, it is suspended, not enabled, or does not implement the hook."""
    plugins = pin.plugins
    known = () if plugins is None else (*plugins.plugins, *plugins.suspended)
    enabled = next((one for one in known if one.release.plugin_id == plugin_id), None)
    is_gone = plugins is not None and (enabled is None or enabled in plugins.plugins)
    fault = _UNREADABLE if plugins is None else Fault(FaultKind.UNAVAILABLE, "it is not there for this hook")
    if enabled is not None:
        return Delivered(answer=unasked(enabled, hook, fault), is_gone=is_gone)
    answer = Answer(plugin_id=plugin_id, version="", tier="confined", hook=hook, call_id="", fault=fault)
    return Delivered(answer=answer, is_gone=is_gone)
