"""What happens to trades and freezes, as notices: a consumer of the native events in the outbox.

Which shop hears of it stands in what the gateway keeps of the request that made the trade (`numbers.TradeFacts`). A
payment that came by another door has no notify_url, and nobody is told here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Row, or_, select

from platform_core.capabilities.payments.answers import payment_answer
from platform_core.capabilities.payments.assembly import Payments
from platform_core.delivery.catalogue import EventSeen
from platform_core.identity.principal import Principal
from platform_core.kernel.commit import Plan
from platform_core.kernel.database.pools import Database
from platform_core.kernel.http.expand import parse_expand
from sandbox.simulators.alipay_gateway.calls import EXPANDED, Read
from sandbox.simulators.alipay_gateway.fields import local, yuan
from sandbox.simulators.alipay_gateway.methods.trades import Trade, amounts_of
from sandbox.simulators.alipay_gateway.models import IDS
from sandbox.simulators.alipay_gateway.notices import Notices
from sandbox.simulators.alipay_gateway.numbers import Number, Numbers, TradeFacts

CONSUMER: Final = "alipay_gateway.trades"
_STATUS: Final = {
    "payment.captured": "TRADE_SUCCESS",
    "payment.closed": "TRADE_CLOSED",
    "payment.canceled": "TRADE_CLOSED",
    "payment.finished": "TRADE_FINISHED",
    "refund.succeeded": "",  # by what is left
}
_FREEZES: Final = {
    "payment.authorized": ("fund_auth_freeze", "authorize", "FREEZE"),
    "payment.voided": ("fund_auth_unfreeze", "void", "UNFREEZE"),
    "payment.closed": ("fund_auth_unfreeze", "void", "UNFREEZE"),
    "payment.canceled": ("fund_auth_unfreeze", "void", "UNFREEZE"),
}
TYPES: Final = frozenset({*_STATUS, *_FREEZES})
_AMOUNTS: Final = ("total_amount", "receipt_amount", "buyer_pay_amount", "point_amount", "invoice_amount")
_ids = IDS.table


class TradeNotices:
    """From an event to the notice that tells of it."""

    def __init__(self, *, database: Database, payments: Payments, numbers: Numbers, notices: Notices) -> None:
        self._database = database
        self._payments = payments
        self._numbers = numbers
        self._notices = notices

    async def handle(self, event: EventSeen) -> Plan | None:
        """The plan with the notice's row and its first send; None where nobody is to be told."""
        assert event.merchant_id is not None, "payments have a merchant"
        body = msgspec.json.decode(event.body)
        payment = await self._payment(event.merchant_id, body.get("payment_id", body["id"]))
        if event.type.startswith("payment."):
            payment |= {name: body[name] for name in ("amounts", "state")}  # as of the event
        numbers = await self._numbers_of(event.merchant_id, payment)
        told = self._trade(event, body, payment, numbers)
        if told is None:
            told = await self._freeze(event, payment, numbers)
        if told is None:
            return None
        number, fields = told
        facts = number.facts
        app = await self._numbers.app_behind(facts.app_number)
        if not facts.notify_url or app is None or app.native_id is None:
            return None
        seller = await self._numbers.of_seller(event.merchant_id)
        auth_app = facts.app_number
        if app.merchant_id != event.merchant_id:  # the app acts for another merchant, by a token
            auth_app = await self._numbers.of_app(event.merchant_id, merchant_id=event.merchant_id)
        role = "seller_id" if "trade_no" in fields else "payee_user_id"
        whole = {
            "app_id": facts.app_number,
            "auth_app_id": auth_app,
            role: seller,
            "gmt_create": local(payment["created_at"]) or "",
            **fields,
        }
        parts = self._notices.parts(
            merchant_id=event.merchant_id,
            app_id=app.native_id,
            event_id=event.id,
            sequence=event.sequence,
            address=facts.notify_url,
            fields={name: value for name, value in whole.items() if value},
            sign_type=facts.sign_type or "RSA2",
        )
        return Plan(event.merchant_id, parts)

    def _trade(
        self, event: EventSeen, body: Read, payment: Read, numbers: Sequence[Number]
    ) -> tuple[Number, dict[str, str]] | None:
        """What a shop is told of a trade: of a payment, or of one capture of a freeze."""
        if event.type not in _STATUS:
            return None
        number = _trade_number(event.type, body, payment, numbers)
        if number is None:
            return None
        trade = Trade(number, payment)
        if not trade.is_there and event.type != "payment.captured":
            return None  # a code that no wallet has read is no trade
        return number, {
            **trade_fields(trade),
            "trade_status": _STATUS[event.type] or trade.status,
            **_of_event(event, body, trade),
        }

    async def _freeze(
        self, event: EventSeen, payment: Read, numbers: Sequence[Number]
    ) -> tuple[Number, dict[str, str]] | None:
        """What a shop is told of a freeze: money frozen, or let go."""
        number = next((number for number in numbers if number.kind == "freeze"), None)
        if number is None or event.type not in _FREEZES:
            return None
        notify_type, kind, operation = _FREEZES[event.type]
        done = [row for row in payment["transactions"] if row["kind"] == kind and row["state"] == "succeeded"]
        if not done:
            return None
        latest, amounts = done[-1], payment["amounts"]
        voided = sum(
            row["amount_minor"]
            for row in payment["transactions"]
            if row["kind"] == "void" and row["state"] == "succeeded"
        )
        return number, {
            "notify_type": notify_type,
            "auth_no": number.id,
            "out_order_no": str(number.out_no),
            "operation_id": await self._numbers.of_transaction(str(event.merchant_id), latest["id"]),
            "out_request_no": latest["out_request_no"] or number.facts.request_no,
            "operation_type": operation,
            "amount": yuan(latest["amount_minor"]),
            "status": "SUCCESS",
            "gmt_trans": local(latest["finished_at"]) or "",
            "payer_user_id": number.facts.buyer_number,
            "rest_amount": yuan(amounts["capturable_minor"]),
            "total_freeze_amount": yuan(amounts["capturable_minor"] + amounts["captured_minor"] + voided),
            "total_unfreeze_amount": yuan(voided),
            "total_pay_amount": yuan(amounts["captured_minor"]),
        }

    async def _payment(self, merchant_id: str, payment_id: str) -> Read:
        """The payment with its refunds and transactions as they stand; nobody is asked about what is open."""
        who = _reader(merchant_id)
        payment: Read = payment_answer((await self._payments.service.seen(who, payment_id)).model_dump())
        await parse_expand(EXPANDED, self._payments.expansion.payments).fill(who, [payment])
        return payment

    async def _numbers_of(self, merchant_id: str, payment: Read) -> list[Number]:
        """Every number that the protocol has for the payment, its captures among them."""
        query = select(_ids).where(
            _ids.c.merchant_id == merchant_id,
            _ids.c.kind.in_(["trade", "freeze"]),
            or_(
                _ids.c.out_no == payment["out_trade_no"],
                _ids.c.native_id == payment["id"],
                _ids.c.facts["payment_id"].astext == payment["id"],
            ),
        )
        async with self._database.read(merchant_id) as connection:
            return [_number(row) for row in (await connection.execute(query)).all()]


def trade_fields(trade: Trade) -> dict[str, str]:
    """The fields that every notice of a trade has."""
    facts, amounts = trade.number.facts, amounts_of(trade)
    bills = amounts["fund_bill_list"] or ()
    listed = [{"fundChannel": bill["fund_channel"], "amount": bill["amount"]} for bill in bills]
    return {
        "notify_type": "trade_status_sync",
        "trade_no": trade.number.id,
        "out_trade_no": trade.out_trade_no,
        "buyer_id": facts.buyer_number,
        "subject": facts.subject or trade.payment["subject"],
        "body": facts.body,
        "passback_params": facts.passback_params,
        "gmt_payment": trade.paid_at or "",
        "fund_bill_list": msgspec.json.encode(listed).decode() if listed else "",
        **{name: amounts[name] for name in _AMOUNTS},
    }


def _trade_number(type_: str, body: Read, payment: Read, numbers: Iterable[Number]) -> Number | None:
    """The trade that an event is about."""
    trades = [number for number in numbers if number.kind == "trade"]
    plain = next((number for number in trades if not number.facts.capture_no), None)
    if plain is not None:
        return plain
    if type_ == "refund.succeeded":
        return next((number for number in trades if body["out_request_no"] in number.facts.refund_numbers), None)
    if type_ != "payment.captured":
        return None
    captures = [row for row in payment["transactions"] if row["kind"] == "capture" and row["state"] == "succeeded"]
    latest = captures[-1]["out_request_no"] if captures else None
    return next((number for number in trades if number.facts.capture_no == latest), None)


def _of_event(event: EventSeen, body: Read, trade: Trade) -> Mapping[str, str]:
    moment = local(event.occurred_at) or ""
    if event.type == "refund.succeeded":
        told = {"out_biz_no": body["out_request_no"], "refund_fee": yuan(trade.refunded_minor), "gmt_refund": moment}
        return told | ({"gmt_close": moment} if trade.status == "TRADE_CLOSED" else {})
    return {"gmt_close": moment} if event.type in ("payment.closed", "payment.canceled", "payment.finished") else {}


def _reader(merchant_id: str) -> Principal:
    """The gateway itself, telling a merchant's shop of the merchant's own trade."""
    return Principal(
        kind="app",
        client_id="alipay_gateway",
        app_id="",
        merchant_id=merchant_id,
        standing="active",
        mode="test",
        scopes=frozenset({"payments:read", "refunds:read"}),
        stores=None,
        grant_id=None,
        grant_version=0,
        token_id="",
        key_id="",
        expires_at=0,
        api_version="",
    )


def _number(row: Row[Any]) -> Number:
    facts = msgspec.convert(row.facts, type=TradeFacts)
    return Number(row.id, row.kind, row.native_id, row.merchant_id, row.out_no, facts, row.version)
