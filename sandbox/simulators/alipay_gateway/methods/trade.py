"""alipay.trade.*: paying, asking, ending."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal

from pydantic import Field

from platform_core.capabilities.payments.schemas import AttemptCreate, CaptureCreate, PaymentCreate
from platform_core.kernel.http.idempotency import IdempotentRequest
from sandbox.simulators.alipay_gateway.calls import Call, Method, Node, Read, native_request
from sandbox.simulators.alipay_gateway.codes import unknown_error
from sandbox.simulators.alipay_gateway.envelope import answered
from sandbox.simulators.alipay_gateway.fields import (
    CURRENCY,
    Asked,
    AuthCode,
    Body,
    Count,
    Line,
    OutNo,
    Subject,
    TradeNo,
    Yuan,
    expiry_of,
    local,
    moment_of,
    wrong_field,
    yuan,
)
from sandbox.simulators.alipay_gateway.methods.trade_royalty import Share, native_shares
from sandbox.simulators.alipay_gateway.methods.trades import (
    Trade,
    amounts_of,
    buyer_of,
    closed_already,
    find_trade,
    inconsistent,
    is_freeze,
    not_found,
    not_now,
    paid_already,
    paid_answer,
    trade_of,
)
from sandbox.simulators.alipay_gateway.numbers import buyer_number
from sandbox.simulators.alipay_gateway.protocol import GatewayError

_STORE: Final = re.compile(r"sto_[0-9a-z]{26}")
_NAME: Final = re.compile(r"[A-Za-z0-9_]{1,64}", re.ASCII)


class Goods(Asked):
    """One line of the order."""

    goods_id: Line
    goods_name: Subject
    quantity: Count
    price: Yuan
    goods_category: Line | None = None


class Order(Asked):
    """What every way to begin a trade asks."""

    out_trade_no: OutNo
    total_amount: Yuan
    subject: Subject
    body: Body | None = None
    goods_detail: list[Goods] | None = None
    store_id: Line | None = None
    terminal_id: Line | None = None
    operator_id: Line | None = None
    timeout_express: Line | None = None
    time_expire: Line | None = None
    passback_params: Line | None = None

    def expires_at(self, now: datetime) -> datetime | None:
        """When it can be paid no more; None: the form's own time."""
        if self.time_expire is not None:
            return moment_of(self.time_expire, field="time_expire")
        if self.timeout_express is not None:
            return expiry_of(self.timeout_express, now, field="timeout_express")
        return None


class RoyaltyInfo(Asked):
    """Shares that an order wishes for."""

    royalty_type: Line | None = None
    royalty_detail_infos: list[Share] = Field(min_length=1, max_length=50)


class PayAsked(Order):
    """alipay.trade.pay: by the customer's code, or out of a freeze."""

    auth_code: AuthCode | None = None
    scene: Literal["bar_code", "wave_code"] | None = None
    royalty_info: RoyaltyInfo | None = None
    auth_no: TradeNo | None = None
    auth_confirm_mode: Literal["COMPLETE", "NOT_COMPLETE"] = "COMPLETE"


class PrecreateAsked(Order):
    """alipay.trade.precreate: a code for the customer to scan."""

    qr_code_timeout_express: Line | None = None

    def expires_at(self, now: datetime) -> datetime | None:
        """When the code can be paid no more."""
        if self.qr_code_timeout_express is not None:
            return expiry_of(self.qr_code_timeout_express, now, field="qr_code_timeout_express")
        return Order.expires_at(self, now)


class EitherNumber(Asked):
    """A trade by the merchant's number or by the protocol's."""

    out_trade_no: OutNo | None = None
    trade_no: TradeNo | None = None


class CloseAsked(EitherNumber):
    """alipay.trade.close."""

    operator_id: Line | None = None


def order_of(call: Call, asked: Order, *, form: str, **more: Any) -> PaymentCreate:
    """The native order. What arsenal_order adds stands beside; what biz_content says goes first.

    The protocol's numbers of stores, terminals and cashiers are the shop's own: those that are not in the form of ours
    are kept as metadata. Lines that do not add up to the total are the shop's affair in this protocol, and left out.
    """
    labels = dict(call.order.get("metadata") or {})
    places: dict[str, str | None] = {}
    for name, pattern in (("store_id", _STORE), ("terminal_id", _NAME), ("operator_id", _NAME)):
        value = getattr(asked, name)
        if value is not None and pattern.fullmatch(value) is None:
            labels[f"alipay_{name}"] = value
        else:
            places[name] = value
    expires_at = asked.expires_at(call.services.clock.now())
    return native_request(
        PaymentCreate,
        {
            **call.order,
            "out_trade_no": asked.out_trade_no,
            "subject": asked.subject,
            "form": form,
            "currency": CURRENCY,
            "order_minor": asked.total_amount,
            "basket": call.order.get("basket") or _basket(asked),
            "metadata": labels or None,
            "return_url": call.return_url or None,
            "expires_at": None if expires_at is None else expires_at.isoformat(),
            **places,
            **more,
        },
    )


def _basket(asked: Order) -> dict[str, Any] | None:
    lines = asked.goods_detail or ()
    if not lines or sum(line.quantity * line.price for line in lines) != asked.total_amount:
        return None
    return {
        "lines": [
            {
                "line_id": str(number),
                "sku": line.goods_id[:256],
                "name": line.goods_name,
                "quantity": line.quantity,
                "unit_minor": line.price,
                **({"category": line.goods_category[:256]} if line.goods_category else {}),
            }
            for number, line in enumerate(lines, 1)
        ]
    }


def facts_of(call: Call, asked: Order) -> dict[str, Any]:
    """What is remembered of the request beside the payment."""
    return {
        "app_number": call.app_number,
        "auth_app_number": call.auth_app_number,
        "sign_type": call.sign_type,
        "notify_url": call.notify_url,
        "return_url": call.return_url,
        "passback_params": asked.passback_params or "",
        "body": asked.body or "",
    }


async def begin(
    call: Call,
    asked: Order,
    *,
    form: str,
    more: Mapping[str, Any] | None = None,
    wishes: Mapping[str, Any] | None = None,
    **facts: Any,
) -> tuple[Trade, bool]:
    """Take the order, or try again where it stands unpaid; and whether this request did so now.

    `more`: of an order and of a further attempt alike; `wishes`: of an order alone.

    Raises ACQ.TRADE_HAS_SUCCESS, ACQ.TRADE_HAS_CLOSE, ACQ.CONTEXT_INCONSISTENT for a number that stands for more.
    """
    number = None
    payments, given = call.services.payments, dict(more or {})

    async def act(key: IdempotentRequest) -> object:
        nonlocal number
        payment = await call.payment_if_any(asked.out_trade_no)
        if payment is None:
            wanted = order_of(call, asked, form=form, **given, **(wishes or {}))
            number = await _remembered(call, asked, facts)
            return await payments.service.create(call.principal, wanted, key)
        _check_same(payment, asked)
        number = await _remembered(call, asked, facts)
        again = native_request(AttemptCreate, {"form": form, **given})
        return await payments.service.attempt(call.principal, payment["id"], again, key)

    is_new = await call.once(asked.out_trade_no, act)
    payment = await call.payment(f"out_trade_no:{asked.out_trade_no}")
    return await trade_of(call, payment, number), is_new


async def _remembered(call: Call, asked: Order, facts: Mapping[str, Any]) -> Any:  # Number
    told = {**facts_of(call, asked), **facts}
    return await call.services.numbers.begun(call.merchant_id, "trade", asked.out_trade_no, **told)


def _check_same(payment: Read, asked: Order) -> None:
    if is_freeze(payment) or payment["amounts"]["order_minor"] != asked.total_amount:
        raise inconsistent()
    if payment["amounts"]["captured_minor"]:
        raise paid_already()
    if payment["state"] in ("closed", "canceled"):
        raise closed_already()


async def pay(call: Call, asked: PayAsked) -> Node:
    """By the customer's code: 10000 when paid, 10003 while the customer is typing."""
    if asked.auth_no is not None:
        return await pay_from_freeze(call, asked, asked.auth_no)
    if asked.auth_code is None:
        raise wrong_field("auth_code", what="缺少参数")
    buyer = buyer_number(asked.auth_code)
    wishes: dict[str, Any] = {}
    if asked.royalty_info is not None:
        wishes["splits"] = await native_shares(call, asked.royalty_info.royalty_detail_infos)
    trade, _ = await begin(
        call, asked, form="merchant_scan", more={"auth_code": asked.auth_code}, wishes=wishes, buyer_number=buyer
    )
    return paid_answer(trade)


async def pay_from_freeze(call: Call, asked: PayAsked, auth_no: str) -> Node:
    """A capture of a freeze, which is a trade of its own here."""
    numbers = call.services.numbers
    freeze = await numbers.behind(call.merchant_id, "freeze", auth_no)
    payment = None if freeze is None else await call.payment_if_any(str(freeze.out_no))
    if freeze is None or payment is None:
        raise GatewayError("40004", "ACQ.AUTH_ORDER_NOT_EXIST", "预授权订单不存在")
    wanted = native_request(
        CaptureCreate,
        {
            "amount_minor": asked.total_amount,
            "out_request_no": asked.out_trade_no,
            "is_final": asked.auth_confirm_mode == "COMPLETE",
        },
    )
    known = await numbers.named(call.merchant_id, "trade", asked.out_trade_no)
    if known is not None and known.facts.payment_id != payment["id"]:
        raise inconsistent()
    check_freeze(payment, is_repeat=known is not None)
    facts = {
        **facts_of(call, asked),
        "payment_id": payment["id"],
        "capture_no": asked.out_trade_no,
        "subject": asked.subject,
        "buyer_number": freeze.facts.buyer_number,
    }
    number = await numbers.begun(call.merchant_id, "trade", asked.out_trade_no, **facts)
    acts = call.services.payments.acts

    async def act(key: IdempotentRequest) -> object:
        return await acts.capture(call.principal, payment["id"], wanted, key)

    await call.once(asked.out_trade_no, act)
    trade = Trade(number, await call.payment(payment["id"]))
    capture = trade.capture
    if capture is not None and trade.captured_minor:
        number = await numbers.settle(number, capture["id"])
        return paid_answer(Trade(number, trade.payment))
    if capture is not None and capture["state"] == "failed":
        raise not_now()
    raise unknown_error()


def check_freeze(payment: Read, *, is_repeat: bool = False) -> None:
    """Raise the refusal of a freeze that is over. One that is asked again about what it did is not refused."""
    if is_repeat:
        return
    if payment["state"] in ("closed", "canceled", "created"):
        raise GatewayError("40004", "ACQ.AUTH_ORDER_HAS_CLOSED", "预授权订单已关闭")
    if payment["state"] in ("captured", "finished"):
        raise GatewayError("40004", "ACQ.AUTH_ORDER_HAS_FINISHED", "预授权订单已完结")


async def precreate(call: Call, asked: PrecreateAsked) -> Node:
    """A QR code of the order."""
    trade, _ = await begin(call, asked, form="customer_scan")
    action = trade.payment["next_action"] or {}
    if action.get("type") != "show_qr":
        _check_same(trade.payment, asked)
        return paid_answer(trade)  # which raises why there is no code
    await call.services.numbers.remember(trade.number, code=action["code"])
    return answered(out_trade_no=trade.out_trade_no, qr_code=action["code"])


async def query(call: Call, asked: EitherNumber) -> Node:
    """Where the trade stands now."""
    trade = await find_trade(call, trade_no=asked.trade_no, out_trade_no=asked.out_trade_no)
    if not trade.is_there:
        raise not_found()
    facts, payment = trade.number.facts, trade.payment
    return answered(
        trade_no=trade.number.id,
        out_trade_no=trade.out_trade_no,
        **buyer_of(trade),
        trade_status=trade.status,
        **amounts_of(trade),
        send_pay_date=trade.paid_at if trade.captured_minor else None,
        subject=facts.subject or payment["subject"],
        body=facts.body,
        store_id=payment["store_id"] or (payment["metadata"] or {}).get("alipay_store_id"),
        terminal_id=payment["terminal_id"] or (payment["metadata"] or {}).get("alipay_terminal_id"),
        passback_params=facts.passback_params,
        gmt_refund_pay=_last_refund(trade),
        refund_fee=yuan(trade.refunded_minor) if trade.refunded_minor else None,
    )


def _last_refund(trade: Trade) -> str | None:
    done = [row["updated_at"] for row in trade.refunds if row["state"] == "succeeded"]
    return local(max(done)) if done else None


async def cancel(call: Call, asked: EitherNumber) -> Node:
    """Undo whatever became of it. One never seen is barred, so that a late request to pay is refused."""
    acts = call.services.payments.acts
    try:
        trade = await find_trade(call, trade_no=asked.trade_no, out_trade_no=asked.out_trade_no)
    except GatewayError as error:
        if error.sub_code != "ACQ.TRADE_NOT_EXIST" or asked.out_trade_no is None:
            raise
        out_trade_no = asked.out_trade_no

        async def bar(key: IdempotentRequest) -> object:
            return await acts.cancel_by_number(call.principal, out_trade_no, key)

        await call.once(out_trade_no, bar)
        return answered(out_trade_no=out_trade_no, retry_flag="N")
    if trade.number.facts.capture_no:
        raise not_now()  # captures go back by refunds

    async def act(key: IdempotentRequest) -> object:
        return await acts.cancel(call.principal, trade.payment["id"], key)

    await call.once(trade.out_trade_no, act)
    after = Trade(trade.number, await call.payment(trade.payment["id"]))
    if after.payment["state"] not in ("canceled", "closed"):
        raise GatewayError("20000", "isp.unknow-error", "撤销结果未知，请重试", more={"retry_flag": "Y"})
    return answered(
        trade_no=after.number.id,
        out_trade_no=after.out_trade_no,
        retry_flag="N",
        action="refund" if after.captured_minor else "close",
    )


async def close(call: Call, asked: CloseAsked) -> Node:
    """End an unpaid trade."""
    trade = await find_trade(call, trade_no=asked.trade_no, out_trade_no=asked.out_trade_no)
    if not trade.is_there:
        raise not_found()
    if trade.number.facts.capture_no:
        raise not_now()

    async def act(key: IdempotentRequest) -> object:
        return await call.services.payments.acts.close(call.principal, trade.payment["id"], key)

    await call.once(trade.out_trade_no, act)
    after = await call.payment(trade.payment["id"])
    if after["state"] not in ("closed", "canceled"):
        raise unknown_error() if after["state"] == "unknown" else not_now()
    return answered(trade_no=trade.number.id, out_trade_no=trade.out_trade_no)


METHODS = (
    Method(
        name="alipay.trade.pay",
        scope="payments:write",
        native="POST /v1/payments (merchant_scan); POST /v1/payments/{id}/attempts; with auth_no /capture",
        asks=PayAsked,
        translate=pay,
    ),
    Method(
        name="alipay.trade.precreate",
        scope="payments:write",
        native="POST /v1/payments (customer_scan)",
        asks=PrecreateAsked,
        translate=precreate,
    ),
    Method(
        name="alipay.trade.query",
        scope="payments:read",
        native="GET /v1/payments/{id}",
        asks=EitherNumber,
        translate=query,
    ),
    Method(
        name="alipay.trade.cancel",
        scope="payments:write",
        native="POST /v1/payments/{id}/cancel",
        asks=EitherNumber,
        translate=cancel,
    ),
    Method(
        name="alipay.trade.close",
        scope="payments:write",
        native="POST /v1/payments/{id}/close",
        asks=CloseAsked,
        translate=close,
    ),
)
