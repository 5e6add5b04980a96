"""Splitting what a trade brought: receivers, splits, and what became of each share."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from pydantic import Field

from platform_core.capabilities.payments.splits.schemas import ReceiverCreate, SplitCreate
from platform_core.kernel.http.idempotency import IdempotentRequest
from sandbox.simulators.alipay_gateway.calls import Call, Method, Node, Read, native_request
from sandbox.simulators.alipay_gateway.codes import unknown_error
from sandbox.simulators.alipay_gateway.envelope import answered
from sandbox.simulators.alipay_gateway.fields import Asked, Line, OutNo, TradeNo, local, wrong_field, yuan
from sandbox.simulators.alipay_gateway.fields import Yuan as Amount
from sandbox.simulators.alipay_gateway.methods.trades import Trade, find_trade
from sandbox.simulators.alipay_gateway.protocol import GatewayError

READ_AT_ONCE: Final = 100
_PERCENT: Final = re.compile(r"(?:100(?:\.0{1,2})?|[0-9]{1,2}(?:\.[0-9]{1,2})?)", re.ASCII)
_TYPES: Final = {"userId": "channel_user", "loginName": "channel_login", "openId": "channel_open_id"}
_STATES: Final = {
    "settled": "SUCCESS",
    "returned": "SUCCESS",
    "failed": "FAIL",
    "pending": "PROCESSING",
    "unknown": "PROCESSING",
    "frozen": "PROCESSING",
}
_MODES: Final = {"sync": "all_or_nothing", "async": "partial"}


class Receiver(Asked):
    """One party of a relation."""

    type: Literal["userId", "loginName", "openId"]
    account: Line
    name: Line | None = None
    memo: Line | None = None


class BindAsked(Asked):
    """alipay.trade.royalty.relation.bind."""

    receiver_list: list[Receiver] = Field(min_length=1, max_length=20)
    out_request_no: OutNo


class Share(Asked):
    """One receiver's share: an amount, or a percentage of what was taken."""

    trans_in: Line
    trans_in_type: Line | None = None
    royalty_type: Line | None = None
    amount: Amount | None = None
    amount_percentage: Line | None = None
    desc: Line | None = None


class ExtendParams(Asked):
    """What order.settle reads of extend_params."""

    royalty_finish: Literal["true", "false"] | None = None
    royalty_freeze: Literal["true", "false"] | None = None


class SettleAsked(Asked):
    """alipay.trade.order.settle."""

    out_request_no: OutNo
    trade_no: TradeNo
    royalty_parameters: list[Share] = Field(min_length=1, max_length=50)
    royalty_mode: Literal["sync", "async"] = "sync"
    extend_params: ExtendParams | None = None
    operator_id: Line | None = None


class SettleQueried(Asked):
    """alipay.trade.order.settle.query."""

    settle_no: TradeNo | None = None
    trade_no: TradeNo | None = None
    out_request_no: OutNo | None = None


async def bind(call: Call, asked: BindAsked) -> Node:
    """Bind receivers, all or none; under the same number the same answer."""
    requests = [
        native_request(
            ReceiverCreate,
            {
                "reference": receiver.account,
                "name": receiver.name or receiver.account,
                "type": _TYPES[receiver.type],
                "account": receiver.account,
            },
        )
        for receiver in asked.receiver_list
    ]
    await call.services.payments.receivers.bind_all(
        call.merchant_id,
        requests,
        out_request_no=asked.out_request_no,
        fingerprint=call.key(asked.out_request_no).fingerprint,
    )
    return answered(result_code="SUCCESS")


async def settle(call: Call, asked: SettleAsked) -> Node:
    """Split a paid trade."""
    trade = await find_trade(call, trade_no=asked.trade_no, out_trade_no=None)
    extend = asked.extend_params or ExtendParams()
    wanted = native_request(
        SplitCreate,
        {
            "out_request_no": asked.out_request_no,
            "mode": _MODES[asked.royalty_mode],
            "is_frozen": extend.royalty_freeze == "true",
            "shares": await native_shares(call, asked.royalty_parameters),
        },
    )
    splits = call.services.payments.splits

    async def act(key: IdempotentRequest) -> object:
        return await splits.create(call.principal, trade.payment["id"], wanted, key)

    await call.once(f"{asked.trade_no}:{asked.out_request_no}", act)
    split = await _split_named(call, trade, asked.out_request_no)
    if split is None or split["state"] in ("pending", "unknown"):
        raise unknown_error()
    if split["state"] == "failed":
        raise _failed(split)
    number = await call.services.numbers.of_transaction(call.merchant_id, split["id"])
    return answered(trade_no=trade.number.id, settle_no=number)


async def query_settle(call: Call, asked: SettleQueried) -> Node:
    """What became of each share of a split."""
    if asked.settle_no is not None:
        number = await call.services.numbers.behind(call.merchant_id, "operation", asked.settle_no)
        if number is None or number.native_id is None:
            raise _no_split()
        split, _ = await call.services.payments.splits.read(call.principal, number.native_id)
    elif asked.trade_no is not None and asked.out_request_no is not None:
        trade = await find_trade(call, trade_no=asked.trade_no, out_trade_no=None)
        found = await _split_named(call, trade, asked.out_request_no)
        if found is None:
            raise _no_split()
        split = found
    else:
        raise wrong_field("settle_no、trade_no、out_request_no", what="缺少参数")
    accounts = await _accounts(call, split)
    seller = await call.services.numbers.of_seller(call.merchant_id)
    return answered(
        out_request_no=split["out_request_no"],
        operation_dt=local(split["created_at"]),
        royalty_detail_list=[
            {
                "operation_type": "transfer",
                "execute_dt": local(split["updated_at"]),
                "trans_out": seller,
                "trans_out_type": "userId",
                "trans_in": accounts[share["receiver_id"]],
                "amount": yuan(share["amount_minor"]),
                "state": _STATES[share["state"]],
                "error_code": of_share_error(share),
                "error_desc": (share["error"] or {}).get("message"),
            }
            for share in split["shares"]
        ],
    )


async def native_shares(call: Call, shares: Sequence[Share]) -> list[dict[str, Any]]:
    """Shares in the native API's words. Raises ACQ.ROYALTY_RECEIVER_INVALID for one who is not bound."""
    references = [share.trans_in for share in shares]
    bound = await call.services.payments.receivers.bound_as(call.merchant_id, references)
    if any(reference not in bound for reference in references):
        raise GatewayError("40004", "ACQ.ROYALTY_RECEIVER_INVALID", "分账收入方未绑定")
    return [
        {"receiver_id": bound[share.trans_in].id, "note": (share.desc or "")[:256], **_how_much(share)}
        for share in shares
    ]


def _how_much(share: Share) -> dict[str, int]:
    """An amount in fen, or basis points; an amount counts where both are given, as in production."""
    if share.amount is not None:
        return {"amount_minor": share.amount}
    text = share.amount_percentage or ""
    if _PERCENT.fullmatch(text) is None:
        raise wrong_field("royalty_parameters.amount、amount_percentage")
    whole, _, fraction = text.partition(".")
    return {"percent_bp": int(whole) * 100 + int(fraction.ljust(2, "0") or "0")}


async def splits_of(call: Call, payment_id: str) -> list[Read]:
    """All splits of a payment, the newest first."""
    found: list[Read] = []
    cursor: str | None = None
    while True:
        page = await call.services.payments.splits.page(call.principal, payment_id, limit=READ_AT_ONCE, cursor=cursor)
        found += page["data"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


async def _split_named(call: Call, trade: Trade, number: str) -> Read | None:
    rows = await splits_of(call, trade.payment["id"])
    return next((row for row in rows if row["out_request_no"] == number), None)


async def _accounts(call: Call, split: Read) -> dict[str, str]:
    """The accounts of a split's receivers by their ids."""
    read = call.services.payments.receivers.read
    ids = [share["receiver_id"] for share in split["shares"]]
    return {receiver_id: (await read(call.principal, receiver_id)).account for receiver_id in ids}


def of_share_error(share: Mapping[str, Any]) -> str | None:
    """Why a share was not given, in the protocol's words."""
    error = share["error"]
    if error is None:
        return None
    known = {"payments.receiver_not_bound": "ROYALTY_RECEIVER_INVALID"}
    return known.get(error["code"], "TXN_RESULT_ACCOUNT_BALANCE_NOT_ENOUGH")


def _failed(split: Read) -> GatewayError:
    error = (split["last_error"] or {}).get("code", "")
    return GatewayError("40004", "ACQ.ALLOC_AMOUNT_VALIDATE_ERROR", f"分账失败：{error[:64]}")


def _no_split() -> GatewayError:
    return GatewayError("40004", "ACQ.TRADE_SETTLE_NOT_EXIST", "分账请求不存在")


METHODS = (
    Method(
        name="alipay.trade.royalty.relation.bind",
        scope="splits:write",
        native="POST /v1/split-receivers",
        asks=BindAsked,
        translate=bind,
    ),
    Method(
        name="alipay.trade.order.settle",
        scope="splits:write",
        native="POST /v1/payments/{id}/splits",
        asks=SettleAsked,
        translate=settle,
    ),
    Method(
        name="alipay.trade.order.settle.query",
        scope="splits:write",
        native="GET /v1/splits/{id}",
        asks=SettleQueried,
        translate=query_settle,
    ),
)
