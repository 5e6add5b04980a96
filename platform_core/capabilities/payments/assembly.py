"""The services of payments, put together from what bootstrap hands in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from platform_core.capabilities.payments.acts import PaymentActs
from platform_core.capabilities.payments.bills.making import BillMaker
from platform_core.capabilities.payments.bills.repository import MAKE, BillRepository
from platform_core.capabilities.payments.bills.service import BillService
from platform_core.capabilities.payments.bills.verification import BillVerifier
from platform_core.capabilities.payments.desk import Desk, Tools
from platform_core.capabilities.payments.draft import ASK, EXPIRE, SETTLE
from platform_core.capabilities.payments.expansion import PaymentExpansion
from platform_core.capabilities.payments.exports.repository import RUN as EXPORT
from platform_core.capabilities.payments.exports.repository import ExportRepository
from platform_core.capabilities.payments.exports.running import ExportRunner
from platform_core.capabilities.payments.exports.service import ExportService
from platform_core.capabilities.payments.lists import PaymentLists
from platform_core.capabilities.payments.questions import Questions
from platform_core.capabilities.payments.receipts import DRAW, Receipts
from platform_core.capabilities.payments.resolution import Resolution
from platform_core.capabilities.payments.review import Reviews
from platform_core.capabilities.payments.service import PaymentService
from platform_core.capabilities.payments.settlement import SettlementService
from platform_core.kernel.commit import Plan
from platform_core.kernel.commit.due import DueWork
from platform_core.kernel.http.expand import Branch
from platform_core.kernel.pagination import Cursors
from platform_core.ledger.service import LedgerService


@dataclass(frozen=True, slots=True)
class Payments:
    """What routes and workers call."""

    service: PaymentService
    acts: PaymentActs
    reviews: Reviews
    lists: PaymentLists
    resolution: Resolution
    settlement: SettlementService
    expansion: PaymentExpansion
    receipts: Receipts
    bill_maker: BillMaker
    bills: BillService
    bill_verifier: BillVerifier
    export_runner: ExportRunner
    exports: ExportService

    def due_handlers(self) -> Mapping[str, Callable[[DueWork], Awaitable[Plan | None]]]:
        """Who does which kind of due work."""
        return {
            ASK: self.resolution.ask,
            EXPIRE: self.resolution.expire,
            SETTLE: self.settlement.settle,
            DRAW: self.receipts.draw,
            MAKE: self.bill_maker.make,
            EXPORT: self.export_runner.run,
        }


def assemble(
    tools: Tools, ledger: LedgerService, cursors: Cursors, *, parties: Mapping[str, Branch] | None = None
) -> Payments:
    """Payments of one process. `parties`: what identity shows inside of payments."""
    desk = Desk(tools)
    questions = Questions(desk)
    stored_bills = BillRepository(tools.repository.database)
    bill_maker = BillMaker(desk, stored_bills)
    stored_exports = ExportRepository(tools.repository.database)
    bills = BillService(desk, stored_bills, bill_maker, cursors)
    return Payments(
        service=PaymentService(desk, questions),
        acts=PaymentActs(desk, questions),
        reviews=Reviews(desk),
        lists=PaymentLists(tools.repository, cursors),
        resolution=Resolution(desk, questions),
        settlement=SettlementService(desk, ledger),
        expansion=PaymentExpansion(tools.repository, parties or {}),
        receipts=Receipts(desk, ledger),
        bill_maker=bill_maker,
        bills=bills,
        bill_verifier=BillVerifier(stored_bills, bills),
        export_runner=ExportRunner(desk, stored_exports),
        exports=ExportService(desk, stored_exports, cursors),
    )
