"""`/pay/{token}` and `/s/{code}`: pages of payers. The address is all that is asked for; reading writes nothing.

A page is in no session, so there is no CSRF token: what a foreign site could make a browser send, its sender could send
as well. The token stands in the address, so no page tells another site where its reader came from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit
from zoneinfo import ZoneInfo

import segno
from babel.dates import format_datetime, format_time
from fastapi import APIRouter, Request
from markupsafe import Markup
from starlette.responses import JSONResponse, Response

from platform_core.capabilities.payments.payers.service import PayerPages, PayerView
from platform_core.capabilities.payments.rows import PAYER_PATH
from platform_core.capabilities.payments.stickers.amounts import LENGTH_MAX, example_of
from platform_core.capabilities.payments.stickers.service import NONCE, StickerPage, Stickers
from platform_core.capabilities.payments.stickers.service import PATH as STICKER_PATH
from platform_core.consoles.payer.texts import TEXTS
from platform_core.consoles.shared.pages import PlainPageRoute, language_of, page, redirect
from platform_core.identity.page_forms import read_page_form
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.i18n import BABEL_LOCALES, Language
from platform_core.kernel.money import Money

LIVE: Final = frozenset({"open", "wait", "unsure", "again"})
"""States in which something may happen without the reader."""
GO_ON: Final = "go"
_SCRIPT: Final = Path(__file__).with_name("payer.js")
_SECRET_ADDRESS: Final = {"Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex"}


def payer_router(payers: PayerPages, stickers: Stickers) -> APIRouter:
    """The pages over their services."""
    router = APIRouter(route_class=PlainPageRoute, include_in_schema=False)
    _payment_pages(router, payers)
    _sticker_pages(router, stickers)
    content, path = _script()

    @router.get(path)
    async def script() -> Response:
        """The one script, under the name of its content."""
        headers = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
        return Response(content, media_type="text/javascript; charset=utf-8", headers=headers)

    return router


def _payment_pages(router: APIRouter, payers: PayerPages) -> None:
    @router.get(f"{PAYER_PATH}{{token}}")
    async def show(request: Request, token: str) -> Response:
        """The payment as it stands. `?go`: pressed just now, so on to the wallet."""
        return _payment_page(request, await payers.read(token, user_agent=_browser(request)), token)

    @router.get(f"{PAYER_PATH}{{token}}/state")
    async def state(token: str) -> Response:
        """Whether the page has changed, for its own script."""
        word, version = await payers.version(token)
        return JSONResponse({"state": word, "version": version}, headers={"Cache-Control": "no-store"})

    @router.post(f"{PAYER_PATH}{{token}}")
    async def pay(request: Request, token: str) -> Response:
        """One more try, by the wallet that was pressed; what comes of it the page shows."""
        form = await read_page_form(request)
        attempt = form.one("attempt")
        if attempt.isdecimal() and len(attempt) <= 3:
            await payers.pay(token, provider_id=form.one("wallet"), attempt=int(attempt), user_agent=_browser(request))
        return redirect(f"{PAYER_PATH}{token}?{GO_ON}")


def _sticker_pages(router: APIRouter, stickers: Stickers) -> None:
    """All of a page's story stands in addresses that are read by GET, so Back and refresh never send a form again."""

    @router.get(f"{STICKER_PATH}{{code}}")
    async def show(request: Request, code: str) -> Response:
        """Where to type the amount and choose the wallet: first to an address that names the one payment of this page,
        and from there, once it was begun, to that payment. Nothing is written yet.
        """
        asked = request.query_params
        nonce, language = asked.get("n", ""), asked.get("lang")
        begun = await stickers.begun(code, nonce=nonce)
        if begun is not None:
            return redirect(urlsplit(begun).path)
        view = await stickers.open(code, user_agent=_browser(request))
        if NONCE.fullmatch(nonce) is None:
            return redirect(_sticker_address(code, n=view.nonce, lang=language))
        return _sticker_page(request, view, code)

    @router.post(f"{STICKER_PATH}{{code}}")
    async def pay(request: Request, code: str) -> Response:
        """Begin the page's one payment and go on to its own page; a refusal is shown beside what was typed."""
        form = await read_page_form(request)
        typed, nonce = form.one("amount"), form.one("nonce")
        try:
            address = await stickers.pay(
                code, nonce=nonce, typed=typed, provider_id=form.one("wallet") or None, language=language_of(request)
            )
        except PlatformError as error:
            if error.status not in (403, 409, 422, 429):
                raise
            why, language = error.code.rpartition(".")[2], request.query_params.get("lang")
            return redirect(_sticker_address(code, n=nonce, amount=typed[:LENGTH_MAX], why=why, lang=language))
        return redirect(f"{urlsplit(address).path}?{GO_ON}")


def _sticker_address(code: str, **asked: str | None) -> str:
    return f"{STICKER_PATH}{code}?{urlencode({name: value for name, value in asked.items() if value})}"


def _payment_page(request: Request, view: PayerView, token: str) -> Response:
    language, zone = language_of(request), ZoneInfo(view.facts.time_zone)
    locale = BABEL_LOCALES[language]
    here = f"{PAYER_PATH}{token}"
    is_redirect = view.action is not None and view.action["type"] == "redirect"
    off = sum(line.net_minor for line in view.lines) - view.payable_minor
    values: dict[str, Any] = {
        "view": view,
        "here": here,
        "state_path": f"{here}/state",
        "script_path": _script()[1],
        "is_test": view.facts.mode == "test",
        "is_live": view.word in LIVE,
        "go_on": GO_ON in request.query_params and is_redirect and view.action["method"] == "GET",  # type: ignore[index]  # is_redirect
        "picture": _picture(view, language),
        "payable": _money(view.payable_minor, view.currency, language),
        "refunded": _money(view.refunded_minor, view.currency, language) if view.refunded_minor else None,
        "lines": [(line, _money(line.net_minor, view.currency, language)) for line in view.lines],
        "discount": _money(-off, view.currency, language) if view.lines and off else None,
        "anew": None if view.sticker_code is None else f"{STICKER_PATH}{view.sticker_code}",
        "until": format_time(view.expires_at, "short", tzinfo=zone, locale=locale),
        "ended": None
        if view.ended_at is None
        else format_datetime(view.ended_at, "medium", tzinfo=zone, locale=locale),
    }
    targets: Sequence[str] = ()
    if is_redirect and view.action["method"] == "POST":  # type: ignore[index]  # is_redirect
        parts = urlsplit(view.action["url"])  # type: ignore[index]  # as above
        targets = (f"{parts.scheme}://{parts.netloc}",)
    return _quiet(page(request, "payer/payment.html", values, texts=TEXTS, form_targets=targets, has_script=True))


def _sticker_page(request: Request, view: StickerPage, code: str) -> Response:
    language, asked = language_of(request), request.query_params
    why = asked.get("why")
    values: dict[str, Any] = {
        "view": view,
        "here": _sticker_address(code, lang=asked.get("lang")).rstrip("?"),
        "nonce": asked["n"],
        "place": view.names.store or view.names.merchant,
        "is_test": view.facts.mode == "test",
        "fixed": None if view.fixed is None else view.fixed.format(language),
        "typed": asked.get("amount", "")[:LENGTH_MAX],
        "example": example_of(view.currency),
        "fault": None if why is None else _fault(why, view, language),
    }
    return _quiet(page(request, "payer/sticker.html", values, texts=TEXTS))


def _fault(why: str, view: StickerPage, language: Language) -> str:
    """Why the last press began nothing; `why` is the end of a refusal's code."""
    error = view.refusal(why, language)
    return TEXTS["refused"].say(language) if error is None else error.detail(language)


def _picture(view: PayerView, language: Language) -> Markup | None:
    """The QR code as SVG in the page, dark on white whatever the theme; None where there is none to show."""
    if view.action is None or view.action["type"] != "show_qr":
        return None
    made = segno.make(view.action["code"], error="m", micro=False)
    drawn = made.svg_inline(
        border=4, omitsize=True, svgclass="qr", lineclass=None, light="#ffffff", title=TEXTS["qr_label"].say(language)
    )
    return Markup(drawn.replace("<svg ", '<svg role="img" ', 1))  # noqa: S704 - made by segno of bits and our own title


def _money(amount_minor: int, currency: str, language: Language) -> str:
    return Money(amount_minor, currency).format(language)


def _browser(request: Request) -> str:
    return request.headers.get("user-agent", "")[:512]


def _quiet(answer: Response) -> Response:
    answer.headers.update(_SECRET_ADDRESS)
    return answer


@cache
def _script() -> tuple[bytes, str]:
    content = _SCRIPT.read_bytes()
    return content, f"/static/payer.{hashlib.sha256(content).hexdigest()[:16]}.js"
