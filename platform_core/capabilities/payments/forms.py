"""The ways in which a customer pays, and what follows from each (payments.md section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final, Literal, cast

from platform_core.contracts.payments import Form

FreezeBy = Literal["code", "qr", "app"]

IN_BROWSER: Final = frozenset({"page", "wap", "sticker"})
"""The customer pays on a page of the acquirer's, and comes back from there."""
SHOWN: Final = frozenset({"customer_scan", "app", "mini_program"}) | IN_BROWSER
"""An order is put at the provider and shown; it is in flight until it is paid, failed or closed there."""
EXPIRY: Final[Mapping[str, timedelta]] = {
    "merchant_scan": timedelta(minutes=5),
    "customer_scan": timedelta(hours=2),
    "local": timedelta(minutes=5),
    **dict.fromkeys(("sticker", "page", "wap", "app", "mini_program"), timedelta(minutes=15)),
}
FREEZE_EXPIRY: Final[Mapping[str, timedelta]] = {
    "code": EXPIRY["merchant_scan"],
    "qr": EXPIRY["customer_scan"],
    "app": EXPIRY["app"],
}
"""How long a customer may take to let money be frozen."""
FROZEN_FOR: Final = timedelta(days=30)
"""How long frozen money stays so: what is not captured by then is let go."""
_FREEZE_FORM: Final[Mapping[str, Form]] = {"code": "preauth", "qr": "customer_scan", "app": "app"}


def is_frozen_first(form: str, *, is_capture: bool) -> bool:
    """Whether the money is frozen, to be captured later."""
    return form == "preauth" or not is_capture


def freeze_by(form: str, *, asked: FreezeBy | None, has_code: bool) -> FreezeBy | None:
    """How a `preauth` is let in: as asked, else by the code that came along, else by a QR code. None: another form."""
    if form != "preauth":
        return None
    return asked or ("code" if has_code else "qr")


def expiry(form: str, *, by: str | None) -> timedelta:
    """How long an order stands unpaid."""
    return EXPIRY[form] if by is None else FREEZE_EXPIRY[by]


def is_shown(form: str, by: str | None) -> bool:
    """Whether the customer comes to the order, by a code, page or app that is shown. `by`: as of `freeze_by`."""
    return form in SHOWN or by in ("qr", "app")


def is_by_code(form: str, by: str | None) -> bool:
    """Whether the order is paid by the customer's one-use code, which is one wallet's."""
    return form == "merchant_scan" or by == "code"


def form_to_provider(form: str, by: str | None) -> Form:
    """The form as a provider is told: a freeze that is shown is told as what is to be shown (kind `authorize`)."""
    return cast(Form, form) if by is None else _FREEZE_FORM[by]


def method_for(form: str, by: str | None, *, is_capture: bool) -> Literal["create", "pay", "authorize"]:
    """Which method of a provider begins the payment."""
    if is_shown(form, by):
        return "create"
    return "pay" if is_capture else "authorize"


def wanted_forms(form: str, *, by: str | None, is_capture: bool) -> frozenset[str]:
    """What a provider must declare."""
    wanted = {form if by is None else _FREEZE_FORM[by]}
    return frozenset(wanted if is_capture else wanted | {"preauth"})


def needs_page(form: str, *, by: str | None) -> bool:
    """Whether the payer is given a page of ours: for whatever can be shown in a browser."""
    return form == "customer_scan" or form in IN_BROWSER or by == "qr"
