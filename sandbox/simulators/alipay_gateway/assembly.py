"""The gateway of one process, put together from the platform's own parts."""

from __future__ import annotations

from dataclasses import dataclass

from platform_core.capabilities.payments.assembly import Payments
from platform_core.identity.access import Access
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Committer
from platform_core.kernel.database.pools import Database
from platform_core.kernel.ids import Ids
from platform_core.ledger.service import LedgerService
from sandbox.simulators.alipay_gateway.bill_desk import BillDesk
from sandbox.simulators.alipay_gateway.calls import Services
from sandbox.simulators.alipay_gateway.cashier import Cashier, Wallet
from sandbox.simulators.alipay_gateway.faults import Faults
from sandbox.simulators.alipay_gateway.gateway import Gateway, GatewayParts
from sandbox.simulators.alipay_gateway.numbers import Numbers
from sandbox.simulators.alipay_gateway.requests import RequestBook
from sandbox.simulators.alipay_gateway.seams import Actors, OpenAuth, Signatures


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What the platform hands over. `clock`: the sandbox's; `wallet`: where test customers pay."""

    database: Database
    committer: Committer
    clock: Clock
    ids: Ids
    access: Access
    payments: Payments
    ledger: LedgerService
    wallet: Wallet
    bill_key: bytes
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AlipayGateway:
    """The gateway and what its other doors share with it."""

    gateway: Gateway
    services: Services
    numbers: Numbers
    book: RequestBook
    faults: Faults
    cashier: Cashier


def assemble(ground: Ground, *, signatures: Signatures, actors: Actors, open_auth: OpenAuth) -> AlipayGateway:
    """Put everything together; nothing is opened."""
    database, committer, clock = ground.database, ground.committer, ground.clock
    numbers = Numbers(database=database, committer=committer, clock=clock)
    bills = BillDesk(payments=ground.payments, numbers=numbers, clock=clock, key=ground.bill_key, origin=ground.origin)
    services = Services(
        payments=ground.payments,
        ledger=ground.ledger,
        numbers=numbers,
        bills=bills,
        clock=clock,
        open_auth=open_auth,
    )
    book = RequestBook(database, committer)
    faults = Faults(database=database, committer=committer, clock=clock, ids=ground.ids)
    parts = GatewayParts(
        services=services,
        signatures=signatures,
        actors=actors,
        limits=ground.access.limits,
        book=book,
        faults=faults,
        clock=clock,
        ids=ground.ids,
    )
    return AlipayGateway(
        gateway=Gateway(parts),
        services=services,
        numbers=numbers,
        book=book,
        faults=faults,
        cashier=Cashier(numbers=numbers, wallet=ground.wallet),
    )
