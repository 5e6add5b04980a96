"""Payouts at the acquirer: money sent to a merchant's bank account, and money that the bank sends back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sandbox.simulators.acquirer.book import Book, Entry

RETURNED = "PAYOUT_RETURNED"


class Payouts:
    """Decides on one book what becomes of a payout that was made."""

    def __init__(self, book: Book, now: Callable[[], datetime]) -> None:
        """`now` gives aware moments."""
        self._book = book
        self._now = now

    def give_back(self, merchant_no: str, key: str) -> bool:
        """The merchant's bank sends a paid payout back; False where none is paid under the key."""
        entry: Entry | None = self._book.entry(merchant_no, key)
        if entry is None or (entry.kind, entry.status) != ("payout", "SUCCESS"):
            return False
        entry.status, entry.code, entry.queries_left = "FAILED", RETURNED, 0
        reference = f"{entry.reference}R"
        amount = entry.amount_minor
        self._book.move(entry, kind="payout_return", amount_minor=amount, now=self._now(), reference=reference)
        self._book.save(entry)
        return True
