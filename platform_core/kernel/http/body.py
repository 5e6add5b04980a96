"""Reading a JSON body: media type, strict JSON, then validation without any coercion."""

from __future__ import annotations

from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from platform_core.kernel.errors import declare, validation_failed
from platform_core.kernel.http.envelope import envelope_of
from platform_core.kernel.http.recast import ENCODER, operation_of
from platform_core.kernel.http.strict_json import strict_json
from platform_core.kernel.http.validation import faults_of
from platform_core.kernel.i18n import Text

Body = TypeVar("Body", bound=BaseModel)

MEDIA_TYPE_UNSUPPORTED: Final = declare(
    "kernel.media_type_unsupported",
    status=415,
    title=Text(en="The media type is not supported", zh="不支持的内容类型"),
    detail=Text(en="This address reads application/json in UTF-8.", zh="该地址只接受 UTF-8 编码的 application/json。"),
    hint=Text(en="Send Content-Type: application/json.", zh="请设置 Content-Type: application/json。"),
)
_PLAIN: Final = frozenset({"application/json", "application/json; charset=utf-8", "application/json;charset=utf-8"})


def require_json(request: Request) -> None:
    """Raise `kernel.media_type_unsupported` (415) unless the body says that it is JSON in UTF-8."""
    media, encoding = b"", b"identity"
    for name, given in reversed(request.scope["headers"]):  # of a repeated header the first counts
        if name == b"content-type":
            media = given
        elif name == b"content-encoding":
            encoding = given
    if encoding != b"identity":
        raise MEDIA_TYPE_UNSUPPORTED.error()
    value = media.decode("latin-1").strip().lower()
    if value in _PLAIN:
        return
    media_type, _, parameters = value.partition(";")
    for parameter in filter(None, (part.strip() for part in parameters.split(";"))):
        attribute, _, charset = parameter.partition("=")
        if attribute.strip() == "charset" and charset.strip().strip('"') not in ("utf-8", "utf8"):
            raise MEDIA_TYPE_UNSUPPORTED.error()
    if media_type.strip() != "application/json":
        raise MEDIA_TYPE_UNSUPPORTED.error()


async def whole_body(request: Request) -> bytes:
    """The body, read once for all who want it. Raises 413 `kernel.body_too_large`.

    As `Request.body` and kept where that keeps it, without its generator, which costs as much as parsing the body.
    """
    body: bytes | None = getattr(request, "_body", None)
    if body is None:
        pieces = []
        is_more = True
        while is_more:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            pieces.append(message.get("body", b""))
            is_more = message.get("more_body", False)
        request._body = body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    return body


async def read_json(request: Request) -> tuple[bytes, object]:
    """The body as bytes and parsed, in the newest version's shape whatever version the caller speaks.

    Raises 415 `kernel.media_type_unsupported`, 400 `kernel.json_invalid`, 413.
    """
    require_json(request)
    raw = await whole_body(request)
    document = strict_json(raw)
    envelope = envelope_of(request.scope)
    if envelope.version == envelope.versions.newest:
        return raw, document
    operation = operation_of(request.scope)
    assert operation is not None, f"{request.scope['path']}: a route that reads a body has an operationId"
    document = envelope.versions.upgrade_request(operation, document, version=envelope.version)
    return ENCODER.encode(document), document


def validated(model: type[Body], raw: bytes, document: object) -> Body:
    """The body as a model: no coercion, no unknown field at any depth of it. Raises 422 `kernel.validation_failed`.

    `document` is what `strict_json` made of `raw`. The bytes are validated, not the document, because only in JSON
    are a string a date, a list a tuple and a text an enum's value to a strict model.
    """
    try:
        return model.model_validate_json(raw, strict=True, extra="forbid")
    except ValidationError as error:
        faults = faults_of(error.errors(include_url=False, include_input=False), document)
    raise validation_failed(faults)


async def parse_body(request: Request, model: type[Body]) -> Body:
    """`read_json` and `validated` in one; a route with an Idempotency-Key looks the key up between the two."""
    raw, document = await read_json(request)
    return validated(model, raw, document)
