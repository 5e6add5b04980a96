"""`/sandbox/v1/recordings`: what an app asked, for `arsenal record`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from platform_core.identity.principal import Principal
from platform_core.identity.requires import requires
from platform_core.kernel.http.idempotency import IdempotentRequest
from platform_core.kernel.http.openapi import documented, refusals
from sandbox.testbed.acts import answer, once
from sandbox.testbed.recording import RECORDING_UNKNOWN, ExchangePage, RecordingCreate, RecordingRead, Recordings

MayRecord = Annotated[Principal, requires("testbed:write")]


def recording_router(recordings: Recordings) -> APIRouter:
    """The routes over the service; bootstrap mounts them in a sandbox."""
    router = APIRouter(prefix="/sandbox/v1/recordings", tags=["sandbox"])

    @router.post(
        "",
        operation_id="sandbox_recordings.begin",
        **documented(answer=RecordingRead, body=RecordingCreate, status=201, is_idempotent=True),
    )
    async def begin(request: Request, who: MayRecord) -> Response:
        """Keep what this app asks under /v1 from now on, with the answers, without secrets."""

        async def act(wanted: RecordingCreate, key: IdempotentRequest) -> Response:
            claim = key.claim(created_at=recordings.clock.now(), status=201, body="{}")
            return answer(await recordings.begin(who, wanted, parts=[claim]), status=201)

        return await once(request, who, RecordingCreate, act, database=recordings.database, clock=recordings.clock)

    @router.get(
        "/{recording_id}/exchanges", operation_id="sandbox_recordings.read", responses=refusals(RECORDING_UNKNOWN)
    )
    async def read(
        who: MayRecord,
        recording_id: Annotated[str, Path(max_length=64)],
        *,
        after: Annotated[str, Query(max_length=64, description="`next` of the answer before.")] = "",
    ) -> ExchangePage:
        """What was recorded, one JSON document a line."""
        return await recordings.lines(who, recording_id, after=after)

    return router
