"""`/sandbox/v1/clock`: where business time is, and turning it. One clock for everybody in the sandbox."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Request, Response

from platform_core.identity.principal import Principal
from platform_core.identity.requires import requires
from platform_core.kernel.http.acts import NoBody
from platform_core.kernel.http.idempotency import IdempotentRequest
from platform_core.kernel.http.openapi import documented
from sandbox.testbed.acts import answer, once
from sandbox.testbed.clock_desk import ClockAdvance, ClockDesk, ClockRead, ClockSet
from sandbox.testbed.errors import CLOCK_BACKWARDS, CLOCK_MOVED

MayTurn = Annotated[Principal, requires("testbed:write")]


def clock_router(desk: ClockDesk) -> APIRouter:
    """The routes over one desk; bootstrap mounts them in a sandbox."""
    router = APIRouter(prefix="/sandbox/v1/clock", tags=["sandbox"])

    @router.get("", operation_id="sandbox_clock.get", **documented(answer=ClockRead))
    async def show(_: MayTurn) -> Response:
        """Business time, and how far a drain has come."""
        return answer(desk.shown(await desk.read()))

    _turns(router, desk)
    return router


def _turns(router: APIRouter, desk: ClockDesk) -> None:
    @router.post(
        "/advance",
        operation_id="sandbox_clock.advance",
        **documented(answer=ClockRead, body=ClockAdvance, status=202, errors=(CLOCK_MOVED,), is_idempotent=True),
    )
    async def advance(request: Request, who: MayTurn) -> Response:
        """Go forwards; everything that comes due on the way is done at its moment, in order."""

        async def act(wanted: ClockAdvance, key: IdempotentRequest) -> Response:
            claim = key.claim(created_at=desk.clock.now(), status=202, body="{}")
            await desk.advance(timedelta(seconds=wanted.by_s), parts=[claim], who=who.client_id)
            return await shown()

        return await told(await once(request, who, ClockAdvance, act, database=desk.database, clock=desk.clock))

    @router.post(
        "/set",
        operation_id="sandbox_clock.set",
        **documented(
            answer=ClockRead, body=ClockSet, status=202, errors=(CLOCK_MOVED, CLOCK_BACKWARDS), is_idempotent=True
        ),
    )
    async def set_clock(request: Request, who: MayTurn) -> Response:
        """Go forwards to a moment."""

        async def act(wanted: ClockSet, key: IdempotentRequest) -> Response:
            claim = key.claim(created_at=desk.clock.now(), status=202, body="{}")
            await desk.go_to(wanted.to, parts=[claim], who=who.client_id)
            return await shown()

        return await told(await once(request, who, ClockSet, act, database=desk.database, clock=desk.clock))

    @router.post(
        "/reset",
        operation_id="sandbox_clock.reset",
        **documented(answer=ClockRead, status=202, errors=(CLOCK_MOVED,), is_idempotent=True),
    )
    async def reset(request: Request, who: MayTurn) -> Response:
        """Back to real time."""

        async def act(_: NoBody, key: IdempotentRequest) -> Response:
            claim = key.claim(created_at=desk.clock.now(), status=202, body="{}")
            await desk.reset(parts=[claim], who=who.client_id)
            return await shown()

        return await told(await once(request, who, NoBody, act, database=desk.database, clock=desk.clock))

    async def shown() -> Response:
        return answer(desk.shown(await desk.read()), status=202)

    async def told(given: Response) -> Response:
        """A repeated request turns nothing, and is told where the clock is now."""
        if "idempotency-replayed" not in given.headers:
            return given
        again = await shown()
        again.headers["idempotency-replayed"] = "true"
        return again
