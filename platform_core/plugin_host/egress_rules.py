"""What a plugin's request to the outside must look like before anything is resolved or sent. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

import httpx

from platform_core.contracts.manifest import EgressUse, Manifest
from platform_core.kernel.http.guarded_client import OutboundFailed, check_url
from platform_core.plugin_host.gate_errors import EGRESS_NOT_DECLARED, EGRESS_REFUSED

HEADERS_MAX: Final = 50
HEADERS_BYTES_MAX: Final = 16 * 1024
BODY_BYTES_MAX: Final = 2 * 1024 * 1024
ANSWER_KIB_MAX: Final = 2048  # what fits beside one frame
# What frames the message, or belongs to the connection, is the host's to write: a plugin that could would put a second
# request into one (RFC 9112 section 11.2, read 2026-11-22). Compressed answers would hide an echoed secret.
_OURS: Final = frozenset(
    {
        "host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade", "expect",
        "accept-encoding", "proxy-authorization", "proxy-connection", "http2-settings",
    }
)  # fmt: skip
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}", re.ASCII)
_VALUE: Final = re.compile(r"[\x21-\x7e]([\t\x20-\x7e]*[\x21-\x7e])?|", re.ASCII)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request that may be sent."""

    method: str
    url: httpx.URL
    headers: Mapping[str, str]
    body: bytes
    answer_bytes_max: int

    @property
    def host(self) -> str:
        """Where it goes."""
        return self.url.host


def declared(manifest: Manifest, method: str, url: str) -> tuple[httpx.URL, EgressUse]:
    """The address, and the manifest's line that allows it. Raises 403 `plugin.egress_not_declared`.

    An address that is no https, carries a user, or names a host by number is never declared.
    """
    try:
        parsed = check_url(url)
    except OutboundFailed as error:
        raise EGRESS_REFUSED.error({"reason": error.detail}) from error
    port = parsed.port or 443
    use = next((use for use in manifest.egress if use.host == parsed.host and use.port == port), None)
    if use is None or method not in use.methods or _is_number(parsed.host):
        raise EGRESS_NOT_DECLARED.error({"method": method[:10], "place": f"{parsed.host}:{port}"})
    return parsed, use


def outgoing(
    manifest: Manifest, *, method: str, url: str, headers: Mapping[str, str], body: bytes, media_type: str | None
) -> Outgoing:
    """The request as it will be sent, placeholders of secrets still in it.

    Raises 403 `plugin.egress_not_declared`, 422 `plugin.egress_refused`.
    """
    parsed, use = declared(manifest, method, url)
    if len(body) > BODY_BYTES_MAX:
        raise EGRESS_REFUSED.error({"reason": f"a body has at most {BODY_BYTES_MAX} bytes"})
    lower = {name.lower(): value for name, value in headers.items()}
    if len(lower) != len(headers) or len(lower) > HEADERS_MAX:
        raise EGRESS_REFUSED.error({"reason": f"at most {HEADERS_MAX} headers, none of them twice"})
    if media_type is not None:
        lower.setdefault("content-type", media_type)
    check_headers(lower)
    kib = min(use.response_kib_max, ANSWER_KIB_MAX)
    return Outgoing(method, parsed, lower, body, kib * 1024)


def check_headers(headers: Mapping[str, str]) -> None:
    """Raise 422 `plugin.egress_refused` for a header that is the host's, or that could end a header early."""
    size = 0
    for name, value in headers.items():
        if _NAME.fullmatch(name) is None or name in _OURS:
            raise EGRESS_REFUSED.error({"reason": f"the header {name[:40]!r} is not a plugin's to set"})
        if _VALUE.fullmatch(value) is None:
            raise EGRESS_REFUSED.error({"reason": f"the value of {name} is not visible ASCII"})
        size += len(name) + len(value)
    if size > HEADERS_BYTES_MAX:
        raise EGRESS_REFUSED.error({"reason": f"headers have at most {HEADERS_BYTES_MAX} bytes"})


def _is_number(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return host.rpartition(".")[2].isdigit()
    return True
