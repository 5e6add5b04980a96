"""What a provider's word on a transaction means for the splits of its payment. Pure, as `payments.outcomes` is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from platform_core.capabilities.payments.splits.amounts import Judged, Wanted, bounds_of, judge
from platform_core.capabilities.payments.splits.errors import SPLIT_NEEDS_CHANNEL
from platform_core.capabilities.payments.splits.work import ORDER, ORDER_NUMBER
from platform_core.contracts.payments import ProviderResult
from platform_core.identity.limits import posted, voided
from platform_core.kernel.commit import Due

if TYPE_CHECKING:
    from platform_core.capabilities.payments.outcomes import Case

ORDER_MODE = "partial"


def settle_succeeded(case: Case, result: ProviderResult) -> None:
    """The provider settled the shares: what was held for them moves."""
    transaction = case.transaction
    split = case.work.posted(transaction.split_parts)
    if transaction.charge is not None:
        case.draft.add(*posted(transaction.charge, ids=case.draft.ids))
    for share in case.work.shares_of(split["id"]):
        day: date | None = share["day"]
        case.work.settle_again(day, case.time_zone)


def settle_failed(case: Case, result: ProviderResult) -> None:
    """The provider will not settle them: what was held is free again."""
    transaction = case.transaction
    case.work.refused(transaction.split_parts, _error(result))
    if transaction.charge is not None:
        case.draft.add(*voided(transaction.charge, ids=case.draft.ids))


def settle_unknown(case: Case, result: ProviderResult) -> None:
    """Nobody can say; the janitor asks."""
    case.work.doubted(case.transaction.split_parts, _error(result))
    case.work.finish()


def follow(case: Case, *, is_success: bool) -> None:
    """After a final word on any transaction: what a refund or cancel took back stays or is given again, and an order
    that is captured now is split as it wished.
    """
    transaction = case.transaction
    if transaction.kind in ("refund", "cancel") and transaction.split_parts:
        case.work.unsecure(transaction.split_parts)
        if not is_success:
            case.work.restore(transaction.split_parts, time_zone=case.time_zone)
    if has_open_wish(case.draft.row, case.work.splits.values()) and case.draft["state"] == "captured":
        _split_order(case)


def has_open_wish(payment: Mapping[str, Any], splits: Any) -> bool:
    """Whether an order's own splits are still to be made. `splits`: rows of its splits."""
    if payment["split_wish"] is None or not payment["captured_minor"]:
        return False
    return all(split["out_request_no"] != ORDER_NUMBER for split in splits)


def wished(payment: Mapping[str, Any]) -> list[Wanted]:
    """The shares that an order asked for."""
    return [Wanted(**share) for share in payment["split_wish"]["shares"]]


def _split_order(case: Case) -> None:
    """In the plan of the capture where that plan's own money carries the shares, so that no guard can refuse it; else
    by a due row.
    """
    draft, transaction = case.draft, case.transaction
    bounds = bounds_of(draft.row, [], cap_bp=draft["split_wish"]["cap_bp"])
    judged = judge(wished(draft.row), bounds, is_bound=case.bound.__contains__)
    if case.is_till:
        refusal = SPLIT_NEEDS_CHANNEL.error()
        judged = [Judged(each.wanted, 0, refusal) for each in judged]
    total = sum(each.amount_minor for each in judged if each.error is None)
    fresh = 0
    if transaction.kind in ("sale", "capture"):
        fresh = draft["captured_minor"] - draft.before.captured_minor - (draft["fee_minor"] - draft.before.fee_minor)
    if total and (case.tells_splits or total > fresh):
        draft.add(Due(ORDER, draft["id"], draft.now))
        return
    split = case.work.begin(judged, out_request_no=ORDER_NUMBER, fingerprint=b"", mode=ORDER_MODE)
    if total:
        case.work.settle(split, case.receipt, day=case.booking_day)
    else:
        case.work.announce(split, "split.failed")


def _error(result: ProviderResult) -> dict[str, Any] | None:
    if result.error is None:
        return None
    return {"class": str(result.error.error_class), "code": result.error.code, "message": result.error.message}
