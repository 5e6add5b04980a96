"""How an export looks from outside."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from platform_core.capabilities.payments.exports.files import SUFFIXES
from platform_core.capabilities.payments.exports.models import Export, ExportPart
from platform_core.capabilities.payments.exports.retention import KEPT


def state_of(export: Export, now: datetime) -> str:
    """The state, with `expired` for one whose files are no longer kept."""
    expires_at = expiry_of(export)
    return "expired" if expires_at is not None and now >= expires_at else export.state


def expiry_of(export: Export) -> datetime | None:
    """Until when the files of a finished export are served."""
    return export.finished_at + KEPT if export.state == "ready" and export.finished_at else None


def export_answer(export: Export, now: datetime) -> dict[str, Any]:
    """`ExportRead`."""
    names = ("id", "merchant_id", "format", "filters", "is_personal", "rows", "size_bytes", "parts", "as_of")
    return {
        "object": "export",
        **{name: getattr(export, name) for name in names},
        "resource": export.noun,
        "state": state_of(export, now),
        "snapshots": export.snapshots,
        "error": export.error,
        "created_at": export.created_at,
        "finished_at": export.finished_at,
        "expires_at": expiry_of(export),
    }


def manifest_of(export: Export, parts: Iterable[ExportPart]) -> list[dict[str, Any]]:
    """The files of a finished export, as `ExportDetailRead` lists them."""
    return [
        {
            "number": part.number,
            "name": f"{export.noun}-{part.number:04d}.{SUFFIXES[export.format]}",
            "path": f"/v1/exports/{export.id}/parts/{part.number}",
            "rows": part.rows,
            "size_bytes": part.size_bytes,
            "sha256": part.sha256,
        }
        for part in parts
    ]
