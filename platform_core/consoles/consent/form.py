"""What the consent form says, read into a decision. It can lower and leave out; `identity.consent` checks the rest."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from platform_core.consoles.consent.texts import TEXTS
from platform_core.contracts.rar import Limit, say_value
from platform_core.identity.consent import Approved, ConsentView, LimitField
from platform_core.identity.page_forms import PageForm
from platform_core.identity.rar import DetailsRefused, lowered
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.i18n import Language, Text
from platform_core.kernel.money import Money, parse

UNTIL: Final = {"revoked": None, "30": timedelta(days=30), "365": timedelta(days=365)}
_DIGITS_MAX: Final = 20


class FormFault(Exception):  # expected: the page is shown again
    """A field cannot be taken; `text` says why, to the person who filled it in."""

    def __init__(self, field: str, text: Text) -> None:
        super().__init__(field)
        self.field = field
        self.text = text


def shown(limit: Limit, value: int) -> str:
    """A limit's value as its field shows it: a plain decimal for money, else a whole number."""
    return Money(value, limit.currency).plain() if limit.currency is not None else str(value)


def read_decision(form: PageForm, view: ConsentView, *, now: datetime) -> Approved:
    """The approval that the form means. Raises `FormFault`."""
    required = {line.name for line in view.lines if not line.is_optional}
    scopes = frozenset(required | set(form.all("scope")))
    return Approved(
        scopes=scopes,
        stores=_stores(form, view),
        details=_details(form, view, scopes),
        expires_at=_until(form, now),
    )


def _stores(form: PageForm, view: ConsentView) -> frozenset[str] | None:
    if form.one("stores", "all" if view.may_give_all_stores else "chosen") == "all":
        return None
    chosen = frozenset(form.all("store"))
    if not chosen:
        raise FormFault("stores", TEXTS["choose_store"])
    return chosen


def _until(form: PageForm, now: datetime) -> datetime | None:
    life = UNTIL.get(form.one("until", "revoked"))
    return None if life is None else now + life


def _details(form: PageForm, view: ConsentView, scopes: frozenset[str]) -> tuple[dict[str, Any], ...]:
    wanted = [detail for detail in view.details if detail.needs & scopes]
    values = {
        (number, field.place): _value(form, field, detail.detail.kind.counted)
        for number, detail in enumerate(wanted)
        for field in detail.fields
    }
    try:
        found = lowered([detail.detail for detail in wanted], values)
    except DetailsRefused as refused:
        raise AssertionError("each value was compared with its own bound") from refused
    return tuple(detail.model_dump(mode="json", exclude_none=True) for detail in found)


def _value(form: PageForm, field: LimitField, counted: Text) -> int:
    """What the field says, as the limit counts; a field that was not sent leaves the limit as it is offered."""
    limit = field.limit
    given = form.one(field.name).strip()
    if not given:
        return limit.value
    value = _number(given, limit)
    if value is None or not 1 <= value <= limit.value:
        raise FormFault(field.name, _not_understood(given, limit, counted))
    return value


def _number(given: str, limit: Limit) -> int | None:
    if len(given) > _DIGITS_MAX or not given.isascii():
        return None
    if limit.currency is None:
        return int(given) if given.isdigit() else None
    try:
        return parse(given, limit.currency).amount_minor
    except PlatformError:
        return None


def _not_understood(given: str, limit: Limit, counted: Text) -> Text:
    def said(language: Language) -> str:
        most = say_value(limit, limit.value, language, counted)
        words = TEXTS["not_understood"].say(language, {"value": given[:_DIGITS_MAX], "most": most})
        return words.replace("{", "(").replace("}", ")")

    return Text(en=said("en"), zh=said("zh"))
