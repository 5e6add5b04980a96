"""Payouts over HTTP: parse, authorise, answer. For apps, and for people at a console."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from platform_core.capabilities.payments import errors
from platform_core.capabilities.payments.answers import json_text
from platform_core.capabilities.payments.payouts.answers import payout_answer
from platform_core.capabilities.payments.payouts.errors import (
    NO_PAYOUT_ROUTE,
    OUT_PAYOUT_NO_TAKEN,
    PAYOUT_BELOW_MINIMUM,
    PAYOUT_DEBT_OPEN,
    PAYOUT_DESTINATION_MISSING,
    PAYOUT_NOT_WAITING,
    PAYOUT_UNFUNDED,
)
from platform_core.capabilities.payments.payouts.schemas import (
    PayoutCreate,
    PayoutDecide,
    PayoutList,
    PayoutRead,
    PayoutTermsList,
    PayoutTermsRead,
    PayoutTermsWrite,
)
from platform_core.capabilities.payments.router import COMMITTING, JSON, METERED, act_kept, payments_of
from platform_core.capabilities.payments.service import Reply
from platform_core.identity.errors_people import SECOND_PERSON_NEEDED
from platform_core.identity.permits import permits
from platform_core.identity.principal import Principal
from platform_core.kernel.http.idempotency import IdempotentRequest
from platform_core.kernel.http.openapi import documented
from platform_core.kernel.http.preconditions import shown
from platform_core.kernel.pagination import LIMIT_DEFAULT, PageLimit

router = APIRouter(prefix="/v1", tags=["payouts"])
Body = TypeVar("Body", bound=BaseModel)
Writer = Annotated[Principal, permits("payouts:write")]
Reader = Annotated[Principal, permits("ledger:read")]


async def _act(
    request: Request,
    principal: Principal,
    model: type[Body],
    act: Callable[[Body, IdempotentRequest], Awaitable[Reply]],
) -> Response:
    return await act_kept(request, principal, model, act, kept=payments_of(request).payouts)


@router.post(
    "/payouts",
    operation_id="payouts.create",
    summary="Pay out",
    **documented(
        answer=PayoutRead,
        body=PayoutCreate,
        status=201,
        also=(200, 202),
        is_idempotent=True,
        errors=(
            *COMMITTING,
            NO_PAYOUT_ROUTE,
            OUT_PAYOUT_NO_TAKEN,
            PAYOUT_BELOW_MINIMUM,
            PAYOUT_DEBT_OPEN,
            PAYOUT_DESTINATION_MISSING,
            PAYOUT_UNFUNDED,
            *METERED,
        ),
    ),
)
async def create_payout(request: Request, principal: Writer) -> Response:
    """Available money goes to your verified account; above the policy's amount a second person decides first."""
    service = payments_of(request).payouts
    return await _act(request, principal, PayoutCreate, lambda body, key: service.create(principal, body, key))


@router.get("/payouts", operation_id="payouts.list", summary="List payouts", **documented(answer=PayoutList))
async def list_payouts(
    request: Request,
    principal: Reader,
    *,
    state: Annotated[str | None, Query(pattern="^[a-z]{1,20}$")] = None,
    limit: PageLimit = LIMIT_DEFAULT,
    cursor: Annotated[str | None, Query(max_length=512)] = None,
) -> Response:
    """Newest first."""
    page = await payments_of(request).payouts.page(principal, state=state, limit=limit, cursor=cursor)
    return Response(json_text(page), media_type=JSON)


@router.get(
    "/payouts/{payout_id}",
    operation_id="payouts.get",
    summary="Read a payout",
    **documented(answer=PayoutRead, errors=(errors.NOT_FOUND,), has_etag=True),
)
async def read_payout(request: Request, payout_id: str, principal: Reader) -> Response:
    """One payout as it stands."""
    payout = await payments_of(request).payouts.one(principal, payout_id)
    return shown(request, json_text(payout_answer(payout.model_dump())), version=payout.version)


@router.post(
    "/payouts/{payout_id}/decide",
    operation_id="payouts.decide",
    summary="Approve or refuse a payout",
    **documented(
        answer=PayoutRead,
        body=PayoutDecide,
        also=(202,),
        is_idempotent=True,
        errors=(*COMMITTING, errors.NOT_FOUND, PAYOUT_DESTINATION_MISSING, PAYOUT_NOT_WAITING, SECOND_PERSON_NEEDED),
    ),
)
async def decide_payout(request: Request, payout_id: str, principal: Writer) -> Response:
    """A second person's word on a payout above the policy's amount."""
    service = payments_of(request).payouts
    return await _act(
        request, principal, PayoutDecide, lambda body, key: service.decide(principal, payout_id, body, key)
    )


@router.get(
    "/payout-terms",
    operation_id="payout_terms.list",
    summary="Read how you are paid out",
    **documented(answer=PayoutTermsList),
)
async def list_terms(request: Request, principal: Reader) -> Response:
    """Schedule, minimum and policy by currency; one that is not listed is paid out by hand."""
    data = await payments_of(request).payout_terms.shown(str(principal.merchant_id))
    return Response(json_text({"data": data, "next_cursor": None}), media_type=JSON)


@router.post(
    "/payout-terms",
    operation_id="payout_terms.set",
    summary="Set your payout schedule",
    **documented(answer=PayoutTermsRead, body=PayoutTermsWrite, is_idempotent=True, errors=COMMITTING),
)
async def set_terms(request: Request, principal: Writer) -> Response:
    """By hand, daily or weekly at 08:00 of your calendar, and from which amount on."""
    payments = payments_of(request)

    async def write(wanted: PayoutTermsWrite, key: IdempotentRequest) -> Reply:
        def also(row: dict[str, Any]) -> list[object]:
            now = payments.payouts.clock.now()
            return [key.claim(object_id=wanted.currency, created_at=now, status=200, body=json_text(row))]

        merchant_id = str(principal.merchant_id)
        row = await payments.payout_terms.write(merchant_id, wanted, by=principal.client_id, also=also)
        return Reply(200, json_text(row))

    return await _act(request, principal, PayoutTermsWrite, write)
