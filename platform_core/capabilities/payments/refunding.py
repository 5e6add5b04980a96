"""How much of a payment may go back, through which of its movements, and with how much of the fee. Pure."""

from __future__ import annotations

from platform_core.capabilities.payments.answers import refundable
from platform_core.capabilities.payments.draft import Draft
from platform_core.capabilities.payments.errors import OUTCOME_UNKNOWN, REFUND_EXCEEDS, REFUND_WINDOW_OVER
from platform_core.capabilities.payments.fees import FeeTerms
from platform_core.capabilities.payments.models import Payment, Refund, Transaction
from platform_core.capabilities.payments.refusals import conflict, exceeds
from platform_core.capabilities.payments.repository import PaymentFile
from platform_core.capabilities.payments.schemas import RefundCreate
from platform_core.capabilities.payments.windows import REFUND_DAYS, REFUND_WINDOW


def refund_amount(payment: Payment, draft: Draft, request: RefundCreate, earlier: Refund | None) -> int:
    """What is to go back, if it may."""
    if payment.state == "unknown":
        raise OUTCOME_UNKNOWN.error({"payment_id": payment.id}, retry_after_s=5)
    if payment.captured_minor == 0 or payment.state not in ("captured", "authorized", "finished"):
        raise conflict(payment, "refund", "captured")
    assert payment.captured_at is not None, "captured money has its moment"
    if payment.state == "finished" or draft.now > payment.captured_at + REFUND_WINDOW:
        day = payment.captured_at.date().isoformat()
        raise REFUND_WINDOW_OVER.error({"payment_id": payment.id, "day": day, "days": REFUND_DAYS})
    left = refundable(draft.row)
    amount = request.amount_minor or (left if earlier is None else earlier.amount_minor)
    if amount > left or left == 0:
        raise exceeds(REFUND_EXCEEDS, payment, asked=amount or payment.captured_minor, left=left)
    return amount


def fee_part(payment: Payment, terms: FeeTerms, amount: int) -> int:
    """The fee that goes back with a refund.

    After a failed refund the fees of the others may lag behind their sum: what is missing comes with the next ones, but
    none returns more than it takes.
    """
    gone = payment.refunded_minor + payment.refunding_minor + amount
    fee_back = terms.returned(payment.captured_minor, gone)
    return min(amount, max(0, fee_back - payment.fee_returned_minor))


def is_taken(file: PaymentFile, transaction: Transaction) -> bool:
    """Whether it brought money that is the payment's: not what came late, for a payment that was over."""
    if transaction.state != "succeeded":
        return False
    is_sale = transaction.kind == "sale" and file.attempt(transaction.attempt_id).state == "succeeded"
    return is_sale or transaction.kind == "capture"


def left_of(file: PaymentFile, original: Transaction) -> int:
    """What of a sale or capture has neither gone back, nor is on its way back, nor is disputed."""
    bounced = {t.original_id for t in file.transactions if t.kind == "refund_bounce"}
    back = sum(
        t.amount_minor
        for t in file.transactions
        if t.kind == "refund" and t.original_id == original.id and t.state != "failed" and t.id not in bounced
    )
    disputed = sum(d.held_minor for d in file.disputes if d.transaction_id == original.id and d.state != "won")
    return original.amount_minor - back - disputed


def paid_by(file: PaymentFile, amount: int) -> Transaction:
    """The sale, or the capture with the most left to give, that a refund goes back through."""
    paid = [transaction for transaction in file.transactions if is_taken(file, transaction)]
    original = next((original for original in paid if left_of(file, original) >= amount), None)
    if original is None:  # each capture is returned through itself, so that no refund can be larger than one of them
        raise exceeds(REFUND_EXCEEDS, file.payment, asked=amount, left=max(left_of(file, each) for each in paid))
    return original
