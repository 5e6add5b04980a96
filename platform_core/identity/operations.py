"""Jobs that outlast a request: 202 and `Location: /v1/operations/{id}`, done step by step by a worker.

A capability hands in one `OperationKind` for each sort of job; the route's plan holds `Operations.begin`. A step does a
bounded piece of work, at least once: it commits what it does by itself and must be able to do it again, because the
progress is written in a plan of its own behind it. The last step emits `operation.finished`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import msgspec
import structlog
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Row, select

from platform_core.identity.deps import IdentityDeps
from platform_core.identity.models_conventions import OPERATIONS
from platform_core.identity.principal import Principal
from platform_core.kernel.commit import Change, Due, DueDone, Event, Insert, Plan
from platform_core.kernel.commit.due import DueWork
from platform_core.kernel.errors import INTERNAL, PlatformError, declare
from platform_core.kernel.i18n import Text
from platform_core.kernel.telemetry import continue_trace, correlated, current_traceparent

log = structlog.get_logger(__name__)

RUN: Final = "identity.operation"
FINISHED: Final = "operation.finished"
SCOPE: Final = "operations:read"
PATH: Final = "/v1/operations/{id}"
TRIES_MAX: Final = 8
_operations = OPERATIONS.table

OPERATION_NOT_FOUND: Final = declare(
    "identity.operation_not_found",
    status=404,
    title=Text(en="No such operation", zh="任务不存在"),
    detail=Text(en="There is no operation {id}.", zh="任务 {id} 不存在。"),
    hint=Text(
        en="An operation is seen by the app that started it, for the same merchant.",
        zh="任务仅对发起它的应用及同一商户可见。",
    ),
)


class Progress(BaseModel):
    """How far a job is; `total` is null while nobody knows."""

    done: int
    total: int | None


class FailureRead(BaseModel):
    """Why a job failed."""

    code: str
    title: str
    detail: str


class OperationRead(BaseModel):
    """A long job. `result` is there once it is done, `error` if it failed; what was done before that stays done."""

    model_config = ConfigDict(frozen=True)

    id: str
    object: Literal["operation"]
    kind: str
    state: Literal["pending", "running", "done", "failed", "canceled"]
    progress: Progress
    result: dict[str, Any] | None = Field(description="The kind's own.")
    error: FailureRead | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Step:
    """What one step did: so much is done now, and either the task that is left or, at the end, the result."""

    done: int
    total: int | None = None
    task: Mapping[str, Any] | None = None
    result: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        """Raise ValueError unless there is one of task and result."""
        if (self.task is None) == (self.result is None):
            raise ValueError("a step leaves a task, or a result")


@dataclass(frozen=True, slots=True)
class OperationKind:
    """One sort of job. `step(task, done)` raises a `PlatformError` when the job cannot be finished at all."""

    name: str
    step: Callable[[Mapping[str, Any], int], Awaitable[Step]]


class Operations:
    """Long jobs of apps."""

    def __init__(self, deps: IdentityDeps, kinds: Sequence[OperationKind] = ()) -> None:
        self._deps = deps
        self._kinds = {kind.name: kind for kind in kinds}

    def register(self, kind: OperationKind) -> None:
        """Add a sort of job while the process is put together; of two with one name the later stands."""
        self._kinds[kind.name] = kind

    def begin(
        self, who: Principal, *, kind: str, task: Mapping[str, Any], total: int | None = None
    ) -> tuple[OperationRead, list[object]]:
        """A new job and what writes it: parts of a plan of the caller's merchant. KeyError for an unknown kind."""
        now, id_ = self._deps.clock.now(), self._deps.ids.mint("opr")
        row = {
            "id": id_,
            "app_id": who.app_id,
            "client_id": who.client_id,
            "merchant_id": who.merchant_id,
            "kind": self._kinds[kind].name,
            "state": "pending",
            "task": _encode(task),
            "done": 0,
            "total": total,
            "result": None,
            "error": None,
            "traceparent": current_traceparent(),
            "version": 1,
            "created_at": now,
            "updated_at": now,
        }
        return _shown(row), [Insert(OPERATIONS, row), Due(RUN, id_, now)]

    async def get(self, who: Principal, operation_id: str) -> OperationRead:
        """One job of the caller's app in its mode, for the merchant it acts for. 404 `identity.operation_not_found`."""
        query = select(_operations).where(
            _operations.c.id == operation_id,
            _operations.c.client_id == who.client_id,
            _operations.c.merchant_id.is_not_distinct_from(who.merchant_id),
        )
        async with self._deps.database.read_as_app(who.app_id) as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            raise OPERATION_NOT_FOUND.error({"id": _quoted(operation_id)})
        return _shown(dict(row._mapping))

    async def run(self, work: DueWork) -> Plan:
        """One step of a job, as due work. A job that a `PlatformError` ends, or 8 other faults in a row, has failed."""
        row = await self._row(work.subject_id)
        if row is None or row.state not in ("pending", "running"):
            return Plan(work.merchant_id, [DueDone(RUN, work.subject_id)])
        with correlated(continue_trace(row.traceparent)):
            try:
                step = await self._kinds[row.kind].step(row.task, row.done)
            except PlatformError as error:
                return self._failed(row, error)
            except Exception:
                if work.tries + 1 < TRIES_MAX:
                    raise  # tried again later: see delivery.queues
                log.exception("operations.failed", operation=row.id, kind=row.kind)
                return self._failed(row, INTERNAL.error())
            return self._stepped(row, step)

    async def _row(self, operation_id: str) -> Row[Any] | None:  # the columns are OPERATIONS'
        async with self._deps.database.read_all() as connection:
            query = select(_operations).where(_operations.c.id == operation_id)
            return (await connection.execute(query)).one_or_none()

    def _stepped(self, row: Row[Any], step: Step) -> Plan:
        values: dict[str, Any] = {"done": step.done, "total": step.total}
        if step.task is not None:
            return self._plan(row, values | {"state": "running", "task": _encode(step.task)}, is_over=False)
        assert step.result is not None, "a step leaves a task, or a result"
        return self._plan(row, values | {"state": "done", "result": step.result}, is_over=True)

    def _failed(self, row: Row[Any], error: PlatformError) -> Plan:
        failure = {"code": error.code, "title": error.title("en"), "detail": error.detail("en")}
        return self._plan(row, {"state": "failed", "error": failure}, is_over=True)

    def _plan(self, row: Row[Any], values: dict[str, Any], *, is_over: bool) -> Plan:
        now = self._deps.clock.now()
        values["updated_at"] = now
        changed = dict(row._mapping) | values | {"version": row.version + 1}
        encoded = {name: _encode(value) if name in ("result", "error") else value for name, value in values.items()}
        plan = Plan(row.merchant_id, [Change(OPERATIONS, row.id, encoded, expected=row.version)])
        if not is_over:
            return plan.add(Due(RUN, row.id, now))
        body = _shown(changed).model_dump_json()
        event = Event(self._deps.ids.mint("evt"), FINISHED, row.id, 1, now, body, row.traceparent)
        return plan.add(DueDone(RUN, row.id), event)


def _shown(row: Mapping[str, Any]) -> OperationRead:
    return OperationRead(
        id=row["id"],
        object="operation",
        kind=row["kind"],
        state=row["state"],
        progress=Progress(done=row["done"], total=row["total"]),
        result=row["result"],
        error=None if row["error"] is None else FailureRead(**row["error"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _encode(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _quoted(id_: str) -> str:
    return id_ if id_.isascii() and id_.isprintable() and len(id_) <= 80 else "of this form"
