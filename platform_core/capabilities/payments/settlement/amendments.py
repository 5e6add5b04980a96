"""`amend_settlement`: what capabilities withhold, each within what the one before it left."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from platform_core.capabilities.payments.metrics import AMENDERS_DROPPED
from platform_core.capabilities.payments.settlement.books import MerchantBooks
from platform_core.contracts.payments.settlement import (
    LINKED_MAX,
    WITHHOLDINGS_MAX,
    LedgerAccount,
    LinkedTransfer,
    SettlementAmender,
    SettlementToAmend,
    Withhold,
)
from platform_core.kernel.commit import Duplicate, Missing, Refusal, VersionConflict
from platform_core.kernel.deadline import within
from platform_core.kernel.ids import Ids
from platform_core.ledger.accounts import Account, AccountClosed, AccountMismatch, Guard, GuardRefused, Transfer

DEADLINE_S: Final = 5.0  # nobody waits at a till
CURRENCY: Final = re.compile(r"[A-Z]{3}")
OWN_ROLES: Final = re.compile(r"merchant_|receiver_|customer_|channel_|platform_fee$|bank$|unapplied$|suspense$")
OWN_TABLES: Final = re.compile(r"pay_|ledger_")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Amendment:
    """What one amender asked for, found to be within its bounds, and its part of the plan."""

    source: str
    withholdings: Sequence[Withhold]
    parts: Sequence[object]

    @property
    def amount_minor(self) -> int:
        """All of it."""
        return sum(withholding.amount_minor for withholding in self.withholdings)

    def record(self) -> list[dict[str, object]]:
        """As the settlement shows it."""
        return [
            {
                "source": self.source,
                "reference": one.reference,
                "role": one.account.role,
                "amount_minor": one.amount_minor,
            }
            for one in self.withholdings
        ]

    def is_to_blame(self, refusal: Refusal) -> bool:
        """Whether a refusal is about an account or a row that this amendment brought into the plan."""
        if isinstance(refusal, GuardRefused | AccountClosed | AccountMismatch):
            named = {str(account) for part in self.parts if isinstance(part, Transfer) for account in _sides(part)}
            return refusal.account in named
        if isinstance(refusal, Duplicate | VersionConflict | Missing):
            tables = {one.document.table.name for one in self.withholdings if one.document is not None}
            return refusal.table in tables
        return False


@dataclass(slots=True)
class Amendments:
    """The registered amenders in their order, and how those of one settlement went."""

    ids: Ids
    amenders: list[SettlementAmender] = field(default_factory=list)

    def register(self, amender: SettlementAmender) -> None:
        """Ask this capability, after those registered before it. ValueError for a name that is taken."""
        if any(one.name == amender.name for one in self.amenders):
            raise ValueError(f"{amender.name} amends settlements already")
        self.amenders.append(amender)

    async def ask(
        self, settlement: SettlementToAmend, books: MerchantBooks, *, dropped: dict[str, str]
    ) -> list[Amendment]:
        """Everybody not dropped, in order; who breaks a rule is added to `dropped`, with why."""
        found: list[Amendment] = []
        left = settlement.left_minor
        for amender in self.amenders:
            if amender.name in dropped:
                continue
            asked = replace(settlement, left_minor=left)
            answer = await self._answer(amender, asked)
            fault = answer if isinstance(answer, str) else _fault(answer, asked)
            if fault is not None:
                drop(dropped, amender.name, fault)
                continue
            assert not isinstance(answer, str), "a fault was handled"
            if answer:
                amendment = Amendment(amender.name, answer, self._parts(answer, books))
                found.append(amendment)
                left -= amendment.amount_minor
        return found

    async def _answer(self, amender: SettlementAmender, asked: SettlementToAmend) -> Sequence[Withhold] | str:
        try:
            return tuple(await within(amender.amend_settlement(asked), DEADLINE_S))
        except TimeoutError:
            return "late"
        except Exception as error:  # noqa: BLE001 - whatever a capability's bug is, the merchant's money goes on
            log.warning("settlement.amender_raised", source=amender.name, error=type(error).__name__)
            return "raised"

    def _parts(self, withholdings: Sequence[Withhold], books: MerchantBooks) -> list[object]:
        parts: list[object] = []
        for one in withholdings:
            parts.append(replace_reference(books, one.reference).withheld(_account(one.account), one.amount_minor))
            parts += [self._linked(linked, one.reference) for linked in one.transfers]
            if one.document is not None:
                parts.append(one.document)
        return parts

    def _linked(self, linked: LinkedTransfer, reference: str) -> Transfer:
        debit, credit = _account(linked.debit), _account(linked.credit)
        return Transfer(self.ids.mint("tra"), debit, credit, linked.amount, linked.code, reference)


def drop(dropped: dict[str, str], source: str, fault: str) -> None:
    """Leave an amender out of this settlement, for everybody to see."""
    dropped[source] = fault
    AMENDERS_DROPPED.add(1, {"source": source, "fault": fault})
    log.error("settlement.amender_dropped", source=source, fault=fault)


def replace_reference(books: MerchantBooks, reference: str) -> MerchantBooks:
    """The same accounts, for transfers about another object."""
    return replace(books, reference=reference)


def _fault(withholdings: Sequence[Withhold], asked: SettlementToAmend) -> str | None:
    """Why an answer cannot stand; None when it can."""
    if any(not isinstance(one, Withhold) or one.amount_minor <= 0 for one in withholdings):
        return "bad_answer"
    if len(withholdings) > WITHHOLDINGS_MAX or any(len(one.transfers) > LINKED_MAX for one in withholdings):
        return "too_many"
    if sum(one.amount_minor for one in withholdings) > asked.left_minor:
        return "exceeds_available"
    if any(not _may_receive(one.account, asked) for one in withholdings):
        return "foreign_account"
    linked = [linked for one in withholdings for linked in one.transfers]
    if any(not _is_of_capability(transfer, asked) for transfer in linked):
        return "foreign_unit"
    documents = [one.document for one in withholdings if one.document is not None]
    if any(OWN_TABLES.match(document.table.name) for document in documents):
        return "foreign_document"
    return None


def _may_receive(account: LedgerAccount, asked: SettlementToAmend) -> bool:
    is_tenants = account.merchant_id in (None, asked.merchant_id)
    return is_tenants and account.unit == asked.currency and OWN_ROLES.match(account.role) is None


def _is_of_capability(transfer: LinkedTransfer, asked: SettlementToAmend) -> bool:
    unit = transfer.debit.unit
    return (
        transfer.amount > 0
        and transfer.credit.unit == unit
        and CURRENCY.fullmatch(unit) is None
        and _account(transfer.debit).key != _account(transfer.credit).key
        and all(side.merchant_id in (None, asked.merchant_id) for side in (transfer.debit, transfer.credit))
    )


def _account(named: LedgerAccount) -> Account:
    return Account(named.merchant_id, named.unit, named.owner, named.role, named.bucket, Guard(named.guard))


def _sides(transfer: Transfer) -> tuple[Account, ...]:
    """The accounts that are the amender's own: the money's source is the merchant's."""
    if transfer.code == "withhold":
        return (transfer.credit,)
    return (transfer.debit, transfer.credit)
