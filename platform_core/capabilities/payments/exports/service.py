"""Begins, shows, cancels and serves exports."""

from __future__ import annotations

import re
from typing import Any, Final

from platform_core.capabilities.payments.answers import json_text
from platform_core.capabilities.payments.desk import Desk
from platform_core.capabilities.payments.errors import BUSY, NOT_FOUND
from platform_core.capabilities.payments.exports.answers import export_answer, manifest_of, state_of
from platform_core.capabilities.payments.exports.errors import (
    EXPORT_GONE,
    EXPORT_NOT_READY,
    EXPORTS_RUNNING,
    FILTER_UNKNOWN,
    NEEDS_ALL_STORES,
    RESOURCE_UNKNOWN,
)
from platform_core.capabilities.payments.exports.exportables import Exportable, catalogue
from platform_core.capabilities.payments.exports.models import EXPORTS, JSON_COLUMNS, Export, ExportPart
from platform_core.capabilities.payments.exports.repository import RUN, ExportRepository
from platform_core.capabilities.payments.exports.schemas import ExportCreate
from platform_core.capabilities.payments.service import Reply, quoted
from platform_core.identity.principal import Principal
from platform_core.identity.requires import require_scopes
from platform_core.kernel.commit import (
    Audit,
    Change,
    Due,
    DueDone,
    Duplicate,
    Insert,
    Plan,
    PlanRefused,
    VersionConflict,
)
from platform_core.kernel.http.idempotency import IdempotentRequest
from platform_core.kernel.pagination import Cursors, Position

RUNNING_MAX: Final = 3
RETRY_S: Final = 5
TRIES_MAX: Final = 3
PERSONAL_SCOPE: Final = "customers:read"
EXPORT_ID: Final = re.compile(r"exp_[0-9a-z]{26}")
UNFINISHED: Final = ("pending", "running")


class ExportService:
    """Exports of one merchant at a time."""

    def __init__(self, desk: Desk, repository: ExportRepository, cursors: Cursors) -> None:
        self._desk = desk
        self._repository = repository
        self._cursors = cursors

    async def create(self, principal: Principal, request: ExportCreate, idempotent: IdempotentRequest) -> Reply:
        """Begin an export: 202. Writes it, its due row, an audit row and the key.

        Raises 403 identity.scope_missing, payments.export_needs_all_stores; 422 payments.export_resource_unknown,
        payments.export_filter_unknown; 429 payments.exports_running.
        """
        exportable = self._asked(principal, request)
        row = self._row(principal, request, exportable)
        for _ in range(RUNNING_MAX + 1):
            taken = await self._repository.slots(row["merchant_id"])
            free = [slot for slot in range(1, RUNNING_MAX + 1) if slot not in taken]
            if not free:
                break
            row["slot"] = free[0]
            try:
                return await self._begin(principal, row, idempotent)
            except PlanRefused as refused:
                if not isinstance(refused.refusal, Duplicate) or refused.refusal.table != EXPORTS.name:
                    raise
        raise EXPORTS_RUNNING.error({"running": RUNNING_MAX}, retry_after_s=RETRY_S)

    def _asked(self, principal: Principal, request: ExportCreate) -> Exportable:
        """The noun, if the caller may have it and its filters are right."""
        exportable = catalogue().get(request.resource)
        if exportable is None:
            raise RESOURCE_UNKNOWN.error({"resources": ", ".join(catalogue())}, param="/resource")
        require_scopes(principal, {exportable.scope, *([PERSONAL_SCOPE] if request.is_personal else [])})
        if principal.stores is not None and exportable.of_stores is None:
            raise NEEDS_ALL_STORES.error({"resource": exportable.noun})
        for name, value in request.filters.items():
            try:
                exportable.filters[name].value(value)
            except (KeyError, ValueError):
                known = {"name": name, "resource": exportable.noun, "filters": ", ".join(sorted(exportable.filters))}
                raise FILTER_UNKNOWN.error(known, param=f"/filters/{name}") from None
        return exportable

    def _row(self, principal: Principal, request: ExportCreate, exportable: Exportable) -> dict[str, Any]:
        now, filters = self._desk.now, dict[str, Any](request.filters)
        if exportable.types_by_scope:
            filters["types"] = sorted(
                type_ for type_, scope in exportable.types_by_scope.items() if scope in principal.scopes
            )
        return {
            "id": self._desk.tools.ids.mint("exp"),
            "merchant_id": str(principal.merchant_id),
            "client_id": principal.client_id,
            "noun": exportable.noun,
            "format": request.format,
            "filters": filters,
            "stores": None if principal.stores is None else sorted(principal.stores),
            "is_personal": request.is_personal,
            "state": "pending",
            "slot": None,
            "as_of": now,
            "snapshots": [],
            "rows": 0,
            "size_bytes": 0,
            "parts": 0,
            "progress": None,
            "error": None,
            "version": 1,
            "created_at": now,
            "updated_at": now,
            "finished_at": None,
        }

    async def _begin(self, principal: Principal, row: dict[str, Any], idempotent: IdempotentRequest) -> Reply:
        now, merchant_id = self._desk.now, row["merchant_id"]
        reply = Reply(202, json_text(export_answer(Export(**row), now)))
        facts = {"resource": row["noun"], "is_personal": row["is_personal"], "filters": sorted(row["filters"])}
        written = {
            name: json_text(value) if name in JSON_COLUMNS and value is not None else value
            for name, value in row.items()
        }
        claim = idempotent.claim(object_id=row["id"], created_at=now, status=reply.status, body=reply.body)
        told = Audit("export.created", principal.client_id, row["id"], merchant_id, facts)
        await self._desk.tools.committer.commit(
            Plan(merchant_id, [Insert(EXPORTS, written), Due(RUN, row["id"], now), told, claim])
        )
        return reply

    async def find(self, principal: Principal, export_id: str) -> Export:
        """One export that the caller may see. Raises 404 `payments.not_found`, 403 `identity.scope_missing`."""
        found = None
        if EXPORT_ID.fullmatch(export_id):
            found = await self._repository.export(str(principal.merchant_id), export_id)
        if found is None or not _covers(principal, found):
            raise NOT_FOUND.error({"kind": "export", "id": quoted(export_id)})
        scope = catalogue()[found.noun].scope
        require_scopes(principal, {scope, *([PERSONAL_SCOPE] if found.is_personal else [])})
        return found

    async def read(self, principal: Principal, export_id: str) -> dict[str, Any]:
        """An export with its files. Raises as `find` does."""
        export = await self.find(principal, export_id)
        now, parts = self._desk.now, list[ExportPart]()
        if state_of(export, now) == "ready":
            parts = await self._repository.parts(export.merchant_id, export.id)
        return {**export_answer(export, now), "manifest": manifest_of(export, parts)}

    async def page(self, principal: Principal, *, limit: int, cursor: str | None) -> dict[str, Any]:
        """Exports that the caller may see, the newest first."""
        merchant_id, now = str(principal.merchant_id), self._desk.now
        nouns = [noun for noun, exportable in catalogue().items() if exportable.scope in principal.scopes]
        bound_to = {"list": "exports", "merchant": merchant_id, "nouns": nouns}
        after = None if cursor is None else self._cursors.read(cursor, bound_to=bound_to)
        rows = await self._repository.page(
            merchant_id,
            nouns=nouns,
            stores=principal.stores,
            is_personal=PERSONAL_SCOPE in principal.scopes,
            before=None if after is None else (after.created_at, after.id),
            limit=limit + 1,
        )
        page = self._cursors.page(
            rows,
            limit=limit,
            bound_to=bound_to,
            position_of=lambda row: Position(row.created_at, row.id),
            show=lambda row: export_answer(row, now),
        )
        return {"data": page.data, "next_cursor": page.next_cursor}

    async def cancel(self, principal: Principal, export_id: str, idempotent: IdempotentRequest) -> Reply:
        """End an export that is not finished; one that is stays as it is. Raises as `find` does; 503 busy."""
        for _ in range(TRIES_MAX):
            export = await self.find(principal, export_id)
            now = self._desk.now
            plan = Plan(export.merchant_id)
            if export.state in UNFINISHED:
                values = {"state": "canceled", "slot": None, "finished_at": now, "updated_at": now}
                plan.add(Change(EXPORTS, export.id, values, expected=export.version), DueDone(RUN, export.id))
                export = Export(**{**export.model_dump(), **values})
            reply = Reply(200, json_text(export_answer(export, now)))
            plan.add(idempotent.claim(object_id=export.id, created_at=now, status=reply.status, body=reply.body))
            try:
                await self._desk.tools.committer.commit(plan)
            except PlanRefused as refused:
                if not isinstance(refused.refusal, VersionConflict):
                    raise
                continue  # the worker wrote a file meanwhile
            return reply
        raise BUSY.error({"payment_id": quoted(export_id)}, retry_after_s=1)

    async def content(self, principal: Principal, export_id: str, number: int) -> ExportPart:
        """One file. Raises as `find` does; 409 `payments.export_not_ready`; 410 `payments.export_gone`."""
        export = await self.find(principal, export_id)
        state = state_of(export, self._desk.now)
        if state in UNFINISHED:
            raise EXPORT_NOT_READY.error({"export_id": export.id, "state": state}, retry_after_s=RETRY_S)
        if state != "ready":
            raise EXPORT_GONE.error({"export_id": export.id, "state": state})
        part = await self._repository.part(export.merchant_id, export.id, number)
        if part is None:
            raise NOT_FOUND.error({"kind": "file", "id": f"{export.id}/{number}"})
        return part


def _covers(principal: Principal, export: Export) -> bool:
    """A token of some stores sees exports of those alone."""
    return principal.stores is None or (export.stores is not None and principal.stores.issuperset(export.stores))
