"""What tests of splits do to a merchant: bind, split, look."""

from __future__ import annotations

import itertools
from typing import Any

from platform_core.kernel.commit import Plan
from platform_core.ledger.accounts import Account, Guard, Transfer
from tests.capabilities.payments.shop import Shop
from tests.capabilities.payments.test_sales import scan
from tests.support.world import Till

_numbers = itertools.count(1)


async def bind(till: Till, reference: str = "", **fields: Any) -> str:
    """A receiver of this merchant's; returns its id."""
    number = next(_numbers)
    body = {
        "reference": reference or f"franchise_{number}",
        "name": "Drum Tower Franchise",
        "type": "channel_merchant",
        "account": f"2088{number:012d}",
        **fields,
    }
    answer = await till.post("/split-receivers", body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def share(receiver_id: str, amount: int | None = None, *, bp: int | None = None) -> dict[str, Any]:
    """A share as it is asked for."""
    how = {"amount_minor": amount} if bp is None else {"percent_bp": bp}
    return {"receiver_id": receiver_id, **how}


async def split(till: Till, payment: dict[str, Any], number: str, *shares: dict[str, Any], **fields: Any) -> Any:
    """Ask for a split; the answer as it came."""
    body = {"out_request_no": number, "mode": "all_or_nothing", "shares": list(shares), **fields}
    return await till.post(f"/payments/{payment['id']}/splits", body)


async def plain(till: Till, **fields: Any) -> dict[str, Any]:
    """A captured payment at a provider that is told nothing of splits."""
    return await scan(till, channel="plain_acquirer", **fields)


async def drained(shop: Shop, till: Till, amount: int, role: str = "merchant_pending") -> None:
    """Somebody else takes money out of the first of the merchant's accounts in this role that has any."""
    records = await shop.platform.ledger.balances(till.merchant_id, role=role)
    taken = next(record for record in records if record.available).account()
    bank = Account(till.merchant_id, "CNY", till.merchant_id, "bank", "test", Guard.FREE)
    out = Transfer(f"out:{till.merchant_id}:{next(_numbers)}", taken, bank, amount, "payout", "test")
    await shop.platform.committer.commit(Plan(till.merchant_id, [out]))


async def accounts(shop: Shop, till: Till, *roles: str) -> dict[str, int]:
    """Posted balances by `role/bucket` of these roles, zeros left out."""
    found = {}
    for record in await shop.platform.ledger.balances(till.merchant_id):
        if record.posted and (not roles or record.role in roles):
            found[f"{record.role}/{record.bucket}"] = record.posted
    return found


async def receivers(shop: Shop, till: Till) -> dict[str, int]:
    """What each receiver has, pending and available together, by id."""
    sums: dict[str, int] = {}
    for record in await shop.platform.ledger.balances(till.merchant_id):
        if record.role.startswith("receiver_") and record.posted:
            id_ = record.bucket.partition("/")[0]
            sums[id_] = sums.get(id_, 0) + record.posted
    return sums
