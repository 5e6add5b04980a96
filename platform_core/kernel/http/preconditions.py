"""ETag, If-Match and If-None-Match (RFC 9110 sections 8.8.3, 13.1 and 15.4.5, read 2026-11-22).

An ETag is strong and is the row's version: two answers with one ETag show the same object, in whatever version of the
API they were asked for.
"""

from __future__ import annotations

import re
from typing import Final

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from platform_core.kernel.errors import PlatformError, declare
from platform_core.kernel.i18n import Text

_STRONG: Final = re.compile(r'"([0-9]{1,18})"', re.ASCII)
_ANY: Final = re.compile(r'(?:W/)?"([0-9]{1,18})"', re.ASCII)

PRECONDITION_MISSING: Final = declare(
    "kernel.precondition_missing",
    status=428,
    title=Text(en="If-Match is needed", zh="缺少 If-Match"),
    detail=Text(
        en="A change names the version it was decided on in If-Match.", zh="修改请求须以 If-Match 指明所依据的版本。"
    ),
    hint=Text(en="Send the ETag of GET {path} as If-Match.", zh="请将 GET {path} 返回的 ETag 作为 If-Match 发送。"),
)
PRECONDITION_FAILED: Final = declare(
    "kernel.precondition_failed",
    status=412,
    title=Text(en="It was changed meanwhile", zh="对象已被更改"),
    detail=Text(en="{id} is not the version that If-Match names.", zh="{id} 与 If-Match 所示版本不符。"),
    hint=Text(en="Read it again and repeat the change.", zh="请重新读取后再修改。"),
)


def etag(version: int) -> str:
    """The ETag of an object whose row stands at this version."""
    return f'"{version}"'


def expected_version(request: Request, *, object_id: str) -> int:
    """The version that a change was decided on: the one ETag in If-Match.

    428 `kernel.precondition_missing` without it; 412 `kernel.precondition_failed` for what is no ETag of ours, a weak
    one and `*` included: neither says which version was seen.
    """
    values = request.headers.getlist("if-match")
    if not values:
        raise PRECONDITION_MISSING.error({"path": request.url.path}, param="/header/If-Match")
    match = _STRONG.fullmatch(values[0].strip(" \t"))
    if len(values) > 1 or match is None:
        raise changed_meanwhile(object_id)
    return int(match[1])


def check_version(found: int, expected: int, *, object_id: str) -> None:
    """Raise 412 `kernel.precondition_failed` unless the object stands where the change was decided on."""
    if found != expected:
        raise changed_meanwhile(object_id)


def changed_meanwhile(object_id: str) -> PlatformError:
    """The 412 to raise."""
    return PRECONDITION_FAILED.error({"id": object_id}, param="/header/If-Match")


def shown(request: Request, body: str | bytes | BaseModel, *, version: int, status: int = 200) -> Response:
    """An object with its ETag; a 304 without a body where If-None-Match names it."""
    headers = {"etag": etag(version), "cache-control": "private, no-cache"}
    if request.method in ("GET", "HEAD") and status == 200 and _is_known(request, version):
        return Response(status_code=304, headers=headers)
    content = body.model_dump_json() if isinstance(body, BaseModel) else body
    return Response(content, status_code=status, headers=headers, media_type="application/json")


def _is_known(request: Request, version: int) -> bool:
    """Whether the caller has this version: any of its tags, weak or strong (RFC 9110 section 13.1.2)."""
    for value in request.headers.getlist("if-none-match"):
        for tag in value.split(","):
            match = _ANY.fullmatch(tag.strip(" \t"))
            if tag.strip(" \t") == "*" or (match is not None and int(match[1]) == version):
                return True
    return False
