"""Splits and their receivers over HTTP: parse, authorise, answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from platform_core.capabilities.payments.answers import json_text
from platform_core.capabilities.payments.errors import (
    MERCHANT_SUSPENDED,
    NOT_FOUND,
    OUT_REQUEST_NO_TAKEN,
    OUTCOME_UNKNOWN,
    STATE_CONFLICT,
)
from platform_core.capabilities.payments.router import COMMITTING, JSON, METERED, act_kept, payments_of
from platform_core.capabilities.payments.service import Reply
from platform_core.capabilities.payments.splits import errors
from platform_core.capabilities.payments.splits.answers import receiver_answer
from platform_core.capabilities.payments.splits.schemas import (
    ReceiverCreate,
    ReceiverList,
    ReceiverRead,
    SplitCreate,
    SplitList,
    SplitRead,
    SplitRelease,
)
from platform_core.identity.principal import Principal
from platform_core.identity.requires import requires
from platform_core.kernel.http.idempotency import IdempotentRequest
from platform_core.kernel.http.openapi import documented
from platform_core.kernel.http.preconditions import shown
from platform_core.kernel.pagination import LIMIT_DEFAULT, PageLimit

router = APIRouter(prefix="/v1", tags=["splits"])
Splitter = Annotated[Principal, requires("splits:write")]
Cursor = Annotated[str | None, Query(max_length=512)]
Body = TypeVar("Body", bound=BaseModel)


async def _act(
    request: Request,
    principal: Principal,
    model: type[Body],
    act: Callable[[Body, IdempotentRequest], Awaitable[Reply]],
) -> Response:
    return await act_kept(request, principal, model, act, kept=payments_of(request).splits)


@router.post(
    "/split-receivers",
    operation_id="split_receivers.bind",
    summary="Bind a receiver",
    **documented(
        answer=ReceiverRead,
        body=ReceiverCreate,
        status=201,
        also=(200,),
        is_idempotent=True,
        errors=(
            *COMMITTING,
            errors.RECEIVER_REFERENCE_TAKEN,
            errors.RECEIVER_LIMIT_EXCEEDED,
            errors.RECEIVER_UNKNOWN_MERCHANT,
        ),
    ),
)
async def bind_receiver(request: Request, principal: Splitter) -> Response:
    """Whoever is to get shares is bound first. The same reference with the same words: 200 with what is bound."""
    receivers = payments_of(request).receivers
    return await _act(request, principal, ReceiverCreate, lambda body, key: receivers.bind(principal, body, key))


@router.get(
    "/split-receivers",
    operation_id="split_receivers.list",
    summary="List receivers",
    **documented(answer=ReceiverList),
)
async def list_receivers(
    request: Request,
    principal: Splitter,
    *,
    is_bound: bool | None = None,
    limit: PageLimit = LIMIT_DEFAULT,
    cursor: Cursor = None,
) -> Response:
    """Newest first. `is_bound`: only those that are, or are no longer."""
    page = await payments_of(request).receivers.page(principal, is_bound=is_bound, limit=limit, cursor=cursor)
    return Response(json_text(page), media_type=JSON)


@router.get(
    "/split-receivers/{receiver_id}",
    operation_id="split_receivers.get",
    summary="Read a receiver",
    **documented(answer=ReceiverRead, errors=(NOT_FOUND,), has_etag=True),
)
async def read_receiver(request: Request, receiver_id: str, principal: Splitter) -> Response:
    """One receiver, bound or not. Its balances are at `/v1/balances`, buckets that begin with its id."""
    receiver = await payments_of(request).receivers.read(principal, receiver_id)
    return shown(request, json_text(receiver_answer(receiver.model_dump())), version=receiver.version)


@router.delete(
    "/split-receivers/{receiver_id}",
    operation_id="split_receivers.unbind",
    summary="Unbind a receiver",
    **documented(answer=ReceiverRead, errors=(*COMMITTING, NOT_FOUND)),
)
async def unbind_receiver(request: Request, receiver_id: str, principal: Splitter) -> Response:
    """It gets nothing new; what it has stays its own. A second time changes nothing."""
    reply = await payments_of(request).receivers.unbind(principal, receiver_id)
    return Response(reply.body, reply.status, media_type=JSON)


@router.post(
    "/payments/{payment_id}/splits",
    operation_id="splits.create",
    summary="Split a payment",
    **documented(
        answer=SplitRead,
        body=SplitCreate,
        status=201,
        also=(200, 202),
        is_idempotent=True,
        errors=(
            *COMMITTING,
            NOT_FOUND,
            MERCHANT_SUSPENDED,
            STATE_CONFLICT,
            OUTCOME_UNKNOWN,
            OUT_REQUEST_NO_TAKEN,
            errors.SPLIT_LIMIT_EXCEEDED,
            errors.SPLIT_MODE_MIXED,
            errors.SPLIT_SHARE_EMPTY,
            errors.SPLIT_NEEDS_CHANNEL,
            errors.RECEIVER_NOT_BOUND,
            *METERED,
        ),
    ),
)
async def create_split(request: Request, payment_id: str, principal: Splitter) -> Response:
    """Give receivers shares of what was captured. `all_or_nothing` refuses the call where one share does not fit,
    `partial` tells the result of each share. All splits of a payment have one mode.
    """
    payments = payments_of(request)
    id_ = await payments.service.resolve(principal, payment_id)
    return await _act(
        request, principal, SplitCreate, lambda body, key: payments.splits.create(principal, id_, body, key)
    )


@router.get(
    "/payments/{payment_id}/splits",
    operation_id="splits.list",
    summary="List a payment's splits",
    **documented(answer=SplitList, errors=(NOT_FOUND,)),
)
async def list_splits(
    request: Request, payment_id: str, principal: Splitter, *, limit: PageLimit = LIMIT_DEFAULT, cursor: Cursor = None
) -> Response:
    """Newest first."""
    payments = payments_of(request)
    payment = await payments.service.seen(principal, payment_id)
    page = await payments.splits.page(principal, payment.id, limit=limit, cursor=cursor)
    return Response(json_text(page), media_type=JSON)


@router.get(
    "/splits/{split_id}",
    operation_id="splits.get",
    summary="Read a split",
    **documented(answer=SplitRead, errors=(NOT_FOUND,), has_etag=True),
)
async def read_split(request: Request, split_id: str, principal: Splitter) -> Response:
    """One split with its shares."""
    answer, version = await payments_of(request).splits.read(principal, split_id)
    return shown(request, json_text(answer), version=version)


@router.post(
    "/splits/{split_id}/release",
    operation_id="splits.release",
    summary="Release frozen shares",
    **documented(
        answer=SplitRead,
        body=SplitRelease,
        also=(202,),
        is_idempotent=True,
        errors=(
            *COMMITTING,
            NOT_FOUND,
            MERCHANT_SUSPENDED,
            OUTCOME_UNKNOWN,
            errors.SPLIT_STATE,
            errors.RELEASE_EXCEEDS,
            errors.RECEIVER_NOT_BOUND,
            errors.SPLIT_NEEDS_CHANNEL,
        ),
    ),
)
async def release_split(request: Request, split_id: str, principal: Splitter) -> Response:
    """Frozen shares go to their receivers; a final release gives the rest back to the merchant."""
    splits = payments_of(request).splits
    return await _act(
        request, principal, SplitRelease, lambda body, key: splits.release(principal, split_id, body, key)
    )
