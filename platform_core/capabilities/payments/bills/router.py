"""Bills over HTTP: parse, authorise, answer. Scope `ledger:read`."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import StreamingResponse

from platform_core.capabilities.payments.answers import json_text
from platform_core.capabilities.payments.bills.answers import bill_answer
from platform_core.capabilities.payments.bills.errors import BILL_ABSENT, BILL_NOT_READY
from platform_core.capabilities.payments.bills.schemas import BillList, BillRead
from platform_core.capabilities.payments.bills.service import BillService
from platform_core.capabilities.payments.router import payments_of
from platform_core.identity.principal import Principal
from platform_core.identity.requires import requires
from platform_core.kernel.http.openapi import documented
from platform_core.kernel.pagination import CURSOR_LENGTH_MAX, LIMIT_DEFAULT, PageLimit

router = APIRouter(prefix="/v1", tags=["bills"])
Reader = Annotated[Principal, requires("ledger:read")]
CSV: Final = "text/csv"
ZIP: Final = "application/zip"
JSON: Final = "application/json"
SHOWN: Final = (CSV, ZIP, JSON)


def _service(request: Request) -> BillService:
    return payments_of(request).bills


def _documented_content() -> dict[str, Any]:  # Any: keyword arguments of a route
    words = documented(answer=BillRead, errors=(BILL_NOT_READY, BILL_ABSENT))
    described = words["responses"][200]["content"]
    described[CSV] = {"schema": {"type": "string"}}
    described[ZIP] = {"schema": {"type": "string", "format": "binary"}}
    return words


@router.get("/bills", operation_id="bills.list", summary="List daily bills", **documented(answer=BillList))
async def list_bills(
    request: Request,
    principal: Reader,
    *,
    first: Annotated[date | None, Query(alias="day_from", description="This day or later.")] = None,
    last: Annotated[date | None, Query(alias="day_to", description="This day or earlier.")] = None,
    limit: PageLimit = LIMIT_DEFAULT,
    cursor: Annotated[str | None, Query(max_length=CURSOR_LENGTH_MAX)] = None,
) -> Response:
    """The newest day first, with sums and balances; the files are at `/v1/bills/{date}`."""
    page = await _service(request).page(str(principal.merchant_id), first=first, last=last, limit=limit, cursor=cursor)
    return Response(json_text(page), media_type=JSON)


@router.get("/bills/{date}", operation_id="bills.get", summary="Read a daily bill", **_documented_content())
async def read_bill(request: Request, principal: Reader) -> Response:
    """The day's rows as CSV; with `Accept: application/zip` the archive of detail, summary and manifest, with
    `application/json` what is known of it. `date` is the merchant's day, or the bill's id.
    """
    service = _service(request)
    bill = await service.find(str(principal.merchant_id), request.path_params["date"])
    wanted = _wanted(request.headers.get("accept", ""))
    if wanted == JSON:
        return Response(json_text(bill_answer(bill.model_dump())), media_type=JSON, headers=_HEADERS)
    suffix, content, sha256, size = (
        ("zip", service.archive(bill), bill.archive_sha256, bill.archive_bytes)
        if wanted == ZIP
        else ("csv", service.detail(bill), bill.detail_sha256, bill.detail_bytes)
    )
    headers = {
        **_HEADERS,
        "Content-Disposition": f'attachment; filename="bill_{bill.day.isoformat()}.{suffix}"',
        "Content-Length": str(size),
        "ETag": f'"{sha256}"',
    }
    return StreamingResponse(content, media_type="text/csv; charset=utf-8" if wanted == CSV else ZIP, headers=headers)


_HEADERS: Final = {"Vary": "Accept", "Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}


def _wanted(accept: str) -> str:
    """The first media type of the header that a bill has; CSV if none is named."""
    for part in accept.split(","):
        media_type = part.partition(";")[0].strip().lower()
        if media_type in SHOWN:
            return media_type
    return CSV
