"""Requests and answers of exports. Moments are RFC 3339 in UTC."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

FILTERS_MAX = 20


class ExportCreate(BaseModel):
    """What to export, and how."""

    model_config = ConfigDict(extra="forbid")

    resource: Annotated[str, Field(pattern="^[a-z_]{1,40}$", examples=["payments"])]
    format: Literal["csv", "jsonl"] = "jsonl"
    filters: Annotated[
        dict[Annotated[str, Field(pattern="^[a-z_]{1,40}$")], str | int],
        Field(max_length=FILTERS_MAX, description="Those of the resource's list."),
    ] = Field(default_factory=dict)
    is_personal: bool = Field(default=False, description="With personal fields; needs customers:read.")


class ExportErrorRead(BaseModel):
    """Why an export failed."""

    code: str
    message: str


class ExportRead(BaseModel):
    """An export. Its rows are as of `as_of`; `snapshots` are the moments at which they were read."""

    id: str
    object: Literal["export"]
    merchant_id: str
    resource: str
    format: Literal["csv", "jsonl"]
    filters: dict[str, Any]  # text, integers, and for events the types that were allowed
    is_personal: bool
    state: Literal["pending", "running", "ready", "failed", "canceled", "expired"]
    rows: int
    size_bytes: int = Field(description="Of all files, compressed.")
    parts: int
    as_of: datetime
    snapshots: list[datetime]
    error: ExportErrorRead | None
    created_at: datetime
    finished_at: datetime | None
    expires_at: datetime | None = Field(description="Until when its files are kept; null while it is not ready.")


class ExportFileRead(BaseModel):
    """One file of an export: whole rows, gzip."""

    number: int
    name: str
    path: str
    rows: int
    size_bytes: int
    sha256: str = Field(description="Of the file as it is served.")


class ExportDetailRead(ExportRead):
    """An export with its files, once it is ready."""

    manifest: list[ExportFileRead]


class ExportList(BaseModel):
    """Exports, the newest first."""

    data: list[ExportRead]
    next_cursor: str | None
