"""A period of a merchant's ledger as rows, a page of transfers at a time."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from platform_core.capabilities.payments.bills.folding import Fold, Key
from platform_core.capabilities.payments.bills.repository import BillSnapshot
from platform_core.capabilities.payments.bills.rows import BillRow, Names

PAGE_TRANSFERS: Final = 2_000


class LedgerReader:
    """Reads [since, until) from behind `after`, in the order of booking. Memory does not grow with the period."""

    def __init__(
        self, snapshot: BillSnapshot, merchant_id: str, *, since: datetime, until: datetime, after: Key | None = None
    ) -> None:
        self._snapshot = snapshot
        self._merchant_id = merchant_id
        self._since, self._until, self._after = since, until, after
        self._fold = Fold()
        self._names: dict[str, Names] = {}
        self.transfers = 0
        self.is_over = False

    async def rows(self) -> list[BillRow]:
        """The rows of the next page; with the last of them `is_over` is set. Raises UnknownMovement."""
        page = await self._snapshot.page(
            self._merchant_id, since=self._since, until=self._until, after=self._after, limit=PAGE_TRANSFERS
        )
        found = await self._snapshot.names(self._merchant_id, list({moved.reference for moved in page}))
        names = {**self._names, **found}  # of the page before too: an act may go on
        rows = [row for moved in page for row in self._fold.feed(moved, names)]
        self.transfers += len(page)
        self._names = found
        if len(page) < PAGE_TRANSFERS:
            self.is_over = True
            return rows + self._fold.end(names)
        self._after = page[-1].key
        return rows

    @property
    def rests_at(self) -> Key | None:
        """From behind which transfer another reader gives exactly the rows still to come; None: from none just now."""
        return self._fold.resumes_after if self._fold.can_rest else None
