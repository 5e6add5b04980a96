"""What a form of our pages sends: bounded, ASCII, names may repeat (check boxes)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request

from platform_core.kernel.http.handlers import REQUEST_MALFORMED

BODY_BYTES_MAX: Final = 64 * 1024
FIELDS_MAX: Final = 256
VALUE_MAX: Final = 8 * 1024
_FORM: Final = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class PageForm:
    """The fields of a form, in the order in which they came. It prints none of them."""

    fields: tuple[tuple[str, str], ...]

    def __repr__(self) -> str:
        return f"PageForm({len(self.fields)} fields)"

    def one(self, name: str, default: str = "") -> str:
        """The value of a field that stands once; `default` if it is absent.

        400 `kernel.request_malformed` if it repeats.
        """
        values = self.all(name)
        if len(values) > 1:
            raise REQUEST_MALFORMED.error()
        return values[0] if values else default

    def all(self, name: str) -> list[str]:
        """Every value of a field."""
        return [value for key, value in self.fields if key == name]


async def read_page_form(request: Request) -> PageForm:
    """The form of a request; may be read twice. 400 `kernel.request_malformed` for whatever is no plain form."""
    if not is_form(request):
        raise REQUEST_MALFORMED.error()
    body = await request.body()  # Starlette keeps it, so that the check of the token and the page read the same bytes
    if len(body) > BODY_BYTES_MAX:
        raise REQUEST_MALFORMED.error()
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict")
    except ValueError as error:  # also UnicodeDecodeError, from raw bytes and from percent escapes
        raise REQUEST_MALFORMED.error() from error
    if any(len(value) > VALUE_MAX or "\x00" in name or "\x00" in value for name, value in pairs):
        raise REQUEST_MALFORMED.error()
    return PageForm(tuple(pairs))


def is_form(request: Request) -> bool:
    """Whether the body says that it is a form."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == _FORM
