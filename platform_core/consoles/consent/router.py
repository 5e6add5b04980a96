"""`/consent`: shows what an app asks for, and takes the decision.

The request travels in the address as a token that only this browser can use; opening the page writes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Protocol
from urllib.parse import urlsplit

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from platform_core.consoles.consent.form import FormFault, read_decision, shown
from platform_core.consoles.consent.texts import TEXTS
from platform_core.consoles.shared.pages import HEADERS, language_of, page, page_route, redirect, sign_in_path
from platform_core.contracts.rar import say_value
from platform_core.identity.consent import Approved, Consent, ConsentView, Declined, DetailView, LimitField
from platform_core.identity.console_access import console_access_of, signed_in
from platform_core.identity.oauth.requests import BROWSER_COOKIE, TOKEN_LENGTH_MAX, AuthorizationRequest, ConsentTokens
from platform_core.identity.page_forms import PageForm, read_page_form
from platform_core.identity.sessions import SignedIn, cookie_name
from platform_core.kernel.clock import Clock
from platform_core.kernel.http.handlers import REQUEST_MALFORMED
from platform_core.kernel.i18n import Language

PATH: Final = "/consent"
CONSOLE: Final = "merchant"
Token = Annotated[str, Query(min_length=1, max_length=TOKEN_LENGTH_MAX)]
Who = Annotated[SignedIn, signed_in(CONSOLE)]
_ORIGIN: Final = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+", re.ASCII)


class Decides(Protocol):
    """What the page asks of the authorization server."""

    consent_tokens: ConsentTokens

    async def decide(self, request: AuthorizationRequest, who: SignedIn, decision: Approved | Declined) -> str:
        """The address to send the browser to, once all is committed."""
        ...


def consent_router(oauth: Decides, consent: Consent, clock: Clock) -> APIRouter:
    """The page over one authorization server. `clock` is the real one: requests and sign-ins live by it."""
    router = APIRouter(route_class=page_route(CONSOLE), include_in_schema=False)

    @router.get(PATH)
    async def show(request: Request, who: Who, token: Token) -> Response:
        """What the app asks for; on to the sign-in pages when the app wants a fresher or stronger sign-in."""
        asked = _open(request, oauth, token)
        if not asked.accepts(who, clock.now()):
            return redirect(sign_in_path(CONSOLE, _here(request), step_up=True))
        return _answer(request, asked, who, await consent.view(asked, who))

    @router.post(PATH)
    async def decide(request: Request, who: Who, token: Token) -> Response:
        """Take the decision and go back to the app. The session's CSRF token was checked before this runs."""
        asked = _open(request, oauth, token)
        form = await read_page_form(request)
        wanted = form.one("decision")
        if wanted == "refuse":
            return _leave(await oauth.decide(asked, who, Declined()))
        if wanted != "allow":
            raise REQUEST_MALFORMED.error()
        view = await consent.view(asked, who)
        try:
            approved = read_decision(form, view, now=clock.now())
        except FormFault as fault:
            return _answer(request, asked, who, view, form=form, fault=fault)
        return _leave(await oauth.decide(asked, who, approved))

    return router


def _open(request: Request, oauth: Decides, token: str) -> AuthorizationRequest:
    return oauth.consent_tokens.open(token, request.cookies.get(BROWSER_COOKIE, ""))


def _here(request: Request) -> str:
    return f"{PATH}?{request.scope['query_string'].decode('latin-1')}"


def _leave(address: str) -> Response:
    """Back to the app's registered address (303, so that nothing of the form is sent there)."""
    return RedirectResponse(address, status_code=303, headers={**HEADERS, "Referrer-Policy": "no-referrer"})


def _answer(
    request: Request,
    asked: AuthorizationRequest,
    who: SignedIn,
    view: ConsentView,
    *,
    form: PageForm | None = None,
    fault: FormFault | None = None,
) -> Response:
    language = language_of(request, who)
    values = {
        "view": view,
        "groups": _groups(view),
        "details": [_detail(detail, language, form) for detail in view.details],
        "csrf": console_access_of(request).csrf_token(request.cookies.get(cookie_name(CONSOLE), "")),
        "action": _here(request),
        "ticked": frozenset(form.all("scope")) if form is not None else frozenset(),
        "store_choice": _store_choice(view, form),
        "chosen_stores": _chosen_stores(view, form),
        "until": form.one("until", "revoked") if form is not None else "revoked",
        "fault_field": fault.field if fault is not None else None,
        "fault": fault.text.say(language) if fault is not None else None,
        "say": lambda text: text.say(language),
    }
    split = urlsplit(asked.redirect_uri)
    origin = f"{split.scheme}://{split.netloc}"
    return page(
        request,
        "consent/page.html",
        values,
        texts=TEXTS,
        who=who,
        status=200 if fault is None else 422,
        # Browsers hold the redirect that answers the form's POST to form-action as well.
        form_targets=(origin,) if _ORIGIN.fullmatch(origin) else (),
    )


def _groups(view: ConsentView) -> list[tuple[str, list[Any]]]:
    names = dict.fromkeys(line.group for line in view.lines)
    return [(name, [line for line in view.lines if line.group == name]) for name in names]


def _detail(detail: DetailView, language: Language, form: PageForm | None) -> Mapping[str, Any]:
    counted = detail.detail.kind.counted
    fields = []
    for field in detail.fields:
        limit = field.limit
        fields.append(
            {
                "name": field.name,
                "per": limit.per,
                "what": limit.currency or TEXTS[f"measure_{limit.measure}"].say(language),
                "value": (form.one(field.name) if form is not None else "") or shown(limit, _proposed(field)),
                "most": say_value(limit, limit.value, language, counted),
                "was": None if field.before is None else say_value(limit, field.before, language, counted),
                "is_money": limit.currency is not None,
            }
        )
    return {"title": detail.detail.kind.text.say(language), "fields": fields}


def _proposed(field: LimitField) -> int:
    """What the app has now, where that is less than what it asks for: coming back raises nothing by itself."""
    return field.limit.value if field.before is None else min(field.before, field.limit.value)


def _store_choice(view: ConsentView, form: PageForm | None) -> str:
    if form is not None:
        return form.one("stores", "chosen")
    return "all" if view.may_give_all_stores and view.is_all_stores else "chosen"


def _chosen_stores(view: ConsentView, form: PageForm | None) -> frozenset[str]:
    if form is not None:
        return frozenset(form.all("store"))
    return frozenset(store.id for store in view.stores if store.is_given)
