"""Hooks of payments: checks before money moves, discounts on the basket, routes, receipts, and news after a commit."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from platform_core.contracts.fields import (
    CountAndSum,
    Id,
    JsonObject,
    MemberView,
    Moment,
    Money,
    Needs,
    Payload,
    View,
    tolerant,
)
from platform_core.contracts.hooks import hook
from platform_core.contracts.plugin import HookContext
from platform_core.contracts.results import (
    Acknowledged,
    BasketOperation,
    BasketOperations,
    Ranking,
    Rendered,
    Verdict,
)

FORMS = ("merchant_scan", "customer_scan", "sticker", "page", "wap", "app", "mini_program", "preauth", "local")
FormSeen = Annotated[
    Literal[
        "merchant_scan",
        "customer_scan",
        "sticker",
        "page",
        "wap",
        "app",
        "mini_program",
        "preauth",
        "local",
        "unknown",
    ],
    tolerant(*FORMS),
]
"""How the customer pays; a form that this contract does not know reads `unknown`."""
Health = Annotated[Literal["up", "degraded", "down", "unknown"], tolerant("up", "degraded", "down")]


class BasketLine(View):
    """One line of a basket. Amounts in minor units of the basket's currency."""

    line_id: Id
    sku: str
    name: str
    category: str
    quantity: int
    unit_minor: int
    discount_minor: int
    """What earlier operations took off this line."""


class PaymentToCheck(Payload):
    """A payment before its intent is committed."""

    payment_id: Id
    out_trade_no: str
    subject: str
    form: FormSeen
    channel: str | None
    amount: Money
    """What the customer is to pay."""
    store_id: str | None
    terminal_id: str | None
    operator_id: str | None
    attempt: int
    created_at: Moment
    payer_ref: Annotated[str | None, Needs("payments.payer:read")] = None
    """The payer as the merchant or the wallet names them, stable for this merchant."""
    client_ip: Annotated[str | None, Needs("payments.device:read")] = None
    device_ref: Annotated[str | None, Needs("payments.device:read")] = None
    risk_context: Annotated[JsonObject | None, Needs("payments.device:read")] = None
    """Whatever the merchant's till knows; read-only."""
    lines: Annotated[tuple[BasketLine, ...] | None, Needs("baskets:read")] = None
    member: Annotated[MemberView | None, Needs("members:read")] = None
    coupon_ids: Annotated[tuple[str, ...] | None, Needs("coupons:read")] = None


@hook("check", version=1, scope="payments:read", since="1.0")
def check_payment(ctx: HookContext, payment: PaymentToCheck) -> Verdict:
    """Judge a payment before anything of it is committed and before any provider is asked.

    Asked for every new payment and every further attempt, in parallel with other plugins. Deny refuses the payment;
    review lets it through and marks it for a person, or holds it where the merchant's policy says so.

    >>> from platform_core.contracts.hooks import hookimpl
    >>> from platform_core.contracts.results import Verdict
    >>> @hookimpl
    ... def check_payment(ctx, payment):
    ...     if payment.amount.amount_minor > 500_000:
    ...         return Verdict.review("large", "More than 5,000.00 in one payment.")
    ...     return Verdict.allow()
    """
    raise AssertionError("pluggy calls the implementations, never the hookspec")


class RefundToCheck(Payload):
    """A refund before its intent is committed. What is refundable at all the ledger decides."""

    refund_id: Id
    payment_id: Id
    out_request_no: str
    amount: Money
    refundable_minor: int
    """Still refundable before this one."""
    reason_code: str
    requested_by: str
    payment_age_s: int
    refunds_30d: Annotated[CountAndSum | None, Needs("payments:read")] = None
    """The merchant's refunds of the last 30 days, this one not counted."""


@hook("check", version=1, scope="refunds:read", since="1.0")
def check_refund(ctx: HookContext, refund: RefundToCheck) -> Verdict:
    """Judge a refund before it is committed.

    >>> from platform_core.contracts.hooks import hookimpl
    >>> from platform_core.contracts.results import Verdict
    >>> @hookimpl
    ... def check_refund(ctx, refund):
    ...     if refund.payment_age_s > 90 * 86_400:
    ...         return Verdict.review("old", "The payment is older than 90 days.")
    ...     return Verdict.allow()
    """
    raise AssertionError("pluggy calls the implementations, never the hookspec")


class Basket(Payload):
    """What is being bought, before it is paid for."""

    basket_id: Id
    store_id: str | None
    lines: tuple[BasketLine, ...]
    total: Money
    """After the operations so far."""
    operations: tuple[BasketOperation, ...] = ()
    """What plugins before this one did."""
    member: Annotated[MemberView | None, Needs("members:read")] = None
    coupon_ids: Annotated[tuple[str, ...] | None, Needs("coupons:read")] = None


@hook("amend", version=1, scope="baskets:read", since="1.0")
def amend_basket(ctx: HookContext, basket: Basket) -> BasketOperations:
    """Propose discounts. Plugins are asked one after another in the operator's order; each sees what came before.

    Amounts are above zero, no line and no total falls below zero, and all discounts together stay under the merchant's
    `amend_discount_max_bp`. If one operation breaks a bound, the plugin's whole answer is left out and flagged.

    >>> from platform_core.contracts.hooks import hookimpl
    >>> from platform_core.contracts.results import BasketOperations, Discount
    >>> @hookimpl
    ... def amend_basket(ctx, basket):
    ...     if basket.total.amount_minor < 10_000:
    ...         return BasketOperations()
    ...     off = Discount(amount_minor=1_000, rule_id="10-off-100", label="10 off 100")
    ...     return BasketOperations(operations=(off,))
    """
    raise AssertionError("pluggy calls the implementations, never the hookspec")


class RouteOffer(View):
    """One way to take the payment."""

    route_id: Id
    provider_id: str
    cost_bp: int
    success_bp: int | None
    """Share of successful attempts lately, basis points; None while there are too few."""
    health: Health


class RoutingQuestion(Payload):
    """Which provider to try first."""

    payment_id: Id
    amount: Money
    form: FormSeen
    store_id: str | None
    routes: tuple[RouteOffer, ...]
    """In the merchant's own order."""
    payer_bank: Annotated[str | None, Needs("payments.payer:read")] = None


@hook("choose", version=1, scope="payments:read", since="1.0")
def choose_route(ctx: HookContext, question: RoutingQuestion) -> Ranking:
    """Rank the routes of a payment. The first plugin whose ranking names offered routes only decides.

    >>> from platform_core.contracts.hooks import hookimpl
    >>> from platform_core.contracts.results import Ranking
    >>> @hookimpl
    ... def choose_route(ctx, question):
    ...     return Ranking.of([r.route_id for r in sorted(question.routes, key=lambda r: r.cost_bp)])
    """
    raise AssertionError("pluggy calls the implementations, never the hookspec")


class ReceiptLine(View):
    """One line as it was paid."""

    name: str
    quantity: int
    net_minor: int


class Tender(View):
    """One way in which the receipt was paid."""

    form: FormSeen
    amount: Money


class MerchantCard(View):
    """Who sold."""

    name: str
    store: str | None
    phone: str | None


class ReceiptToRender(Payload):
    """A captured payment as it is to be shown to the customer."""

    payment_id: Id
    out_trade_no: str
    merchant_card: MerchantCard
    lines: tuple[ReceiptLine, ...]
    tenders: tuple[Tender, ...]
    total: Money
    paid_at: Moment
    time_zone: str
    """Of the merchant, an IANA name: the zone in which `paid_at` is shown."""
    points_earned: int | None
    invoice_ticket_url: str | None
    locale: str
    media_type: Literal["text/html", "application/pdf"]
    """What is asked for."""
    refunded_minor: int = 0
    """What has gone back of `total` since, in its currency: to be shown beside it, never taken off it."""


@hook("render", version=1, scope="payments:read", since="1.0")
def render_receipt(ctx: HookContext, receipt: ReceiptToRender) -> Rendered:
    """Draw a receipt. The total it states must be the ledger's, else the built-in template is used.

    >>> from platform_core.contracts.hooks import hookimpl
    >>> from platform_core.contracts.results import Rendered
    >>> @hookimpl
    ... def render_receipt(ctx, receipt):
    ...     page = f"<!doctype html><title>{receipt.out_trade_no}</title>".encode()
    ...     return Rendered(media_type="text/html; charset=utf-8", blob=page, total=receipt.total)
    """
    raise AssertionError("pluggy calls the implementations, never the hookspec")


class PaymentCaptured(Payload):
    """Money of a payment was taken."""

    event_id: Id
    sequence: Annotated[int, Field(ge=1)]
    """Of the payment's events, ascending."""
    occurred_at: Moment
    payment_id: Id
    out_trade_no: str
    form: FormSeen
    channel: str | None
    amount: Money
    store_id: str | None
    member_id: Annotated[str | None, Needs("members:read")] = None
    coupon_ids: Annotated[tuple[str, ...] | None, Needs("coupons:read")] = None


@hook("on", version=1, scope="payments:read", since="1.0")
def on_payment_captured(ctx: HookContext, event: PaymentCaptured) -> Acknowledged:
    """Money of a payment was taken. Told after the commit, at least once, in sequence for each payment.

    `ctx.idempotency_key` is the event's id on every repeat: pass it on to whatever is told.

    >>> from platform_core.contracts.hooks import hookimpl
    >>> from platform_core.contracts.results import DONE
    >>> @hookimpl
    ... def on_payment_captured(ctx, event):
    ...     ctx.state.put(f"captured:{event.payment_id}:{event.sequence}", event.amount.amount_minor, ttl_s=86_400)
    ...     return DONE
    """
    raise AssertionError("pluggy calls the implementations, never the hookspec")


class RefundSucceeded(Payload):
    """Money went back to the customer."""

    event_id: Id
    sequence: Annotated[int, Field(ge=1)]
    occurred_at: Moment
    refund_id: Id
    payment_id: Id
    out_request_no: str
    amount: Money
    refunded_total_minor: int
    """Of the payment, this refund included."""


@hook("on", version=1, scope="refunds:read", since="1.0")
def on_refund_succeeded(ctx: HookContext, event: RefundSucceeded) -> Acknowledged:
    """Money went back to the customer. Told after the commit, at least once, in sequence for each refund.

    >>> from platform_core.contracts.hooks import hookimpl
    >>> from platform_core.contracts.results import DONE
    >>> @hookimpl
    ... def on_refund_succeeded(ctx, event):
    ...     ctx.state.put(f"refunded:{event.refund_id}", event.amount.amount_minor, ttl_s=86_400)
    ...     return DONE
    """
    raise AssertionError("pluggy calls the implementations, never the hookspec")
