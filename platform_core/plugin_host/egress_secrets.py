"""`secret:NAME` in a request is filled in by the host, and blanked out of the answer.

In a header's value the placeholder stands alone or after a space (`Bearer secret:token`). In the body it is filled only
for the names that the plugin lists with the request: a body may hold what a customer typed, and a customer may type
`secret:token`. For the same reason a listed name may stand once in the body; a second place is refused.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import quote, quote_plus

from platform_core.contracts.manifest import Manifest
from platform_core.plugin_host.egress_rules import Outgoing, check_headers
from platform_core.plugin_host.gate_errors import EGRESS_REFUSED, SECRET_NOT_FOR_HOST, SECRET_UNFIT, SECRET_UNKNOWN

BLANK: Final = b"***"
_IN_HEADER: Final = re.compile(r"(?:^|(?<= ))secret:([a-z][a-z0-9_-]{0,39})(?= |$)", re.ASCII)
_BLANKED_BYTES_MIN: Final = 4  # shorter ones would blank half of every answer
Read = Callable[[str], Awaitable[bytes]]


async def filled(
    request: Outgoing, *, names_in_body: Sequence[str], manifest: Manifest, read: Read
) -> tuple[Outgoing, tuple[bytes, ...]]:
    """The request with its secrets, and the secrets. `read` gives a token by its name.

    Raises 404 `plugin.secret_unknown`, 403 `plugin.secret_not_for_host`, 422 `plugin.secret_unfit`,
    `plugin.egress_refused`; then no secret was read for it to leak.
    """
    in_headers = {name for value in request.headers.values() for name in _IN_HEADER.findall(value)}
    names = in_headers | set(names_in_body)
    if not names:
        return request, ()
    for name in sorted(names):
        _check(name, request.host, manifest)
    for name in names_in_body:
        if len(_in_body(name).findall(request.body)) != 1:
            raise EGRESS_REFUSED.error({"reason": f"secret:{name} is listed and must stand in the body exactly once"})
    values = {name: await read(name) for name in sorted(names)}
    headers = {
        header: _IN_HEADER.sub(lambda match: values[match[1]].decode("ascii"), value)
        for header, value in request.headers.items()
    }
    check_headers(headers)
    body = request.body
    if names_in_body:
        body = _in_body(*names_in_body).sub(lambda match: values[match[1].decode()], body)
    return replace(request, headers=headers, body=body), tuple(values.values())


def _check(name: str, host: str, manifest: Manifest) -> None:
    declared = next((use for use in manifest.secrets if use.name == name), None)
    if declared is None:
        raise SECRET_UNKNOWN.error()
    if declared.kind != "token":
        raise SECRET_UNFIT.error({"name": name, "reason": f"a {declared.kind} never leaves; a token does"})
    if host not in declared.hosts:
        raise SECRET_NOT_FOR_HOST.error({"name": name, "host": host})


def _in_body(*names: str) -> re.Pattern[bytes]:
    return re.compile(rb"secret:(%b)(?![a-z0-9_-])" % "|".join(map(re.escape, names)).encode())


def blanked(text: bytes, secrets: Iterable[bytes]) -> bytes:
    """The text without any of the secrets, as they are and as JSON, URLs and base64 write them."""
    for secret in secrets:
        for form in _forms(secret):
            text = text.replace(form, BLANK)
    return text


def blanked_headers(headers: Mapping[str, str], secrets: Sequence[bytes]) -> dict[str, str]:
    """The same for an answer's headers."""
    return {name: blanked(value.encode(), secrets).decode() for name, value in headers.items()}


def _forms(secret: bytes) -> list[bytes]:
    if len(secret) < _BLANKED_BYTES_MIN:
        return []
    text = secret.decode("ascii")
    forms = {secret, json.dumps(text)[1:-1].encode(), quote(text, safe="").encode(), quote_plus(text).encode()}
    forms.add(b64encode(secret).rstrip(b"="))
    return sorted(forms, key=len, reverse=True)
