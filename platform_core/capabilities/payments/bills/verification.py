"""`arsenal bill verify`: a stored bill against the ledger it came from, and both against what the API answers.

Everything is read in one snapshot, so a platform in use can be verified. Writes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from itertools import islice
from typing import Any, Final
from zoneinfo import ZoneInfo

from platform_core.capabilities.payments.answers import payment_answer, transaction_answer
from platform_core.capabilities.payments.bills.entries import UnknownMovement
from platform_core.capabilities.payments.bills.figures import figures_of, group_balances
from platform_core.capabilities.payments.bills.folding import Fold, Moved
from platform_core.capabilities.payments.bills.models import Bill
from platform_core.capabilities.payments.bills.reading import LedgerReader
from platform_core.capabilities.payments.bills.repository import BillRepository, BillSnapshot
from platform_core.capabilities.payments.bills.rows import COLUMNS, BillRow, Summary, cells
from platform_core.capabilities.payments.bills.service import BillService
from platform_core.capabilities.payments.models import Payment, Transaction

DIFFERENCES_MAX: Final = 20
PAYMENTS_A_TIME: Final = 500


@dataclass(frozen=True, slots=True)
class Difference:
    """Two of ledger, API and bill disagree. `between` names them, `subject` the row, payment or figure."""

    between: str
    subject: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.between}: {self.subject}: expected {self.expected}, found {self.found}"


@dataclass(frozen=True, slots=True)
class BillReport:
    """What a verification saw: the first differences, at most 20."""

    bill_id: str
    merchant_id: str
    day: date
    rows: int
    payments: int
    differences: tuple[Difference, ...]

    @property
    def is_clean(self) -> bool:
        """Whether all three agree."""
        return not self.differences

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {**asdict(self), "day": self.day.isoformat(), "is_clean": self.is_clean}


class BillVerifier:
    """Compares."""

    def __init__(self, repository: BillRepository, bills: BillService) -> None:
        self._repository = repository
        self._bills = bills

    async def verify(self, bill: Bill) -> BillReport:
        """A published bill against ledger and API."""
        found: list[Difference] = [*await self._bytes(bill)]
        payment_ids: set[str] = set()
        summary = Summary()
        async with self._repository.snapshot() as snapshot:
            try:
                async for difference in self._rows(snapshot, bill, payment_ids, summary):
                    found.append(difference)
                    if len(found) >= DIFFERENCES_MAX:
                        break
                else:
                    found += await _figures(snapshot, bill, summary)
            except UnknownMovement as unknown:
                found.append(Difference("ledger", "movement", "an entry", str(unknown)))
            found += await _api(snapshot, bill, sorted(payment_ids))
        kept = tuple(found[:DIFFERENCES_MAX])
        return BillReport(bill.id, bill.merchant_id, bill.day, bill.rows, len(payment_ids), kept)

    async def _bytes(self, bill: Bill) -> list[Difference]:
        """The files against the hashes that were announced."""
        found = []
        for name, content, announced in (
            ("detail.csv", self._bills.detail(bill), bill.detail_sha256),
            ("archive", self._bills.archive(bill), bill.archive_sha256),
        ):
            sha = hashlib.sha256()
            async for piece in content:
                sha.update(piece)
            seen = sha.hexdigest()
            if seen != announced:
                found.append(Difference("bill", f"SHA-256 of the {name}", str(announced), seen))
        return found

    async def _rows(
        self, snapshot: BillSnapshot, bill: Bill, payment_ids: set[str], summary: Summary
    ) -> AsyncIterator[Difference]:
        """The ledger's rows against the bill's, one by one; gathers what the rows are about."""
        stored = self._bills.lines(bill)
        reader = LedgerReader(snapshot, bill.merchant_id, since=bill.since, until=bill.until)
        zone, number = ZoneInfo(bill.time_zone), 0
        while not reader.is_over:
            for row in await reader.rows():
                number += 1
                summary.add(row)
                if row.names.payment_id:
                    payment_ids.add(row.names.payment_id)
                line = await anext(stored, None)
                if line is None:
                    yield Difference("ledger and bill", f"row {number}", row.transfer_id, "the bill's end")
                    return
                for difference in unlike(cells(row, number, zone), line):
                    yield difference
        line = await anext(stored, None)
        if line is not None:
            yield Difference("ledger and bill", f"row {number + 1}", "the bill's end", line["transfer_id"])


def unlike(expected: Sequence[str], line: dict[str, str]) -> Iterable[Difference]:
    """The cells of a row that are not as the ledger says."""
    for column, cell in zip(COLUMNS, expected, strict=True):
        if line[column] != cell:
            yield Difference("ledger and bill", f"row {line['row_no']}, {column}", cell, line[column])


async def _figures(snapshot: BillSnapshot, bill: Bill, summary: Summary) -> list[Difference]:
    accounts = await snapshot.balances(bill.merchant_id, since=bill.since, until=bill.until)
    balances = group_balances(accounts, summary)
    found = [
        Difference("ledger", f"closing of {each.account} {each.currency}", *map(str, _ends(each)))
        for each in balances
        if not each.is_tied
    ]
    expected = figures_of(summary, balances)
    if bill.figures != expected:
        found.append(Difference("ledger and bill", "figures", str(expected), str(bill.figures)))
    return found


def _ends(balance: Any) -> tuple[int, int]:  # Any: a GroupBalance
    return balance.opening_minor + balance.rows_minor, balance.closing_minor


async def _api(snapshot: BillSnapshot, bill: Bill, payment_ids: list[str]) -> list[Difference]:
    """What the API answers about the payments of a bill, against all that the ledger ever moved for them."""
    found = [
        Difference("ledger and API", id_, "a booking", "none")
        for id_ in await snapshot.unbooked(bill.merchant_id, since=bill.since, until=bill.until, limit=DIFFERENCES_MAX)
    ]
    ids = iter(payment_ids)
    while (batch := list(islice(ids, PAYMENTS_A_TIME))) and len(found) < DIFFERENCES_MAX:
        payments = await snapshot.payments(bill.merchant_id, batch)
        of_payment: dict[str, list[Transaction]] = {}
        for transaction in await snapshot.transactions(bill.merchant_id, batch):
            of_payment.setdefault(transaction.payment_id, []).append(transaction)
        moved: dict[str, list[Moved]] = {}
        references = [transaction.id for each in of_payment.values() for transaction in each]
        for one in await snapshot.about(bill.merchant_id, references):
            moved.setdefault(one.reference, []).append(one)
        for payment in payments:
            transactions = of_payment.get(payment.id, [])
            own = [one for transaction in transactions for one in moved.get(transaction.id, [])]
            found += compared(payment, transactions, own)
    return found


def compared(payment: Payment, transactions: Sequence[Transaction], moved: Iterable[Moved]) -> list[Difference]:
    """A payment and its transactions as the API answers them, against the rows that its transfers make."""
    fold, rows = Fold(), list[BillRow]()
    for one in sorted(moved, key=lambda each: each.key):
        rows += fold.feed(one, {})
    rows += fold.end({})
    kept = [row for row in rows if not row.note.startswith("paid and returned")]
    amounts = payment_answer(payment.model_dump())["amounts"]
    answers = [transaction_answer(transaction.model_dump()) for transaction in transactions]
    ledger = {
        "captured_minor": _sum(kept, lambda row: row.customer_paid_minor),
        "refunded_minor": _sum(kept, lambda row: row.refund_minor),
        "fee_minor": _sum(kept, lambda row: row.fee_minor),
    }
    if any(answer["kind"] in ("refund", "cancel") and answer["state"] in ("pending", "unknown") for answer in answers):
        del ledger["fee_minor"]  # the payment shows the fee that an open refund will give back as given
    found = [
        Difference("ledger and API", f"{payment.id} {name}", str(amount), str(amounts[name]))
        for name, amount in ledger.items()
        if amounts[name] != amount
    ]
    if payment.state != "canceled":  # a cancel returns money that no refund asked for
        asked = _asked(answers)
        if asked != ledger["refunded_minor"]:
            found.append(
                Difference("ledger and API", f"{payment.id} refunds", str(ledger["refunded_minor"]), str(asked))
            )
    return found


def _asked(answers: Iterable[dict[str, Any]]) -> int:
    """What refunds gave back by the transactions' own word, less what bounced."""
    signs = {"refund": 1, "refund_bounce": -1}
    return sum(
        signs.get(answer["kind"], 0) * answer["amount_minor"] for answer in answers if answer["state"] == "succeeded"
    )


def _sum(rows: Iterable[BillRow], amount_of: Callable[[BillRow], int]) -> int:
    return sum(amount_of(row) for row in rows)
