"""Payments over HTTP: parse, authorise, answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Annotated, Literal, Protocol, TypeVar

from fastapi import APIRouter, Query, Request, Response
from pydantic import AwareDatetime, BaseModel

from platform_core.capabilities.payments import errors
from platform_core.capabilities.payments.answers import json_text, payment_answer, refund_answer
from platform_core.capabilities.payments.assembly import Payments
from platform_core.capabilities.payments.lists import Bounds
from platform_core.capabilities.payments.schemas import (
    AttemptCreate,
    CancelByNumber,
    CaptureCreate,
    Nothing,
    PaymentCreate,
    PaymentExpandedRead,
    PaymentList,
    PaymentRead,
    RefundCreate,
    RefundExpandedRead,
    RefundList,
    RefundRead,
    ReviewDecide,
    VoidCreate,
)
from platform_core.capabilities.payments.service import Reply
from platform_core.capabilities.payments.splits import errors as split_errors
from platform_core.identity.errors import LIMIT_EXCEEDED, LIMIT_MISSING, SCOPE_MISSING
from platform_core.identity.principal import Principal
from platform_core.identity.requires import Requirement, require_scopes, requires
from platform_core.kernel.commit.errors import COMMIT_BUSY, COMMIT_UNAVAILABLE, COMMIT_UNKNOWN
from platform_core.kernel.commit.idempotency import Replayed
from platform_core.kernel.http.acts import act_once
from platform_core.kernel.http.body import whole_body
from platform_core.kernel.http.direct import DirectRoute
from platform_core.kernel.http.expand import LENGTH_MAX, Branch, Expansion, parse_expand
from platform_core.kernel.http.idempotency import IdempotentRequest
from platform_core.kernel.http.openapi import documented
from platform_core.kernel.http.preconditions import shown
from platform_core.kernel.money import AMOUNT_MINOR_MAX
from platform_core.kernel.pagination import LIMIT_DEFAULT, PageLimit

router = APIRouter(prefix="/v1", tags=["payments"])
JSON = "application/json"
COMMITTING = (COMMIT_BUSY, COMMIT_UNAVAILABLE, COMMIT_UNKNOWN, errors.BUSY)
METERED = (LIMIT_EXCEEDED, LIMIT_MISSING)
ORDER_SPLITS = (
    split_errors.ORDER_SPLITS_METERED,
    split_errors.RECEIVER_NOT_BOUND,
    split_errors.SPLIT_NEEDS_CHANNEL,
    SCOPE_MISSING,
)
SPLIT_RETURNS = (split_errors.SPLIT_RETURN_EXCEEDS, split_errors.RECEIVER_UNFUNDED)
Body = TypeVar("Body", bound=BaseModel)
Writer = Annotated[Principal, requires("payments:write")]
Reader = Annotated[Principal, requires("payments:read")]
Reviewer = Annotated[Principal, requires("risk.cases:write")]
Order = Literal["asc", "desc"]
NAME = "^[A-Za-z0-9_]{1,64}$"
Expand = Annotated[
    str | None, Query(max_length=LENGTH_MAX, description="Names with commas between, such as refunds,store.")
]


def payments_of(request: Request) -> Payments:
    """The process's payments, put there by bootstrap."""
    payments: Payments = request.app.state.payments
    return payments


class Keeps(Protocol):
    """A service that keeps its answers under the clients' keys."""

    async def replay(self, principal: Principal, idempotent: IdempotentRequest, /) -> Replayed | None:
        """What a key stands for; None for a fresh one."""
        ...

    async def present(self, principal: Principal, object_id: str | None, /) -> str:
        """What is shown while the act of a key is in flight."""
        ...


async def act_kept(
    request: Request,
    principal: Principal,
    model: type[Body],
    act: Callable[[Body, IdempotentRequest], Awaitable[Reply]],
    *,
    kept: Keeps,
) -> Response:
    """`act_once`, with what `kept` keeps under a key and shows while its act is in flight."""

    async def answer(body: Body, key: IdempotentRequest) -> Response:
        reply = await act(body, key)
        return Response(reply.body, reply.status, media_type=JSON)

    return await act_once(
        request,
        model,
        answer,
        client_id=principal.client_id,
        look=partial(kept.replay, principal),
        present=partial(kept.present, principal),
        clock=payments_of(request).service.clock,
    )


async def _act(
    request: Request,
    principal: Principal,
    model: type[Body],
    act: Callable[[Body, IdempotentRequest], Awaitable[Reply]],
) -> Response:
    return await act_kept(request, principal, model, act, kept=payments_of(request).service)


@router.post(
    "/payments",
    operation_id="payments.create",
    summary="Take a payment",
    **documented(
        answer=PaymentRead,
        body=PaymentCreate,
        status=201,
        also=(200, 202),
        is_idempotent=True,
        errors=(
            *COMMITTING,
            errors.MERCHANT_SUSPENDED,
            errors.DENIED_BY_RISK,
            errors.NO_ROUTE,
            errors.OUT_TRADE_NO_TAKEN,
            errors.PAYABLE_CHANGED,
            *ORDER_SPLITS,
            errors.STORE_UNKNOWN,
            errors.SUMS_DIFFER,
            errors.EXPIRES_IN_PAST,
            *METERED,
        ),
    ),
)
async def create_payment(request: Request, principal: Writer) -> Response:
    """Create a payment and try it at the provider that the merchant's routing chooses."""
    service = payments_of(request).service
    return await _act(request, principal, PaymentCreate, lambda body, key: service.create(principal, body, key))


_may_write = Requirement("payments:write")


async def _create_payment_directly(request: Request) -> Response:
    return await create_payment(request, await _may_write(request))


DIRECT_ROUTES = (DirectRoute("POST", "/v1/payments", "payments.create", _create_payment_directly),)
"""Routes that are also registered below `router`, for `kernel.http.direct`."""


@router.post(
    "/payments/cancel",
    operation_id="payments.cancel_by_number",
    summary="Cancel by out_trade_no",
    **documented(
        answer=PaymentRead,
        body=CancelByNumber,
        also=(202,),
        is_idempotent=True,
        errors=(
            *COMMITTING,
            errors.NOT_FOUND,
            errors.CANCEL_WINDOW_OVER,
            errors.STATE_CONFLICT,
            errors.OUTCOME_UNKNOWN,
            errors.REFUND_UNFUNDED,
        ),
    ),
)
async def cancel_by_number(request: Request, principal: Writer) -> Response:
    """Undo whatever became of an order number; one that never arrived becomes a canceled payment, so that it cannot
    arrive late.
    """
    acts = payments_of(request).acts
    return await _act(
        request, principal, CancelByNumber, lambda body, key: acts.cancel_by_number(principal, body.out_trade_no, key)
    )


@router.get(
    "/payments/{payment_id}",
    operation_id="payments.get",
    summary="Read a payment",
    **documented(answer=PaymentExpandedRead, errors=(errors.NOT_FOUND,), has_etag=True),
)
async def read_payment(request: Request, payment_id: str, principal: Reader, expand: Expand = None) -> Response:
    """By id, or by `out_trade_no:<value>`.

    `expand`: attempts, transactions, refunds, splits, disputes, merchant, store.
    """
    payments = payments_of(request)
    expansion = _expansion(principal, expand, payments.expansion.payments)
    payment = await payments.service.read(principal, payment_id)
    answer = payment_answer(payment.model_dump())
    if not expansion.wanted:
        return shown(request, json_text(answer), version=payment.version)
    await expansion.fill(principal, [answer])
    return Response(json_text(answer), media_type=JSON)


def _expansion(principal: Principal, expand: str | None, tree: Mapping[str, Branch]) -> Expansion:
    """What is wanted, if the caller may see all of it."""
    expansion = parse_expand(expand, tree)
    require_scopes(principal, expansion.scopes())
    return expansion


@router.get("/payments", operation_id="payments.list", summary="List payments", **documented(answer=PaymentList))
async def list_payments(
    request: Request,
    principal: Reader,
    *,
    state: Annotated[str | None, Query(pattern="^[a-z_]{1,20}$")] = None,
    form: Annotated[str | None, Query(pattern="^[a-z_]{1,20}$")] = None,
    store_id: Annotated[str | None, Query(pattern=NAME)] = None,
    terminal_id: Annotated[str | None, Query(pattern=NAME)] = None,
    channel: Annotated[str | None, Query(pattern=NAME)] = None,
    out_trade_no: Annotated[str | None, Query(pattern=NAME)] = None,
    customer_id: Annotated[str | None, Query(pattern=NAME)] = None,
    is_degraded: bool | None = None,
    created_from: AwareDatetime | None = None,
    created_to: AwareDatetime | None = None,
    captured_from: AwareDatetime | None = None,
    captured_to: AwareDatetime | None = None,
    updated_from: AwareDatetime | None = None,
    updated_to: AwareDatetime | None = None,
    amount_min_minor: Annotated[int | None, Query(ge=0, le=AMOUNT_MINOR_MAX)] = None,
    amount_max_minor: Annotated[int | None, Query(ge=0, le=AMOUNT_MINOR_MAX)] = None,
    has_dispute: bool | None = None,
    order: Order = "desc",
    limit: PageLimit = LIMIT_DEFAULT,
    cursor: Annotated[str | None, Query(max_length=512)] = None,
    expand: Expand = None,
) -> Response:
    """Newest first, or `order=asc`. `expand` as for one payment. Bounds: from, and up to but without; amounts
    inclusive, of what is payable.
    """
    expansion = _expansion(principal, expand, payments_of(request).expansion.payments)
    equal = {
        "state": state,
        "form": form,
        "store_id": store_id,
        "terminal_id": terminal_id,
        "channel": channel,
        "out_trade_no": out_trade_no,
    }
    between: dict[str, Bounds] = {
        "created_at": (created_from, created_to),
        "captured_at": (captured_from, captured_to),
        "updated_at": (updated_from, updated_to),
        "payable_minor": (amount_min_minor, None if amount_max_minor is None else amount_max_minor + 1),
    }
    page = await payments_of(request).lists.payments(
        principal,
        equal,
        between,
        has_dispute=has_dispute,
        customer_id=customer_id,
        is_degraded=is_degraded,
        is_ascending=order == "asc",
        limit=limit,
        cursor=cursor,
    )
    await expansion.fill(principal, page["data"])
    return Response(json_text(page), media_type=JSON)


@router.post(
    "/payments/{payment_id}/attempts",
    operation_id="payments.attempt",
    summary="Try again",
    **documented(
        answer=PaymentRead,
        body=AttemptCreate,
        status=201,
        also=(200, 202),
        is_idempotent=True,
        errors=(
            *COMMITTING,
            errors.NOT_FOUND,
            errors.ATTEMPT_IN_FLIGHT,
            errors.OUTCOME_UNKNOWN,
            errors.STATE_CONFLICT,
            errors.NO_ROUTE,
            errors.TOO_MANY_ATTEMPTS,
            errors.MERCHANT_SUSPENDED,
            errors.DENIED_BY_RISK,
        ),
    ),
)
async def create_attempt(request: Request, payment_id: str, principal: Writer) -> Response:
    """Another attempt at a payment that nobody can take money for now."""
    payments = payments_of(request)
    id_ = await payments.service.resolve(principal, payment_id)
    return await _act(
        request, principal, AttemptCreate, lambda body, key: payments.service.attempt(principal, id_, body, key)
    )


@router.post(
    "/payments/{payment_id}/review",
    operation_id="payments.review",
    summary="End a review",
    **documented(
        answer=PaymentRead,
        body=ReviewDecide,
        is_idempotent=True,
        errors=(*COMMITTING, errors.NOT_FOUND, errors.STATE_CONFLICT),
    ),
)
async def end_review(request: Request, payment_id: str, principal: Reviewer) -> Response:
    """Say whether a payment that a check wants looked at may go on: by a new attempt, or not at all."""
    payments = payments_of(request)
    id_ = await payments.service.resolve(principal, payment_id)
    return await _act(
        request, principal, ReviewDecide, lambda body, key: payments.reviews.decide(principal, id_, body, key)
    )


@router.post(
    "/payments/{payment_id}/capture",
    operation_id="payments.capture",
    summary="Take authorised money",
    **documented(
        answer=PaymentRead,
        body=CaptureCreate,
        also=(202,),
        is_idempotent=True,
        errors=(
            *COMMITTING,
            errors.NOT_FOUND,
            errors.CAPTURE_EXCEEDS,
            errors.STATE_CONFLICT,
            errors.OUTCOME_UNKNOWN,
            errors.OUT_REQUEST_NO_TAKEN,
        ),
    ),
)
async def capture_payment(request: Request, payment_id: str, principal: Writer) -> Response:
    """In parts, up to what was authorised; the final one gives the rest back."""
    payments = payments_of(request)
    id_ = await payments.service.resolve(principal, payment_id)
    return await _act(
        request, principal, CaptureCreate, lambda body, key: payments.acts.capture(principal, id_, body, key)
    )


@router.post(
    "/payments/{payment_id}/void",
    operation_id="payments.void",
    summary="Let authorised money go",
    **documented(
        answer=PaymentRead,
        body=VoidCreate,
        also=(202,),
        is_idempotent=True,
        errors=(
            *COMMITTING,
            errors.NOT_FOUND,
            errors.CAPTURE_EXCEEDS,
            errors.STATE_CONFLICT,
            errors.OUTCOME_UNKNOWN,
            errors.OUT_REQUEST_NO_TAKEN,
        ),
    ),
)
async def void_payment(request: Request, payment_id: str, principal: Writer) -> Response:
    """All of what is left, or a part of it."""
    payments = payments_of(request)
    id_ = await payments.service.resolve(principal, payment_id)
    return await _act(request, principal, VoidCreate, lambda body, key: payments.acts.void(principal, id_, body, key))


@router.post(
    "/payments/{payment_id}/cancel",
    operation_id="payments.cancel",
    summary="Undo a payment",
    **documented(
        answer=PaymentRead,
        body=Nothing,
        also=(202,),
        is_idempotent=True,
        errors=(
            *COMMITTING,
            errors.NOT_FOUND,
            errors.CANCEL_WINDOW_OVER,
            errors.STATE_CONFLICT,
            errors.OUTCOME_UNKNOWN,
            errors.REFUND_UNFUNDED,
        ),
    ),
)
async def cancel_payment(request: Request, payment_id: str, principal: Writer) -> Response:
    """Within 24 hours, also while the outcome is unknown: unpaid is closed, paid is returned in full."""
    payments = payments_of(request)
    id_ = await payments.service.resolve(principal, payment_id)
    return await _act(request, principal, Nothing, lambda body, key: payments.acts.cancel(principal, id_, key))


@router.post(
    "/payments/{payment_id}/close",
    operation_id="payments.close",
    summary="End an unpaid payment",
    **documented(
        answer=PaymentRead,
        body=Nothing,
        also=(202,),
        is_idempotent=True,
        errors=(*COMMITTING, errors.NOT_FOUND, errors.OUTCOME_UNKNOWN, errors.STATE_CONFLICT),
    ),
)
async def close_payment(request: Request, payment_id: str, principal: Writer) -> Response:
    """Nobody can pay it any more."""
    payments = payments_of(request)
    id_ = await payments.service.resolve(principal, payment_id)
    return await _act(request, principal, Nothing, lambda body, key: payments.acts.close(principal, id_, key))


@router.post(
    "/payments/{payment_id}/refunds",
    operation_id="refunds.create",
    summary="Give money back",
    tags=["refunds"],
    **documented(
        answer=RefundRead,
        body=RefundCreate,
        status=201,
        also=(200, 202),
        is_idempotent=True,
        errors=(
            *COMMITTING,
            errors.NOT_FOUND,
            errors.REFUND_DENIED,
            errors.REFUND_NEEDS_REVIEW,
            errors.REFUND_EXCEEDS,
            errors.REFUND_UNFUNDED,
            errors.REFUND_WINDOW_OVER,
            errors.STATE_CONFLICT,
            errors.OUTCOME_UNKNOWN,
            errors.OUT_REQUEST_NO_TAKEN,
            *SPLIT_RETURNS,
            *METERED,
        ),
    ),
)
async def create_refund(
    request: Request, payment_id: str, principal: Annotated[Principal, requires("refunds:write")]
) -> Response:
    """An amount, or all that is left; in parts until everything is back."""
    payments = payments_of(request)
    id_ = await payments.service.resolve(principal, payment_id)
    return await _act(
        request, principal, RefundCreate, lambda body, key: payments.acts.refund(principal, id_, body, key)
    )


@router.get(
    "/refunds/{refund_id}",
    operation_id="refunds.get",
    summary="Read a refund",
    tags=["refunds"],
    **documented(answer=RefundExpandedRead, errors=(errors.NOT_FOUND,), has_etag=True),
)
async def read_refund(
    request: Request, refund_id: str, principal: Annotated[Principal, requires("refunds:read")], expand: Expand = None
) -> Response:
    """One refund as it stands. `expand`: payment, and of it what a payment's own `expand` takes: payment.store."""
    payments = payments_of(request)
    expansion = _expansion(principal, expand, payments.expansion.refunds)
    refund = await payments.service.refund(principal, refund_id)
    answer = refund_answer(refund.model_dump())
    if not expansion.wanted:
        return shown(request, json_text(answer), version=refund.version)
    await expansion.fill(principal, [answer])
    return Response(json_text(answer), media_type=JSON)


@router.get(
    "/refunds", operation_id="refunds.list", summary="List refunds", tags=["refunds"], **documented(answer=RefundList)
)
async def list_refunds(
    request: Request,
    principal: Annotated[Principal, requires("refunds:read")],
    *,
    payment_id: Annotated[str | None, Query(pattern=NAME)] = None,
    state: Annotated[str | None, Query(pattern="^[a-z_]{1,20}$")] = None,
    order: Order = "desc",
    limit: PageLimit = LIMIT_DEFAULT,
    cursor: Annotated[str | None, Query(max_length=512)] = None,
    expand: Expand = None,
) -> Response:
    """Newest first, or `order=asc`. `expand` as for one refund."""
    expansion = _expansion(principal, expand, payments_of(request).expansion.refunds)
    page = await payments_of(request).lists.refunds(
        principal, {"payment_id": payment_id, "state": state}, is_ascending=order == "asc", limit=limit, cursor=cursor
    )
    await expansion.fill(principal, page["data"])
    return Response(json_text(page), media_type=JSON)


@router.post(
    "/notices/{provider_id}/{channel_account_id}",
    operation_id="notices.receive",
    include_in_schema=False,
    tags=["notices"],
)
async def receive_notice(request: Request, provider_id: str, channel_account_id: str) -> Response:
    """A provider's own words, verified by its plugin; no token and no Idempotency-Key: the notice's id is the key."""
    answer = await payments_of(request).resolution.notice(
        provider_id=provider_id,
        channel_account_id=channel_account_id,
        method=request.method,
        path=request.url.path,
        query=request.url.query,
        headers={name.lower(): value for name, value in request.headers.items()},
        body=await whole_body(request),
    )
    return Response(answer.body, answer.status, media_type=answer.media_type)
