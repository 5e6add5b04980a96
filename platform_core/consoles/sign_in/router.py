"""The sign-in pages: password, second factor, party, step-up, account."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from urllib.parse import urlencode

import segno
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from platform_core.consoles.shared.pages import PlainPageRoute, redirect, sign_in_path
from platform_core.consoles.sign_in.desk import (
    KNOWN_BROWSER,
    ConsoleName,
    Desk,
    Target,
    device_of,
    go_on,
    onward,
    remember,
)
from platform_core.consoles.sign_in.links import link_pages
from platform_core.identity.console_access import clear_session_cookie
from platform_core.identity.errors_people import ENROLMENT_STALE
from platform_core.identity.models_people import Console
from platform_core.identity.repository_people import SessionState
from platform_core.identity.roles import roles
from platform_core.identity.sessions import PARTY_OF, cookie_name, next_step
from platform_core.identity.sign_in import Try
from platform_core.identity.totp import provisioning_uri, seed_text, shown
from platform_core.identity.vault import SealBroken
from platform_core.kernel.errors import PlatformError


def sign_in_pages(desk: Desk) -> APIRouter:
    """The pages over the services; bootstrap mounts them."""
    router = APIRouter(prefix="/sign-in", include_in_schema=False, route_class=PlainPageRoute)
    _password(router, desk)
    _second_factor(router, desk)
    _enrolment(router, desk)
    _party(router, desk)
    _account(router, desk)
    link_pages(router, desk)
    return router


def _password(router: APIRouter, desk: Desk) -> None:
    @router.get("")
    async def ask(request: Request, console: ConsoleName = "merchant", to: Target = "") -> Response:
        return desk.open_page(request, "password.html", {"console": console, "to": to, "email": ""})

    @router.post("")
    async def check(request: Request, console: ConsoleName = "merchant", to: Target = "") -> Response:
        form = await desk.open_form(request)
        wanted = Try(
            email=form.one("email"),
            password=form.one("password"),
            console=console,
            device=device_of(request),
            known_browser=request.cookies.get(KNOWN_BROWSER),
            cookie=request.cookies.get(cookie_name(console)),
        )
        try:
            opened = await desk.sign_in.password(wanted)
        except PlatformError as error:
            values = {"console": console, "to": to, "email": wanted.email[:254]}
            return desk.open_page(request, "password.html", values, error=error)
        return remember(go_on(console, to), opened, console=console)

    @router.get("/next")
    async def proceed(request: Request, console: ConsoleName = "merchant", to: Target = "") -> Response:
        return onward(await desk.state(request, console), to=to)


def _second_factor(router: APIRouter, desk: Desk) -> None:
    @router.get("/second-factor")
    async def ask(request: Request, console: ConsoleName = "merchant", to: Target = "") -> Response:
        await desk.state(request, console)
        return desk.session_page(request, "code.html", {"console": console, "kind": "second"}, console=console)

    @router.post("/second-factor")
    async def check(request: Request, console: ConsoleName = "merchant", to: Target = "") -> Response:
        return await _check_code(request, desk, console=console, to=to, kind="second")

    @router.get("/step-up")
    async def ask_again(request: Request, console: ConsoleName = "merchant", to: Target = "") -> Response:
        state = await desk.state(request, console)
        if next_step(state) is not None:
            return onward(state, to=to)
        values = {"console": console, "kind": "step_up" if state.has_totp else "none", "to": to}
        return desk.session_page(request, "code.html", values, console=console)

    @router.post("/step-up")
    async def check_again(request: Request, console: ConsoleName = "merchant", to: Target = "") -> Response:
        return await _check_code(request, desk, console=console, to=to, kind="step_up")


async def _check_code(request: Request, desk: Desk, *, console: Console, to: str, kind: str) -> Response:
    state = await desk.state(request, console)
    form = await desk.session_form(request, console)
    try:
        opened = await desk.sign_in.second_factor(state, form.one("code"), device_of(request))
    except PlatformError as error:
        values = {"console": console, "kind": kind, "to": to}
        return desk.session_page(request, "code.html", values, console=console, error=error)
    return remember(go_on(console, to), opened, console=console)


def _enrolment(router: APIRouter, desk: Desk) -> None:
    @router.get("/enrol")
    async def ask(request: Request, console: ConsoleName = "merchant", to: Target = "") -> Response:
        state = await desk.state(request, console)
        return _enrolment_page(request, desk, state, sealed=desk.sign_in.new_seed(state))

    @router.post("/enrol")
    async def check(request: Request, console: ConsoleName = "merchant", to: Target = "") -> Response:
        state = await desk.state(request, console)
        form = await desk.session_form(request, console)
        try:
            sealed = urlsafe_b64decode(form.one("seed").encode())
            seed = desk.sign_in.open_seed(state, sealed)
        except (SealBroken, binascii.Error, UnicodeEncodeError) as error:
            raise ENROLMENT_STALE.error() from error
        try:
            enrolled = await desk.sign_in.enrol(state, seed, form.one("code"), device=device_of(request))
        except PlatformError as error:
            if error.declared is ENROLMENT_STALE:
                raise
            return _enrolment_page(request, desk, state, sealed=sealed, error=error)
        values = {
            "console": console,
            "codes": [shown(code) for code in enrolled.recovery_codes],
            "onward": f"/sign-in/next?{urlencode({'console': console, 'to': to})}",
        }
        answer = desk.session_page(request, "codes.html", values, console=console, cookie=str(enrolled.opened.cookie))
        return remember(answer, enrolled.opened, console=console)


def _enrolment_page(
    request: Request, desk: Desk, state: SessionState, *, sealed: bytes, error: PlatformError | None = None
) -> Response:
    seed = desk.sign_in.open_seed(state, sealed)
    picture = segno.make(provisioning_uri(seed, account=state.email), micro=False)
    key = seed_text(seed)
    values = {
        "console": state.console,
        "picture": picture.svg_data_uri(scale=4, border=2),
        "key": " ".join(key[at : at + 4] for at in range(0, len(key), 4)),
        "seed": urlsafe_b64encode(sealed).decode(),
    }
    return desk.session_page(request, "enrol.html", values, console=state.console, error=error)


def _party(router: APIRouter, desk: Desk) -> None:
    @router.get("/party")
    async def ask(request: Request, console: ConsoleName = "merchant", to: Target = "") -> Response:
        state = await desk.state(request, console)
        if next_step(state) == "second_factor":
            return onward(state, to=to)
        named = roles()[PARTY_OF[console]]
        places = [
            (place, [named[role].text for role in place.roles if role in named])
            for place in await desk.sign_in.places(state)
        ]
        return desk.session_page(request, "party.html", {"console": console, "places": places}, console=console)

    @router.post("/party")
    async def choose(request: Request, console: ConsoleName = "merchant", to: Target = "") -> Response:
        state = await desk.state(request, console)
        form = await desk.session_form(request, console)
        if next_step(state) == "second_factor":
            return onward(state, to=to)
        opened = await desk.sign_in.choose(state, form.one("place"), device_of(request))
        return remember(go_on(console, to), opened, console=console)


def _account(router: APIRouter, desk: Desk) -> None:
    @router.get("/account")
    async def account(request: Request, console: ConsoleName = "merchant") -> Response:
        state = await desk.state(request, console)
        if next_step(state) is not None:
            return onward(state, to="")
        values = {
            "console": console,
            "state": state,
            "sessions": await desk.sessions.list(state.person_id),
            "to_party": f"/sign-in/party?{urlencode({'console': console})}",
        }
        return desk.session_page(request, "account.html", values, console=console)

    @router.post("/account/end")
    async def end(request: Request, console: ConsoleName = "merchant") -> Response:
        state = await desk.state(request, console)
        form = await desk.session_form(request, console)
        if form.one("session") == "all":
            await desk.sessions.end_all(state.person_id)
            return _signed_out(console)
        await desk.sessions.end_one(form.one("session"), person_id=state.person_id)
        return redirect(f"/sign-in/account?{urlencode({'console': console})}")

    @router.post("/out")
    async def sign_out(request: Request, console: ConsoleName = "merchant") -> Response:
        await desk.session_form(request, console)
        await desk.sessions.end(request.cookies.get(cookie_name(console)), console=console)
        return _signed_out(console)


def _signed_out(console: Console) -> Response:
    answer = redirect(sign_in_path(console, ""))
    clear_session_cookie(answer, console)
    return answer
