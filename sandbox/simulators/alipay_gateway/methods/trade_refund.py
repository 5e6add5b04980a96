"""alipay.trade.refund and its query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from platform_core.capabilities.payments.schemas import RefundCreate
from platform_core.kernel.http.idempotency import IdempotentRequest
from sandbox.simulators.alipay_gateway.calls import Call, Method, Node, Read, native_request
from sandbox.simulators.alipay_gateway.codes import of_decline, system_error
from sandbox.simulators.alipay_gateway.envelope import answered
from sandbox.simulators.alipay_gateway.fields import Asked, Line, OutNo, Subject, local, yuan
from sandbox.simulators.alipay_gateway.fields import Yuan as Amount
from sandbox.simulators.alipay_gateway.methods.trade import EitherNumber
from sandbox.simulators.alipay_gateway.methods.trade_royalty import splits_of
from sandbox.simulators.alipay_gateway.methods.trades import Trade, buyer_of, find_trade, not_found
from sandbox.simulators.alipay_gateway.protocol import GatewayError


class ShareBack(Asked):
    """A share that comes back with a refund; `trans_out`: the account of who got it."""

    trans_out: Line
    amount: Amount
    royalty_type: Line | None = None
    desc: Line | None = None


class RefundAsked(EitherNumber):
    """alipay.trade.refund."""

    refund_amount: Amount
    out_request_no: OutNo | None = None
    refund_reason: Subject | None = None
    refund_royalty_parameters: list[ShareBack] | None = Field(default=None, max_length=50)


class RefundQueried(EitherNumber):
    """alipay.trade.fastpay.refund.query."""

    out_request_no: OutNo


async def refund(call: Call, asked: RefundAsked) -> Node:
    """Give money back. Without a number of its own a refund is of everything, and has the trade's."""
    trade = await find_trade(call, trade_no=asked.trade_no, out_trade_no=asked.out_trade_no)
    if not trade.is_there:
        raise not_found()
    number = asked.out_request_no or _number_of_full(trade, asked.refund_amount)
    _check_capture(trade, asked.refund_amount, number)
    wanted = native_request(
        RefundCreate,
        {
            "out_request_no": number,
            "amount_minor": asked.refund_amount,
            "reason": asked.refund_reason or "",
            "split_returns": await _returns(call, trade, asked.refund_royalty_parameters or ()),
        },
    )
    if trade.number.facts.capture_no and number not in trade.number.facts.refund_numbers:
        numbers = (*trade.number.facts.refund_numbers, number)
        trade = Trade(await call.services.numbers.remember(trade.number, refund_numbers=numbers), trade.payment)

    async def act(key: IdempotentRequest) -> object:
        return await call.services.payments.acts.refund(call.principal, trade.payment["id"], wanted, key)

    was_there = _refund_of(trade, number) is not None
    is_new = await call.once(f"{trade.out_trade_no}:{number}", act) and not was_there
    after = Trade(trade.number, await call.payment(trade.payment["id"]))
    done = _refund_of(after, number)
    if done is None or done["state"] in ("pending", "unknown"):
        raise system_error()
    if done["state"] == "failed":
        raise of_decline((done["last_error"] or {}).get("code", ""))
    return answered(
        trade_no=after.number.id,
        out_trade_no=after.out_trade_no,
        **buyer_of(after),
        fund_change="Y" if is_new else "N",
        refund_fee=yuan(after.refunded_minor),
        send_back_fee=yuan(done["amount_minor"]),
        gmt_refund_pay=local(done["updated_at"]),
        refund_detail_item_list=[{"fund_channel": "ALIPAYACCOUNT", "amount": yuan(done["amount_minor"])}],
    )


async def _returns(call: Call, trade: Trade, wanted: Sequence[ShareBack]) -> list[dict[str, Any]] | None:
    """The shares to return, each out of the newest split that gave the account enough; None: as the platform does."""
    if not wanted:
        return None
    bound = await call.services.payments.receivers.bound_as(call.merchant_id, [share.trans_out for share in wanted])
    splits, found = await splits_of(call, trade.payment["id"]), []
    for share in wanted:
        receiver = bound.get(share.trans_out)
        source = next(
            (
                split["id"]
                for split in splits
                for given in split["shares"]
                if receiver is not None
                and given["receiver_id"] == receiver.id
                and given["settled_minor"] - given["returned_minor"] >= share.amount
            ),
            None,
        )
        if receiver is None or source is None:
            raise GatewayError("40004", "ACQ.ALLOC_AMOUNT_VALIDATE_ERROR", f"退分账金额超限：{share.trans_out[:64]}")
        found.append({"split_id": source, "receiver_id": receiver.id, "amount_minor": share.amount})
    return found


def _number_of_full(trade: Trade, amount_minor: int) -> str:
    if amount_minor != trade.captured_minor:
        raise GatewayError(
            "40004", "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL", "退款金额与订单金额不一致：部分退款须传 out_request_no"
        )
    return trade.out_trade_no


def _check_capture(trade: Trade, amount_minor: int, number: str) -> None:
    """A capture of a freeze returns no more than itself; the platform caps all captures together."""
    if not trade.number.facts.capture_no or _refund_of(trade, number) is not None:
        return
    if amount_minor > trade.captured_minor - trade.refunded_minor - trade.refunding_minor:
        raise GatewayError("40004", "ACQ.REASON_TRADE_REFUND_FEE_ERR", "退款金额无效：超过该笔转支付的可退金额")


def _refund_of(trade: Trade, number: str) -> Read | None:
    return next((row for row in trade.refunds if row["out_request_no"] == number), None)


async def query_refund(call: Call, asked: RefundQueried) -> Node:
    """One refund; none is no error, but an answer without fields."""
    trade = await find_trade(call, trade_no=asked.trade_no, out_trade_no=asked.out_trade_no)
    if not trade.is_there:
        raise not_found()
    found = _refund_of(trade, asked.out_request_no)
    if found is None:
        return answered()
    is_done = found["state"] == "succeeded"
    return answered(
        trade_no=trade.number.id,
        out_trade_no=trade.out_trade_no,
        out_request_no=asked.out_request_no,
        refund_reason=found["reason"],
        total_amount=yuan(trade.captured_minor),
        refund_amount=yuan(found["amount_minor"]),
        refund_status="REFUND_SUCCESS" if is_done else None,
        send_back_fee=yuan(found["amount_minor"]) if is_done else None,
        gmt_refund_pay=local(found["updated_at"]) if is_done else None,
    )


METHODS = (
    Method(
        name="alipay.trade.refund",
        scope="refunds:write",
        native="POST /v1/payments/{id}/refunds",
        asks=RefundAsked,
        translate=refund,
    ),
    Method(
        name="alipay.trade.fastpay.refund.query",
        scope="refunds:read",
        native="GET /v1/refunds/{id}",
        asks=RefundQueried,
        translate=query_refund,
    ),
)
