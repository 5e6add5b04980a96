"""Tables behind the conventions of the API: server processes, operations, the request log."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import BigInteger, DateTime
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from platform_core.kernel.commit import DocumentTable

_MOMENT = DateTime(timezone=True)


class ServerProcess(SQLModel, table=True):
    """A process that answers requests."""

    __tablename__: ClassVar[str] = "server_process"

    id: str = Field(primary_key=True)
    seen_at: datetime = Field(sa_type=_MOMENT)


class Operation(SQLModel, table=True):
    """A long job that an app began. `task` is what its kind works on, `done` of `total` its progress."""

    __tablename__: ClassVar[str] = "operation"

    id: str = Field(primary_key=True)
    app_id: str
    client_id: str
    merchant_id: str | None
    kind: str
    state: str
    task: dict[str, Any] = Field(sa_type=JSONB)  # the kind's own
    done: int
    total: int | None
    result: dict[str, Any] | None = Field(sa_type=JSONB)  # the kind's own
    error: dict[str, Any] | None = Field(sa_type=JSONB)  # a problem
    traceparent: str | None
    version: int = Field(sa_type=BigInteger)
    created_at: datetime = Field(sa_type=_MOMENT)
    updated_at: datetime = Field(sa_type=_MOMENT)


class LoggedRequest(SQLModel, table=True):
    """One request of an app, with what may be seen of its bodies. `id` is the request's."""

    __tablename__: ClassVar[str] = "request_log"

    id: str = Field(primary_key=True)
    app_id: str
    client_id: str
    merchant_id: str | None
    method: str
    operation: str | None
    path: str
    status: int
    code: str | None
    api_version: str
    idempotency_key: str | None
    client_request_id: str | None
    elapsed_us: int = Field(sa_type=BigInteger)
    request_body: str | None
    answer_body: str | None
    created_at: datetime = Field(sa_type=_MOMENT)


SERVER_PROCESSES = DocumentTable(ServerProcess, tenant=None)
OPERATIONS = DocumentTable(Operation, version="version")
REQUEST_LOG = DocumentTable(LoggedRequest, tenant=None)  # written by no plan: see identity.request_log
