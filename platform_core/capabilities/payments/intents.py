"""What the first commit of an act decides: which transaction the provider is to bring about, if any."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from platform_core.capabilities.payments.answers import EXPIRED, capturable
from platform_core.capabilities.payments.draft import Draft
from platform_core.capabilities.payments.errors import OUTCOME_UNKNOWN
from platform_core.capabilities.payments.models import Payment, Transaction
from platform_core.capabilities.payments.outcomes import ask_delay
from platform_core.capabilities.payments.refusals import conflict
from platform_core.capabilities.payments.repository import PaymentFile
from platform_core.capabilities.payments.rows import new_transaction
from platform_core.capabilities.payments.service import Reply


@dataclass(slots=True)
class Intent:
    """What the first commit decided: the transaction to bring about, or the answer if there is nothing to do."""

    transaction_id: str | None = None
    method: str = ""
    reply: Reply | None = None
    object_id: str | None = None  # what the Idempotency-Key stands for while its answer is to come
    left: list[object] = field(default_factory=list)  # what calls of plugins left, if it is in the plan


def close_intent(reason: str) -> Callable[[PaymentFile, Draft, Intent], None]:
    """Closing, by the merchant or by time: at the provider first if an attempt is in flight there."""

    def intend(file: PaymentFile, draft: Draft, intent: Intent) -> None:
        payment = file.payment
        if payment.state == "closed":
            return
        wants(payment, "close", "created", "in_review", "processing")
        if payment.state in ("created", "in_review"):
            draft.set(state="closed", closed_reason=reason, next_action=None)
            draft.unexpire()
            draft.emit("payment.closed")
            return
        original = latest_of(file, ("sale", "authorize"))
        opened = file.open_one("close")
        if opened is not None and opened.original_id == original.id:
            if not opened.is_final:  # begun by a payer who took another way: now it ends the payment
                draft.change_transaction(opened.id, is_final=True, reason=reason)
            intent.transaction_id, intent.method = opened.id, "close"
            return
        count = sum(transaction.kind == "close" for transaction in file.transactions)
        row = new_transaction(
            draft,
            original,
            kind="close",
            amount_minor=original.amount_minor,
            request_key=f"{original.id}.{count}",
            reason=reason,
        )
        begin(draft, row, intent, "close")

    return intend


def thaw(file: PaymentFile, draft: Draft, intent: Intent) -> None:
    """Let go what is still frozen when its time is over. What a capture or void under way takes is left to it."""
    left = capturable(draft.row)
    if left == 0:
        draft.expire_at(draft.now + ask_delay(2))
        return
    original = authorization_of(file)
    count = sum(t.kind == "void" and t.reason == EXPIRED for t in file.transactions)
    row = new_transaction(
        draft,
        original,
        kind="void",
        amount_minor=left,
        request_key=f"{original.id}.{count}",
        reason=EXPIRED,
    )
    draft.set(capturing_minor=draft["capturing_minor"] + left)
    begin(draft, row, intent, "void")


def begin(draft: Draft, row: dict[str, Any], intent: Intent, method: str) -> None:
    """Have the transaction `row` brought about by the provider's `method`, and asked about if its answer is lost."""
    draft.insert_transaction(row)
    draft.ask_at(row["id"], draft.now + ask_delay(0))
    intent.transaction_id, intent.method = row["id"], method


def wants(payment: Payment, act: str, *states: str) -> None:
    """Raise 409 `payments.outcome_unknown` or `payments.state_conflict` unless it is in one of these states."""
    if payment.state == "unknown":
        raise OUTCOME_UNKNOWN.error({"payment_id": payment.id}, retry_after_s=5)
    if payment.state not in states:
        raise conflict(payment, act, ", ".join(states))


def authorization_of(file: PaymentFile) -> Transaction:
    """The one that froze the money; only of a payment that was authorised."""
    return next(t for t in file.transactions if t.kind == "authorize" and t.state == "succeeded")


def latest_of(file: PaymentFile, kinds: tuple[str, ...]) -> Transaction:
    """The last begun of these kinds; there is one."""
    return [transaction for transaction in file.transactions if transaction.kind in kinds][-1]
