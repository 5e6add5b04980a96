"""The one shape of every POST under /sandbox/v1: once under its Idempotency-Key, in a plan of the platform's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from fastapi import Request, Response
from pydantic import BaseModel

from platform_core.identity.principal import Principal
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Replayed
from platform_core.kernel.database.pools import Database
from platform_core.kernel.http.acts import act_once
from platform_core.kernel.http.idempotency import IdempotentRequest, find_record

Body = TypeVar("Body", bound=BaseModel)


async def once(
    request: Request,
    who: Principal,
    model: type[Body],
    act: Callable[[Body, IdempotentRequest], Awaitable[Response]],
    *,
    database: Database,
    clock: Clock,
) -> Response:
    """The act's answer, or that of the same request before; raises as `act_once` does."""

    async def look(key: IdempotentRequest) -> Replayed | None:
        return await find_record(database, merchant_id=None, request=key)

    client_id = f"{who.client_id} {who.merchant_id or ''}"
    return await act_once(request, model, act, client_id=client_id, look=look, clock=clock)


def answer(model: BaseModel, *, status: int = 200) -> Response:
    """An answer that no cache keeps."""
    headers = {"cache-control": "no-store"}
    return Response(model.model_dump_json(), status_code=status, headers=headers, media_type="application/json")
