"""Exports over HTTP: parse, authorise, answer. Scope `exports:read`, and that of what is exported."""

from __future__ import annotations

import re
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, Response

from platform_core.capabilities.payments.answers import json_text
from platform_core.capabilities.payments.errors import NOT_FOUND
from platform_core.capabilities.payments.exports.errors import (
    EXPORT_GONE,
    EXPORT_NOT_READY,
    EXPORTS_RUNNING,
    FILTER_UNKNOWN,
    NEEDS_ALL_STORES,
    RANGE_UNSATISFIABLE,
    RESOURCE_UNKNOWN,
)
from platform_core.capabilities.payments.exports.schemas import (
    ExportCreate,
    ExportDetailRead,
    ExportList,
    ExportRead,
)
from platform_core.capabilities.payments.router import COMMITTING, payments_of
from platform_core.identity.principal import Principal
from platform_core.identity.requires import requires
from platform_core.kernel.http.acts import NoBody, act_once
from platform_core.kernel.http.idempotency import IdempotentRequest
from platform_core.kernel.http.openapi import documented
from platform_core.kernel.pagination import CURSOR_LENGTH_MAX, LIMIT_DEFAULT, PageLimit

router = APIRouter(prefix="/v1", tags=["exports"])
Reader = Annotated[Principal, requires("exports:read")]
JSON: Final = "application/json"
GZIP: Final = "application/gzip"
_RANGE: Final = re.compile(r"bytes=(\d{0,15})-(\d{0,15})", re.ASCII)


@router.post(
    "/exports",
    operation_id="exports.create",
    summary="Begin an export",
    **documented(
        answer=ExportRead,
        body=ExportCreate,
        status=202,
        is_idempotent=True,
        errors=(*COMMITTING, EXPORTS_RUNNING, RESOURCE_UNKNOWN, FILTER_UNKNOWN, NEEDS_ALL_STORES),
    ),
)
async def create_export(request: Request, principal: Reader) -> Response:
    """Payments, transactions, refunds, transfers or events, by the filters of their lists, as CSV or JSON Lines.

    The scope that reads them is needed too. Ask for the export until it is ready; its files are kept for seven days.
    """
    payments = payments_of(request)

    async def answer(body: ExportCreate, key: IdempotentRequest) -> Response:
        reply = await payments.exports.create(principal, body, key)
        return Response(reply.body, reply.status, media_type=JSON)

    return await act_once(
        request,
        ExportCreate,
        answer,
        client_id=principal.client_id,
        look=partial(payments.service.replay, principal),
        clock=payments.service.clock,
    )


@router.get("/exports", operation_id="exports.list", summary="List exports", **documented(answer=ExportList))
async def list_exports(
    request: Request,
    principal: Reader,
    *,
    limit: PageLimit = LIMIT_DEFAULT,
    cursor: Annotated[str | None, Query(max_length=CURSOR_LENGTH_MAX)] = None,
) -> Response:
    """Those that the token may read, the newest first, without their files."""
    page = await payments_of(request).exports.page(principal, limit=limit, cursor=cursor)
    return Response(json_text(page), media_type=JSON)


@router.get(
    "/exports/{export_id}",
    operation_id="exports.get",
    summary="Read an export",
    **documented(answer=ExportDetailRead, errors=(NOT_FOUND,)),
)
async def read_export(request: Request, export_id: str, principal: Reader) -> Response:
    """How far it is; once it is ready, the manifest of its files with counts and SHA-256."""
    return Response(json_text(await payments_of(request).exports.read(principal, export_id)), media_type=JSON)


@router.post(
    "/exports/{export_id}/cancel",
    operation_id="exports.cancel",
    summary="Cancel an export",
    **documented(answer=ExportRead, is_idempotent=True, errors=(*COMMITTING, NOT_FOUND)),
)
async def cancel_export(request: Request, export_id: str, principal: Reader) -> Response:
    """One that is finished stays as it is."""
    payments = payments_of(request)

    async def answer(body: NoBody, key: IdempotentRequest) -> Response:
        reply = await payments.exports.cancel(principal, export_id, key)
        return Response(reply.body, reply.status, media_type=JSON)

    return await act_once(
        request,
        NoBody,
        answer,
        client_id=principal.client_id,
        look=partial(payments.service.replay, principal),
        clock=payments.service.clock,
    )


def _documented_content() -> dict[str, Any]:  # Any: keyword arguments of a route
    """What the document says of an answer that is no JSON."""
    errors = (NOT_FOUND, EXPORT_NOT_READY, EXPORT_GONE, RANGE_UNSATISFIABLE)
    words = documented(answer=None, errors=errors)
    binary = {GZIP: {"schema": {"type": "string", "format": "binary"}}}
    words["responses"][200] = {"description": "The file, gzip.", "content": binary}
    words["responses"][206] = {"description": "The part of it that Range names.", "content": binary}
    return words


@router.get(
    "/exports/{export_id}/parts/{number}",
    operation_id="exports.part",
    summary="Download a file of an export",
    **_documented_content(),
)
async def read_part(
    request: Request, export_id: str, number: Annotated[int, Path(ge=1, le=100_000)], principal: Reader
) -> Response:
    """Whole, or the one range of bytes that `Range` names (RFC 9110 section 14), while `If-Range` is its ETag."""
    part = await payments_of(request).exports.content(principal, export_id, number)
    tag = f'"{part.sha256}"'
    headers = {"Accept-Ranges": "bytes", "ETag": tag, "Cache-Control": "private, no-cache"}
    headers["Content-Disposition"] = f'attachment; filename="{export_id}-{number:04d}.gz"'
    wanted = request.headers.get("range")
    if wanted is None or request.headers.get("if-range", tag) != tag:
        return Response(part.content, headers=headers, media_type=GZIP)
    bounds = range_of(wanted, len(part.content))
    if bounds is None:
        return Response(part.content, headers=headers, media_type=GZIP)
    first, last = bounds
    headers["Content-Range"] = f"bytes {first}-{last}/{len(part.content)}"
    return Response(part.content[first : last + 1], 206, headers=headers, media_type=GZIP)


def range_of(header: str, size: int) -> tuple[int, int] | None:
    """First and last byte of one range; None for what may be ignored: other units, several ranges, none at all.

    Raises 416 `payments.range_unsatisfiable`.
    """
    match = _RANGE.fullmatch(header.replace(" ", ""))
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        first, last = max(0, size - int(match[2])), size - 1
    else:
        first = int(match[1])
        last = min(int(match[2] or size - 1), size - 1)
        if match[2] and int(match[2]) < first:
            return None
    if first > last:
        raise RANGE_UNSATISFIABLE.error({"size": size}, headers={"Content-Range": f"bytes */{size}"})
    return first, last
