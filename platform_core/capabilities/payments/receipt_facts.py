"""What stands on a receipt: lines, discounts, what was paid and what went back. Pure; the figures are the ledger's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from platform_core.capabilities.payments.models import Payment
from platform_core.capabilities.payments.repository import PaymentFile
from platform_core.contracts.fields import Money
from platform_core.contracts.payments import MerchantCard, ReceiptLine, ReceiptToRender, Tender
from platform_core.identity.directory import MerchantFacts, TradeNames
from platform_core.kernel.i18n import Language
from platform_core.kernel.money import allocate
from platform_core.ledger.records import TransferRecord

MediaType = Literal["text/html", "application/pdf"]
CLEARING = "customer_clearing"
CHANNEL = "channel_receivable"


@dataclass(frozen=True, slots=True)
class Booked:
    """What the ledger says of a payment, minor units."""

    captured_minor: int
    refunded_minor: int
    """Of what was captured; what bounced is not back."""

    def agrees_with(self, payment: Payment) -> bool:
        """Whether the payment's own columns say the same."""
        return (self.captured_minor, self.refunded_minor) == (payment.captured_minor, payment.refunded_minor)


def booked(transfers: Iterable[TransferRecord]) -> Booked:
    """Fold the transfers of a payment's transactions (`books`).

    What passed through clearing to the merchant was captured, what passed back to the channel was refunded.
    """
    captured = refunded = 0
    for transfer in transfers:
        if transfer.kind != "transfer" or transfer.debit is None or transfer.credit is None:
            continue
        roles = (transfer.debit.role, transfer.credit.role)
        if transfer.code == "capture" and roles[0] == CLEARING:
            captured += transfer.amount
        elif transfer.code == "refund" and roles == (CLEARING, CHANNEL):
            refunded += transfer.amount
        elif transfer.code == "refund_bounce" and roles == (CHANNEL, CLEARING):
            refunded -= transfer.amount
    assert 0 <= refunded <= captured, "guards of the ledger"
    return Booked(captured, refunded)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the order. `gross_minor` is quantity times price; `net_minor` is after all discounts."""

    name: str
    quantity: int
    gross_minor: int
    net_minor: int


@dataclass(frozen=True, slots=True)
class Discount:
    """What was taken off the order."""

    label: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class Returned:
    """Money that went back; `out_request_no` None: not by a refund that anybody asked for by number."""

    amount_minor: int
    at: datetime | None
    out_request_no: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptFacts:
    """Everything that a receipt shows. Amounts: minor units of `currency`; moments: aware."""

    receipt_id: str
    payment_id: str
    out_trade_no: str
    merchant: str
    store_id: str | None
    store: str | None
    is_test: bool
    time_zone: str
    currency: str
    form: str
    lines: Sequence[Line]
    discounts: Sequence[Discount]
    order_minor: int
    payable_minor: int
    booked: Booked
    returns: Sequence[Returned]
    paid_at: datetime


def facts_of(
    receipt_id: str, file: PaymentFile, figures: Booked, *, names: TradeNames, merchant: MerchantFacts
) -> ReceiptFacts:
    """The facts about a captured payment."""
    payment = file.payment
    assert payment.captured_at is not None, "only what was captured has a receipt"
    discounts = payment.discounts or []
    return ReceiptFacts(
        receipt_id=receipt_id,
        payment_id=payment.id,
        out_trade_no=payment.out_trade_no,
        merchant=names.merchant,
        store_id=payment.store_id,
        store=names.store,
        is_test=merchant.mode == "test",
        time_zone=merchant.time_zone,
        currency=payment.currency,
        form=payment.form,
        lines=_lines(payment, discounts),
        discounts=[Discount(one["label"], one["amount_minor"]) for one in discounts],
        order_minor=payment.order_minor,
        payable_minor=payment.payable_minor,
        booked=figures,
        returns=_returns(file, figures),
        paid_at=payment.captured_at,
    )


def payload_of(facts: ReceiptFacts, *, locale: Language, media_type: MediaType) -> ReceiptToRender:
    """The receipt as `render_receipt` is told of it; its total is what was captured, by the ledger."""
    total = Money(amount_minor=facts.booked.captured_minor, currency=facts.currency)
    return ReceiptToRender(
        payment_id=facts.payment_id,
        out_trade_no=facts.out_trade_no,
        merchant_card=MerchantCard(name=facts.merchant, store=facts.store, phone=None),
        lines=tuple(
            ReceiptLine(name=line.name, quantity=line.quantity, net_minor=line.net_minor) for line in facts.lines
        ),
        tenders=(Tender(form=facts.form, amount=total),),
        total=total,
        paid_at=facts.paid_at,
        time_zone=facts.time_zone,
        points_earned=None,
        invoice_ticket_url=None,
        locale=locale,
        media_type=media_type,
        refunded_minor=facts.booked.refunded_minor,
    )


def _lines(payment: Payment, discounts: Sequence[Mapping[str, Any]]) -> list[Line]:
    """The basket, or the order's subject as its one line. Net amounts add up to what was payable."""
    if payment.basket is None:
        return [Line(payment.subject, 1, payment.order_minor, payment.payable_minor)]
    rows = payment.basket["lines"]
    gross = [row["quantity"] * row["unit_minor"] for row in rows]
    off = [sum(one["amount_minor"] for one in discounts if one["line_id"] == row["line_id"]) for row in rows]
    left = [amount - taken for amount, taken in zip(gross, off, strict=True)]
    of_order = sum(one["amount_minor"] for one in discounts if one["line_id"] is None)
    shares = allocate(of_order, left) if of_order else [0] * len(rows)
    net = [amount - share for amount, share in zip(left, shares, strict=True)]
    assert sum(net) == payment.payable_minor, "discounts take the order down to what is payable"
    return [Line(row["name"], row["quantity"], *sums) for row, *sums in zip(rows, gross, net, strict=True)]


def _returns(file: PaymentFile, figures: Booked) -> list[Returned]:
    """The refunds that arrived, oldest first; what a cancel returned has no number and comes last."""
    found = [
        Returned(refund.amount_minor, refund.updated_at, refund.out_request_no)
        for refund in file.refunds
        if refund.state == "succeeded"
    ]
    rest = figures.refunded_minor - sum(one.amount_minor for one in found)
    assert rest >= 0, "every refund that succeeded was booked"
    return [*found, Returned(rest, file.payment.canceled_at, None)] if rest else found
