"""Pages from templates: strict headers on every answer, errors as pages, both languages.

A page is a route of a router made with `route_class=page_route(console)`; it returns `pages.answer(...)`. Templates
extend `shared/base.html` and hold no words: a page hands its words over as `Text`, by name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import Response

from platform_core.consoles.shared.texts import SHARED
from platform_core.identity.errors_people import SIGN_IN_REQUIRED, STEP_UP_REQUIRED
from platform_core.identity.models_people import Console
from platform_core.identity.sessions import CONSOLES, SignedIn
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.http.envelope import envelope_of
from platform_core.kernel.http.handlers import REQUEST_MALFORMED
from platform_core.kernel.i18n import LANGUAGES, Language, Text

FOLDER: Final = Path(__file__).resolve().parent.parent
STYLE: Final = FOLDER / "shared" / "style.css"
CSP: Final = (
    "default-src 'none'; {scripts}style-src 'self'; img-src 'self' data:; form-action {form_action}; "
    "frame-ancestors 'none'; base-uri 'none'"
)
SCRIPTS: Final = "script-src 'self'; connect-src 'self'; "
HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "Vary": "Accept-Language, Cookie",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""On every page. `no-referrer` would be the stricter word, but browsers then send `Origin: null` with a form's POST
(Fetch standard, section 3.2 "Origin header", read 2026-11-22), which the check of CSRF must refuse. `same-origin` tells
other sites just as little.
"""
LANGUAGE_COOKIE: Final = "__Host-arsenal_language"


def style_path() -> str:
    """Where the style sheet is served: its name changes with its content, so it may be kept for ever."""
    return f"/static/{_style()[1]}"


@cache
def _style() -> tuple[bytes, str]:
    content = STYLE.read_bytes()
    return content, f"arsenal.{hashlib.sha256(content).hexdigest()[:16]}.css"


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["style_path"] = style_path
    return made


def language_of(request: Request, who: SignedIn | None = None) -> Language:
    """The page's language: what the reader switched to, else the account's, else the browser's."""
    for wanted in (request.query_params.get("lang"), request.cookies.get(LANGUAGE_COOKIE)):
        for language in LANGUAGES:
            if wanted == language:
                return language
    return who.locale if who is not None else envelope_of(request.scope).language


def page(
    request: Request,
    template: str,
    values: Mapping[str, Any],  # Any: what a template shows
    *,
    texts: Mapping[str, Text],
    who: SignedIn | None = None,
    status: int = 200,
    form_targets: Sequence[str] = (),
    has_script: bool = False,
) -> HTMLResponse:
    """A rendered page. `texts` are the page's own words, shown by `t("name", value=...)`. `has_script`: one of ours.

    `form_targets`: further origins to which a form's POST may lead by redirect; browsers apply form-action there too.
    """
    language = language_of(request, who)
    words = {**SHARED, **texts}

    def t(name: str, /, **said: object) -> str:
        return words[name].say(language, said)

    shown = {
        "t": t,
        "language": language,
        "who": who,
        "other_language": "en" if language == "zh" else "zh",
        "other_language_href": _with_language(request, "en" if language == "zh" else "zh"),
        **values,
    }
    html = _environment().get_template(template).render(shown)
    headers = {
        **HEADERS,
        "Content-Language": language,
        "Content-Security-Policy": CSP.format(
            form_action=" ".join(["'self'", *form_targets]), scripts=SCRIPTS if has_script else ""
        ),
    }
    return HTMLResponse(html, status_code=status, headers=headers)


def redirect(path: str) -> RedirectResponse:
    """On to another page of ours after a POST (303), kept nowhere."""
    return RedirectResponse(path, status_code=303, headers=dict(HEADERS))


def error_page(request: Request, error: PlatformError, *, who: SignedIn | None = None) -> HTMLResponse:
    """A refusal as a page: what happened, what comes next, the code and the request's id."""
    language = language_of(request, who)
    values = {
        "title": error.title(language),
        "detail": error.detail(language),
        "hint": error.hint(language),
        "code": error.code,
        "request_id": envelope_of(request.scope).request_id,
    }
    answer = page(request, "shared/error.html", values, texts={}, who=who, status=error.status)
    answer.headers.update(error.headers)
    if error.retry_after_s is not None:
        answer.headers["Retry-After"] = str(error.retry_after_s)
    return answer


def page_route(console: Console | None) -> type[APIRoute]:
    """The route class of a console's pages: a refusal is a page, a missing session or second factor a way to it.

    None: the console stands in the query, as on the sign-in pages.
    """

    class PageRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handler = super().get_route_handler()

            async def run(request: Request) -> Response:
                try:
                    return await handler(request)
                except PlatformError as error:
                    return _refused(request, error, console or _named_console(request))
                except RequestValidationError:
                    return error_page(request, REQUEST_MALFORMED.error())

            return run

    return PageRoute


PlainPageRoute: Final = page_route(None)
"""For pages of every console."""


def sign_in_path(console: Console, to: str, *, step_up: bool = False) -> str:
    """The address of the sign-in pages that lead back to `to`, a path of ours with its query."""
    place = "/sign-in/step-up" if step_up else "/sign-in"
    return f"{place}?{urlencode({'console': console, 'to': to})}"


def static_routes() -> APIRouter:
    """The style sheet."""
    router = APIRouter(include_in_schema=False)
    content, name = _style()

    @router.get(f"/static/{name}")
    async def style() -> Response:
        headers = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
        return Response(content, media_type="text/css; charset=utf-8", headers=headers)

    return router


def _refused(request: Request, error: PlatformError, console: Console) -> Response:
    query = request.scope["query_string"].decode("latin-1")
    here = quote(request.scope["path"]) + (f"?{query}" if query else "")
    if error.declared is SIGN_IN_REQUIRED:
        is_going_on = request.scope["path"].startswith("/sign-in/")  # its own target comes along
        return redirect(sign_in_path(console, request.query_params.get("to", "") if is_going_on else here))
    if error.declared is STEP_UP_REQUIRED:
        return redirect(sign_in_path(console, here, step_up=True))
    return error_page(request, error)


def _named_console(request: Request) -> Console:
    named = request.query_params.get("console")
    return next((console for console in CONSOLES if console == named), "merchant")


def _with_language(request: Request, language: Language) -> str:
    kept = [(name, value) for name, value in request.query_params.multi_items() if name != "lang"]
    return f"{quote(request.scope['path'])}?{urlencode([*kept, ('lang', language)])}"
