"""alipay.data.*: what moved on the merchant's account, by the ledger; and where its bills are downloaded."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Annotated, Final, Literal

from pydantic import Field

from platform_core.ledger.records import StatementPosition, TransferFilter, TransferRecord
from sandbox.simulators.alipay_gateway.calls import Call, Method, Node
from sandbox.simulators.alipay_gateway.envelope import answered
from sandbox.simulators.alipay_gateway.fields import (
    CURRENCY,
    Asked,
    Count,
    Line,
    local,
    moment_of,
    month_of,
    wrong_field,
    yuan,
)
from sandbox.simulators.alipay_gateway.protocol import GatewayError

MONEY: Final = ("merchant_pending", "merchant_available")
"""Roles that the protocol sees as the one account of a seller; what moves between them is no entry."""
READ_AT_ONCE: Final = 1_000
READ_MAX: Final = 50_000
WINDOW: Final = timedelta(days=31)
_WORDS: Final = {
    "capture": "交易收款",
    "fee": "服务费",
    "fee_return": "服务费退回",
    "refund": "交易退款",
    "refund_bounce": "退款退回",
    "split": "交易分账",
    "split_return": "分账退回",
    "payout": "提现",
    "top_up": "充值",
    "dispute": "交易争议",
}


class AccountLogAsked(Asked):
    """alipay.data.bill.accountlog.query."""

    start_time: Line
    end_time: Line
    page_no: Annotated[Count, Field(ge=1, le=10_000)] = 1
    page_size: Annotated[Count, Field(ge=1, le=2_000)] = 2_000


async def account_log(call: Call, asked: AccountLogAsked) -> Node:
    """Entries of the account, oldest first, by page. At most 31 days at once."""
    since = moment_of(asked.start_time, field="start_time")
    until = moment_of(asked.end_time, field="end_time")
    if not since < until <= since + WINDOW:
        raise wrong_field("end_time", is_trade=False)
    entries = [row for row in await _moved(call, since, until) if _direction(row) is not None]
    entries.reverse()
    first = (asked.page_no - 1) * asked.page_size
    return answered(
        page_no=str(asked.page_no),
        page_size=str(asked.page_size),
        total_size=str(len(entries)),
        detail_list=[
            {
                "account_log_id": row.id,
                "trans_dt": local(row.created_at),
                "direction": _direction(row),
                "trans_amount": yuan(row.amount),
                "type": _WORDS.get(row.code, row.code),
                "biz_orig_no": row.reference,
            }
            for row in entries[first : first + asked.page_size]
        ],
    )


async def _moved(call: Call, since: datetime, until: datetime) -> list[TransferRecord]:
    """The merchant's transfers in the window, newest first. Raises the refusal of a window that holds too many."""
    wanted = TransferFilter(since=since, until=until)
    found: list[TransferRecord] = []
    before: StatementPosition | None = None
    while len(found) < READ_MAX:
        page = await call.services.ledger.transfers(call.merchant_id, wanted=wanted, before=before, limit=READ_AT_ONCE)
        found += page
        if len(page) < READ_AT_ONCE:
            return found
        before = StatementPosition(page[-1].created_at, page[-1].position)
    raise wrong_field("start_time", what=f"超过 {READ_MAX} 条流水，请缩小时间范围", is_trade=False)


def _direction(row: TransferRecord) -> str | None:
    """收入, 支出, or None for what is no entry of the account."""
    if row.unit != CURRENCY or row.kind not in ("transfer", "post"):
        return None
    is_in = row.credit is not None and row.credit.role in MONEY
    is_out = row.debit is not None and row.debit.role in MONEY
    if is_in == is_out:
        return None
    return "收入" if is_in else "支出"


class BillAsked(Asked):
    """alipay.data.dataservice.bill.downloadurl.query: of a day (2026-11-22) or a month (2026-11)."""

    bill_type: Literal["trade", "signcustomer"]
    bill_date: Line


async def bill_address(call: Call, asked: BillAsked) -> Node:
    """An address that is good for 30 s of the clock. INVAILID_ARGUMENTS is spelt as in production."""
    try:
        if len(asked.bill_date) == len("2026-11"):
            first, last = month_of(asked.bill_date)
        else:
            first = last = date.fromisoformat(asked.bill_date)
    except ValueError:
        raise GatewayError("40004", "INVAILID_ARGUMENTS", "入参不合法：bill_date") from None
    address = await call.services.bills.address(call.merchant_id, asked.bill_type, first, last)
    if address is None:
        raise GatewayError("40004", "BILL_NOT_EXIST", "账单不存在")
    return answered(bill_download_url=address)


METHODS = (
    Method(
        name="alipay.data.dataservice.bill.downloadurl.query",
        scope="ledger:read",
        native="GET /v1/bills/{date}",
        asks=BillAsked,
        translate=bill_address,
    ),
    Method(
        name="alipay.data.bill.accountlog.query",
        scope="ledger:read",
        native="GET /v1/transfers",
        asks=AccountLogAsked,
        translate=account_log,
    ),
)
