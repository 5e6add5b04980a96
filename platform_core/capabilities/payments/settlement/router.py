"""Settlements over HTTP: parse, authorise, answer."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from platform_core.capabilities.payments import errors
from platform_core.capabilities.payments.answers import json_text
from platform_core.capabilities.payments.router import JSON, payments_of
from platform_core.capabilities.payments.settlement.answers import settlement_answer
from platform_core.capabilities.payments.settlement.schemas import SettlementList, SettlementRead
from platform_core.identity.principal import Principal
from platform_core.identity.requires import requires
from platform_core.kernel.http.openapi import documented
from platform_core.kernel.pagination import LIMIT_DEFAULT, PageLimit

router = APIRouter(prefix="/v1", tags=["ledger"])


@router.get(
    "/settlements",
    operation_id="settlements.list",
    summary="List settlements",
    **documented(answer=SettlementList),
)
async def list_settlements(
    request: Request,
    principal: Annotated[Principal, requires("ledger:read")],
    limit: PageLimit = LIMIT_DEFAULT,
    cursor: Annotated[str | None, Query(max_length=512)] = None,
) -> Response:
    """What moved from pending to available, newest first."""
    page = await payments_of(request).settlements.page(principal, limit=limit, cursor=cursor)
    return Response(json_text(page), media_type=JSON)


@router.get(
    "/settlements/{settlement_id}",
    operation_id="settlements.get",
    summary="Read a settlement",
    **documented(answer=SettlementRead, errors=(errors.NOT_FOUND,)),
)
async def read_settlement(
    request: Request, settlement_id: str, principal: Annotated[Principal, requires("ledger:read")]
) -> Response:
    """One settlement."""
    settlement = await payments_of(request).settlements.one(principal, settlement_id)
    return Response(json_text(settlement_answer(settlement.model_dump())), media_type=JSON)
