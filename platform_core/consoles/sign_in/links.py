"""Pages that a link leads to: recovery of an account, and invitations. Opening one uses nothing up."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import Response

from platform_core.consoles.shared.pages import language_of, redirect, sign_in_path
from platform_core.consoles.sign_in.desk import ConsoleName, Desk, device_of
from platform_core.identity.errors_people import LINK_INVALID
from platform_core.identity.models_people import Console, PartyKind
from platform_core.identity.roles import roles
from platform_core.identity.sessions import PARTY_OF
from platform_core.identity.staff import OpenInvitation
from platform_core.kernel.errors import PlatformError

Token = Annotated[str, Path(max_length=100)]


def link_pages(router: APIRouter, desk: Desk) -> None:
    """Add the pages to the sign-in pages' router."""
    _recovery(router, desk)
    _invitation(router, desk)


def _recovery(router: APIRouter, desk: Desk) -> None:
    @router.get("/recovery")
    async def ask(request: Request, console: ConsoleName = "merchant") -> Response:
        return desk.open_page(request, "recovery.html", {"console": console, "is_sent": False})

    @router.post("/recovery")
    async def send(request: Request, console: ConsoleName = "merchant") -> Response:
        form = await desk.open_form(request)
        address = device_of(request).address
        try:
            await desk.recovery.ask(form.one("email"), address=address, language=language_of(request))
        except PlatformError as error:
            values = {"console": console, "is_sent": False}
            return desk.open_page(request, "recovery.html", values, error=error)
        return desk.open_page(request, "recovery.html", {"console": console, "is_sent": True})

    @router.get("/recovery/{token}")
    async def open_link(request: Request, token: Token) -> Response:
        await desk.recovery.check(token)
        return desk.open_page(request, "new_password.html", {})

    @router.post("/recovery/{token}")
    async def use_link(request: Request, token: Token) -> Response:
        form = await desk.open_form(request)
        try:
            await desk.recovery.use(token, form.one("password"))
        except PlatformError as error:
            if error.declared is LINK_INVALID:
                raise
            return desk.open_page(request, "new_password.html", {}, error=error)
        return redirect(sign_in_path("merchant", ""))


def _invitation(router: APIRouter, desk: Desk) -> None:
    @router.get("/invitation/{token}")
    async def open_link(request: Request, token: Token) -> Response:
        return _invitation_page(request, desk, await desk.staff.open_invitation(token))

    @router.post("/invitation/{token}")
    async def accept(request: Request, token: Token) -> Response:
        form = await desk.open_form(request)
        invitation = await desk.staff.open_invitation(token)
        name, password = form.one("name").strip()[:200], form.one("password")
        try:
            await desk.staff.accept(
                token, name=name or invitation.email, password=password, locale=language_of(request)
            )
        except PlatformError as error:
            if error.declared is LINK_INVALID:
                raise
            return _invitation_page(request, desk, invitation, error=error)
        return redirect(sign_in_path(_console_of(invitation.party_kind), ""))


def _invitation_page(
    request: Request, desk: Desk, invitation: OpenInvitation, *, error: PlatformError | None = None
) -> Response:
    named = roles()[invitation.party_kind]
    values = {
        "invitation": invitation,
        "roles": [named[role].text for role in invitation.roles if role in named],
    }
    return desk.open_page(request, "invitation.html", values, error=error)


def _console_of(kind: PartyKind) -> Console:
    return next(console for console, party in PARTY_OF.items() if party == kind)
