"""Settlements as they are read."""

from __future__ import annotations

import re
from typing import Any

from platform_core.capabilities.payments.errors import NOT_FOUND
from platform_core.capabilities.payments.service import quoted
from platform_core.capabilities.payments.settlement.answers import settlement_answer
from platform_core.capabilities.payments.settlement.models import Settlement
from platform_core.capabilities.payments.settlement.repository import SettlementRepository
from platform_core.identity.principal import Principal
from platform_core.kernel.pagination import Cursors, Position

SETTLEMENT_ID = re.compile(r"set_[0-9a-z]{26}")


class SettlementLists:
    """Settlements by id and by page."""

    def __init__(self, repository: SettlementRepository, cursors: Cursors) -> None:
        self._repository = repository
        self._cursors = cursors

    async def page(self, principal: Principal, *, limit: int, cursor: str | None) -> dict[str, Any]:
        """Settlements, newest first."""
        merchant_id = str(principal.merchant_id)
        bound_to = {"list": "settlements", "merchant": merchant_id}
        after = None if cursor is None else self._cursors.read(cursor, bound_to=bound_to)
        rows = await self._repository.page(
            merchant_id, after=None if after is None else (after.created_at, after.id), limit=limit
        )
        page = self._cursors.page(
            rows,
            limit=limit,
            bound_to=bound_to,
            position_of=lambda row: Position(row.settled_at, row.id),
            show=lambda row: settlement_answer(row.model_dump()),
        )
        return {"data": page.data, "next_cursor": page.next_cursor}

    async def one(self, principal: Principal, settlement_id: str) -> Settlement:
        """One settlement. Raises 404 `payments.not_found`."""
        found = None
        if SETTLEMENT_ID.fullmatch(settlement_id):
            found = await self._repository.settlement(str(principal.merchant_id), settlement_id)
        if found is None:
            raise NOT_FOUND.error({"kind": "settlement", "id": quoted(settlement_id)})
        return found
