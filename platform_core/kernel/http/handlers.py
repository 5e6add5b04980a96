"""Which exception becomes which problem: our own errors, the framework's, and what nobody expected."""

from __future__ import annotations

from typing import Final

import asyncpg
import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from platform_core.kernel.database.pools import is_away
from platform_core.kernel.errors import INTERNAL, PlatformError, declare, validation_failed
from platform_core.kernel.http.envelope import Envelope, envelope_of
from platform_core.kernel.http.problem import Problems
from platform_core.kernel.http.validation import faults_of
from platform_core.kernel.i18n import Text

_log = structlog.get_logger(__name__)

NOT_FOUND: Final = declare(
    "kernel.not_found",
    status=404,
    title=Text(en="Not found", zh="未找到"),
    detail=Text(en="There is nothing at this address.", zh="该地址不存在。"),
    hint=Text(en="Compare the path with the API reference.", zh="请对照 API 文档检查路径。"),
)
METHOD_NOT_ALLOWED: Final = declare(
    "kernel.method_not_allowed",
    status=405,
    title=Text(en="Method not allowed", zh="不支持的请求方法"),
    detail=Text(en="This address does not answer this method.", zh="该地址不支持此请求方法。"),
    hint=Text(en="Use one of: {allowed}.", zh="请使用以下方法之一：{allowed}。"),
)
REQUEST_MALFORMED: Final = declare(
    "kernel.request_malformed",
    status=400,
    title=Text(en="The request cannot be read", zh="无法读取请求"),
    detail=Text(en="The request is not well formed.", zh="请求格式不正确。"),
    hint=Text(en="Compare it with the API reference.", zh="请对照 API 文档检查请求。"),
)


DATABASE_UNAVAILABLE: Final = declare(
    "kernel.database_unavailable",
    status=503,
    is_retryable=True,
    title=Text(en="The database cannot be reached", zh="数据库不可用"),
    detail=Text(en="The database went away before this request was decided.", zh="数据库在处理本次请求前断开。"),
    hint=Text(
        en="Repeat the request with the same Idempotency-Key after the time in Retry-After.",
        zh="请在 Retry-After 所示时间后用同一 Idempotency-Key 重试。",
    ),
)

MAY_SAY_AWAY: Final = (OSError, SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""What drivers raise, also while the database cannot be reached; `is_away` tells."""


def install_handlers(app: FastAPI, problems: Problems) -> None:
    """Answer every exception of the application as a problem. `RequestEnvelope` stands around it."""

    async def refuse(request: Request, error: Exception) -> Response:
        return _answer(request, _platform_error(request, error), problems)

    async def fail(request: Request, error: Exception) -> Response:
        return _answer(request, unexpected(request, error), problems)

    for kind in MAY_SAY_AWAY:
        app.add_exception_handler(kind, fail)
    for kind in (PlatformError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, refuse)
    app.add_exception_handler(Exception, fail)


def unexpected(request: Request, error: Exception) -> PlatformError:
    """What to answer to an exception that no route declared, logged: 503 while the database is away, else 500."""
    if isinstance(error, MAY_SAY_AWAY) and is_away(error):
        _log.warning("request without database", error=type(error).__name__, path=request.url.path)
        return DATABASE_UNAVAILABLE.error(retry_after_s=1)
    marks = _marks(envelope_of(request.scope))
    _log.error("request failed", exc_info=error, method=request.method, path=request.url.path, **marks)
    return INTERNAL.error()


def _marks(envelope: Envelope) -> dict[str, str]:
    return {"request_id": envelope.request_id, "trace_id": envelope.correlation.trace_id}


def _answer(request: Request, error: PlatformError, problems: Problems) -> Response:
    envelope = envelope_of(request.scope)
    return problems.answer(error, language=envelope.language, request_id=envelope.request_id, scope=request.scope)


def _platform_error(request: Request, error: Exception) -> PlatformError:
    if isinstance(error, PlatformError):
        return error
    if isinstance(error, RequestValidationError):
        return validation_failed(faults_of(error.errors()))
    if isinstance(error.__cause__, PlatformError):
        # FastAPI turns whatever a body raised while it was read into a 400 of its own.
        return error.__cause__
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return NOT_FOUND.error()
    if error.status_code == 405:
        allowed = ", ".join(_methods_here(request))
        return METHOD_NOT_ALLOWED.error({"allowed": allowed}, headers={"allow": allowed})
    return REQUEST_MALFORMED.error() if error.status_code < 500 else INTERNAL.error()


def _methods_here(request: Request) -> list[str]:
    """All methods that some route answers at this path: the framework names only those of the first route it met."""
    methods: set[str] = set()
    for route in request.app.routes:
        match, _ = route.matches(request.scope)
        if match != Match.NONE:
            methods |= getattr(route, "methods", None) or set()
    return sorted(methods)
