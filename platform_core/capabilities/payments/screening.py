"""What plugins say of an order before anything of it is committed: discounts, a verdict, the ranking of its routes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from platform_core.capabilities.payments.route_success import RouteSuccess
from platform_core.capabilities.payments.routing import Route
from platform_core.capabilities.payments.schemas import AttemptCreate, PaymentCreate
from platform_core.contracts.fields import Money, Payload, built
from platform_core.contracts.payments import Basket, BasketLine, PaymentToCheck, RouteOffer, RoutingQuestion
from platform_core.contracts.results import Ranking, Rendered, Verdict

CHECK: Final = "check_payment"
AMEND: Final = "amend_basket"
CHOOSE: Final = "choose_route"
RENDER: Final = "render_receipt"
Word = Literal["allow", "review", "deny"]
HealthWord = Literal["up", "degraded", "down", "unknown"]


@dataclass(frozen=True, slots=True)
class Taken:
    """A discount that stands: what one plugin's operation took off a line, or off the order."""

    plugin_id: str
    rule_id: str
    label: str
    funder: str
    line_id: str | None
    amount_minor: int

    def record(self) -> dict[str, Any]:
        """As it is kept on the payment and shown."""
        return {
            "plugin_id": self.plugin_id,
            "rule_id": self.rule_id,
            "label": self.label,
            "funder": self.funder,
            "line_id": self.line_id,
            "amount_minor": self.amount_minor,
        }


@dataclass(frozen=True, slots=True)
class Amended:
    """A basket after all plugins."""

    taken: Sequence[Taken]
    degraded: Sequence[Mapping[str, str]]
    parts: Sequence[object]


@dataclass(slots=True)
class Judged:
    """A verdict after all plugins. Nobody changes it; made for each order, so that it is not frozen."""

    verdict: Verdict
    degraded: Sequence[Mapping[str, str]]
    parts: Sequence[object]


@dataclass(frozen=True, slots=True)
class Ranked:
    """The offered ids in the order that stands."""

    ranking: Ranking
    plugin_id: str | None
    """Whose it is; None: the merchant's own order stands."""
    degraded: Sequence[Mapping[str, str]]
    parts: Sequence[object]


@dataclass(frozen=True, slots=True)
class Drawn:
    """What came of asking for a document."""

    rendered: Rendered | None
    """None: nobody drew one that may be shown."""
    plugin_id: str | None
    """Whose it is."""
    version: str | None
    degraded: Sequence[Mapping[str, str]]
    parts: Sequence[object]


@dataclass(frozen=True, slots=True)
class Rechecked:
    """What checks said of a further attempt: the row as they saw it, with `risk` and `degraded` set."""

    row: dict[str, Any]
    word: Word
    parts: Sequence[object]


class OrderPlugins(Protocol):
    """The plugins of one merchant, as they stood when the order began: no version changes within one order."""

    def asks(self, hook: str, /) -> bool:
        """Whether anybody is to be asked."""
        ...

    async def check(self, hook: str, payload: Payload, /, *, amount_minor: int) -> Judged:
        """Ask all in parallel; never raises."""
        ...

    async def amend(self, basket: Basket, /) -> Amended:
        """Ask one after another; never raises."""
        ...

    async def choose(self, hook: str, payload: Payload, offered: Sequence[str], /) -> Ranked:
        """Ask until one ranks; never raises."""
        ...

    async def render(self, hook: str, payload: Payload, /, *, media_type: str, total: Money, bytes_max: int) -> Drawn:
        """Let the merchant's one owner draw a document of this media type and total; never raises."""
        ...


@dataclass(frozen=True, slots=True)
class Standing:
    """How providers stand with one merchant at the moment, by their ids."""

    closed: frozenset[str] = frozenset()
    """These take no new payment: drained, suspended, not enabled, or their breaker is open."""
    health: Mapping[str, HealthWord] = field(default_factory=dict)
    """Of those that somebody measures."""


class Plugins(Protocol):
    """Where a service learns whom to ask."""

    async def standing(self, merchant_id: str, /) -> Standing:
        """Of payment providers, before an order is routed; never raises."""
        ...

    def forsake(self, parts: Sequence[object], /) -> None:
        """What calls left behind for a plan that is not to be: state writes vanish, audit rows are kept."""
        ...

    async def of(self, merchant_id: str, /, *, store_id: str | None, idempotency_key: str) -> OrderPlugins | None:
        """None when the merchant has nothing enabled."""
        ...


class Screening:
    """One order's: what was said is gathered for the payment's row, and what calls left behind for the plan."""

    def __init__(self, plugins: OrderPlugins, *, degraded: Sequence[Mapping[str, str]] = ()) -> None:
        """`degraded`: what an earlier round left on the payment."""
        self._plugins = plugins
        self._degraded = list(degraded)
        self.parts: list[object] = []

    async def amend(self, row: dict[str, Any]) -> None:
        """Take discounts off; sets `payable_minor` and `discounts`. Orders without a basket are not amended."""
        if row["basket"] is None or not self._plugins.asks(AMEND):
            return
        said = await self._plugins.amend(_basket(row))
        self._note(row, said.degraded, said.parts)
        if said.taken:
            total = sum(taken.amount_minor for taken in said.taken)
            assert 0 < total <= row["order_minor"], "the host checks the bounds"
            row["payable_minor"] = row["order_minor"] - total
            row["discounts"] = [taken.record() for taken in said.taken]

    async def check(self, row: dict[str, Any], context: Mapping[str, Any] | None = None) -> Word:
        """Have the payment judged; sets `risk`. Nobody asked means allow. `context` is the request's risk_context."""
        if not self._plugins.asks(CHECK):
            return "allow"
        payload = to_check(row, context or {})
        said = await self._plugins.check(CHECK, payload, amount_minor=row["payable_minor"])
        self._note(row, said.degraded, said.parts)
        verdict = said.verdict
        reasons = [{"rule_id": reason.rule_id, "text": reason.text} for reason in verdict.reasons]
        row["risk"] = {"verdict": verdict.decision, "score": verdict.score, "reasons": reasons}
        return verdict.decision

    async def rank(
        self, row: dict[str, Any], found: list[Route], *, standing: Standing, success: RouteSuccess
    ) -> list[Route]:
        """The routes in the order that plugins want; who ranked them, and how, stays on the attempt."""
        if len(found) < 2 or not self._plugins.asks(CHOOSE):
            return found
        by_id = {route.account.id: route for route in found}
        question = _question(row, [_offer(route, standing, success) for route in found])
        said = await self._plugins.choose(CHOOSE, question, tuple(by_id))
        self._note(row, said.degraded, said.parts)
        if said.plugin_id is None:
            return found
        ranked = [by_id[id_] for id_ in said.ranking.ids]
        assert len(ranked) == len(found), "the host completes a ranking"
        why = {
            **found[0].why,
            "ranked_by": said.plugin_id,
            "ranked": list(said.ranking.ids),
            "success_bp": {offer.route_id: offer.success_bp for offer in question.routes},
        }
        return [Route(route.account, route.description, why) for route in ranked]

    def forsake(self, plugins: Plugins | None) -> None:
        """The order is not to be; what calls left behind goes where such things go."""
        if plugins is not None and self.parts:
            plugins.forsake(self.parts)

    def _note(self, row: dict[str, Any], degraded: Sequence[Mapping[str, str]], parts: Sequence[object]) -> None:
        self.parts.extend(parts)
        if degraded:
            self._degraded.extend(degraded)
            row["degraded"] = [dict(one) for one in self._degraded]


def context_of(request: PaymentCreate | AttemptCreate) -> Mapping[str, Any] | None:
    """The request's risk_context as JSON."""
    return None if request.risk_context is None else request.risk_context.model_dump(mode="json", exclude_none=True)


def to_check(row: Mapping[str, Any], context: Mapping[str, Any]) -> PaymentToCheck:
    """A payment's row as `check_payment` is told of it."""
    customer = row["customer"] or {}
    channel_user = customer.get("channel_user_id")
    payer = customer.get("id") or (channel_user and f"{customer.get('channel', '')}:{channel_user}")
    return built(
        PaymentToCheck,
        {
            "payment_id": row["id"],
            "out_trade_no": row["out_trade_no"],
            "subject": row["subject"],
            "form": row["form"],
            "channel": row["channel"],
            "amount": built(Money, {"amount_minor": row["payable_minor"], "currency": row["currency"]}),
            "store_id": row["store_id"],
            "terminal_id": row["terminal_id"],
            "operator_id": row["operator_id"],
            "attempt": row["attempts"],
            "created_at": row["created_at"],
            "payer_ref": payer or None,
            "client_ip": context.get("client_ip"),
            "device_ref": context.get("device_ref"),
            "risk_context": dict(context) or None,
            "lines": None if row["basket"] is None else _lines(row),
            "member": None,
            "coupon_ids": None,
            "withheld": (),
        },
    )


def _basket(row: Mapping[str, Any]) -> Basket:
    return Basket.model_construct(
        basket_id=row["id"],
        store_id=row["store_id"],
        lines=_lines(row),
        total=Money.model_construct(amount_minor=row["order_minor"], currency=row["currency"]),
        operations=(),
        member=None,
        coupon_ids=None,
    )


def _lines(row: Mapping[str, Any]) -> tuple[BasketLine, ...]:
    return tuple(
        BasketLine.model_construct(
            line_id=line["line_id"],
            sku=line.get("sku", ""),
            name=line["name"],
            category=line.get("category", ""),
            quantity=line["quantity"],
            unit_minor=line["unit_minor"],
            discount_minor=0,
        )
        for line in row["basket"]["lines"]
    )


def _offer(route: Route, standing: Standing, success: RouteSuccess) -> RouteOffer:
    return RouteOffer.model_construct(
        route_id=route.account.id,
        provider_id=route.description.id,
        cost_bp=route.description.cost_bp,
        success_bp=success.success_bp(route.account.id),
        health=standing.health.get(route.description.id, "unknown"),
    )


def _question(row: Mapping[str, Any], offers: Sequence[RouteOffer]) -> RoutingQuestion:
    return RoutingQuestion.model_construct(
        payment_id=row["id"],
        amount=Money.model_construct(amount_minor=row["payable_minor"], currency=row["currency"]),
        form=row["form"],
        store_id=row["store_id"],
        routes=tuple(offers),
        payer_bank=None,
    )
