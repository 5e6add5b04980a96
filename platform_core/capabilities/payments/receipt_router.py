"""Receipts over HTTP: parse, authorise, answer. A document is served as what it is: a stranger's."""

from __future__ import annotations

from functools import partial
from typing import Final

from fastapi import APIRouter, Request, Response

from platform_core.capabilities.payments import errors
from platform_core.capabilities.payments.answers import json_text, receipt_answer
from platform_core.capabilities.payments.receipt_retention import KEPT
from platform_core.capabilities.payments.router import COMMITTING, Reader, Writer, payments_of
from platform_core.capabilities.payments.schemas import ReceiptCreate, ReceiptRead
from platform_core.kernel.http.acts import act_once
from platform_core.kernel.http.idempotency import IdempotentRequest
from platform_core.kernel.http.openapi import documented
from platform_core.kernel.http.preconditions import shown

router = APIRouter(prefix="/v1", tags=["receipts"])

# The page is in the merchant's name and at our origin, so it gets none of either: an opaque origin, no script, no
# network, no referrer (CSP Level 3, section 6.3.2 "sandbox", read 2026-11-22).
HEADERS: Final = {
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, no-cache",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# A sandboxed PDF is not shown by browsers' viewers: it is saved.
TYPES: Final = {
    "text/html": ("text/html; charset=utf-8", "inline", "html"),
    "application/pdf": ("application/pdf", "attachment", "pdf"),
}


@router.post(
    "/payments/{payment_id}/receipts",
    operation_id="receipts.create",
    summary="Have a receipt drawn",
    **documented(
        answer=ReceiptRead,
        body=ReceiptCreate,
        status=202,
        also=(200,),
        is_idempotent=True,
        errors=(*COMMITTING, errors.NOT_FOUND, errors.STATE_CONFLICT, errors.OUTCOME_UNKNOWN),
    ),
)
async def create_receipt(request: Request, payment_id: str, principal: Writer) -> Response:
    """The one of this payment, media type and language: 200 if it is there, 202 while it is being drawn.

    It is drawn again when more was captured or refunded since.
    """
    payments = payments_of(request)
    id_ = await payments.service.resolve(principal, payment_id)

    async def answer(body: ReceiptCreate, key: IdempotentRequest) -> Response:
        reply = await payments.receipts.request(principal, id_, body, key)
        return Response(reply.body, reply.status, media_type="application/json")

    return await act_once(
        request,
        ReceiptCreate,
        answer,
        client_id=principal.client_id,
        look=partial(payments.service.replay, principal),
        clock=payments.service.clock,
    )


@router.get(
    "/receipts/{receipt_id}",
    operation_id="receipts.get",
    summary="Read a receipt",
    **documented(answer=ReceiptRead, errors=(errors.NOT_FOUND,), has_etag=True),
)
async def read_receipt(request: Request, receipt_id: str, principal: Reader) -> Response:
    """What is known of it; its document is at `/content`."""
    receipt = await payments_of(request).receipts.read(principal, receipt_id)
    return shown(request, json_text(receipt_answer(receipt.model_dump(), kept=KEPT)), version=receipt.version)


@router.get(
    "/receipts/{receipt_id}/content",
    operation_id="receipts.content",
    summary="Read a receipt's document",
    **documented(answer=None, errors=(errors.NOT_FOUND, errors.RECEIPT_PENDING, errors.RECEIPT_GONE)),
)
async def read_content(request: Request, receipt_id: str, principal: Reader) -> Response:
    """HTML or PDF, as `rendered_media_type` says. Who shows it beside their own pages keeps it in a sandbox."""
    found = await payments_of(request).receipts.content(principal, receipt_id)
    media_type, disposition, suffix = TYPES[found.media_type]
    headers = {**HEADERS, "Content-Disposition": f'{disposition}; filename="{found.receipt_id}.{suffix}"'}
    return Response(found.content, headers=headers, media_type=media_type)
