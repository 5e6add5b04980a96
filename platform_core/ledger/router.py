"""Routes of the ledger: what a merchant has, and how it came about. Scope `ledger:read`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Protocol

from fastapi import APIRouter, Query
from pydantic import AwareDatetime

from platform_core.kernel.pagination import (
    CURSOR_LENGTH_MAX,
    LIMIT_DEFAULT,
    Cursors,
    Page,
    PageLimit,
    Position,
)
from platform_core.ledger.records import AccountRecord, StatementPosition, TransferFilter, TransferRecord
from platform_core.ledger.schemas import BalanceRead, TransferRead, show_balance, show_transfer
from platform_core.ledger.service import LedgerService

SCOPE: Final = "ledger:read"
_NO_TIME: Final = datetime(1970, 1, 1, tzinfo=UTC)  # balances are listed by role and age, not by time

Cursor = Annotated[str | None, Query(max_length=CURSOR_LENGTH_MAX)]
Role = Annotated[str | None, Query(max_length=64, pattern=r"^[a-z][a-z0-9_]*$", description="Accounts in this role.")]
Unit = Annotated[str | None, Query(max_length=64, pattern=r"^[A-Za-z0-9_:]+$", description="Accounts of this unit.")]
Bucket = Annotated[
    str | None, Query(max_length=128, pattern=r"^[!-~]*$", description="Accounts in this bucket, such as a day.")
]
Code = Annotated[
    str | None, Query(max_length=64, pattern=r"^[a-z][a-z0-9_]*$", description="Transfers of this kind of movement.")
]
PaymentId = Annotated[
    str | None, Query(max_length=64, pattern=r"^[!-~]+$", description="Transfers of all that happened to this payment.")
]
Reference = Annotated[str | None, Query(max_length=128, pattern=r"^[!-~]+$", description="Transfers of this object.")]
Since = Annotated[AwareDatetime | None, Query(alias="created_from", description="Booked at this moment or later.")]
Until = Annotated[AwareDatetime | None, Query(alias="created_to", description="Booked before this moment.")]


class Caller(Protocol):
    """What the routes ask of whoever was authenticated."""

    @property
    def merchant_id(self) -> str | None:
        """The merchant that the caller acts for; set, since the scope is about a merchant."""
        ...


ReferencesOf = Callable[[str, str], Awaitable[Sequence[str]]]


async def no_references(merchant_id: str, payment_id: str) -> Sequence[str]:
    """Of a ledger that no payments stand on."""
    return ()


def ledger_router(
    service: LedgerService,
    cursors: Cursors,
    *,
    may_read: Any,  # FastAPI's marker
    references_of: ReferencesOf = no_references,
) -> APIRouter:
    """The routes over one service. `may_read`: the dependency `requires(SCOPE)` of identity, which stands beside.

    `references_of(merchant_id, payment_id)`: what the transfers of a payment name as their reference.
    """
    router = APIRouter(prefix="/v1", tags=["ledger"])

    @router.get("/balances", operation_id="balances.list")
    async def list_balances(
        who: Caller = may_read,
        *,
        role: Role = None,
        unit: Unit = None,
        bucket: Bucket = None,
        limit: PageLimit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> Page[BalanceRead]:
        """Your accounts with what is posted, held and available, by role."""
        merchant_id = _merchant(who)
        bound_to = {"list": "balances", "merchant": merchant_id, "role": role, "unit": unit, "bucket": bucket}
        after = ("", 0) if cursor is None else _account_position(cursors.read(cursor, bound_to=bound_to))
        rows = await service.balances(merchant_id, role=role, unit=unit, bucket=bucket, after=after, limit=limit + 1)
        return cursors.page(rows, limit=limit, bound_to=bound_to, position_of=_position_of_account, show=show_balance)

    @router.get("/transfers", operation_id="transfers.list")
    async def list_transfers(
        who: Caller = may_read,
        *,
        role: Role = None,
        bucket: Bucket = None,
        code: Code = None,
        reference: Reference = None,
        payment_id: PaymentId = None,
        since: Since = None,
        until: Until = None,
        limit: PageLimit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> Page[TransferRead]:
        """What moved, was held or released on your accounts, newest first."""
        merchant_id = _merchant(who)
        of_payment = None if payment_id is None else await references_of(merchant_id, payment_id)
        references = _both(reference, of_payment)
        wanted = TransferFilter(role=role, bucket=bucket, code=code, references=references, since=since, until=until)
        bound_to = {
            "list": "transfers",
            "merchant": merchant_id,
            "role": role,
            "bucket": bucket,
            "code": code,
            "reference": reference,
            "payment": payment_id,
            "from": None if since is None else since.astimezone(UTC).isoformat(),
            "to": None if until is None else until.astimezone(UTC).isoformat(),
        }
        before = None if cursor is None else _transfer_position(cursors.read(cursor, bound_to=bound_to))
        rows = await service.transfers(merchant_id, wanted=wanted, before=before, limit=limit + 1)
        return cursors.page(rows, limit=limit, bound_to=bound_to, position_of=_position_of_transfer, show=show_transfer)

    return router


def _both(reference: str | None, of_payment: Sequence[str] | None) -> tuple[str, ...] | None:
    """What a transfer may name: the one reference, and one of the payment's; None: anything."""
    if reference is None:
        return None if of_payment is None else tuple(sorted(of_payment))
    return (reference,) if of_payment is None or reference in of_payment else ()


def _merchant(who: Caller) -> str:
    assert who.merchant_id is not None, f"{SCOPE} is granted by a merchant"
    return who.merchant_id


def _position_of_account(account: AccountRecord) -> Position:
    return Position(_NO_TIME, f"{account.role}:{account.id}")


def _account_position(position: Position) -> tuple[str, int]:
    role, _, number = position.id.rpartition(":")
    return role, int(number)


def _position_of_transfer(transfer: TransferRecord) -> Position:
    return Position(transfer.created_at, str(transfer.position))


def _transfer_position(position: Position) -> StatementPosition:
    return StatementPosition(position.created_at, int(position.id))
