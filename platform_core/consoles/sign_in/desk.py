"""What all sign-in pages do alike: cookies, the token of a form without a session, where to go next."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlencode

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from platform_core.consoles.shared.pages import page, redirect
from platform_core.consoles.sign_in.texts import CONSOLES, TEXTS
from platform_core.identity.console_access import ConsoleAccess, set_host_cookie
from platform_core.identity.errors_people import SIGN_IN_REQUIRED
from platform_core.identity.models_people import Console
from platform_core.identity.page_forms import PageForm, read_page_form
from platform_core.identity.recovery import Recovery
from platform_core.identity.repository_people import SessionState
from platform_core.identity.sessions import Device, Sessions, cookie_name, next_step
from platform_core.identity.sign_in import KNOWN_BROWSER_LIFE, Opened, SignIn
from platform_core.identity.staff import Staff
from platform_core.kernel.errors import PlatformError

PRE_SESSION: Final = "__Host-arsenal_signing_in"
KNOWN_BROWSER: Final = "__Host-arsenal_known"
TARGET_MAX: Final = 4096
ConsoleName = Annotated[Literal["admin", "merchant", "isv"], Query()]
Target = Annotated[str, Query(max_length=TARGET_MAX)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The services behind the pages."""

    sign_in: SignIn
    sessions: Sessions
    recovery: Recovery
    staff: Staff
    access: ConsoleAccess
    entropy: Callable[[int], bytes]

    async def state(self, request: Request, console: Console) -> SessionState:
        """The session of this browser, complete or not. Raises `identity.sign_in_required`."""
        state = await self.sessions.state(request.cookies.get(cookie_name(console)), console=console)
        if state is None:
            raise SIGN_IN_REQUIRED.error()
        return state

    async def session_form(self, request: Request, console: Console) -> PageForm:
        """The form of a page within a session. 403 `identity.csrf_refused`."""
        await self.access.check_csrf(request, request.cookies.get(cookie_name(console), ""))
        return await read_page_form(request)

    async def open_form(self, request: Request) -> PageForm:
        """The form of a page before any session, whose token stands for a cookie of its own. 403
        `identity.csrf_refused`.
        """
        await self.access.check_csrf(request, request.cookies.get(PRE_SESSION, ""))
        return await read_page_form(request)

    def open_page(
        self, request: Request, template: str, values: Mapping[str, Any], *, error: PlatformError | None = None
    ) -> Response:
        """A page before any session: with a token, and the cookie that it belongs to. Any: what a template shows."""
        value = request.cookies.get(PRE_SESSION)
        made = value or urlsafe_b64encode(self.entropy(32)).rstrip(b"=").decode()
        answer = _shown(request, template, {**values, "csrf": self.access.csrf_token(made)}, error=error)
        if value is None:
            set_host_cookie(answer, PRE_SESSION, made)
        return answer

    def session_page(
        self,
        request: Request,
        template: str,
        values: Mapping[str, Any],  # Any: what a template shows
        *,
        console: Console,
        cookie: str | None = None,
        error: PlatformError | None = None,
    ) -> Response:
        """A page within a session; `cookie` where this answer sets a new one."""
        held = cookie or request.cookies.get(cookie_name(console), "")
        return _shown(request, template, {**values, "csrf": self.access.csrf_token(held)}, error=error)


def device_of(request: Request) -> Device:
    """Where the request comes from."""
    host = request.client.host if request.client is not None else ""
    return Device(address=host, agent=request.headers.get("user-agent", "")[:200])


def onward(state: SessionState, *, to: str) -> Response:
    """The next page of a session: the step that it lacks, else where it was going."""
    return redirect(step_path(state, to=to))


def step_path(state: SessionState, *, to: str) -> str:
    """The address of that page."""
    step = next_step(state)
    if step is None:
        return safe_target(to, console=state.console)
    place = {"second_factor": "second-factor", "enrol": "enrol", "party": "party"}[step]
    return f"/sign-in/{place}?{urlencode({'console': state.console, 'to': to})}"


def go_on(console: Console, to: str) -> Response:
    """To the page that decides by the new session where to go."""
    return redirect(f"/sign-in/next?{urlencode({'console': console, 'to': to})}")


def safe_target(to: str, *, console: Console) -> str:
    """`to` if it is a path of ours, else the account's page: nobody is sent to another site from here."""
    is_ours = (
        to.startswith("/")
        and not to.startswith("//")
        and "\\" not in to
        and len(to) <= TARGET_MAX
        and all("!" <= character <= "~" for character in to)
    )
    return to if is_ours else f"/sign-in/account?{urlencode({'console': console})}"


def remember(answer: Response, opened: Opened, *, console: Console) -> Response:
    """Hand the browser its new session, and the mark by which it is known."""
    set_host_cookie(answer, cookie_name(console), str(opened.cookie))
    if opened.known_browser is not None:
        life_s = int(KNOWN_BROWSER_LIFE.total_seconds())
        set_host_cookie(answer, KNOWN_BROWSER, opened.known_browser, max_age=life_s)
    return answer


def _shown(
    request: Request,
    template: str,
    values: Mapping[str, Any],  # Any: what a template shows
    *,
    error: PlatformError | None,
) -> Response:
    status = 200
    headers: dict[str, str] = {}
    if error is not None:
        # A browser's form has no use for 401, which would have to name a scheme of HTTP (RFC 9110 section 15.5.2).
        status = 422 if error.status in (401, 409) else error.status
        if error.retry_after_s is not None:
            headers["Retry-After"] = str(error.retry_after_s)
    texts = {**TEXTS, **{f"console_{name}": text for name, text in CONSOLES.items()}}
    answer = page(request, f"sign_in/{template}", {"error": error, **values}, texts=texts, status=status)
    answer.headers.update(headers)
    return answer
