"""`splits[]` of an order: what is kept of it until the order is captured."""

from __future__ import annotations

from typing import Any

from platform_core.capabilities.payments.schemas import PaymentCreate
from platform_core.capabilities.payments.splits.amounts import cap_of
from platform_core.capabilities.payments.splits.errors import (
    ORDER_SPLITS_METERED,
    RECEIVER_NOT_BOUND,
    SPLIT_NEEDS_CHANNEL,
)
from platform_core.capabilities.payments.splits.repository import SplitRepository
from platform_core.identity.principal import Principal
from platform_core.identity.requires import require_scopes

SPLIT = "split_transfer"  # the type of detail that meters splits


class Wishes:
    """Checks and keeps the wish; the capture's plan, or a worker after it, makes the splits."""

    def __init__(self, repository: SplitRepository) -> None:
        self._repository = repository

    async def of(self, principal: Principal, request: PaymentCreate) -> dict[str, Any] | None:
        """What the payment keeps. Raises 403 `identity.scope_insufficient`'s kin, order_splits_metered; 409
        receiver_not_bound, split_needs_channel.
        """
        if request.splits is None:
            return None
        require_scopes(principal, ("splits:write",))
        if principal.grant_kind != "owner" or any(granted.detail.type == SPLIT for granted in principal.details):
            raise ORDER_SPLITS_METERED.error()
        if request.form == "local":
            raise SPLIT_NEEDS_CHANNEL.error(param="/form")
        merchant_id = str(principal.merchant_id)
        found = await self._repository.receivers(merchant_id, [share.receiver_id for share in request.splits])
        for number, share in enumerate(request.splits):
            receiver = found.get(share.receiver_id)
            if receiver is None or receiver.bound_as is None:
                raise RECEIVER_NOT_BOUND.error(
                    {"receiver_id": share.receiver_id}, param=f"/splits/{number}/receiver_id"
                )
        cap_bp = cap_of(await self._repository.policy(merchant_id))
        return {"cap_bp": cap_bp, "shares": [share.model_dump() for share in request.splits]}
