"""What a bill proves: opening + rows = closing, for each group of the merchant's accounts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Final

from platform_core.capabilities.payments.bills.entries import UnknownMovement, group_of
from platform_core.capabilities.payments.bills.rows import (
    COLUMNS,
    Summary,
    Sums,
    decimal,
    guarded,
)

SUMMARY_COLUMNS: Final = (
    "day",
    "currency",
    "store_id",
    "form",
    "entry",
    "account",
    "rows",
    "customer_paid",
    "funded_discount",
    "points_value",
    "refund_amount",
    "fee",
    "split_amount",
    "net_amount",
)


@dataclass(frozen=True, slots=True)
class AccountBalance:
    """One account's posted balance at the two ends of a period."""

    currency: str
    role: str
    opening_minor: int
    closing_minor: int


@dataclass(frozen=True, slots=True)
class GroupBalance:
    """A group of accounts over a period: what it was, what the rows did, what it is."""

    currency: str
    account: str
    opening_minor: int
    rows_minor: int
    closing_minor: int

    @property
    def is_tied(self) -> bool:
        """Whether the rows explain the change."""
        return self.opening_minor + self.rows_minor == self.closing_minor

    def __str__(self) -> str:
        return (
            f"{self.account} {self.currency}: {self.opening_minor} and rows of {self.rows_minor} "
            f"are not {self.closing_minor}"
        )


def group_balances(accounts: Iterable[AccountBalance], summary: Summary) -> list[GroupBalance]:
    """Accounts and rows side by side, sorted. Raises UnknownMovement for a merchant's role that no group has."""
    ends: dict[tuple[str, str], list[int]] = {}
    for account in accounts:
        group = group_of(account.role)
        if group is None:
            raise UnknownMovement(f"{account.role} is no account of the merchant's")
        opening, closing = ends.setdefault((account.currency, group), [0, 0])
        ends[account.currency, group] = [opening + account.opening_minor, closing + account.closing_minor]
    for currency, _, _, _, group in summary.sums:
        if group:
            ends.setdefault((currency, group), [0, 0])
    return [
        GroupBalance(currency, group, opening, summary.net(currency, group), closing)
        for (currency, group), (opening, closing) in sorted(ends.items())
    ]


def figures_of(summary: Summary, balances: Sequence[GroupBalance]) -> list[dict[str, Any]]:
    """The figures as the manifest and the API show them: one object for each currency."""
    totals = summary.totals()
    currencies = sorted({*totals, *(balance.currency for balance in balances)})
    return [
        {
            "currency": currency,
            **asdict(totals.get(currency, Sums())),
            "balances": [
                {
                    "account": balance.account,
                    "opening_minor": balance.opening_minor,
                    "closing_minor": balance.closing_minor,
                }
                for balance in balances
                if balance.currency == currency
            ],
        }
        for currency in currencies
    ]


def trailer(figures: Sequence[Mapping[str, Any]]) -> Iterator[list[str]]:
    """The lines behind the rows, in the same columns: for each currency the sums, then each group's two balances.

    `row_no` says what a line is: total, opening or closing.
    """
    for each in figures:
        currency = each["currency"]
        yield _line("total", currency, _sums_of(each), note=f"rows={each['count']}")
        for balance in each["balances"]:
            for end in ("opening", "closing"):
                amount = decimal(balance[f"{end}_minor"], currency)
                yield _line(end, currency, {"net_amount": amount}, account=balance["account"])


def seal(sha256: str) -> list[str]:
    """The last line: the SHA-256 of everything before it."""
    return _line("sha256", "", {}, note=sha256)


def summary_lines(summary: Summary, day: date) -> Iterator[list[str]]:
    """The summary file: a line for each store, form, entry and account."""
    yield list(SUMMARY_COLUMNS)
    for (currency, store_id, form, entry, account), sums in sorted(summary.sums.items()):
        shown = {**_sums_of({**asdict(sums), "currency": currency}), "rows": str(sums.count)}
        named = {"day": day.isoformat(), "currency": currency, "store_id": guarded(store_id), "form": guarded(form)}
        yield [{**shown, **named, "entry": entry, "account": account}[column] for column in SUMMARY_COLUMNS]


def summary_kept(summary: Summary) -> list[list[Any]]:
    """As JSON can hold it, while a bill is being made."""
    return [[*key, *asdict(sums).values()] for key, sums in summary.sums.items()]


def summary_of(kept: Iterable[Sequence[Any]]) -> Summary:
    """The other way round."""
    return Summary({(row[0], row[1], row[2], row[3], row[4]): Sums(*row[5:]) for row in kept})


def _sums_of(each: Mapping[str, Any]) -> dict[str, str]:
    currency = each["currency"]
    return {
        "customer_paid": decimal(each["customer_paid_minor"], currency),
        "funded_discount": decimal(each["funded_discount_minor"], currency),
        "points_value": decimal(each["points_value_minor"], currency),
        "refund_amount": decimal(each["refund_minor"], currency),
        "fee": decimal(each["fee_minor"], currency),
        "split_amount": decimal(each["split_minor"], currency),
        "net_amount": decimal(each["net_minor"], currency),
    }


def _line(row_no: str, currency: str, amounts: Mapping[str, str], *, account: str = "", note: str = "") -> list[str]:
    cells = {"row_no": row_no, "currency": currency, "account": account, "note": note, **amounts}
    return [cells.get(column, "") for column in COLUMNS]
