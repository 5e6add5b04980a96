"""Types of the protocol's fields, and how amounts and moments are written: Asia/Shanghai, without a zone."""

from __future__ import annotations

import calendar
import re
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints, ValidationError

from platform_core.kernel import money
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.money import AMOUNT_MINOR_MAX, Money
from sandbox.simulators.alipay_gateway.protocol import CHINA, GatewayError

CURRENCY: Final = "CNY"
_EXPRESS: Final = re.compile(r"([1-9][0-9]{0,4})([mhdc])", re.ASCII)
_MOMENTS: Final = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M")


def _minor(value: Any) -> int:  # Any: JSON
    """Yuan as text or as a number of JSON, which was read as a Decimal: never through a float."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise ValueError("an amount is a decimal")
    text = format(value, "f") if isinstance(value, Decimal) else str(value)
    try:
        minor = money.parse(text, CURRENCY).amount_minor
    except PlatformError:
        raise ValueError("an amount has at most two decimals") from None
    if not 1 <= minor <= AMOUNT_MINOR_MAX:
        raise ValueError("an amount lies between 0.01 and 100000000.00")
    return minor


def _texted(value: Any) -> Any:  # Any: JSON
    """Numbers for text fields are read as they are written: many shops number their orders."""
    if isinstance(value, bool):
        return value
    return format(value, "f") if isinstance(value, Decimal) else str(value) if isinstance(value, int) else value


def _text(**constraints: Any) -> Any:  # what Annotated takes
    return BeforeValidator(_texted), StringConstraints(**constraints)


Yuan = Annotated[int, BeforeValidator(_minor)]
"""An amount in yuan as it was sent, in fen as it is kept."""
OutNo = Annotated[str, BeforeValidator(_texted), StringConstraints(pattern=r"^[A-Za-z0-9_]{1,64}$")]
TradeNo = Annotated[str, BeforeValidator(_texted), StringConstraints(pattern=r"^[0-9]{16,64}$")]
Subject = Annotated[str, BeforeValidator(_texted), StringConstraints(max_length=256)]
Body = Annotated[str, BeforeValidator(_texted), StringConstraints(max_length=20_000)]
Line = Annotated[str, BeforeValidator(_texted), StringConstraints(max_length=512)]
AuthCode = Annotated[str, BeforeValidator(_texted), StringConstraints(pattern=r"^[0-9A-Za-z_.:-]{6,128}$")]
Count = Annotated[int, BeforeValidator(lambda value: int(value) if isinstance(value, str | Decimal) else value)]


class Asked(BaseModel):
    """Fields of one method. What a translator does not know is kept by name, and shown as unused."""

    model_config = ConfigDict(extra="allow", frozen=True)

    def unused(self) -> list[str]:
        """Names of fields that were sent and are not read, with a point before an inner one."""
        return sorted(_unknown(self, ""))


def _unknown(value: object, before: str) -> set[str]:
    found: set[str] = set()
    if isinstance(value, BaseModel):
        found |= {before + name for name in value.model_extra or ()}
        for name in type(value).model_fields:
            found |= _unknown(getattr(value, name), f"{before}{name}.")
    elif isinstance(value, list):
        for inner in value:
            found |= _unknown(inner, before)
    return found


def read_fields(model: type[Asked], business: dict[str, Any], *, is_trade: bool) -> Asked:
    """The method's fields. Raises the protocol's refusal, which names the first field that is missing or wrong."""
    try:
        return model.model_validate(business)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    name = ".".join(str(part) for part in first["loc"]) or "biz_content"
    what = "缺少参数" if first["type"] == "missing" else "参数无效"
    raise wrong_field(name, what=what, is_trade=is_trade)


def wrong_field(name: str, *, what: str = "参数无效", is_trade: bool = True) -> GatewayError:
    """The refusal of one field: ACQ.INVALID_PARAMETER in methods of trade, isv.invalid-parameter elsewhere."""
    if is_trade:
        return GatewayError("40004", "ACQ.INVALID_PARAMETER", f"{what}：{name}")
    return GatewayError("40002", "isv.invalid-parameter", f"{what}：{name}")


def yuan(amount_minor: int) -> str:
    """An amount as the protocol writes it: `88.00`."""
    return Money(amount_minor, CURRENCY).plain()


def local(moment: datetime | None) -> str | None:
    """A moment as the protocol writes it."""
    return None if moment is None else moment.astimezone(CHINA).strftime("%Y-%m-%d %H:%M:%S")


def moment_of(text: str, *, field: str) -> datetime:
    """A moment that was sent, aware. Raises the refusal of the field."""
    for form in _MOMENTS:
        try:
            return datetime.strptime(text, form).replace(tzinfo=CHINA)
        except ValueError:
            continue
    raise wrong_field(field)


def day_of(text: str, *, field: str) -> date:
    """A day that was sent. Raises the refusal of the field."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise wrong_field(field, is_trade=False) from None


def expiry_of(express: str, now: datetime, *, field: str) -> datetime:
    """`90m`, `2h`, `3d`, or `1c`: the end of the day of `now`, in Asia/Shanghai. Raises the refusal of the field."""
    match = _EXPRESS.fullmatch(express)
    if match is None or (match[2] == "c" and match[1] != "1"):
        raise wrong_field(field)
    if match[2] == "c":
        today = now.astimezone(CHINA).replace(hour=0, minute=0, second=0, microsecond=0)
        return today + timedelta(days=1)
    unit = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}[match[2]]
    return now + int(match[1]) * unit


def month_of(text: str) -> tuple[date, date]:
    """First and last day of `2026-11`. Raises ValueError."""
    first = date.fromisoformat(f"{text}-01")
    return first, first.replace(day=calendar.monthrange(first.year, first.month)[1])
