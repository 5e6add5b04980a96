"""Routes of what the conventions keep for each app: its long jobs, and the log of its requests."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import AwareDatetime

from platform_core.identity.operations import OPERATION_NOT_FOUND, OperationRead, Operations
from platform_core.identity.principal import Principal
from platform_core.identity.request_history import LogFilter, LoggedRequestRead, RequestHistory
from platform_core.identity.requires import requires
from platform_core.kernel.http.openapi import refusals
from platform_core.kernel.pagination import CURSOR_LENGTH_MAX, LIMIT_DEFAULT, Page, PageLimit

MayReadOperations = Annotated[Principal, requires("operations:read")]
MayReadLog = Annotated[Principal, requires("request_log:read")]
OperationId = Annotated[str, Path(max_length=64)]
Cursor = Annotated[str | None, Query(max_length=CURSOR_LENGTH_MAX)]
Status = Annotated[int | None, Query(ge=100, le=599)]
Operation = Annotated[str | None, Query(max_length=64, pattern="^[a-z_.]+$", description="operationId, as above.")]
Moment = Annotated[AwareDatetime | None, Query()]


def conventions_router(operations: Operations, history: RequestHistory) -> APIRouter:
    """The routes over the two services; bootstrap mounts them."""
    router = APIRouter(prefix="/v1", tags=["app"])

    @router.get(
        "/operations/{operation_id}",
        operation_id="operations.get",
        summary="Read a long job",
        responses=refusals(OPERATION_NOT_FOUND),
    )
    async def get_operation(who: MayReadOperations, operation_id: OperationId) -> OperationRead:
        """One long job that this app started for this merchant."""
        return await operations.get(who, operation_id)

    @router.get("/request-log", operation_id="request_log.list", summary="List this app's requests")
    async def list_requests(
        who: MayReadLog,
        *,
        status: Status = None,
        operation: Operation = None,
        created_from: Moment = None,
        created_to: Moment = None,
        limit: PageLimit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> Page[LoggedRequestRead]:
        """The app's own requests of 30 days, the newest first, without what is secret or personal. A request shows
        within a second or two; under heavy load some are left out.
        """
        wanted = LogFilter(status=status, operation=operation, since=created_from, until=created_to)
        return await history.page(who, wanted, cursor=cursor, limit=limit)

    return router
