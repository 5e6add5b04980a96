"""Documents that merchants answer disputes with: read from a form, told apart by their first bytes. Pure.

The form is multipart/form-data of RFC 7578 (parts named `file`), its body that of RFC 2046 section 5.1.1, read
2026-11-22. The body is in memory and bounded before it comes here.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from email.policy import HTTP
from typing import Any, Final

from platform_core.capabilities.payments.disputes.errors import (
    EVIDENCE_MALFORMED,
    EVIDENCE_MEDIA_TYPE,
    EVIDENCE_TOO_LARGE,
    EVIDENCE_TYPE,
)
from platform_core.capabilities.payments.draft import Draft

DOCUMENTS_MAX: Final = 10
DOCUMENT_BYTES_MAX: Final = 5 * 1024 * 1024
FORM_BYTES_MAX: Final = DOCUMENT_BYTES_MAX + 64 * 1024
"""One form holds one large document or several smaller ones; a dispute takes ten documents, in as many forms."""
NAME_LENGTH_MAX: Final = 120
FIELD: Final = "file"
BEGINNINGS: Final = (
    (b"\xff\xd8\xff", "image/jpeg"),  # ISO/IEC 10918-1, annex B: SOI and the marker behind it
    (b"\x89PNG\r\n\x1a\n", "image/png"),  # PNG, third edition, section 5.2
    (b"%PDF-", "application/pdf"),  # ISO 32000-2, section 7.5.2
)
_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]", re.ASCII)
_UNSHOWN: Final = re.compile(r"[\x00-\x1f\x7f/\\\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_HEADER_BYTES_MAX: Final = 4 * 1024


@dataclass(frozen=True, slots=True)
class Document:
    """One document as it was sent."""

    name: str
    media_type: str
    sha256: str
    content: bytes

    def row(self, draft: Draft, dispute_id: str, *, state: str) -> dict[str, Any]:
        """Its row."""
        return {
            "id": draft.ids.mint("evd"),
            "merchant_id": draft["merchant_id"],
            "dispute_id": dispute_id,
            "name": self.name,
            "media_type": self.media_type,
            "size_bytes": len(self.content),
            "sha256": self.sha256,
            "content": self.content,
            "state": state,
            "error": None,
            "created_at": draft.now,
        }


def documents_of(content_type: str, body: bytes) -> list[Document]:
    """The documents of a form, each once.

    Raises 415 evidence_media_type, 400 evidence_malformed, 413 evidence_too_large, 422 evidence_type.
    """
    pieces = body_pieces(body, boundary_of(content_type))
    found: dict[str, Document] = {}
    for piece in pieces:
        document = _document(piece)
        found.setdefault(document.sha256, document)
    if not 1 <= len(pieces) <= DOCUMENTS_MAX:
        raise _malformed(f"The form has {len(pieces)} files")
    return list(found.values())


def boundary_of(content_type: str) -> bytes:
    """The boundary that a Content-Type names. Raises 415 for another type, 400 for one without a boundary."""
    head = BytesHeaderParser(policy=HTTP).parsebytes(b"Content-Type: " + content_type.encode("latin-1") + b"\r\n\r\n")
    if head.get_content_type() != "multipart/form-data":
        raise EVIDENCE_MEDIA_TYPE.error()
    boundary = head.get_boundary()
    if boundary is None or _BOUNDARY.fullmatch(boundary) is None:
        raise _malformed("The Content-Type names no boundary of RFC 2046")
    return boundary.encode("ascii")


def body_pieces(body: bytes, boundary: bytes) -> list[bytes]:
    """The parts between the delimiters, each with its headers. Raises 400 for a form without an end."""
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary)
    if len(pieces) < 3 or not pieces[-1].startswith(b"--") or pieces[0].strip():
        raise _malformed("The form does not begin or end with its boundary")
    parts = []
    for piece in pieces[1:-1]:
        line, separator, part = piece.partition(b"\r\n")
        if not separator or line.strip(b" \t"):
            raise _malformed("A boundary is followed by something else than a line's end")
        parts.append(part)
    return parts


def _document(part: bytes) -> Document:
    head, separator, content = part.partition(b"\r\n\r\n")
    if not separator or len(head) > _HEADER_BYTES_MAX:
        raise _malformed("A part has no headers, or too many")
    said = BytesHeaderParser(policy=HTTP).parsebytes(head + b"\r\n\r\n")["content-disposition"]
    words = {} if said is None else dict(said.params)
    if said is None or said.content_disposition != "form-data" or words.get("name") != FIELD or "filename" not in words:
        raise _malformed(f"A part is not named {FIELD}, or has no file name")
    name = _UNSHOWN.sub("_", words["filename"])[:NAME_LENGTH_MAX] or "_"
    if len(content) > DOCUMENT_BYTES_MAX:
        raise EVIDENCE_TOO_LARGE.error({"name": name, "size": len(content), "max": DOCUMENT_BYTES_MAX})
    media_type = next((type_ for beginning, type_ in BEGINNINGS if content.startswith(beginning)), None)
    if media_type is None:
        raise EVIDENCE_TYPE.error({"name": name}, param=f"/{FIELD}")
    return Document(name, media_type, hashlib.sha256(content).hexdigest(), content)


def _malformed(why: str) -> Exception:
    error: Exception = EVIDENCE_MALFORMED.error({"why": why})
    return error
