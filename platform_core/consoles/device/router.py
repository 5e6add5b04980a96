"""`/device`: enter the code, compare it with the device, choose the store, decide.

A code in the address (RFC 8628 section 3.3.1) only fills in the form: looking it up is a try, and takes a POST. What
was found is named in the form by a handle that means nothing in another session.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from platform_core.consoles.device.texts import TEXTS
from platform_core.consoles.shared.pages import language_of, page, page_route, redirect, sign_in_path
from platform_core.identity.console_access import console_access_of, signed_in
from platform_core.identity.device_approvals import DeviceApprovals, DeviceRequest
from platform_core.identity.errors_device import DEVICE_CODE_UNKNOWN, DEVICE_STORE_NEEDED
from platform_core.identity.errors_people import STEP_UP_REQUIRED
from platform_core.identity.oauth.device import PAGE, read_user_code, show_user_code
from platform_core.identity.page_forms import read_page_form
from platform_core.identity.sessions import SignedIn, cookie_name
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.http.handlers import REQUEST_MALFORMED

CONSOLE: Final = "merchant"
Who = Annotated[SignedIn, signed_in(CONSOLE)]
TypedCode = Annotated[str, Query(max_length=16)]


def device_router(devices: DeviceApprovals) -> APIRouter:
    """The page over one service."""
    router = APIRouter(route_class=page_route(CONSOLE), include_in_schema=False)

    @router.get(PAGE)
    async def enter(request: Request, who: Who, user_code: TypedCode = "") -> Response:
        """The form for the code. Looks nothing up and writes nothing."""
        return _page(request, who, user_code=_shown(user_code))

    @router.post(PAGE)
    async def act(request: Request, who: Who) -> Response:
        """One step: find the device, or decide. The session's CSRF token was checked before this runs."""
        form = await read_page_form(request)
        step = form.one("step")
        if step == "find":
            return await _find(request, devices, who, typed=form.one("user_code"))
        if step not in ("allow", "refuse"):
            raise REQUEST_MALFORMED.error()
        device = await devices.reopen(form.one("device"), who)
        if step == "refuse":
            await devices.decline(device, who)
            return _page(request, who, outcome="refused")
        return await _allow(request, devices, who, device=device, store_id=form.one("store"))

    return router


async def _find(request: Request, devices: DeviceApprovals, who: SignedIn, *, typed: str) -> Response:
    try:
        device = await devices.find(typed, who)
    except PlatformError as error:
        if error.declared is not DEVICE_CODE_UNKNOWN:
            raise
        return _page(request, who, user_code=_shown(typed), fault=error)
    return _page(request, who, device=device, user_code=_shown(typed))


async def _allow(
    request: Request, devices: DeviceApprovals, who: SignedIn, *, device: DeviceRequest, store_id: str
) -> Response:
    try:
        await devices.approve(device, who, store_id=store_id)
    except PlatformError as error:
        if error.declared is STEP_UP_REQUIRED:  # back to the form: the address holds no handle
            return redirect(sign_in_path(CONSOLE, PAGE, step_up=True))
        if error.declared is not DEVICE_STORE_NEEDED:
            raise
        return _page(request, who, device=device, fault=error)
    return _page(request, who, outcome="allowed")


def _shown(typed: str) -> str:
    """A code as the device shows it; of anything else nothing comes back."""
    code = read_user_code(typed)
    return show_user_code(code) if code is not None else ""


def _page(
    request: Request,
    who: SignedIn,
    *,
    device: DeviceRequest | None = None,
    user_code: str = "",
    fault: PlatformError | None = None,
    outcome: str | None = None,
) -> Response:
    language = language_of(request, who)
    values: dict[str, Any] = {
        "action": PAGE,
        "csrf": console_access_of(request).csrf_token(request.cookies.get(cookie_name(CONSOLE), "")),
        "device": device,
        "user_code": user_code,
        "fault": fault.detail(language) if fault is not None else None,
        "outcome": outcome,
        "say": lambda text: text.say(language),
    }
    status = fault.status if fault is not None else 200
    return page(request, "device/page.html", values, texts=TEXTS, who=who, status=status)
