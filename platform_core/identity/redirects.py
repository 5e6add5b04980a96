"""Addresses to which an authorization answer may be sent: what can be registered, and what fits a registered one.

RFC 9700 section 2.1 (exact strings) and RFC 8252 section 7.3 (any port on a loopback address), read 2026-11-22.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

LENGTH_MAX: Final = 500
_PLAIN: Final = re.compile(r"[A-Za-z0-9\-._~:/?\[\]@!$&'()+,;=%]+", re.ASCII)  # RFC 3986 without # and *
_LOOPBACK: Final = re.compile(r"http://(127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?(/.*)?", re.ASCII)


def check_redirect_uri(uri: str) -> str:
    """The address itself. ValueError, in words for its owner, when it can never be registered."""
    if len(uri) > LENGTH_MAX:
        raise ValueError(f"a redirect address has at most {LENGTH_MAX} characters")
    if _PLAIN.fullmatch(uri) is None:
        raise ValueError("a redirect address is plain ASCII without fragment, wildcard or space")
    if is_loopback(uri):
        return uri
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError as error:
        raise ValueError("a redirect address must be a valid URL") from error
    if not uri.startswith("https://") or not parts.hostname or port == 0:
        raise ValueError("a redirect address begins with https:// and a host, or with http://127.0.0.1 or http://[::1]")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a redirect address names no user")
    return uri


def is_loopback(uri: str) -> bool:
    """Whether it is plain http to this very machine by its number, not by the name localhost (RFC 8252 section 8.3)."""
    return _LOOPBACK.fullmatch(uri) is not None


def is_registered(uri: str, registered: Iterable[str], *, any_port: bool) -> bool:
    """Whether the address is one of the registered ones, as a string.

    `any_port`: a loopback address fits whatever its port is, for public clients.
    """
    known = tuple(registered)
    if uri in known:
        return True
    if not any_port or not is_loopback(uri):
        return False
    wanted = _without_port(uri)
    return any(is_loopback(one) and _without_port(one) == wanted for one in known)


def origin_of(uri: str) -> str:
    """Scheme, host and port of a registered address, as a browser writes an Origin."""
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc.lower()}"


def _without_port(uri: str) -> tuple[str | None, str | None]:
    match = _LOOPBACK.fullmatch(uri)
    assert match is not None, "a loopback address"
    return match[1], match[3]
