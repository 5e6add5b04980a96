"""HTTPS in memory: what would leave is recorded, and answered by a script."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from platform_core.contracts.manifest import EgressUse
from platform_core.contracts.plugin import EgressAnswer, Refused
from platform_core.contracts.testing.secrets import FakeSecrets

FETCHES_MAX: Final = 5
"""In one call (plugins.md section 7)."""
_PLACEHOLDER: Final = re.compile(rb"secret:([a-z][a-z0-9_-]{0,39})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as it would have left, secrets filled in."""

    method: str
    url: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes = field(repr=False)

    def json(self) -> Any:  # Any: whatever JSON the plugin sent
        """The body as JSON."""
        return json.loads(self.body)


Outside = Callable[[Request], EgressAnswer]
"""Answers for the world outside. May raise `Refused` with `plugin.egress_not_sent` or `plugin.egress_unknown`."""


def nothing_outside(request: Request) -> EgressAnswer:
    """The default: a plugin that fetches in a test says first who answers."""
    raise AssertionError(f"{request.method} {request.url}: no answer is scripted. Give the test an `outside`.")


def answered(status: int, body: object = None, **headers: str) -> EgressAnswer:
    """An answer; a body that is neither bytes nor text goes as JSON."""
    raw = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return EgressAnswer(
        status=status, headers={name.replace("_", "-"): value for name, value in headers.items()}, body=raw
    )


class FakeEgress:
    """`contracts.plugin.Egress` with the checks of the real one: declared hosts, secrets to their hosts, bounds."""

    def __init__(self, *, declared: tuple[EgressUse, ...], secrets: FakeSecrets, outside: Outside) -> None:
        self.outside = outside
        self.sent: list[Request] = []
        """In order, those that were refused not among them."""
        self._declared = declared
        self._secrets = secrets

    def fetch(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | str | Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
        secrets: Sequence[str] = (),
    ) -> EgressAnswer:
        """Ask once; a mapping goes out as JSON."""
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 443
        use = next((one for one in self._declared if (one.host, one.port) == (host, port)), None)
        if parts.scheme != "https" or use is None or method not in use.methods:
            said = f"{method} to {host}:{port} is not among the plugin's declared hosts, ports and methods."
            raise Refused("plugin.egress_not_declared", f"{said} Declare it in [[egress]] of plugin.toml.")
        if timeout_s is not None and timeout_s <= 0:
            raise Refused("plugin.egress_refused", f"Nothing was sent: a timeout of {timeout_s} s.")
        heads = {name.lower(): self._filled(value.encode(), host).decode() for name, value in (headers or {}).items()}
        raw = _raw(body)
        for name in secrets:
            if raw.count(f"secret:{name}".encode()) != 1:
                raise Refused("plugin.egress_refused", f"Nothing was sent: secret:{name} stands in the body once.")
            raw = raw.replace(f"secret:{name}".encode(), self._filled(f"secret:{name}".encode(), host))
        if isinstance(body, Mapping):
            heads.setdefault("content-type", "application/json")
        request = Request(method=method, url=url, headers=heads, body=raw)
        self.sent.append(request)
        answer = self.outside(request)
        if len(answer.body) > use.response_kib_max * 1024:
            said = f"The request arrived, and its answer exceeds {use.response_kib_max} KiB."
            raise Refused("plugin.egress_too_large", said)
        return answer

    def _filled(self, text: bytes, host: str) -> bytes:
        def fill(match: re.Match[bytes]) -> bytes:
            name = match[1].decode()
            plain = self._secrets.plain(name, host=host)
            if plain is None:
                said = f"The secret {name} goes to its own hosts only, not to {host}."
                raise Refused("plugin.secret_not_for_host", f"{said} Add the host to `hosts` of the secret.")
            return plain

        return _PLACEHOLDER.sub(fill, text)


def _raw(body: bytes | str | Mapping[str, Any] | None) -> bytes:
    if body is None:
        return b""
    if isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode()
    return json.dumps(dict(body), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
