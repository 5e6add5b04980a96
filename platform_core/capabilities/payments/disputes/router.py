"""Disputes over HTTP: parse, authorise, answer."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from pydantic import AwareDatetime

from platform_core.capabilities.payments import errors
from platform_core.capabilities.payments.answers import json_text
from platform_core.capabilities.payments.disputes import errors as refusals
from platform_core.capabilities.payments.disputes.answers import with_evidence
from platform_core.capabilities.payments.disputes.documents import FIELD, FORM_BYTES_MAX, documents_of
from platform_core.capabilities.payments.disputes.schemas import DisputeDetailRead, DisputeList, DisputeState
from platform_core.capabilities.payments.router import COMMITTING, JSON, NAME, Order, payments_of
from platform_core.capabilities.payments.schemas import Nothing
from platform_core.identity.principal import Principal
from platform_core.identity.requires import requires
from platform_core.kernel.http.acts import act_once, do_once
from platform_core.kernel.http.body import whole_body
from platform_core.kernel.http.envelope import BODY_TOO_LARGE
from platform_core.kernel.http.idempotency import IdempotentRequest, canonical, read_idempotency
from platform_core.kernel.http.openapi import documented
from platform_core.kernel.pagination import LIMIT_DEFAULT, PageLimit

router = APIRouter(prefix="/v1", tags=["disputes"])
LARGER_BODIES: Final = {"/v1/disputes/": FORM_BYTES_MAX}
"""How much the routes below these beginnings take, for the application."""
Reader = Annotated[Principal, requires("disputes:read")]
Writer = Annotated[Principal, requires("disputes:write")]
_FORM: Final = {
    "required": True,
    "description": "One to ten files of JPEG, PNG or PDF, told by their first bytes; 5 MiB in one form.",
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": [FIELD],
                "properties": {
                    FIELD: {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": 10,
                        "items": {"type": "string", "format": "binary"},
                    }
                },
            }
        }
    },
}


@router.get("/disputes", operation_id="disputes.list", summary="List disputes", **documented(answer=DisputeList))
async def list_disputes(
    request: Request,
    principal: Reader,
    *,
    state: DisputeState | None = None,
    payment_id: Annotated[str | None, Query(pattern=NAME)] = None,
    due_from: AwareDatetime | None = None,
    due_to: AwareDatetime | None = None,
    order: Order = "desc",
    limit: PageLimit = LIMIT_DEFAULT,
    cursor: Annotated[str | None, Query(max_length=512)] = None,
) -> Response:
    """Newest first, or `order=asc`."""
    page = await payments_of(request).dispute_lists.page(
        principal,
        state=state,
        payment_id=payment_id,
        due=(due_from, due_to),
        is_ascending=order == "asc",
        limit=limit,
        cursor=cursor,
    )
    return Response(json_text(page), media_type=JSON)


@router.get(
    "/disputes/{dispute_id}",
    operation_id="disputes.get",
    summary="Read a dispute",
    **documented(answer=DisputeDetailRead, errors=(errors.NOT_FOUND,)),
)
async def read_dispute(request: Request, dispute_id: str, principal: Reader) -> Response:
    """With the documents that were sent, without their bytes."""
    dispute, documents = await payments_of(request).disputes.read(principal, dispute_id)
    return Response(json_text(with_evidence(dispute.model_dump(), documents)), media_type=JSON)


def _takes_a_form() -> dict[str, Any]:  # Any: keyword arguments of a route
    told = documented(
        answer=DisputeDetailRead,
        is_idempotent=True,
        errors=(
            *COMMITTING,
            errors.NOT_FOUND,
            BODY_TOO_LARGE,
            refusals.DISPUTE_OVER,
            refusals.EVIDENCE_FULL,
            refusals.EVIDENCE_LATE,
            refusals.EVIDENCE_MALFORMED,
            refusals.EVIDENCE_MEDIA_TYPE,
            refusals.EVIDENCE_TOO_LARGE,
            refusals.EVIDENCE_TYPE,
        ),
    )
    return {**told, "openapi_extra": {**told["openapi_extra"], "requestBody": _FORM}}


@router.post(
    "/disputes/{dispute_id}/evidence",
    operation_id="disputes.submit_evidence",
    summary="Answer a dispute",
    **_takes_a_form(),
)
async def submit_evidence(request: Request, dispute_id: str, principal: Writer) -> Response:
    """Documents that speak for the merchant, until `due_at`; they are handed to the provider by a worker.

    A repetition under the same Idempotency-Key is one with the same documents, whatever its boundary.
    """
    payments = payments_of(request)
    documents = documents_of(request.headers.get("content-type", ""), await whole_body(request))
    meaning = canonical([[document.name, document.sha256] for document in documents])
    idempotent = read_idempotency(request, client_id=principal.client_id, body=meaning)

    async def act() -> Response:
        reply = await payments.disputes.submit(principal, dispute_id, documents, idempotent)
        return Response(reply.body, reply.status, media_type=JSON)

    look = partial(payments.service.replay, principal)
    return await do_once(idempotent, act, look=look, clock=payments.service.clock)


@router.post(
    "/disputes/{dispute_id}/accept",
    operation_id="disputes.accept",
    summary="Accept a dispute",
    **documented(
        answer=DisputeDetailRead,
        body=Nothing,
        is_idempotent=True,
        errors=(*COMMITTING, errors.NOT_FOUND, refusals.DISPUTE_OVER),
    ),
)
async def accept_dispute(request: Request, dispute_id: str, principal: Writer) -> Response:
    """Give in: the money stays with the customer. There is no way back."""
    payments = payments_of(request)

    async def answer(body: Nothing, key: IdempotentRequest) -> Response:
        reply = await payments.disputes.accept(principal, dispute_id, key)
        return Response(reply.body, reply.status, media_type=JSON)

    return await act_once(
        request,
        Nothing,
        answer,
        client_id=principal.client_id,
        look=partial(payments.service.replay, principal),
        clock=payments.service.clock,
    )
