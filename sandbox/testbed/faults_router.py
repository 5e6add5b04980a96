"""`/sandbox/v1/faults`: what is to go wrong for the app that asks."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response

from platform_core.identity.principal import Principal
from platform_core.identity.requires import requires
from platform_core.kernel.http.acts import NoBody
from platform_core.kernel.http.idempotency import IdempotentRequest
from platform_core.kernel.http.openapi import documented
from sandbox.testbed.acts import answer, once
from sandbox.testbed.faults import FaultCreate, FaultList, FaultRead, Faults

MayBreak = Annotated[Principal, requires("testbed:write")]


def faults_router(faults: Faults) -> APIRouter:
    """The routes over the service; bootstrap mounts them in a sandbox."""
    router = APIRouter(prefix="/sandbox/v1/faults", tags=["sandbox"])

    @router.get("", operation_id="sandbox_faults.list")
    async def list_faults(who: MayBreak) -> FaultList:
        """The app's faults that are left, and where they were used."""
        return await faults.listed(who)

    @router.post(
        "",
        operation_id="sandbox_faults.add",
        **documented(answer=FaultRead, body=FaultCreate, status=201, is_idempotent=True),
    )
    async def add_fault(request: Request, who: MayBreak) -> Response:
        """Let something go wrong for this app's own requests and webhooks, so many times."""

        async def act(wanted: FaultCreate, key: IdempotentRequest) -> Response:
            claim = key.claim(created_at=faults.clock.now(), status=201, body="{}")
            return answer(await faults.add(who, wanted, parts=[claim]), status=201)

        return await once(request, who, FaultCreate, act, database=faults.database, clock=faults.clock)

    @router.post("/clear", operation_id="sandbox_faults.clear", **documented(answer=FaultList, is_idempotent=True))
    async def clear_faults(request: Request, who: MayBreak) -> Response:
        """End all faults of this app."""

        async def act(_: NoBody, key: IdempotentRequest) -> Response:
            claim = key.claim(created_at=faults.clock.now(), status=200, body="{}")
            await faults.clear(who, parts=[claim])
            return answer(await faults.listed(who))

        return await once(request, who, NoBody, act, database=faults.database, clock=faults.clock)

    return router
