"""The one door for a provider's word: a call's answer, a notice, the janitor's question and a bill row all come
through `apply`.

Pure: it reads nothing and writes nothing but the draft. Final states stay; a word that contradicts one is announced,
and no money moves by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from platform_core.capabilities.payments.actions import action_of
from platform_core.capabilities.payments.answers import EXPIRED, capturable
from platform_core.capabilities.payments.books import Books
from platform_core.capabilities.payments.draft import Draft
from platform_core.capabilities.payments.fees import FeeTerms, terms_record
from platform_core.capabilities.payments.forms import FROZEN_FOR, is_by_code
from platform_core.capabilities.payments.models import Attempt, Refund, Transaction
from platform_core.capabilities.payments.rows import new_transaction
from platform_core.capabilities.payments.splits import outcomes as split_outcomes
from platform_core.capabilities.payments.splits.work import SplitWork
from platform_core.capabilities.payments.windows import DISPUTE
from platform_core.contracts.payments import (
    AMOUNT_DIFFERS,
    CUSTOMER_PAYING,
    Outcome,
    ProviderResult,
    Wait,
)
from platform_core.identity.limits import given_back, posted, voided
from platform_core.kernel.commit import Due
from platform_core.kernel.ids import Ids
from platform_core.ledger.accounts import Account

ATTEMPTS_MAX = 3
FINAL = ("canceled", "closed")
IN_FLIGHT = ("started", "waiting_customer", "unknown")
POLL_S = 5  # between questions while the customer types a password
PAYING_S = 60  # how long a customer may type before the attempt is canceled
ASK_AFTER_S = (10, 30, 120, 600, 3_600, 21_600, *(86_400,) * 7)  # then weekly, with a person told


@dataclass(slots=True)
class Case:
    """Everything that the word on one transaction is about."""

    draft: Draft
    attempt: Attempt
    transaction: Transaction
    terms: FeeTerms
    work: SplitWork  # the payment's splits
    booking_day: date
    is_till: bool  # the merchant holds the money himself
    time_zone: str  # the merchant's, IANA name
    tells_splits: bool = False  # the provider is told of splits and has its say
    bound: frozenset[str] = frozenset()  # those of the payment's receivers that are bound now
    settle: Due | None = None  # the booking day's settlement, unless this process has scheduled it before
    finish: Due | None = None  # the end of what is captured today, likewise
    refund: Refund | None = None
    open_cancel: Transaction | None = None  # of this payment, if its outcome is still to come
    short: tuple[str, ...] = ()  # disputes for which less stands than is disputed
    is_doubted_elsewhere: bool = False  # another capture or void of the payment is unknown

    @property
    def books(self) -> Books:
        """The accounts of this payment."""
        return books_of(self.draft, self.transaction.channel_account_id, self.transaction.id)

    @property
    def receipt(self) -> Account:
        """Where the merchant's share of a capture goes today."""
        return self.books.till() if self.is_till else self.books.pending(self.booking_day)


def books_of(draft: Draft, channel_account_id: str, reference: str) -> Books:
    """The accounts of a payment at one channel account."""
    ids: Ids = draft.ids
    return Books(draft["merchant_id"], draft["currency"], channel_account_id, reference, ids)


def ask_delay(tries: int) -> timedelta:
    """How long the janitor waits before the question number `tries` (from 0)."""
    return timedelta(seconds=ASK_AFTER_S[tries] if tries < len(ASK_AFTER_S) else 7 * 86_400)


def apply(case: Case, result: ProviderResult) -> None:
    """Bring the payment to where the provider's word puts it."""
    transaction = case.transaction
    if transaction.state in ("succeeded", "failed"):
        _later_word(case, result)
        return
    result = _plausible(case, result)
    if result.outcome is Outcome.UNKNOWN:
        _unknown(case, result)
        return
    is_success = result.outcome is Outcome.SUCCESS
    if is_success and transaction.kind in ("sale", "authorize") and result.action is not None:
        _shown(case, result)  # the order stands at the provider; nothing has moved yet
        return
    case.draft.change_transaction(
        transaction.id,
        state="succeeded" if is_success else "failed",
        provider_reference=result.provider_reference or transaction.provider_reference,
        error=error_of(result),
        finished_at=case.draft.now,
    )
    case.draft.asked(transaction.id)
    (_SUCCEEDED if is_success else _FAILED)[transaction.kind](case, result)
    split_outcomes.follow(case, is_success=is_success)
    case.work.finish()


def _plausible(case: Case, result: ProviderResult) -> ProviderResult:
    """A cancel returns nothing, or all of what the original took; another amount is unknown."""
    transaction = case.transaction
    if result.outcome is not Outcome.SUCCESS or transaction.kind != "cancel" or transaction.reason != "sale":
        return result
    possible = (transaction.amount_minor,) if transaction.holds else (0, transaction.amount_minor)
    if result.amount_minor in possible:
        return result
    message = (
        f"The provider says that {result.amount_minor} minor units went back; {transaction.amount_minor} were taken."
    )
    return ProviderResult.unknown(AMOUNT_DIFFERS, message, provider_reference=result.provider_reference)


def _later_word(case: Case, result: ProviderResult) -> None:
    """A word on what is final already: an echo, a bounce, late money, or a contradiction that moves nothing."""
    draft, transaction = case.draft, case.transaction
    if result.outcome is Outcome.UNKNOWN or result.action is not None:
        return  # no word at all, or an order that merely stands there
    if transaction.state == "succeeded" and result.outcome is Outcome.SUCCESS:
        if result.bounce is not None and case.refund is not None and case.refund.state == "succeeded":
            _bounce(case, result)
        return
    if transaction.state == "failed" and result.outcome is Outcome.FAILED:
        return
    if transaction.kind in ("sale", "authorize") and case.attempt.state == "canceled":
        if result.outcome is Outcome.SUCCESS:  # its cancel or close was told that nothing had been paid
            draft.change_transaction(transaction.id, state="succeeded", provider_reference=result.provider_reference)
            _late_money(case, is_frozen=transaction.kind == "authorize")
        return  # what our own cancel undid is reported as failed from then on
    if draft["state"] == "canceled" and transaction.kind in ("sale", "authorize"):
        return
    draft.emit("payment.outcome_contradicted")


def error_of(result: ProviderResult) -> dict[str, Any] | None:
    """The provider's error as it is stored and shown."""
    if result.error is None:
        return None
    return {"class": str(result.error.error_class), "code": result.error.code, "message": result.error.message}


def _resting_state(case: Case) -> str:
    """Where the amounts alone put a payment on which nothing is in flight."""
    draft = case.draft
    if capturable(draft.row) + draft["capturing_minor"] > 0:
        return "authorized"
    return "captured" if draft["captured_minor"] else "created"


def _resolved(case: Case) -> None:
    """The payment was in doubt and is no longer."""
    if case.draft["state"] == "unknown" and not case.is_doubted_elsewhere:
        case.draft.emit("payment.unknown_resolved")


def _rest(case: Case) -> None:
    """Put the payment where its amounts put it, unless another act on it is still in doubt."""
    state = "unknown" if case.is_doubted_elsewhere else _resting_state(case)
    case.draft.set(state=state)
    if state in ("captured", "created"):
        case.draft.unexpire()  # nothing is frozen any more


def _shown(case: Case, result: ProviderResult) -> None:
    draft, transaction = case.draft, case.transaction
    if draft["state"] in FINAL:
        return
    draft.change_attempt(case.attempt.id, state="waiting_customer")
    draft.change_transaction(transaction.id, provider_reference=result.provider_reference)
    _resolved(case)
    draft.set(state="processing", next_action=action_of(result.action), last_error=None)
    draft.ask_at(transaction.id, draft.now + ask_delay(1))


def _unknown(case: Case, result: ProviderResult) -> None:
    draft, transaction = case.draft, case.transaction
    assert result.error is not None
    if draft["state"] in FINAL and transaction.kind in ("sale", "authorize"):
        return
    if result.error.code == CUSTOMER_PAYING and transaction.kind in ("sale", "authorize"):
        action = result.action or Wait(result.poll_after_s or POLL_S)
        if case.attempt.state != "waiting_customer":
            draft.change_attempt(case.attempt.id, state="waiting_customer")
        _resolved(case)
        if is_by_code(draft["form"], draft["freeze_by"]):
            draft.set(state="processing", next_action=action_of(action))
            draft.ask_at(transaction.id, draft.now + timedelta(seconds=POLL_S))
        else:
            draft.set(state="processing")
        return
    if transaction.state == "pending":
        draft.change_transaction(transaction.id, state="unknown", error=error_of(result))
    if transaction.kind == "refund":
        if case.refund is not None and case.refund.state != "unknown":
            draft.change_refund(case.refund, None, state="unknown", last_error=error_of(result))
        return
    if transaction.kind == "settle":
        split_outcomes.settle_unknown(case, result)
        return
    if transaction.kind == "late_return" or draft["state"] in ("unknown", "closed", "canceled"):
        return
    if transaction.kind in ("sale", "authorize") and case.attempt.state != "unknown":
        draft.change_attempt(case.attempt.id, state="unknown", error=error_of(result))
    draft.set(state="unknown", last_error=error_of(result))
    draft.emit("payment.unknown_entered")


def _end_attempt(case: Case, state: str, result: ProviderResult) -> None:
    case.draft.change_attempt(case.attempt.id, state=state, error=error_of(result), ended_at=case.draft.now)


def _sale_succeeded(case: Case, result: ProviderResult) -> None:
    draft, amount = case.draft, case.transaction.amount_minor
    _end_attempt(case, "succeeded", result)
    if draft["state"] in FINAL:
        _late_money(case)
        return
    _resolved(case)
    fee = case.terms.fee(amount)
    draft.add(*case.books.sale(amount, fee, case.receipt))
    _received(case, captured=amount, fee=fee)
    draft.set(state="captured")
    draft.unexpire()
    draft.emit("payment.captured")
    if case.open_cancel is not None:
        _hold_for_cancel(case, case.open_cancel, amount, fee)


def _hold_for_cancel(case: Case, cancel: Transaction, amount: int, fee: int) -> None:
    """Paid while a cancel is under way: what the cancel may have returned stays held until its outcome is known."""
    draft = case.draft
    holds = case.books.hold_refund(amount, fee, case.receipt)
    draft.add(*holds)
    draft.change_transaction(cancel.id, holds=[hold.id for hold in holds], is_final=True)
    draft.set(refunding_minor=amount, fee_returned_minor=draft["fee_returned_minor"] + fee, state="unknown")


def _received(case: Case, *, captured: int, fee: int) -> None:
    draft = case.draft
    if case.settle is not None and not case.is_till:
        draft.add(case.settle)
    if case.finish is not None:
        draft.add(case.finish)
    day = None if case.is_till else case.booking_day
    draft.change_transaction(case.transaction.id, booking_day=day)
    draft.set(
        captured_minor=draft["captured_minor"] + captured,
        fee_minor=draft["fee_minor"] + fee,
        fee_plan=terms_record(case.terms),
        booking_day=day,
        captured_at=draft.now,
        next_action=None,
        last_error=None,
    )


def _late_money(case: Case, *, is_frozen: bool = False) -> None:
    """A success for what is over: booked, announced, and sent back in full. Frozen money is not booked but let go."""
    draft, transaction = case.draft, case.transaction
    if not is_frozen:
        draft.add(case.books.late(transaction.amount_minor))
    back = new_transaction(
        draft,
        transaction,
        kind="late_return",
        amount_minor=transaction.amount_minor,
        request_key=transaction.id,
        reason="authorize" if is_frozen else "",
    )
    draft.insert_transaction(back)
    draft.ask_at(back["id"], draft.now)
    draft.emit("payment.late_money_received")


def _sale_failed(case: Case, result: ProviderResult) -> None:
    draft = case.draft
    _end_attempt(case, "failed", result)
    if draft["state"] in FINAL:
        return
    _resolved(case)
    draft.set(state="created", next_action=None, last_error=error_of(result))
    draft.emit("payment.attempt_failed")
    if draft["attempts"] >= ATTEMPTS_MAX:
        draft.set(state="closed", closed_reason="declined")
        draft.unexpire()
        draft.emit("payment.closed")


def _authorize_succeeded(case: Case, result: ProviderResult) -> None:
    draft, amount = case.draft, case.transaction.amount_minor
    _end_attempt(case, "succeeded", result)
    if draft["state"] in FINAL:
        _late_money(case, is_frozen=True)
        return
    _resolved(case)
    hold = case.books.authorize(amount)
    draft.add(hold)
    draft.set(
        state="authorized",
        authorized_minor=amount,
        authorization_id=hold.id,
        next_action=None,
        last_error=None,
        expires_at=draft.now + FROZEN_FOR,
    )
    draft.expire_at(draft["expires_at"])
    draft.emit("payment.authorized")
    if case.open_cancel is not None:
        draft.change_transaction(case.open_cancel.id, is_final=True)
        draft.set(state="unknown")


def _capture_succeeded(case: Case, result: ProviderResult) -> None:
    draft, transaction = case.draft, case.transaction
    amount = transaction.amount_minor
    reserved = amount + transaction.released_minor
    rest = draft["authorized_minor"] - draft["captured_minor"] - draft["voided_minor"] - reserved
    fee = case.terms.fee(draft["captured_minor"] + amount) - draft["fee_minor"]
    movements, renewed = case.books.capture(draft["authorization_id"], amount, fee, case.receipt, rest=rest)
    draft.add(*movements)
    _resolved(case)
    draft.set(
        capturing_minor=draft["capturing_minor"] - reserved,
        voided_minor=draft["voided_minor"] + transaction.released_minor,
        authorization_id=renewed,
    )
    _received(case, captured=amount, fee=fee)
    _rest(case)
    draft.emit("payment.captured")


def _capture_failed(case: Case, result: ProviderResult) -> None:
    draft, transaction = case.draft, case.transaction
    reserved = transaction.amount_minor + transaction.released_minor
    _resolved(case)
    draft.set(capturing_minor=draft["capturing_minor"] - reserved, last_error=error_of(result))
    _rest(case)
    draft.emit("payment.capture_failed")


def _void_succeeded(case: Case, result: ProviderResult) -> None:
    draft, transaction, amount = case.draft, case.transaction, case.transaction.amount_minor
    rest = draft["authorized_minor"] - draft["captured_minor"] - draft["voided_minor"] - amount
    draft.add(case.books.release(draft["authorization_id"]))
    renewed = None
    if rest:
        hold = case.books.authorize(rest)
        draft.add(hold)
        renewed = hold.id
    _resolved(case)
    draft.set(
        capturing_minor=draft["capturing_minor"] - amount,
        voided_minor=draft["voided_minor"] + amount,
        authorization_id=renewed,
        last_error=None,
    )
    _rest(case)
    draft.emit("payment.voided")
    if draft["state"] == "created" and transaction.reason == EXPIRED:
        draft.set(state="closed", closed_reason="expired")
        draft.emit("payment.closed")
    elif draft["state"] == "created":
        draft.set(state="canceled", canceled_at=draft.now)
        draft.emit("payment.canceled")


def _void_failed(case: Case, result: ProviderResult) -> None:
    draft = case.draft
    _resolved(case)
    draft.set(capturing_minor=draft["capturing_minor"] - case.transaction.amount_minor, last_error=error_of(result))
    _rest(case)
    draft.emit("payment.void_failed")


def _refund_succeeded(case: Case, result: ProviderResult) -> None:
    draft, transaction = case.draft, case.transaction
    draft.add(*case.books.refunded(transaction.holds, transaction.amount_minor))
    if transaction.charge is not None:
        draft.add(*posted(transaction.charge, ids=draft.ids))
    draft.set(
        refunding_minor=draft["refunding_minor"] - transaction.amount_minor,
        refunded_minor=draft["refunded_minor"] + transaction.amount_minor,
    )
    assert case.refund is not None, "a refund has its public view"
    draft.change_refund(case.refund, "refund.succeeded", state="succeeded", last_error=None)
    if result.bounce is not None:
        _bounce(case, result)


def _bounce(case: Case, result: ProviderResult) -> None:
    """Row 8: the money came back to the acquirer and is the merchant's again, and may be refunded anew."""
    draft, transaction, amount = case.draft, case.transaction, case.transaction.amount_minor
    assert result.bounce is not None, "there is a bounce to book"
    assert case.refund is not None, "a refund has its public view"
    if result.bounce.amount_minor != amount:
        draft.emit("payment.outcome_contradicted")
        return
    draft.add(*case.books.bounced(amount))
    if transaction.charge is not None:
        draft.add(*given_back(transaction.charge, merchant_id=draft["merchant_id"], reference=transaction.id))
    row = new_transaction(draft, transaction, kind="refund_bounce", amount_minor=amount, request_key=transaction.id)
    reference = result.bounce.provider_reference
    draft.insert_transaction({**row, "state": "succeeded", "finished_at": draft.now, "provider_reference": reference})
    draft.set(refunded_minor=draft["refunded_minor"] - amount)
    _leave_for_disputes(case)
    draft.change_refund(case.refund, "refund.bounced", state="bounced")


def _refund_failed(case: Case, result: ProviderResult) -> None:
    draft, transaction = case.draft, case.transaction
    draft.add(*(case.books.release(hold, "refund_failed") for hold in transaction.holds))
    if transaction.charge is not None:
        draft.add(*voided(transaction.charge, ids=draft.ids))
    draft.set(
        refunding_minor=draft["refunding_minor"] - transaction.amount_minor,
        fee_returned_minor=draft["fee_returned_minor"] - transaction.fee_minor,
    )
    _leave_for_disputes(case)
    assert case.refund is not None, "a refund has its public view"
    draft.change_refund(case.refund, "refund.failed", state="failed", last_error=error_of(result))


def _leave_for_disputes(case: Case) -> None:
    """What does not go back after all is there for disputes that wait for it."""
    case.draft.add(*(Due(DISPUTE, dispute_id, case.draft.now) for dispute_id in case.short))


def _end_original(case: Case, *, was_paid: bool = False) -> None:
    """The sale or authorisation is over, by the provider's word on its cancel or close; `was_paid`: and returned."""
    original_id = case.transaction.original_id
    assert original_id is not None, "a cancel is about something"
    state = "succeeded" if was_paid else "failed"
    case.draft.change_transaction(original_id, state=state, finished_at=case.draft.now)
    case.draft.asked(original_id)


def _cancel_succeeded(case: Case, result: ProviderResult) -> None:
    """Undone: unpaid is closed at the provider, paid went back in full."""
    draft, transaction = case.draft, case.transaction
    back = result.amount_minor or 0
    if transaction.holds:  # was captured, its return was held
        draft.add(*case.books.refunded(transaction.holds, draft["captured_minor"]))
        draft.set(refunding_minor=0, refunded_minor=draft["captured_minor"])
    if draft["authorization_id"] is not None:
        draft.add(case.books.release(draft["authorization_id"]))
        draft.set(authorization_id=None, voided_minor=draft["authorized_minor"] - draft["captured_minor"])
    if back and not transaction.holds and transaction.reason == "sale":
        draft.add(*case.books.paid_and_returned(back))
    was_in_flight = case.attempt.state in IN_FLIGHT
    if was_in_flight:
        _end_attempt(case, "canceled", result)
        _end_original(case, was_paid=back > 0 and transaction.reason == "sale")
    if draft["state"] in FINAL or not (transaction.is_final or was_in_flight):
        return
    _resolved(case)
    draft.unexpire()
    draft.set(next_action=None)
    if transaction.is_final:
        draft.set(state="canceled", canceled_at=draft.now, last_error=None)
        draft.emit("payment.canceled")
    else:  # only the attempt was canceled: the customer took too long, or nobody there had heard of it
        _only_attempt_ended(case, code="not_completed", message="Not paid in time.")


def _only_attempt_ended(case: Case, *, code: str, message: str) -> None:
    """The payment may be tried again, while it has attempts left."""
    draft = case.draft
    draft.set(
        state="created",
        next_action=None,
        last_error={"class": "customer_action", "code": code, "message": message},
    )
    draft.emit("payment.attempt_failed")
    if draft["attempts"] >= ATTEMPTS_MAX:
        draft.set(state="closed", closed_reason="declined")
        draft.unexpire()
        draft.emit("payment.closed")
    else:
        draft.expire_at(draft["expires_at"])


def _cancel_failed(case: Case, result: ProviderResult) -> None:
    draft, transaction = case.draft, case.transaction
    if transaction.holds:
        draft.add(*(case.books.release(hold, "cancel_failed") for hold in transaction.holds))
        draft.set(refunding_minor=0, fee_returned_minor=0)
    if case.attempt.state in IN_FLIGHT:
        # The provider will not undo what it also has not confirmed: the original question stays open.
        cancels = int(transaction.request_key.rpartition(".")[2])
        draft.ask_at(str(transaction.original_id), draft.now + ask_delay(cancels), tries=cancels)
        draft.set(state="unknown" if case.attempt.state == "unknown" else "processing", last_error=error_of(result))
    else:
        _resolved(case)
        _rest(case)
        draft.set(last_error=error_of(result))
    draft.emit("payment.cancel_failed")


def _close_succeeded(case: Case, result: ProviderResult) -> None:
    draft, transaction = case.draft, case.transaction
    if draft["state"] in FINAL or case.attempt.state not in IN_FLIGHT:
        return  # a cancel or the customer was quicker
    _end_attempt(case, "canceled", result)
    _end_original(case)
    _resolved(case)
    if not transaction.is_final:  # only the attempt: its payer takes another way
        _only_attempt_ended(case, code="switched", message="The customer took another way to pay.")
        return
    draft.unexpire()
    draft.set(state="closed", closed_reason=transaction.reason or "merchant", next_action=None)
    draft.emit("payment.closed")


def _close_failed(case: Case, result: ProviderResult) -> None:
    """Paid already, most likely: the provider's word on the original decides, so ask for it now."""
    draft = case.draft
    if case.attempt.state in IN_FLIGHT:
        draft.ask_at(str(case.transaction.original_id), draft.now)


def _late_return_succeeded(case: Case, result: ProviderResult) -> None:
    if case.transaction.reason != "authorize":
        case.draft.add(case.books.late_returned(case.transaction.amount_minor))


def _late_return_failed(case: Case, result: ProviderResult) -> None:
    """The money stays on `unapplied`, in sight, until a person sends it back by another way."""
    case.draft.set(last_error=error_of(result))


_SUCCEEDED = {
    "sale": _sale_succeeded,
    "authorize": _authorize_succeeded,
    "capture": _capture_succeeded,
    "void": _void_succeeded,
    "refund": _refund_succeeded,
    "cancel": _cancel_succeeded,
    "close": _close_succeeded,
    "late_return": _late_return_succeeded,
    "settle": split_outcomes.settle_succeeded,
}
_FAILED = {
    "sale": _sale_failed,
    "authorize": _sale_failed,
    "capture": _capture_failed,
    "void": _void_failed,
    "refund": _refund_failed,
    "cancel": _cancel_failed,
    "close": _close_failed,
    "late_return": _late_return_failed,
    "settle": split_outcomes.settle_failed,
}
