"""Errors as RFC 9457 problem details, in the caller's language.

Members besides those of the RFC: `code`, `param`, `errors` (all faults at once), `hint`, `retryable`, `request_id`,
`plugin`. A `param` is a JSON Pointer (RFC 6901) into the body; what stands elsewhere in the request begins with
/query, /path, /header or /cookie.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

import msgspec
from starlette.responses import Response
from starlette.types import Scope

from platform_core.kernel.errors import PlatformError
from platform_core.kernel.i18n import Language

MEDIA_TYPE: Final = "application/problem+json"


class Problems:
    """Turns errors into answers. One per application; also given to `RequestEnvelope`."""

    __slots__ = ("_type_base", "language")

    def __init__(self, *, type_base: str, language: Language = "en") -> None:
        """`type_base`: address of the reference of error codes, to which a code is added.

        `language`: where none is wanted.
        """
        self._type_base = type_base
        self.language: Language = language

    def document(
        self, error: PlatformError, *, language: Language, request_id: str | None, instance: str
    ) -> dict[str, object]:
        """The problem as it is encoded; absent members are left out. Also what an idempotency row may store."""
        found: dict[str, object | None] = {
            "type": self._type_base + error.code,
            "title": error.title(language),
            "status": error.status,
            "detail": error.detail(language),
            "instance": instance,
            "code": error.code,
            "param": error.param,
            "errors": [
                {"param": fault.param, "code": fault.code, "detail": fault.detail(language)} for fault in error.faults
            ]
            or None,
            "hint": error.hint(language),
            "retryable": error.is_retryable,
            "request_id": request_id,
            "plugin": error.plugin,
        }
        assert not error.members.keys() & found.keys(), "the members of every problem are not an error's to set"
        return {name: value for name, value in found.items() if value is not None} | error.members

    def answer(self, error: PlatformError, *, language: Language, request_id: str | None, scope: Scope) -> Response:
        """The HTTP answer. `instance` is the path alone: a query may hold what belongs to a person."""
        document = self.document(error, language=language, request_id=request_id, instance=quote(scope["path"]))
        headers = {
            "content-language": language,
            "vary": "Accept-Language",
            "cache-control": "no-store",
            **error.headers,
        }
        if error.retry_after_s is not None:
            headers["retry-after"] = str(error.retry_after_s)
        body = msgspec.json.encode(document)
        return Response(body, status_code=error.status, headers=headers, media_type=MEDIA_TYPE)
