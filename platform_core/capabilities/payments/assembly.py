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
from platform_core.capabilities.payments.disputes.lists import DisputeLists
from platform_core.capabilities.payments.disputes.repository import DisputeRepository
from platform_core.capabilities.payments.disputes.service import DISPUTE, DisputeService
from platform_core.capabilities.payments.draft import ASK, EXPIRE, SETTLE
from platform_core.capabilities.payments.expansion import PaymentExpansion
from platform_core.capabilities.payments.exports.repository import RUN as EXPORT
from platform_core.capabilities.payments.exports.repository import ExportRepository
from platform_core.capabilities.payments.exports.running import ExportRunner
from platform_core.capabilities.payments.exports.service import ExportService
from platform_core.capabilities.payments.finishing import Finishing
from platform_core.capabilities.payments.lists import PaymentLists
from platform_core.capabilities.payments.payouts.repository import PayoutRepository
from platform_core.capabilities.payments.payouts.schedule import PayoutSchedule
from platform_core.capabilities.payments.payouts.sending import SEND, Sending
from platform_core.capabilities.payments.payouts.service import PayoutService
from platform_core.capabilities.payments.payouts.terms import PAY_OUT, PayoutTermsService
from platform_core.capabilities.payments.payouts.top_ups import TopUps
from platform_core.capabilities.payments.questions import Questions
from platform_core.capabilities.payments.receipts import DRAW, Receipts
from platform_core.capabilities.payments.resolution import Resolution
from platform_core.capabilities.payments.review import Reviews
from platform_core.capabilities.payments.service import PaymentService
from platform_core.capabilities.payments.settlement.admin import SettlementAdmin
from platform_core.capabilities.payments.settlement.lists import SettlementLists
from platform_core.capabilities.payments.settlement.repository import SettlementRepository
from platform_core.capabilities.payments.settlement.service import RELEASE, SettlementService
from platform_core.capabilities.payments.splits import work as split_work
from platform_core.capabilities.payments.splits.receivers import Receivers
from platform_core.capabilities.payments.splits.repository import SplitRepository
from platform_core.capabilities.payments.splits.returns import Returns
from platform_core.capabilities.payments.splits.service import SplitService
from platform_core.capabilities.payments.splits.wishes import Wishes
from platform_core.capabilities.payments.windows import FINISH
from platform_core.identity.payout_destinations import PayoutDestinations
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
    settlements: SettlementLists
    settlement_admin: SettlementAdmin
    payouts: PayoutService
    payout_terms: PayoutTermsService
    payout_sending: Sending
    payout_schedule: PayoutSchedule
    top_ups: TopUps
    expansion: PaymentExpansion
    receipts: Receipts
    disputes: DisputeService
    dispute_lists: DisputeLists
    finishing: Finishing
    splits: SplitService
    receivers: Receivers
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
            RELEASE: self.settlement.release,
            SEND: self.payout_sending.ask,
            PAY_OUT: self.payout_schedule.run,
            DRAW: self.receipts.draw,
            DISPUTE: self.disputes.work,
            FINISH: self.finishing.finish,
            split_work.ORDER: self.splits.make_ordered,
            split_work.GIVE_BACK: self.splits.give_back,
            split_work.SETTLE_AGAIN: self.splits.settle_again,
            MAKE: self.bill_maker.make,
            EXPORT: self.export_runner.run,
        }


def assemble(
    tools: Tools,
    ledger: LedgerService,
    cursors: Cursors,
    *,
    destinations: PayoutDestinations,
    splits: SplitRepository,
    parties: Mapping[str, Branch] | None = None,
) -> Payments:
    """Payments of one process. `parties`: what identity shows inside of payments."""
    desk = Desk(tools)
    questions = Questions(desk)
    settlements = SettlementRepository(tools.repository.database)
    disputes = DisputeService(desk, ledger, DisputeRepository(tools.repository.database))
    payout_rows = PayoutRepository(tools.repository.database)
    sending = Sending(desk, payout_rows, destinations)
    payout_terms = PayoutTermsService(desk, payout_rows, settlements)
    payouts = PayoutService(
        desk, ledger, payout_rows, terms=payout_terms, sending=sending, destinations=destinations, cursors=cursors
    )
    stored_bills = BillRepository(tools.repository.database)
    bill_maker = BillMaker(desk, stored_bills)
    stored_exports = ExportRepository(tools.repository.database)
    bills = BillService(desk, stored_bills, bill_maker, cursors)
    return Payments(
        service=PaymentService(desk, questions, Wishes(splits)),
        acts=PaymentActs(desk, questions, Returns(desk, splits, ledger)),
        reviews=Reviews(desk),
        lists=PaymentLists(tools.repository, cursors),
        resolution=Resolution(desk, questions, disputes),
        settlement=SettlementService(desk, ledger, settlements),
        settlements=SettlementLists(settlements, cursors),
        settlement_admin=SettlementAdmin(settlements, tools.repository, tools.committer, tools.clock, tools.ids),
        payouts=payouts,
        payout_terms=payout_terms,
        payout_sending=sending,
        payout_schedule=PayoutSchedule(desk, ledger, terms=payout_terms, payouts=payouts, sending=sending),
        top_ups=TopUps(desk, ledger, payout_rows),
        expansion=PaymentExpansion(tools.repository, parties or {}),
        receipts=Receipts(desk, ledger),
        disputes=disputes,
        dispute_lists=DisputeLists(tools.repository, cursors),
        finishing=Finishing(desk),
        splits=SplitService(desk, questions, splits, cursors),
        receivers=Receivers(desk, splits, cursors),
        bill_maker=bill_maker,
        bills=bills,
        bill_verifier=BillVerifier(stored_bills, bills),
        export_runner=ExportRunner(desk, stored_exports),
        exports=ExportService(desk, stored_exports, cursors),
    )
