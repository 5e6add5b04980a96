"""Does exports: a file at a time, each a commit of its own, so that a crash loses one file and a cancel is heard."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final, cast

import structlog

from platform_core.capabilities.payments.answers import json_text
from platform_core.capabilities.payments.desk import Desk
from platform_core.capabilities.payments.exports.errors import EXPORT_FAILED, EXPORT_TOO_LARGE
from platform_core.capabilities.payments.exports.exportables import Exportable, catalogue
from platform_core.capabilities.payments.exports.files import FileWriter, Format
from platform_core.capabilities.payments.exports.models import EXPORT_PARTS, EXPORTS, Export
from platform_core.capabilities.payments.exports.repository import RUN, ExportRepository, RowsOfExport
from platform_core.kernel.commit import Change, Due, DueDone, Duplicate, Insert, Plan, PlanRefused, VersionConflict
from platform_core.kernel.commit.due import DueWork
from platform_core.kernel.errors import PlatformError

log = structlog.get_logger(__name__)

ROWS_MAX: Final = 5_000_000
ROWS_A_PART: Final = 20_000
ROWS_A_PAGE: Final = 1_000
WORK_S: Final = 30.0  # a worker's lease lasts longer than this and the longest file
TRIES_MAX: Final = 8


class ExportRunner:
    """Due work of exports."""

    def __init__(self, desk: Desk, repository: ExportRepository) -> None:
        self._desk = desk
        self._repository = repository

    async def run(self, work: DueWork) -> Plan | None:
        """Due: go on with an export for some seconds; when time is up, behind the last file, in another snapshot.

        A cancel, or another worker, moves the export's version: then this one stops, and what it read is lost. After
        eight faults in a row the export has failed.
        """
        merchant_id = str(work.merchant_id)
        export = await self._repository.export(merchant_id, work.subject_id)
        if export is None or export.state not in ("pending", "running"):
            return Plan(merchant_id, [DueDone(RUN, work.subject_id)])
        if work.tries >= TRIES_MAX:
            return self._failed(export, EXPORT_FAILED.error({"tries": work.tries}))
        try:
            return await self._written(export, catalogue()[export.noun])
        except PlanRefused as refused:
            if not isinstance(refused.refusal, Duplicate | VersionConflict):
                raise
            log.info("export.overtaken", export=export.id, refusal=str(refused))
            return None

    async def _written(self, export: Export, exportable: Exportable) -> Plan:
        clock = self._desk.tools.clock
        ends = clock.monotonic() + WORK_S
        snapshots = [*export.snapshots, self._desk.now.isoformat()]
        async with self._repository.reading(export, exportable) as rows:
            while True:
                writer, progress, is_over = await _file(rows, export, exportable)
                if export.rows + writer.rows > ROWS_MAX:
                    return self._failed(export, EXPORT_TOO_LARGE.error({"rows": ROWS_MAX}))
                values: dict[str, Any] = {"snapshots": snapshots, "state": "running", "progress": progress}
                parts: list[object] = []
                if writer.rows or export.parts == 0:
                    part = self._part(export, writer)
                    parts.append(part)
                    values["rows"] = export.rows + writer.rows
                    values["parts"] = export.parts + 1
                    values["size_bytes"] = export.size_bytes + part.row["size_bytes"]
                if is_over:
                    return self._finished(export, values, parts)
                await self._desk.tools.committer.commit(self._changed(export, values).add(*parts))
                if clock.monotonic() >= ends:
                    return Plan(export.merchant_id, [Due(RUN, export.id, self._desk.now)])
                export = Export(**{**export.model_dump(), **values, "version": export.version + 1})

    def _part(self, export: Export, writer: FileWriter) -> Insert:
        content = writer.content()
        row = {
            "id": self._desk.tools.ids.mint("exf"),
            "merchant_id": export.merchant_id,
            "export_id": export.id,
            "number": export.parts + 1,
            "rows": writer.rows,
            "size_bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "content": content,
            "created_at": self._desk.now,
        }
        return Insert(EXPORT_PARTS, row)

    def _finished(self, export: Export, values: Mapping[str, Any], parts: list[object]) -> Plan:
        over = {**values, "state": "ready", "slot": None, "finished_at": self._desk.now}
        return self._changed(export, over).add(*parts, DueDone(RUN, export.id))

    def _failed(self, export: Export, error: PlatformError) -> Plan:
        told = {"code": error.code, "message": error.detail("en")}
        values = {"state": "failed", "slot": None, "finished_at": self._desk.now, "error": told}
        return self._changed(export, values).add(DueDone(RUN, export.id))

    def _changed(self, export: Export, values: Mapping[str, Any]) -> Plan:
        written = {**values, "updated_at": self._desk.now}
        for name in ("snapshots", "progress", "error"):
            if written.get(name) is not None:
                written[name] = json_text(written[name])
        return Plan(export.merchant_id, [Change(EXPORTS, export.id, written, expected=export.version)])


async def _file(
    rows: RowsOfExport, export: Export, exportable: Exportable
) -> tuple[FileWriter, list[Any] | None, bool]:
    """The next file, the key of its last row, and whether nothing comes behind it."""
    personal = exportable.personal if export.is_personal else None
    columns = exportable.columns + (exportable.personal_columns if personal else ())
    writer = FileWriter(cast("Format", export.format), columns)
    progress: list[Any] | None = export.progress
    while writer.rows < ROWS_A_PART:
        page = await rows.page(ROWS_A_PAGE)
        shown = [exportable.show(row) for row in page]
        if personal is not None:
            shown = [{**each, **personal(row)} for each, row in zip(shown, page, strict=True)]
        writer.write(shown)
        if page:
            progress = [page[-1]["key_created_at"].isoformat(), page[-1]["key_id"]]
        if len(page) < ROWS_A_PAGE:
            return writer, progress, True
    return writer, progress, False
