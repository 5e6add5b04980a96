"""What the methods of trade.* share: finding a trade, and telling of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sandbox.simulators.alipay_gateway.calls import Call, Node, Read
from sandbox.simulators.alipay_gateway.codes import of_decline, system_error
from sandbox.simulators.alipay_gateway.envelope import answered
from sandbox.simulators.alipay_gateway.fields import local, wrong_field, yuan
from sandbox.simulators.alipay_gateway.numbers import Number
from sandbox.simulators.alipay_gateway.protocol import GatewayError

_ENDED: Final = ("closed", "canceled")
_WAITING: Final = ("created", "processing", "unknown", "in_review")


def not_found() -> GatewayError:
    """No such trade; another merchant's is none."""
    return GatewayError("40004", "ACQ.TRADE_NOT_EXIST", "交易不存在")


def paid_already() -> GatewayError:
    """The trade is paid."""
    return GatewayError("40004", "ACQ.TRADE_HAS_SUCCESS", "交易已被支付")


def closed_already() -> GatewayError:
    """The trade is closed or canceled."""
    return GatewayError("40004", "ACQ.TRADE_HAS_CLOSE", "交易已经关闭")


def inconsistent() -> GatewayError:
    """The number stands for another trade."""
    return GatewayError("40004", "ACQ.CONTEXT_INCONSISTENT", "交易信息被篡改：商户订单号已用于另一笔交易")


def not_now() -> GatewayError:
    """The trade's state does not allow it."""
    return GatewayError("40004", "ACQ.TRADE_STATUS_ERROR", "交易状态不合法")


@dataclass(frozen=True, slots=True)
class Trade:
    """A trade as the protocol sees it: a payment, or one capture of a freeze."""

    number: Number
    payment: Read

    @property
    def capture(self) -> Read | None:
        """The transaction behind a capture of a freeze."""
        wanted = self.number.facts.capture_no
        return next(
            (
                row
                for row in reversed(self.payment["transactions"])
                if wanted and row["kind"] == "capture" and row["out_request_no"] == wanted
            ),
            None,
        )

    @property
    def out_trade_no(self) -> str:
        """The merchant's number for the trade."""
        return str(self.number.out_no)

    @property
    def captured_minor(self) -> int:
        """What was taken for this trade."""
        capture = self.capture
        if not self.number.facts.capture_no:
            return int(self.payment["amounts"]["captured_minor"])
        return int(capture["amount_minor"]) if capture is not None and capture["state"] == "succeeded" else 0

    @property
    def refunds(self) -> Sequence[Read]:
        """The refunds of this trade, the oldest first."""
        rows: Sequence[Read] = self.payment["refunds"]
        if not self.number.facts.capture_no:
            return rows
        return [row for row in rows if row["out_request_no"] in self.number.facts.refund_numbers]

    @property
    def refunded_minor(self) -> int:
        """What went back of it."""
        return sum(row["amount_minor"] for row in self.refunds if row["state"] == "succeeded")

    @property
    def refunding_minor(self) -> int:
        """What is on its way back."""
        return sum(row["amount_minor"] for row in self.refunds if row["state"] in ("pending", "unknown"))

    @property
    def is_there(self) -> bool:
        """Whether the protocol knows it: the trade behind a QR code exists once a wallet has read the code."""
        is_code = self.payment["form"] == "customer_scan"
        return not is_code or self.number.facts.is_scanned or self.captured_minor > 0

    @property
    def status(self) -> str:
        """trade_status."""
        state = self.payment["state"]
        if self.captured_minor:
            if self.refunded_minor == self.captured_minor or state in _ENDED:
                return "TRADE_CLOSED"
            return "TRADE_FINISHED" if state == "finished" else "TRADE_SUCCESS"
        if self.number.facts.capture_no:
            return "WAIT_BUYER_PAY" if self.capture and self.capture["state"] != "failed" else "TRADE_CLOSED"
        return "TRADE_CLOSED" if state in _ENDED else "WAIT_BUYER_PAY"

    @property
    def paid_at(self) -> str | None:
        """When the money was taken."""
        capture = self.capture
        return local(self.payment["captured_at"] if capture is None else capture["finished_at"])


async def find_trade(call: Call, *, trade_no: str | None, out_trade_no: str | None) -> Trade:
    """The trade behind either number; trade_no counts where both are given. Raises ACQ.TRADE_NOT_EXIST."""
    if trade_no is None and out_trade_no is None:
        raise wrong_field("out_trade_no、trade_no", what="缺少参数")
    numbers = call.services.numbers
    number = None
    if trade_no is not None:
        number = await numbers.behind(call.merchant_id, "trade", trade_no)
        if number is None:
            raise not_found()
    else:
        number = await numbers.named(call.merchant_id, "trade", str(out_trade_no))
    if number is not None and number.facts.capture_no:
        return Trade(number, await call.payment(number.facts.payment_id))
    payment = await call.payment_if_any(str(number.out_no if number is not None else out_trade_no))
    if payment is None or is_freeze(payment):
        raise not_found()
    return await trade_of(call, payment, number)


async def trade_of(call: Call, payment: Read, number: Number | None = None) -> Trade:
    """The trade that a payment is; its number is minted where it came by another door."""
    numbers = call.services.numbers
    if number is None:
        number = await numbers.begun(call.merchant_id, "trade", payment["out_trade_no"])
    return Trade(await numbers.settle(number, payment["id"]), payment)


def is_freeze(payment: Read) -> bool:
    """Whether the payment freezes money before it takes it."""
    return any(row["kind"] == "authorize" for row in payment["transactions"])


def amounts_of(trade: Trade) -> dict[str, Any]:
    """The amounts of a trade, in yuan."""
    amounts = trade.payment["amounts"]
    captured = trade.captured_minor
    if trade.number.facts.capture_no:
        order, off = captured, 0
    else:
        order, off = amounts["order_minor"], amounts["discount_merchant_minor"]
    return {
        "total_amount": yuan(order),
        "receipt_amount": yuan(captured),
        "buyer_pay_amount": yuan(captured),
        "point_amount": yuan(0),
        "invoice_amount": yuan(captured),
        "discount_amount": yuan(0),
        "mdiscount_amount": yuan(off),
        "fund_bill_list": [{"fund_channel": "ALIPAYACCOUNT", "amount": yuan(captured)}] if captured else None,
    }


def buyer_of(trade: Trade) -> dict[str, Any]:
    """Who paid, as far as the protocol tells."""
    number = trade.number.facts.buyer_number
    return {"buyer_user_id": number, "buyer_logon_id": f"{number[4:7]}***@sandbox.test" if number else None}


def paid_answer(trade: Trade) -> Node:
    """The answer to a request to pay. Raises the decline, or that it cannot be said."""
    named = {"trade_no": trade.number.id, "out_trade_no": trade.out_trade_no, **buyer_of(trade)}
    state = trade.payment["state"]
    if trade.captured_minor:
        if trade.status == "TRADE_CLOSED":
            raise closed_already()
        return answered(**named, **amounts_of(trade), gmt_payment=trade.paid_at)
    if state in ("processing", "in_review"):
        return answered("10003", **named, total_amount=yuan(trade.payment["amounts"]["order_minor"]))
    if state == "unknown":
        raise system_error()
    if state == "created":
        error = trade.payment["last_error"] or {}
        raise of_decline(error.get("code", ""))
    raise closed_already()


def is_waiting(payment: Read) -> bool:
    """Whether money may still come."""
    return payment["state"] in _WAITING
