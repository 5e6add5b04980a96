"""Stickers: made, revoked and drawn for the merchant; opened and paid at by whoever scans one."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import segno

from platform_core.capabilities.payments.desk import Desk
from platform_core.capabilities.payments.errors import BUSY, NOT_FOUND, STORE_UNKNOWN
from platform_core.capabilities.payments.payers.service import Wallet, payer, wallets
from platform_core.capabilities.payments.service import PaymentService, quoted
from platform_core.capabilities.payments.stickers.amounts import read_amount, unreadable
from platform_core.capabilities.payments.stickers.errors import (
    STICKER_AMOUNT,
    STICKER_AMOUNT_OVER,
    STICKER_BUSY,
    STICKER_GONE,
)
from platform_core.capabilities.payments.stickers.models import STICKER_USES, STICKERS, Sticker
from platform_core.capabilities.payments.stickers.repository import StickerRepository
from platform_core.capabilities.payments.stickers.schemas import StickerCreate, StickerOrder
from platform_core.identity.directory import MerchantFacts, TradeNames
from platform_core.identity.principal import Principal
from platform_core.kernel.commit import Audit, Change, Duplicate, Insert, Plan, PlanRefused, VersionConflict
from platform_core.kernel.commit.idempotency import Replayed
from platform_core.kernel.entropy import entropy
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.http.idempotency import IdempotentRequest
from platform_core.kernel.i18n import Language
from platform_core.kernel.ids import ALPHABET
from platform_core.kernel.money import Money
from platform_core.kernel.pagination import Cursors, Position

PATH: Final = "/s/"
STICKER_ID: Final = re.compile(r"stk_[0-9a-z]{26}")
CODE: Final = re.compile(r"[0-9a-hjkmnp-tv-z]{12}", re.ASCII)
NONCE: Final = re.compile(r"[0-9a-hjkmnp-tv-z]{26}", re.ASCII)
PAYMENTS_A_MINUTE: Final = 30
_TRIES_MAX: Final = 5
_CODE_LENGTH: Final = 12
Also = Callable[[Sticker], Iterable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class StickerPage:
    """What a customer sees who scanned a sticker."""

    names: TradeNames
    facts: MerchantFacts
    fixed: Money | None
    currency: str
    wallets: Sequence[Wallet]
    most: Money
    """The most that may be typed."""
    nonce: str
    """A new name for the one payment that may come of a page."""

    def refusal(self, why: str, language: Language) -> PlatformError | None:
        """The refusal whose code ends so, in words; None for one that is not about the page."""
        if why == STICKER_AMOUNT.code.rpartition(".")[2]:
            return unreadable(self.currency)
        if why == STICKER_AMOUNT_OVER.code.rpartition(".")[2]:
            return STICKER_AMOUNT_OVER.error({"most": self.most.format(language)})
        if why == STICKER_BUSY.code.rpartition(".")[2]:
            return STICKER_BUSY.error({"most": PAYMENTS_A_MINUTE})
        return None


class Stickers:
    """The service."""

    def __init__(self, desk: Desk, service: PaymentService, repository: StickerRepository, cursors: Cursors) -> None:
        self._desk = desk
        self._service = service
        self._repository = repository
        self._cursors = cursors

    async def create(self, principal: Principal, request: StickerCreate, *, also: Also) -> Sticker:
        """A new sticker of a store. `also`: what else belongs into its plan. Raises 422 store_unknown."""
        desk, merchant_id = self._desk, str(principal.merchant_id)
        facts = await desk.facts(merchant_id)
        if request.store_id not in facts.store_ids or not principal.may_use_store(request.store_id):
            raise STORE_UNKNOWN.error({"store_id": request.store_id}, param="/store_id")
        sticker = Sticker(
            id=desk.tools.ids.mint("stk"),
            merchant_id=merchant_id,
            code=_new_code(),
            store_id=request.store_id,
            terminal_id=request.terminal_id,
            name=request.name,
            currency=request.currency,
            amount_minor=request.amount_minor,
            state="active",
            version=1,
            created_at=desk.now,
        )
        told = Audit("sticker.created", principal.client_id, sticker.id, merchant_id, {"store": request.store_id})
        await desk.tools.committer.commit(
            Plan(merchant_id, [Insert(STICKERS, sticker.model_dump()), told, *also(sticker)])
        )
        return sticker

    async def revoke(self, principal: Principal, sticker_id: str, *, also: Also) -> Sticker:
        """Take a sticker out of use for good; one that is stays so. Raises 404 not_found, 503 busy."""
        desk, merchant_id = self._desk, str(principal.merchant_id)
        for _ in range(_TRIES_MAX):
            sticker = await self.read(principal, sticker_id)
            parts: list[object] = []
            if sticker.state == "active":
                now = desk.now
                change = {"state": "revoked", "revoked_at": now}
                parts.append(Change(STICKERS, sticker.id, change, expected=sticker.version))
                parts.append(Audit("sticker.revoked", principal.client_id, sticker.id, merchant_id))
                sticker = sticker.model_copy(update={**change, "version": sticker.version + 1})
            try:
                await desk.tools.committer.commit(Plan(merchant_id, [*parts, *also(sticker)]))
            except PlanRefused as refused:
                if not isinstance(refused.refusal, VersionConflict):
                    raise
                continue
            return sticker
        raise BUSY.error({"payment_id": sticker_id}, retry_after_s=1)

    async def read(self, principal: Principal, sticker_id: str) -> Sticker:
        """One sticker. Raises 404 `payments.not_found`, also for one of a store that the token does not cover."""
        found = None
        if STICKER_ID.fullmatch(sticker_id):
            found = await self._repository.get(str(principal.merchant_id), sticker_id)
        if found is None or not principal.may_use_store(found.store_id):
            raise NOT_FOUND.error({"kind": "sticker", "id": quoted(sticker_id)})
        return found

    async def page(self, principal: Principal, *, limit: int, cursor: str | None) -> dict[str, Any]:
        """Stickers, newest first."""
        merchant_id = str(principal.merchant_id)
        stores = None if principal.stores is None else sorted(principal.stores)
        bound_to = {"list": "stickers", "merchant": merchant_id, "stores": str(stores)}
        after = None if cursor is None else self._cursors.read(cursor, bound_to=bound_to)
        rows = await self._repository.page(merchant_id, stores=principal.stores, after=after, limit=limit + 1)
        page = self._cursors.page(
            rows,
            limit=limit,
            bound_to=bound_to,
            position_of=lambda row: Position(row.created_at, row.id),
            show=self.answer,
        )
        return {"data": page.data, "next_cursor": page.next_cursor}

    def answer(self, sticker: Sticker) -> dict[str, Any]:
        """`StickerRead`."""
        row = sticker.model_dump(exclude={"version"})
        return {**row, "object": "sticker", "url": self._url(sticker)}

    def picture(self, sticker: Sticker, *, kind: str) -> bytes:
        """The QR code to print; `kind` svg or png. Level Q bears a quarter of it scratched (ISO/IEC 18004)."""
        out = io.BytesIO()
        words = {"title": sticker.name, "desc": sticker.id} if kind == "svg" else {}
        segno.make(self._url(sticker), error="q", micro=False).save(out, kind=kind, scale=16, border=4, **words)
        return out.getvalue()

    async def open(self, code: str, *, user_agent: str) -> StickerPage:
        """The page of a sticker. Writes nothing. Raises 404 `payments.sticker_not_in_use`."""
        sticker = await self._active(code)
        desk = self._desk
        facts = await desk.facts(sticker.merchant_id)
        fixed = None if sticker.amount_minor is None else Money(sticker.amount_minor, sticker.currency)
        return StickerPage(
            names=await desk.tools.directory.trade_names(sticker.merchant_id, store_id=sticker.store_id),
            facts=facts,
            fixed=fixed,
            most=self._most(sticker),
            currency=sticker.currency,
            wallets=wallets(
                await desk.terms(sticker.merchant_id),
                desk.tools.providers,
                form="sticker",
                currency=sticker.currency,
                user_agent=user_agent,
            ),
            nonce=desk.tools.ids.mint("page").partition("_")[2],
        )

    async def begun(self, code: str, *, nonce: str) -> str | None:
        """Where the payment of a page goes on, if it was begun, also at a code that was revoked since."""
        if CODE.fullmatch(code) is None or NONCE.fullmatch(nonce) is None:
            return None
        sticker = await self._repository.by_code(code)
        return None if sticker is None else await self._address(sticker, number_of(sticker.code, nonce))

    async def pay(self, code: str, *, nonce: str, typed: str, provider_id: str | None, language: Language) -> str:
        """Begin the one payment of a page; returns the address of the payer's page. Again: the same payment.

        Raises 404 sticker_not_in_use; 422 sticker_amount, sticker_amount_over; 429 sticker_busy; as
        `PaymentService.create` does. A refusal begins nothing.
        """
        sticker = await self._active(code)
        if NONCE.fullmatch(nonce) is None:
            raise STICKER_GONE.error()
        number = number_of(sticker.code, nonce)
        known = await self._address(sticker, number)
        if known is not None:
            return known
        amount = self._amount(sticker, typed, language)
        order = StickerOrder(
            out_trade_no=number,
            subject=sticker.name,
            form="sticker",
            currency=sticker.currency,
            order_minor=amount.amount_minor,
            store_id=sticker.store_id,
            terminal_id=sticker.terminal_id,
            channel=provider_id,
        )
        await self._begin(sticker, order, nonce)
        begun = await self._address(sticker, number)
        if begun is None:
            raise STICKER_GONE.error()
        return begun

    def _amount(self, sticker: Sticker, typed: str, language: Language) -> Money:
        if sticker.amount_minor is not None:
            return Money(sticker.amount_minor, sticker.currency)
        amount = read_amount(typed, currency=sticker.currency)
        most = self._most(sticker)
        if amount > most:
            raise STICKER_AMOUNT_OVER.error({"most": most.format(language)})
        return amount

    def _most(self, sticker: Sticker) -> Money:
        return Money(self._desk.tools.sticker_amount_minor_max, sticker.currency)

    async def _begin(self, sticker: Sticker, order: StickerOrder, nonce: str) -> None:
        """Take a place of this minute, with the payment in one plan: a thirty-first is impossible."""
        desk = self._desk
        who = payer(sticker.merchant_id, await desk.facts(sticker.merchant_id), client_id=f"sticker:{sticker.id}")
        fingerprint = hashlib.sha256(f"{order.out_trade_no} {order.order_minor}".encode()).digest()
        key = IdempotentRequest(who.client_id, nonce, fingerprint)
        for _ in range(_TRIES_MAX):
            minute = desk.now.replace(second=0, microsecond=0)
            place = 1 + await self._repository.places_taken(sticker, minute)
            if place > PAYMENTS_A_MINUTE:
                raise STICKER_BUSY.error({"most": PAYMENTS_A_MINUTE}, retry_after_s=60 - desk.now.second)
            use = {
                "id": desk.tools.ids.mint("stu"),
                "merchant_id": sticker.merchant_id,
                "sticker_id": sticker.id,
                "payment_out_trade_no": order.out_trade_no,
                "minute": minute,
                "place": place,
                "created_at": desk.now,
            }
            try:
                await self._service.create(who, order, key, also=[Insert(STICKER_USES, use)])
            except PlanRefused as refused:
                if isinstance(refused.refusal, Replayed):
                    return  # the same page, pressed twice
                if not (isinstance(refused.refusal, Duplicate) and refused.refusal.table == STICKER_USES.name):
                    raise
                continue  # somebody else took the place
            return
        raise STICKER_BUSY.error({"most": PAYMENTS_A_MINUTE}, retry_after_s=1)

    async def _address(self, sticker: Sticker, number: str) -> str | None:
        """Where the payer of a page's payment goes on; None while there is none."""
        repository = self._desk.tools.repository
        payment_id = await repository.payment_id(sticker.merchant_id, number)
        payment = None if payment_id is None else await repository.payment(sticker.merchant_id, payment_id)
        return None if payment is None else payment.pay_url

    async def _active(self, code: str) -> Sticker:
        sticker = await self._repository.by_code(code) if CODE.fullmatch(code) else None
        if sticker is None or sticker.state != "active":
            raise STICKER_GONE.error()
        return sticker

    def _url(self, sticker: Sticker) -> str:
        return f"{self._desk.tools.public_origin}{PATH}{sticker.code}"


def number_of(code: str, nonce: str) -> str:
    """The `out_trade_no` of the payment that a page begins."""
    return f"{code}_{nonce}"


def _new_code() -> str:
    """60 random bits, in letters that are not mistaken for each other."""
    bits = int.from_bytes(entropy(8))
    return "".join(ALPHABET[bits >> 5 * place & 31] for place in range(_CODE_LENGTH))
