"""placeholder until branch commit-tests lands"""
from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response

from platform_core.kernel.commit.idempotency import IdempotencyAnswer, IdempotencyClaim, Replayed


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    client_id: str
    key: str
    fingerprint: bytes

    def claim(self, *, object_id: str | None, created_at: datetime, status: int | None = None, body: str | None = None) -> IdempotencyClaim:
        return IdempotencyClaim(self.client_id, self.key, self.fingerprint, object_id, created_at, status, body)

    def answer(self, *, status: int, body: str) -> IdempotencyAnswer:
        return IdempotencyAnswer(self.client_id, self.key, status, body)


def read_idempotency(request: Request, *, client_id: str, raw: bytes) -> IdempotentRequest:
    key = request.headers["idempotency-key"]
    return IdempotentRequest(client_id, key, hashlib.sha256(f"{request.method} {request.url.path}\n".encode() + raw).digest())


async def answer_replay(replayed: Replayed, request: IdempotentRequest) -> Response:
    assert replayed.fingerprint == request.fingerprint
    return Response(replayed.body, replayed.status or 202, media_type="application/json")
