"""A bill's row, and its cells as the file holds them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from platform_core.capabilities.payments.bills.entries import Entry
from platform_core.kernel.money import exponent_of

COLUMNS: Final = (
    "row_no",
    "booked_at",
    "entry",
    "payment_id",
    "out_trade_no",
    "transaction_id",
    "out_request_no",
    "provider",
    "provider_reference",
    "form",
    "store_id",
    "terminal_id",
    "operator_id",
    "currency",
    "order_amount",
    "customer_paid",
    "funded_discount",
    "merchant_discount",
    "points_value",
    "refund_amount",
    "fee",
    "split_amount",
    "net_amount",
    "account",
    "transfer_id",
    "note",
)
"""payments.md section 8. The order is that of the file and stays."""
AMOUNTS: Final = COLUMNS[COLUMNS.index("order_amount") : COLUMNS.index("net_amount") + 1]
FORMULA: Final = ("=", "+", "-", "@")
LINE_END: Final = "\r\n"


@dataclass(frozen=True, slots=True)
class Names:
    """What documents say of a movement: texts as they are, amounts in minor units. Empty where nothing is known."""

    payment_id: str = ""
    out_trade_no: str = ""
    transaction_id: str = ""
    out_request_no: str = ""
    provider: str = ""
    provider_reference: str = ""
    form: str = ""
    store_id: str = ""
    terminal_id: str = ""
    operator_id: str = ""
    order_minor: int = 0
    merchant_discount_minor: int = 0


NAMELESS: Final = Names()


@dataclass(frozen=True, slots=True)
class BillRow:
    """One entry. Amounts in minor units of `currency`; `net_minor` is what it does to the group `account`.

    Of capture, refund, refund_bounce, fee, split and split_return: net = customer_paid + funded_discount -
    refund_amount - fee - split_amount. `booked_at` is aware.
    """

    booked_at: datetime
    entry: Entry
    currency: str
    net_minor: int
    account: str
    transfer_id: str
    names: Names = NAMELESS
    customer_paid_minor: int = 0
    funded_discount_minor: int = 0
    points_value_minor: int = 0
    refund_minor: int = 0
    fee_minor: int = 0
    split_minor: int = 0
    note: str = ""


@lru_cache(16)
def _digits(currency: str) -> int:
    return exponent_of(currency)


def decimal(amount_minor: int, currency: str) -> str:
    """An amount as the file has it: `120.00`, `-3`, `0.005`."""
    digits = _digits(currency)
    if digits == 0:
        return str(amount_minor)
    text = f"{abs(amount_minor):0{digits + 1}d}"
    return f"{'-' if amount_minor < 0 else ''}{text[:-digits]}.{text[-digits:]}"


def minor(text: str, currency: str) -> int:
    """The other way round. ValueError for what `decimal` does not write."""
    whole, _, fraction = text.partition(".")
    amount = int(whole + fraction)
    if decimal(amount, currency) != text:
        raise ValueError(f"no amount of {currency}: {text!r}")
    return amount


def guarded(text: str) -> str:
    """A text cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text


def cells(row: BillRow, number: int, zone: ZoneInfo) -> list[str]:
    """The row's cells in the order of COLUMNS."""
    names, currency = row.names, row.currency
    return [
        str(number),
        row.booked_at.astimezone(zone).isoformat(timespec="microseconds"),
        row.entry,
        names.payment_id,
        guarded(names.out_trade_no),
        names.transaction_id,
        guarded(names.out_request_no),
        guarded(names.provider),
        guarded(names.provider_reference),
        guarded(names.form),
        guarded(names.store_id),
        guarded(names.terminal_id),
        guarded(names.operator_id),
        currency,
        decimal(names.order_minor, currency),
        decimal(row.customer_paid_minor, currency),
        decimal(row.funded_discount_minor, currency),
        decimal(names.merchant_discount_minor, currency),
        decimal(row.points_value_minor, currency),
        decimal(row.refund_minor, currency),
        decimal(row.fee_minor, currency),
        decimal(row.split_minor, currency),
        decimal(row.net_minor, currency),
        row.account,
        guarded(row.transfer_id),
        guarded(row.note),
    ]


def encoded(lines: Iterable[Sequence[str]]) -> bytes:
    """Lines as CSV (RFC 4180): UTF-8, CRLF, quotes where a cell needs them."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator=LINE_END).writerows(lines)
    return buffer.getvalue().encode()


def decoded(content: bytes) -> Iterator[list[str]]:
    """The lines of such a file, or of a part of it that ends where a line ends."""
    return csv.reader(io.StringIO(content.decode(), newline=""), strict=True)


@dataclass(slots=True)
class Sums:
    """Rows added up: minor units of one currency."""

    count: int = 0
    customer_paid_minor: int = 0
    funded_discount_minor: int = 0
    points_value_minor: int = 0
    refund_minor: int = 0
    fee_minor: int = 0
    split_minor: int = 0
    net_minor: int = 0

    def add(self, row: BillRow) -> None:
        """One row more."""
        self.count += 1
        self.customer_paid_minor += row.customer_paid_minor
        self.funded_discount_minor += row.funded_discount_minor
        self.points_value_minor += row.points_value_minor
        self.refund_minor += row.refund_minor
        self.fee_minor += row.fee_minor
        self.split_minor += row.split_minor
        self.net_minor += row.net_minor

    def join(self, other: Sums) -> None:
        """All of another's rows more."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


SummaryKey = tuple[str, str, str, Entry, str]  # currency, store, form, entry, account


@dataclass(slots=True)
class Summary:
    """Sums by currency, store, form, entry and account. Memory grows with the stores, not with the rows."""

    sums: dict[SummaryKey, Sums] = field(default_factory=dict)

    def add(self, row: BillRow) -> None:
        """One row more."""
        key = (row.currency, row.names.store_id, row.names.form, row.entry, row.account)
        found = self.sums.get(key)
        if found is None:
            found = self.sums[key] = Sums()
        found.add(row)

    def totals(self) -> dict[str, Sums]:
        """The sums of each currency."""
        totals: dict[str, Sums] = {}
        for (currency, *_), sums in self.sums.items():
            totals.setdefault(currency, Sums()).join(sums)
        return dict(sorted(totals.items()))

    def net(self, currency: str, account: str) -> int:
        """What all rows did to one group of accounts."""
        return sum(sums.net_minor for key, sums in self.sums.items() if (key[0], key[4]) == (currency, account))

    def count(self) -> int:
        """All rows."""
        return sum(sums.count for sums in self.sums.values())
