"""Stickers over HTTP."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response

from platform_core.capabilities.payments import errors
from platform_core.capabilities.payments.answers import json_text
from platform_core.capabilities.payments.router import COMMITTING, payments_of
from platform_core.capabilities.payments.stickers.models import Sticker
from platform_core.capabilities.payments.stickers.schemas import StickerCreate, StickerList, StickerRead
from platform_core.capabilities.payments.stickers.service import Also, Stickers
from platform_core.identity.principal import Principal
from platform_core.identity.requires import requires
from platform_core.kernel.http.acts import NoBody, act_once
from platform_core.kernel.http.idempotency import IdempotentRequest
from platform_core.kernel.http.openapi import documented
from platform_core.kernel.http.preconditions import shown
from platform_core.kernel.pagination import CURSOR_LENGTH_MAX, LIMIT_DEFAULT, PageLimit

router = APIRouter(prefix="/v1", tags=["stickers"])
JSON: Final = "application/json"
Keeper = Annotated[Principal, requires("stores:write")]
_PICTURES: Final = {"image/svg+xml": "svg", "image/png": "png"}


@router.post(
    "/stickers",
    operation_id="stickers.create",
    summary="Make a static code for a store",
    **documented(
        answer=StickerRead,
        body=StickerCreate,
        status=201,
        is_idempotent=True,
        errors=(*COMMITTING, errors.STORE_UNKNOWN),
    ),
)
async def create_sticker(request: Request, principal: Keeper) -> Response:
    """Print its picture: whoever scans it pays on a page, an amount that is fixed here or typed there."""
    stickers = payments_of(request).stickers

    async def answer(body: StickerCreate, key: IdempotentRequest) -> Response:
        made = await stickers.create(principal, body, also=_claim(stickers, key, status=201))
        return Response(json_text(stickers.answer(made)), 201, media_type=JSON)

    return await _once(request, principal, StickerCreate, answer)


@router.get("/stickers", operation_id="stickers.list", summary="List stickers", **documented(answer=StickerList))
async def list_stickers(
    request: Request,
    principal: Keeper,
    limit: PageLimit = LIMIT_DEFAULT,
    cursor: Annotated[str | None, Query(max_length=CURSOR_LENGTH_MAX)] = None,
) -> Response:
    """Newest first, revoked ones too."""
    page = await payments_of(request).stickers.page(principal, limit=limit, cursor=cursor)
    return Response(json_text(page), media_type=JSON)


@router.get(
    "/stickers/{sticker_id}",
    operation_id="stickers.get",
    summary="Read a sticker",
    **documented(answer=StickerRead, errors=(errors.NOT_FOUND,), has_etag=True),
)
async def read_sticker(request: Request, sticker_id: str, principal: Keeper) -> Response:
    """What it is for, and whether it is in use."""
    stickers = payments_of(request).stickers
    sticker = await stickers.read(principal, sticker_id)
    return shown(request, json_text(stickers.answer(sticker)), version=sticker.version)


def _documented_picture() -> dict[str, Any]:  # Any: keyword arguments of a route
    """What the document says of an answer that is no JSON."""
    words = documented(answer=None, errors=(errors.NOT_FOUND,))
    words["responses"][200] = {
        "description": "The QR code, as SVG or, if Accept prefers it, as PNG.",
        "content": {name: {"schema": {"type": "string", "format": "binary"}} for name in _PICTURES},
    }
    return words


@router.get(
    "/stickers/{sticker_id}/picture",
    operation_id="stickers.picture",
    summary="Draw a sticker's QR code",
    **_documented_picture(),
)
async def draw_sticker(request: Request, sticker_id: str, principal: Keeper) -> Response:
    """To be printed: SVG by default, PNG where Accept names it and not SVG."""
    stickers = payments_of(request).stickers
    sticker = await stickers.read(principal, sticker_id)
    media_type = wanted_picture(request.headers.get("accept", ""))
    headers = {
        "Content-Disposition": f'inline; filename="{sticker.code}.{_PICTURES[media_type]}"',
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
        "Vary": "Accept",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(stickers.picture(sticker, kind=_PICTURES[media_type]), headers=headers, media_type=media_type)


@router.post(
    "/stickers/{sticker_id}/revoke",
    operation_id="stickers.revoke",
    summary="Take a sticker out of use",
    **documented(answer=StickerRead, is_idempotent=True, errors=(*COMMITTING, errors.NOT_FOUND)),
)
async def revoke_sticker(request: Request, sticker_id: str, principal: Keeper) -> Response:
    """For good: who scans it from now on reads that it is not in use. Payments that were begun go on."""
    stickers = payments_of(request).stickers

    async def answer(_: NoBody, key: IdempotentRequest) -> Response:
        revoked = await stickers.revoke(principal, sticker_id, also=_claim(stickers, key, status=200))
        return Response(json_text(stickers.answer(revoked)), media_type=JSON)

    return await _once(request, principal, NoBody, answer)


def wanted_picture(accept: str) -> str:
    """The media type for an Accept header; weights aside, the first of ours that it names, else SVG."""
    named = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    return next((name for name in named if name in _PICTURES), "image/svg+xml")


def _claim(stickers: Stickers, key: IdempotentRequest, *, status: int) -> Also:
    def parts(sticker: Sticker) -> Iterable[object]:
        body = json_text(stickers.answer(sticker))
        moment = sticker.revoked_at or sticker.created_at
        return (key.claim(object_id=sticker.id, created_at=moment, status=status, body=body),)

    return parts


async def _once(request: Request, principal: Principal, model: Any, answer: Any) -> Response:  # as act_once takes them
    service = payments_of(request).service
    return await act_once(
        request,
        model,
        answer,
        client_id=principal.client_id,
        look=partial(service.replay, principal),
        clock=service.clock,
    )
