"""alipay.fund.auth.*: money that is frozen first. Paying out of a freeze is alipay.trade.pay with auth_no."""

from __future__ import annotations

from typing import Literal

from platform_core.capabilities.payments.schemas import PaymentCreate, VoidCreate
from platform_core.kernel.http.idempotency import IdempotentRequest
from sandbox.simulators.alipay_gateway.calls import Call, Method, Node, Read, native_request
from sandbox.simulators.alipay_gateway.codes import of_decline, unknown_error
from sandbox.simulators.alipay_gateway.envelope import answered
from sandbox.simulators.alipay_gateway.fields import (
    CURRENCY,
    Asked,
    AuthCode,
    Line,
    OutNo,
    Subject,
    TradeNo,
    expiry_of,
    local,
    wrong_field,
    yuan,
)
from sandbox.simulators.alipay_gateway.fields import Yuan as Amount
from sandbox.simulators.alipay_gateway.methods.trade import check_freeze
from sandbox.simulators.alipay_gateway.methods.trades import inconsistent, is_freeze
from sandbox.simulators.alipay_gateway.numbers import Number, buyer_number
from sandbox.simulators.alipay_gateway.protocol import GatewayError

_STATUS = {"pending": "INIT", "unknown": "INIT", "succeeded": "SUCCESS", "failed": "CLOSED"}
_OPERATIONS = {"authorize": "FREEZE", "void": "UNFREEZE", "capture": "PAY"}


class FreezeAsked(Asked):
    """alipay.fund.auth.order.freeze."""

    out_order_no: OutNo
    out_request_no: OutNo
    amount: Amount
    order_title: Subject
    auth_code: AuthCode
    product_code: Literal["PRE_AUTH"] | None = None
    auth_code_type: Line | None = None
    pay_timeout: Line | None = None


class UnfreezeAsked(Asked):
    """alipay.fund.auth.order.unfreeze."""

    auth_no: TradeNo
    out_request_no: OutNo
    amount: Amount
    remark: Subject


class DetailAsked(Asked):
    """alipay.fund.auth.operation.detail.query."""

    auth_no: TradeNo | None = None
    out_order_no: OutNo | None = None
    operation_id: TradeNo | None = None
    out_request_no: OutNo | None = None


def no_freeze() -> GatewayError:
    """No such freeze; another merchant's is none."""
    return GatewayError("40004", "ACQ.AUTH_ORDER_NOT_EXIST", "预授权订单不存在")


async def freeze(call: Call, asked: FreezeAsked) -> Node:
    """Freeze an amount by the customer's code."""
    service, now = call.services.payments.service, call.services.clock.now()
    expires_at = None if asked.pay_timeout is None else expiry_of(asked.pay_timeout, now, field="pay_timeout")
    wanted = native_request(
        PaymentCreate,
        {
            **call.order,
            "out_trade_no": asked.out_order_no,
            "subject": asked.order_title,
            "form": "merchant_scan",
            "is_capture": False,
            "auth_code": asked.auth_code,
            "currency": CURRENCY,
            "order_minor": asked.amount,
            "expires_at": None if expires_at is None else expires_at.isoformat(),
        },
    )
    number: Number | None = None

    async def act(key: IdempotentRequest) -> object:
        nonlocal number
        known = await call.payment_if_any(asked.out_order_no)
        if known is not None and (not is_freeze(known) or known["amounts"]["order_minor"] != asked.amount):
            raise inconsistent()
        if known is not None:
            check_freeze(known)
        number = await call.services.numbers.begun(
            call.merchant_id,
            "freeze",
            asked.out_order_no,
            app_number=call.app_number,
            auth_app_number=call.auth_app_number,
            sign_type=call.sign_type,
            notify_url=call.notify_url,
            request_no=asked.out_request_no,
            buyer_number=buyer_number(asked.auth_code),
        )
        return await service.create(call.principal, wanted, key)

    await call.once(asked.out_order_no, act)
    payment = await call.payment(f"out_trade_no:{asked.out_order_no}")
    found, row = await _frozen(call, payment, number), _transaction(payment, "authorize")
    named = {
        "auth_no": found.id,
        "out_order_no": asked.out_order_no,
        "operation_id": await call.services.numbers.of_transaction(call.merchant_id, row["id"]),
        "out_request_no": asked.out_request_no,
        "amount": yuan(asked.amount),
        "payer_user_id": found.facts.buyer_number,
    }
    if row["state"] == "failed":
        raise of_decline((payment["last_error"] or {}).get("code", ""))
    if payment["state"] in ("processing", "in_review"):
        return answered("10003", **named, status="INIT")
    if payment["state"] == "unknown":
        raise unknown_error()
    return answered(**named, status="SUCCESS", gmt_trans=local(row["finished_at"]))


async def unfreeze(call: Call, asked: UnfreezeAsked) -> Node:
    """Give back what is frozen, in part or whole."""
    number = await call.services.numbers.behind(call.merchant_id, "freeze", asked.auth_no)
    if number is None:
        raise no_freeze()
    payment = await _payment(call, number)
    check_freeze(payment, is_repeat=_operation(payment, asked.out_request_no) is not None)
    wanted = native_request(VoidCreate, {"amount_minor": asked.amount, "out_request_no": asked.out_request_no})
    acts = call.services.payments.acts

    async def act(key: IdempotentRequest) -> object:
        return await acts.void(call.principal, payment["id"], wanted, key)

    await call.once(f"{number.out_no}:{asked.out_request_no}", act)
    after = await call.payment(payment["id"])
    row = _operation(after, asked.out_request_no)
    if row is None or row["state"] in ("pending", "unknown"):
        raise unknown_error()
    return answered(
        auth_no=number.id,
        out_order_no=number.out_no,
        operation_id=await call.services.numbers.of_transaction(call.merchant_id, row["id"]),
        out_request_no=asked.out_request_no,
        amount=yuan(row["amount_minor"]),
        status=_STATUS[row["state"]],
        gmt_trans=local(row["finished_at"]),
    )


async def detail(call: Call, asked: DetailAsked) -> Node:
    """A freeze, and one of the operations on it."""
    numbers = call.services.numbers
    if asked.auth_no is not None:
        number = await numbers.behind(call.merchant_id, "freeze", asked.auth_no)
    elif asked.out_order_no is not None:
        number = await numbers.named(call.merchant_id, "freeze", asked.out_order_no)
    else:
        raise wrong_field("auth_no、out_order_no", what="缺少参数", is_trade=False)
    if number is None:
        raise no_freeze()
    payment = await _payment(call, number)
    row = await _asked_operation(call, payment, number, asked)
    amounts = payment["amounts"]
    return answered(
        auth_no=number.id,
        out_order_no=number.out_no,
        order_title=payment["subject"],
        payer_user_id=number.facts.buyer_number,
        order_status=_order_status(payment),
        rest_amount=yuan(amounts["capturable_minor"]),
        total_freeze_amount=yuan(amounts["authorized_minor"]),
        total_pay_amount=yuan(amounts["captured_minor"]),
        operation_id=await numbers.of_transaction(call.merchant_id, row["id"]),
        out_request_no=row["out_request_no"] or number.facts.request_no,
        operation_type=_OPERATIONS[row["kind"]],
        amount=yuan(row["amount_minor"]),
        status=_STATUS[row["state"]],
        gmt_create=local(row["created_at"]),
        gmt_trans=local(row["finished_at"]),
    )


async def _payment(call: Call, number: Number) -> Read:
    payment = await call.payment_if_any(str(number.out_no))
    if payment is None:  # the number was minted, and the freeze refused
        raise no_freeze()
    return payment


def _order_status(payment: Read) -> str:
    if payment["state"] in ("closed", "canceled"):
        return "CLOSED"
    if payment["state"] in ("captured", "finished"):
        return "FINISH"
    return "AUTHORIZED" if payment["amounts"]["authorized_minor"] else "INIT"


async def _asked_operation(call: Call, payment: Read, number: Number, asked: DetailAsked) -> Read:
    if asked.operation_id is not None:
        behind = await call.services.numbers.behind(call.merchant_id, "operation", asked.operation_id)
        wanted = None if behind is None else behind.native_id
        rows: list[Read] = payment["transactions"]
        found = next((row for row in rows if row["id"] == wanted), None)
    elif asked.out_request_no is not None:
        is_freeze_itself = asked.out_request_no == number.facts.request_no
        found = _operation(payment, asked.out_request_no)
        if found is None and is_freeze_itself:
            found = _transaction(payment, "authorize")
    else:
        raise wrong_field("operation_id、out_request_no", what="缺少参数", is_trade=False)
    if found is None or found["kind"] not in _OPERATIONS:
        raise GatewayError("40004", "ACQ.AUTH_OPERATION_NOT_EXIST", "预授权操作不存在")
    return found


def _operation(payment: Read, number: str) -> Read | None:
    """The newest unfreezing or capture under a number."""
    rows: list[Read] = [row for row in payment["transactions"] if row["out_request_no"] == number]
    return next((row for row in reversed(rows) if row["kind"] in ("void", "capture")), None)


def _transaction(payment: Read, kind: str) -> Read:
    rows: list[Read] = payment["transactions"]
    return next(row for row in reversed(rows) if row["kind"] == kind)


async def _frozen(call: Call, payment: Read, number: Number | None) -> Number:
    numbers = call.services.numbers
    if number is None:
        number = await numbers.named(call.merchant_id, "freeze", payment["out_trade_no"])
    assert number is not None, "minted before the freeze was asked for"
    return await numbers.settle(number, payment["id"])


METHODS = (
    Method(
        name="alipay.fund.auth.order.freeze",
        scope="payments:write",
        native="POST /v1/payments (merchant_scan, is_capture false)",
        asks=FreezeAsked,
        translate=freeze,
    ),
    Method(
        name="alipay.fund.auth.order.unfreeze",
        scope="payments:write",
        native="POST /v1/payments/{id}/void",
        asks=UnfreezeAsked,
        translate=unfreeze,
    ),
    Method(
        name="alipay.fund.auth.operation.detail.query",
        scope="payments:read",
        native="GET /v1/payments/{id}",
        asks=DetailAsked,
        translate=detail,
    ),
)
