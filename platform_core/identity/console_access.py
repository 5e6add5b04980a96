"""How a route of a console says who must be there: `who: Annotated[SignedIn, signed_in("merchant")]`.

Every request that may write must show that our own page sent it: Origin (else Referer) is ours, Sec-Fetch-Site is
absent, same-origin or none, and the session's token stands in the form field `csrf` or the header X-CSRF-Token. OWASP
CSRF Prevention Cheat Sheet and W3C Fetch Metadata, read 2026-11-22.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from platform_core.identity.errors_people import CONSOLE_UNCLEAR, CSRF_REFUSED, SIGN_IN_REQUIRED
from platform_core.identity.models_people import Console
from platform_core.identity.page_forms import is_form, read_page_form
from platform_core.identity.sessions import CONSOLES, Cookie, Sessions, SignedIn, cookie_name
from platform_core.identity.vault import Vault
from platform_core.kernel.clock import Clock

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
CSRF_FIELD: Final = "csrf"
CSRF_HEADER: Final = "x-csrf-token"
CONSOLE_HEADER: Final = "arsenal-console"
_FETCHED_BY_US: Final = frozenset({"same-origin", "none"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleAccess:
    """What the dependencies below find at `app.state.console_access`. One per process."""

    sessions: Sessions
    vault: Vault
    clock: Clock
    public_origin: str

    def now(self) -> datetime:
        """The moment by which sessions live."""
        return self.clock.now()

    def csrf_token(self, cookie_value: str) -> str:
        """The token of a session, or of what stands before one: nobody without the cookie's secret can make it."""
        return urlsafe_b64encode(self.vault.digest("csrf", cookie_value)).rstrip(b"=").decode()

    async def check_csrf(self, request: Request, cookie_value: str) -> None:
        """403 `identity.csrf_refused` unless our own page sent the request for this session."""
        given = request.headers.get(CSRF_HEADER)
        if given is None and is_form(request):
            given = (await read_page_form(request)).one(CSRF_FIELD)
        is_token_right = hmac.compare_digest((given or "").encode(), self.csrf_token(cookie_value).encode())
        if not (is_token_right and self._is_of_our_origin(request)):
            raise CSRF_REFUSED.error()

    def _is_of_our_origin(self, request: Request) -> bool:
        origins, fetched = request.headers.getlist("origin"), request.headers.get("sec-fetch-site")
        if len(origins) > 1 or (fetched is not None and fetched not in _FETCHED_BY_US):
            return False
        if origins:
            return origins[0] == self.public_origin
        referrer = urlsplit(request.headers.get("referer", ""))
        return f"{referrer.scheme}://{referrer.netloc}" == self.public_origin


def console_access_of(request: Request) -> ConsoleAccess:
    """The process's."""
    access: ConsoleAccess = request.app.state.console_access
    return access


def signed_in(console: Console) -> Any:  # FastAPI's marker, which it types as Any itself
    """The dependency of a page: who is signed in at this console; a method that may write is checked for CSRF too.

    401 `identity.sign_in_required` (`consoles.shared.pages` makes it a way to the sign-in page), 403
    `identity.csrf_refused`.
    """

    async def find(request: Request) -> SignedIn:
        return await signed_in_at(request, console)

    return Depends(find)


async def signed_in_at(request: Request, console: Console) -> SignedIn:
    """What `signed_in` does, as a plain call."""
    access = console_access_of(request)
    value = request.cookies.get(cookie_name(console))
    who = await access.sessions.find(value, console=console)
    if who is None or value is None:
        raise SIGN_IN_REQUIRED.error()
    if request.method not in SAFE:
        await access.check_csrf(request, value)
    return who


async def signed_in_anywhere(request: Request) -> SignedIn:
    """The session that a request to the API carries; with several, the header Arsenal-Console names the one that acts.

    401 `identity.sign_in_required`, `identity.console_unclear`; 403 `identity.csrf_refused`.
    """
    present = [console for console in CONSOLES if cookie_name(console) in request.cookies]
    named = request.headers.get(CONSOLE_HEADER)
    chosen = [console for console in present if named is None or console == named]
    if len(chosen) > 1:
        raise CONSOLE_UNCLEAR.error()
    if not chosen:
        raise SIGN_IN_REQUIRED.error()
    return await signed_in_at(request, chosen[0])


def has_console_cookie(request: Request) -> bool:
    """Whether a request carries a cookie of one of our consoles."""
    return any(cookie_name(console) in request.cookies for console in CONSOLES)


def set_session_cookie(response: Response, console: Console, cookie: Cookie) -> None:
    """Hand the cookie to the browser, which keeps it until it is closed; the server ends it earlier."""
    set_host_cookie(response, cookie_name(console), str(cookie))


def set_host_cookie(response: Response, name: str, value: str, *, max_age: int | None = None) -> None:
    """Set one of our cookies: `name` begins with `__Host-`."""
    response.set_cookie(name, value, max_age=max_age, path="/", secure=True, httponly=True, samesite="lax")


def clear_session_cookie(response: Response, console: Console) -> None:
    """Take the cookie away again."""
    response.delete_cookie(cookie_name(console), path="/", secure=True, httponly=True, samesite="lax")
