"""Routes that belong to no capability: health, the OpenAPI document, and a page for each error code."""

from __future__ import annotations

import asyncio
import html
import json
from collections.abc import Callable
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from sqlalchemy import text

from platform_core.bootstrap.platform import Platform
from platform_core.bootstrap.readiness import DATABASE_AWAY
from platform_core.kernel.errors import ErrorCode, catalogue
from platform_core.kernel.http.handlers import NOT_FOUND

READY_WITHIN_S: Final = 2.0
_PING: Final = text("SELECT 1")
_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{code}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"></head>
<body><main><h1><code>{code}</code></h1><p>HTTP {status}. {retry}</p>
<section lang="en"><h2>{title_en}</h2><p>{detail_en}</p><p>{hint_en}</p></section>
<section lang="zh"><h2>{title_zh}</h2><p>{detail_zh}</p><p>{hint_zh}</p></section></main></body></html>
"""


def page_routes(platform: Platform, document: Callable[[], dict[str, Any]]) -> APIRouter:
    """The routes; none of them needs a token, and none is under /v1."""
    router = APIRouter(include_in_schema=False)

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The process turns; says nothing of what it depends on."""
        return {"status": "ok"}

    @router.get("/health")
    async def health(response: Response) -> dict[str, object]:
        """The process turns; `degraded` names what is less than it should be, for whoever watches."""
        response.headers["cache-control"] = "no-store"
        return {"status": "ok", "degraded": platform.plugin_host.loud.degraded}

    @router.get("/readyz")
    async def readyz(response: Response) -> dict[str, object]:
        """Whether requests would succeed now: 200, or 503 with what is missing."""
        checks = {"database": await _is_database_there(platform), "revocations": platform.feed.is_fresh}
        is_ready = all(checks.values())
        response.status_code = 200 if is_ready else 503
        response.headers["cache-control"] = "no-store"
        return {"status": "ready" if is_ready else "not_ready", "checks": checks}

    @router.get("/openapi.json")
    async def openapi() -> dict[str, Any]:
        """The whole interface."""
        return document()

    @router.get("/problems/{code}")
    async def problem(code: str, request: Request) -> Response:
        """What an error code means, in both languages: as a page, or as JSON for who prefers that."""
        declared = catalogue().get(code)
        if declared is None:
            raise NOT_FOUND.error()
        return _page(declared, is_json="application/json" in request.headers.get("accept", ""))

    return router


async def _is_database_there(platform: Platform) -> bool:
    try:
        async with asyncio.timeout(READY_WITHIN_S), platform.database.read(None) as connection:
            await connection.execute(_PING)
    except DATABASE_AWAY:
        return False
    return True


def _page(declared: ErrorCode, *, is_json: bool) -> Response:
    facts = {
        "code": declared.code,
        "status": declared.status,
        "retryable": declared.is_retryable,
        **{
            f"{name}_{language}": "" if said is None else getattr(said, language)
            for name, said in (("title", declared.title), ("detail", declared.detail), ("hint", declared.hint))
            for language in ("en", "zh")
        },
    }
    headers = {"cache-control": "public, max-age=3600", "content-security-policy": "default-src 'none'"}
    if is_json:
        return Response(json.dumps(facts, ensure_ascii=False), headers=headers, media_type="application/json")
    retry = "Sending it again unchanged may succeed." if declared.is_retryable else "Sending it again does not help."
    values = {name: html.escape(str(value)) for name, value in facts.items()}
    return Response(_PAGE.format(**values, retry=retry), headers=headers, media_type="text/html")
