"""The page for an authorization request that cannot be sent back to its app."""

from __future__ import annotations

import html
from typing import Final

from fastapi.responses import HTMLResponse

from platform_core.kernel.errors import PlatformError
from platform_core.kernel.i18n import Language

PAGE_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_PAGE: Final = """<!doctype html>
<html lang="{language}"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"></head>
<body><main><h1>{title}</h1><p>{detail}</p><p>{hint}</p><p><code>{code}</code></p></main></body></html>
"""


def error_page(error: PlatformError, language: Language) -> HTMLResponse:
    """The refusal in words, without anything of the request in it."""
    said = {
        "language": language,
        "code": error.code,
        "title": error.title(language),
        "detail": error.detail(language),
        "hint": error.hint(language) or "",
    }
    page = _PAGE.format(**{name: html.escape(text) for name, text in said.items()})
    headers = {**PAGE_HEADERS, "Content-Language": language, "Vary": "Accept-Language"}
    return HTMLResponse(page, status_code=error.status, headers=headers)
