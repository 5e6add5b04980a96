"""An act that happens once under its Idempotency-Key: the one shape of every POST that writes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import PlanRefused, Replayed
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.http.body import read_json, validated
from platform_core.kernel.http.idempotency import IdempotentRequest, answer_replay, canonical, read_idempotency

Body = TypeVar("Body", bound=BaseModel)
Look = Callable[[IdempotentRequest], Awaitable[Replayed | None]]
Present = Callable[[str | None], Awaitable[str]]


class NoBody(BaseModel):
    """Of an act that is told by its address alone; what is sent is not read."""


async def never_in_flight(object_id: str | None) -> str:
    """`present` of acts that are one commit each: none is ever seen half done."""
    raise AssertionError(f"{object_id}: an act of one commit is never in flight")


async def act_once(
    request: Request,
    model: type[Body],
    act: Callable[[Body, IdempotentRequest], Awaitable[Response]],
    *,
    client_id: str,
    look: Look,
    clock: Clock,
    present: Present = never_in_flight,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Response:
    """Strict JSON, Idempotency-Key, validation, the act; a used key is answered with what it stands for.

    `act` commits a plan with `IdempotentRequest.claim` in it. `look` finds what stands under the key (see
    `find_record`), for the merchant that the caller acts for; `client_id` and that merchant keep callers' keys apart.
    Raises as `read_json`, `read_idempotency`, `validated`, `act` and `answer_replay` do.
    """
    raw, document = (b"{}", None) if model is NoBody else await read_json(request)
    meaning = b"" if model is NoBody else canonical(document)
    idempotent = read_idempotency(request, client_id=client_id, body=meaning)

    async def do() -> Response:
        return await act(validated(model, raw, document), idempotent)

    return await do_once(idempotent, do, look=look, clock=clock, present=present, sleep=sleep)


async def do_once(
    idempotent: IdempotentRequest,
    act: Callable[[], Awaitable[Response]],
    *,
    look: Look,
    clock: Clock,
    present: Present = never_in_flight,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Response:
    """`act_once` of a request whose body was read already, such as one with files."""

    async def replay(record: Replayed) -> Response:
        again = partial(look, idempotent)
        return await answer_replay(record, idempotent, look=again, present=present, clock=clock, sleep=sleep)

    try:
        return await act()
    except PlanRefused as refused:
        if isinstance(refused.refusal, Replayed):
            return await replay(refused.refusal)
        raise
    except PlatformError:
        # What is refused now may have been done under this key before the state moved on.
        record = await look(idempotent)
        if record is None:
            raise
        return await replay(record)
