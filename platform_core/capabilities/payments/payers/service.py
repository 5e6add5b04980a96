"""What whoever holds a payment's address may see of it and do: pay it, once more if a try failed, and nothing else."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from platform_core.capabilities.payments.desk import Desk
from platform_core.capabilities.payments.draft import Draft
from platform_core.capabilities.payments.forms import is_shown
from platform_core.capabilities.payments.models import Payment
from platform_core.capabilities.payments.outcomes import ATTEMPTS_MAX, ask_delay
from platform_core.capabilities.payments.payers.errors import PAGE_GONE
from platform_core.capabilities.payments.providers import Providers
from platform_core.capabilities.payments.questions import Questions
from platform_core.capabilities.payments.repository import PaymentFile
from platform_core.capabilities.payments.rows import TOKEN_LENGTH, new_transaction
from platform_core.capabilities.payments.schemas import AttemptCreate
from platform_core.capabilities.payments.service import PaymentService
from platform_core.capabilities.payments.terms import MerchantTerms
from platform_core.identity.directory import MerchantFacts, TradeNames
from platform_core.identity.principal import Principal
from platform_core.kernel.commit import Plan, PlanRefused
from platform_core.kernel.commit.idempotency import Replayed
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.http.idempotency import IdempotentRequest

TOKEN: Final = re.compile(f"[A-Za-z0-9_-]{{{TOKEN_LENGTH}}}", re.ASCII)
SHOWN_FOR: Final = timedelta(days=1)
"""How long the page tells of a payment that has ended."""
SWITCHED: Final = "switched"
"""Reason of a close that ends an attempt and not the payment: its payer takes another way."""
Word = Literal["open", "wait", "unsure", "again", "held", "paid", "over"]


class AnotherTry(AttemptCreate):
    """A payer's: also in forms that no app asks for by itself."""

    form: str  # type: ignore[assignment]  # wider than an app's, by design


@dataclass(frozen=True, slots=True)
class Wallet:
    """One way to pay, as a button shows it."""

    provider_id: str
    names: Mapping[str, str]
    """By language; empty if the provider has not said."""
    account_name: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the order."""

    name: str
    quantity: int
    net_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PayerView:
    """A payment as its payer may see it."""

    names: TradeNames
    facts: MerchantFacts
    word: Word
    number: str
    subject: str
    lines: Sequence[Line]
    currency: str
    order_minor: int
    payable_minor: int
    refunded_minor: int
    action: Mapping[str, Any] | None
    attempt: int
    """Number of tries so far: what a further one is named by."""
    wallets: Sequence[Wallet]
    """Ways to try again, or to pay on this very phone while a code is shown."""
    expires_at: datetime
    ended_at: datetime | None
    return_url: str | None
    sticker_code: str | None
    """Of the printed code at which it was begun."""
    has_failed: bool

    @property
    def version(self) -> str:
        """Another one when the page would look different."""
        seen = repr((self.word, self.action, self.attempt, self.refunded_minor, self.has_failed))
        return hashlib.sha256(seen.encode()).hexdigest()[:16]


class PayerPages:
    """The service of the payer's page."""

    def __init__(self, desk: Desk, service: PaymentService, questions: Questions) -> None:
        self._desk = desk
        self._service = service
        self._questions = questions

    async def read(self, token: str, *, user_agent: str = "") -> PayerView:
        """The payment behind an address. An open outcome is asked for if the last question is 5 s old.

        Raises 404 `payments.payer_page_gone`: for every address that leads nowhere, and a day after the end.
        """
        payment = await self._payment(token)
        if await self._questions.heal(payment.merchant_id, payment.id, payment):
            payment = await self._payment(token)
        return await self._view(payment, user_agent)

    async def version(self, token: str) -> tuple[Word, str]:
        """State and version of the page, for who polls. Asks and raises as `read` does."""
        view = await self.read(token)
        return view.word, view.version

    async def pay(self, token: str, *, provider_id: str, attempt: int, user_agent: str) -> None:
        """Try again by a wallet, or leave a shown code for a wallet on this phone. Does nothing for a page that is out
        of date: `attempt` is the number of tries that it knew of, and one further try may come of it.

        A shown code is closed at its provider first; if it was paid meanwhile, that stands. Raises as `read` does.
        """
        payment = await self._payment(token)
        view = await self._view(payment, user_agent)
        if attempt != payment.attempts or provider_id not in {wallet.provider_id for wallet in view.wallets}:
            return
        form = payment.form
        if view.word == "open":
            form = "wap"
            if not await self._leave(payment):
                return
        merchant_id = payment.merchant_id
        who = payer(merchant_id, view.facts, client_id=f"payer:{payment.id}")
        key = IdempotentRequest(who.client_id, f"{attempt + 1}", hashlib.sha256(token.encode()).digest())
        wish = AnotherTry(form=form, channel=provider_id)
        try:
            await self._service.attempt(who, payment.id, wish, key)
        except PlanRefused as refused:
            if not isinstance(refused.refusal, Replayed):
                raise
        except PlatformError as error:
            if error.status >= 500:
                raise  # all else is shown by the page as it stands: in flight, closed, nobody to take it

    async def _leave(self, payment: Payment) -> bool:
        """Close the shown order at its provider, so that it can never be paid; False if it was, or nobody knows."""
        desk, begun = self._desk, list[str]()

        def decide(file: PaymentFile, draft: Draft) -> Plan | None:
            begun.clear()
            current = file.payment
            sales = [t for t in file.transactions if t.kind in ("sale", "authorize")]
            if current.state != "processing" or current.attempts != payment.attempts or file.open_one("close"):
                return None
            count = sum(t.kind == "close" for t in file.transactions)
            row = new_transaction(
                draft,
                sales[-1],
                kind="close",
                amount_minor=sales[-1].amount_minor,
                request_key=f"{sales[-1].id}.{count}",
                is_final=False,
                reason=SWITCHED,
            )
            draft.insert_transaction(row)
            draft.ask_at(row["id"], draft.now + ask_delay(0))
            begun.append(row["id"])
            return draft.plan()

        await desk.decide(payment.merchant_id, payment.id, decide)
        if begun:
            file = await desk.file(payment.merchant_id, payment.id)
            result = await desk.ask(file, file.transaction(begun[0]), "close")
            await desk.conclude(payment.merchant_id, payment.id, begun[0], result)
        current = await desk.tools.repository.payment(payment.merchant_id, payment.id)
        return current is not None and current.state == "created"

    async def _payment(self, token: str) -> Payment:
        is_token = TOKEN.fullmatch(token) is not None
        payment = await self._desk.tools.repository.payment_of_payer(token) if is_token else None
        if payment is None:
            raise PAGE_GONE.error()
        ended_at = _ended_at(payment)
        if ended_at is not None and self._desk.now >= ended_at + SHOWN_FOR:
            raise PAGE_GONE.error()
        return payment

    async def _view(self, payment: Payment, user_agent: str) -> PayerView:
        desk = self._desk
        names = await desk.tools.directory.trade_names(payment.merchant_id, store_id=payment.store_id)
        facts = await desk.facts(payment.merchant_id)
        terms = await desk.terms(payment.merchant_id)
        word = _word(payment, desk.now)
        found: Sequence[Wallet] = ()
        form = _form_of_buttons(payment, word, user_agent)
        if form is not None and payment.attempts < ATTEMPTS_MAX:
            found = wallets(terms, desk.tools.providers, form=form, currency=payment.currency, user_agent=user_agent)
        return PayerView(
            names=names,
            facts=facts,
            word="over" if word == "again" and not found else word,
            number=payment.out_trade_no,
            subject=payment.subject,
            lines=_lines(payment),
            currency=payment.currency,
            order_minor=payment.order_minor,
            payable_minor=payment.payable_minor,
            refunded_minor=payment.refunded_minor,
            action=payment.next_action if word == "open" else None,
            attempt=payment.attempts,
            wallets=found,
            expires_at=payment.expires_at,
            ended_at=_ended_at(payment),
            return_url=payment.return_url,
            sticker_code=payment.out_trade_no.partition("_")[0] if payment.form == "sticker" else None,
            has_failed=word == "again" and payment.last_error is not None,
        )


def wallets(terms: MerchantTerms, providers: Providers, *, form: str, currency: str, user_agent: str) -> list[Wallet]:
    """Who takes a form, in the order of the merchant's accounts, each provider once; in a wallet's own browser it
    alone.
    """
    found: dict[str, Wallet] = {}
    own: list[str] = []
    for account in terms.channel_accounts.values():
        described = providers.describe(account.provider_id) if account.is_active else None
        if described is None or form not in described.forms or currency not in described.currencies:
            continue
        found.setdefault(described.id, Wallet(described.id, described.wallet_names, account.name))
        if described.user_agent_pattern and re.search(described.user_agent_pattern, user_agent):
            own.append(described.id)
    return [wallet for id_, wallet in found.items() if not own or id_ in own]


def payer(merchant_id: str, facts: MerchantFacts, *, client_id: str) -> Principal:
    """Whoever holds an address of the merchant's, as services know them: they may pay, and nothing else."""
    return Principal(
        kind="app",
        client_id=client_id,
        app_id="",
        merchant_id=merchant_id,
        standing=facts.standing,
        mode=facts.mode,
        scopes=frozenset({"payments:write"}),
        stores=None,
        grant_id=None,
        grant_version=0,
        grant_kind="owner",  # the merchant's own page: no app's limits are spent
        token_id="",
        key_id="",
        expires_at=0,
        api_version="",
    )


def is_phone(user_agent: str) -> bool:
    """Whether a browser says that it is a phone's (MDN, "Browser detection using the user agent", read 2026-11-22)."""
    return "Mobi" in user_agent


def _form_of_buttons(payment: Payment, word: Word, user_agent: str) -> str | None:
    """In which form the page's buttons pay: once more in the order's own; on a phone that shows itself a code, there.

    Of frozen money neither: how it is let in was the merchant's choice.
    """
    if word == "again" and is_shown(payment.form, payment.freeze_by) and payment.freeze_by is None:
        return payment.form
    is_own_code = word == "open" and payment.form == "customer_scan" and payment.is_capture
    return "wap" if is_own_code and is_phone(user_agent) else None


def _word(payment: Payment, now: datetime) -> Word:
    if payment.state in ("captured", "finished"):
        return "paid"
    if payment.state == "authorized":
        return "held"
    if payment.state == "unknown":
        return "unsure"
    if payment.state in ("canceled", "closed"):
        return "over"
    if payment.state == "created":
        return "again" if now < payment.expires_at and payment.attempts < ATTEMPTS_MAX else "over"
    is_shown_now = payment.state == "processing" and payment.next_action is not None
    return "open" if is_shown_now and payment.next_action["type"] != "wait" else "wait"


def _ended_at(payment: Payment) -> datetime | None:
    if payment.state in ("captured", "finished"):
        return payment.captured_at
    if payment.state in ("canceled", "closed"):
        return payment.canceled_at or payment.updated_at
    return None


def _lines(payment: Payment) -> list[Line]:
    if payment.basket is None:
        return []
    off: dict[str, int] = {}
    for discount in payment.discounts or ():
        if discount["line_id"] is not None:
            off[discount["line_id"]] = off.get(discount["line_id"], 0) + discount["amount_minor"]
    return [
        Line(line["name"], line["quantity"], line["quantity"] * line["unit_minor"] - off.get(line["line_id"], 0))
        for line in payment.basket["lines"]
    ]
