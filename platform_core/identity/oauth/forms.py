"""Reading what comes to an OAuth endpoint: bounded, form-encoded, every parameter once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request

from platform_core.identity.oauth.protocol import OAuthRefusal, OAuthRequest

BODY_BYTES_MAX: Final = 64 * 1024
PARAMETERS_MAX: Final = 64
VALUE_MAX: Final = 2048
VALUE_MAX_OF: Final[Mapping[str, int]] = {
    "state": 1024,
    "authorization_details": 8192,
    "client_assertion": 4096,
    "subject_token": 8192,
}
_FORM: Final = "application/x-www-form-urlencoded"


async def read_form_request(request: Request) -> OAuthRequest:
    """The request of a POST endpoint. Raises `OAuthRefusal` `invalid_request` for whatever is not plain.

    Secrets in the address would stand in logs, so any query is refused (F25); so are doubled parameters, of which
    frameworks silently keep one (F24).
    """
    if request.scope.get("query_string"):
        raise OAuthRefusal("invalid_request", "Parameters belong in the body, not in the address.")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise OAuthRefusal("invalid_request", f"The body must be {_FORM}.")
    authorization = request.headers.getlist("authorization")
    if len(authorization) > 1:
        raise OAuthRefusal("invalid_request", "There is more than one Authorization header.")
    return OAuthRequest(
        method=request.method,
        path=request.url.path,
        authorization=authorization[0] if authorization else None,
        form=parse_form(await _read_body(request)),
        dpop=tuple(request.headers.getlist("dpop")),
    )


def parse_form(encoded: bytes) -> dict[str, str]:
    """The parameters of a body or of a query. One without a value counts as left out (RFC 6749 section 3.2).

    Raises `OAuthRefusal`.
    """
    try:
        pairs = parse_qsl(
            encoded.decode("ascii"), keep_blank_values=True, max_num_fields=PARAMETERS_MAX, errors="strict"
        )
    except ValueError as error:  # also UnicodeDecodeError, from raw bytes and from percent escapes
        raise OAuthRefusal("invalid_request", "The parameters cannot be read as a form.") from error
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise OAuthRefusal("invalid_request", "A parameter is given twice.")
    if any(len(name) > VALUE_MAX or len(value) > VALUE_MAX_OF.get(name, VALUE_MAX) for name, value in pairs):
        raise OAuthRefusal("invalid_request", "A parameter is too long.")
    if any("\x00" in name or "\x00" in value for name, value in pairs):
        raise OAuthRefusal("invalid_request", "A parameter holds a NUL character.")
    return {name: value for name, value in pairs if value}


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise OAuthRefusal("invalid_request", "The body is too large.", status=413)
    return bytes(body)
