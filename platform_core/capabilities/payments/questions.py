"""Asking a provider what became of a transaction. Nothing is ever declared by guessing."""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime, timedelta

from platform_core.capabilities.payments.desk import Desk
from platform_core.capabilities.payments.draft import Draft
from platform_core.capabilities.payments.forms import is_shown as is_shown_form
from platform_core.capabilities.payments.models import Payment, Transaction
from platform_core.capabilities.payments.outcomes import PAYING_S, POLL_S, ask_delay
from platform_core.capabilities.payments.repository import PaymentFile
from platform_core.capabilities.payments.retrying import rule_of
from platform_core.capabilities.payments.rows import new_transaction
from platform_core.contracts.payments import (
    CUSTOMER_PAYING,
    ErrorClass,
    Outcome,
    ProviderResult,
)
from platform_core.contracts.payments import (
    NOT_FOUND as NOT_SEEN,
)
from platform_core.kernel.commit import Plan

REPEATED = (
    "close",
    "cancel",
    "capture",
    "void",
    "refund",
    "settle",
)  # sent again under their own key when nobody there saw them
NOT_SEEN_TRIES = 2  # after so many questions about a sale that nobody there has seen, the attempt is canceled there
HEAL_AFTER = timedelta(seconds=POLL_S)
ASKED_KEPT_MAX = 50_000
# A refused question says nothing of the transaction: the network, the rate or our settings were at fault.
ABOUT_THE_QUESTION = frozenset({ErrorClass.NOT_SENT, ErrorClass.BUSY, ErrorClass.CONFIGURATION})


class Questions:
    """Learns the outcome of open transactions, for the janitor and for whoever reads or acts meanwhile."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._asked: OrderedDict[str, datetime] = OrderedDict()  # by transaction; of this process

    async def ask(self, file: PaymentFile, transaction: Transaction, *, tries: int) -> ProviderResult:
        """One question, and its answer put to the books.

        `tries`: how many were asked before, by the janitor's count.
        """
        self._remember(transaction.id)
        result = await self._word(file, transaction, tries)
        if result.outcome is Outcome.UNKNOWN:
            if self._is_given_up(file, transaction, result, tries):
                await self._cancel_attempt(file.payment, transaction)
                return result
            attempt = file.attempt(transaction.attempt_id)
            is_sale = transaction.kind in ("sale", "authorize")
            if is_sale and attempt.state == "waiting_customer" and not _is_paying(result):
                return result  # that a question got no answer does not put a shown code in doubt
        await self._desk.conclude(file.payment.merchant_id, file.payment.id, transaction.id, result)
        return result

    async def heal(self, merchant_id: str, payment_id: str, payment: Payment | None = None) -> bool:
        """Ask about what is open if the last question is 5 s old. True if it did: the payment may have moved.

        Raises nothing for a payment that is not there: whoever acts on it will.
        """
        desk = self._desk
        if payment is not None and not _may_be_open(payment):
            return False
        file = await desk.tools.repository.file(merchant_id, payment_id)
        if file is None:
            return False
        has_asked = False
        for transaction in file.transactions:
            if transaction.state not in ("pending", "unknown") or transaction.kind == "late_return":
                continue
            last = self._asked.get(transaction.id, transaction.created_at)
            if desk.now < last + HEAL_AFTER:
                continue
            current = await desk.file(merchant_id, payment_id) if has_asked else file
            if current.transaction(transaction.id).state in ("pending", "unknown"):
                await self.ask(current, current.transaction(transaction.id), tries=0)
                has_asked = True
        return has_asked

    def _remember(self, transaction_id: str) -> None:
        self._asked[transaction_id] = self._desk.now
        self._asked.move_to_end(transaction_id)
        if len(self._asked) > ASKED_KEPT_MAX:
            self._asked.popitem(last=False)

    async def _word(self, file: PaymentFile, transaction: Transaction, tries: int) -> ProviderResult:
        """What became of it; what was perhaps never sent is sent, under the same key, so that it happens once at
        most.
        """
        desk = self._desk
        if transaction.kind == "late_return":
            method = "cancel" if transaction.reason == "authorize" else "refund"
            return _of_transaction(await desk.ask(file, transaction, method))
        result = await desk.ask(file, transaction, "query_refund" if transaction.kind == "refund" else "query")
        result = _of_transaction(result, is_query=True)
        is_unseen = result.error is not None and result.error.code == NOT_SEEN
        if transaction.kind in REPEATED and is_unseen:
            return _of_transaction(await desk.ask(file, transaction, transaction.kind))
        is_shown = file.attempt(transaction.attempt_id).state == "waiting_customer"
        is_beginning = transaction.kind in ("sale", "authorize")
        is_lost_code = is_beginning and is_shown_form(file.payment.form, file.payment.freeze_by) and not is_shown
        may_ask_again = is_unseen and tries + 1 < NOT_SEEN_TRIES and desk.now < file.payment.expires_at
        if is_lost_code and (_is_paying(result) or may_ask_again):
            # The order under this key is asked for again, while it can still be paid.
            return _of_transaction(await desk.ask(file, transaction, "create"))
        return result

    def _is_given_up(self, file: PaymentFile, transaction: Transaction, result: ProviderResult, tries: int) -> bool:
        """A customer who does not finish in time, or a sale that the provider has not seen, is canceled *there*."""
        assert result.error is not None, "unknown names its error"
        if transaction.kind not in ("sale", "authorize") or not self._can_cancel(transaction):
            return False
        if _is_paying(result):
            is_late = self._desk.now >= transaction.created_at + timedelta(seconds=PAYING_S)
            return is_late and not is_shown_form(file.payment.form, file.payment.freeze_by)
        is_unseen = result.error.code == NOT_SEEN and tries + 1 >= NOT_SEEN_TRIES
        return is_unseen and rule_of(result).asks == "query_then_cancel"

    def _can_cancel(self, transaction: Transaction) -> bool:
        description = self._desk.tools.providers.describe(transaction.provider_id)
        return description is not None and "cancel" in description.features

    async def _cancel_attempt(self, payment: Payment, transaction: Transaction) -> None:
        """Cancel at the provider; the payment may then be tried again."""
        desk = self._desk
        merchant_id = payment.merchant_id
        begun: list[str] = []

        def decide(file: PaymentFile, draft: Draft) -> Plan | None:
            begun.clear()
            current = file.transaction(transaction.id)
            if current.state in ("succeeded", "failed"):
                return None
            opened = file.open_one("cancel")
            if opened is not None:
                begun.append(opened.id)
                return None
            count = sum(t.kind == "cancel" for t in file.transactions)
            row = new_transaction(
                draft,
                current,
                kind="cancel",
                amount_minor=current.amount_minor,
                request_key=f"{current.id}.{count}",
                is_final=False,
                reason=current.kind,
            )
            draft.insert_transaction(row)
            draft.ask_at(row["id"], draft.now + ask_delay(0))
            draft.asked(current.id)
            begun.append(row["id"])
            return draft.plan()

        await desk.decide(merchant_id, payment.id, decide)
        if begun:
            file = await desk.file(merchant_id, payment.id)
            result = await desk.ask(file, file.transaction(begun[0]), "cancel")
            await desk.conclude(merchant_id, payment.id, begun[0], result)


def _may_be_open(payment: Payment) -> bool:
    """Whether anything on it may wait for a provider's word."""
    return payment.state in ("processing", "unknown") or payment.refunding_minor + payment.splitting_minor > 0


def _is_paying(result: ProviderResult) -> bool:
    return result.error is not None and result.error.code == CUSTOMER_PAYING


def _of_transaction(result: ProviderResult, *, is_query: bool = False) -> ProviderResult:
    """The answer as a word on the transaction: a question, or a repeat, that failed by itself leaves it unknown."""
    if result.outcome is not Outcome.FAILED:
        return result
    assert result.error is not None, "a failure names its error"
    refused = ABOUT_THE_QUESTION | ({ErrorClass.INVALID_REQUEST} if is_query else frozenset())
    if result.error.error_class not in refused:
        return result
    return ProviderResult.unknown(result.error.code, result.error.message)
