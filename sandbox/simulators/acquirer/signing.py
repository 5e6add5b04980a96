"""Signatures of the simulated acquirer: HMAC-SHA256 over lines that name direction, place and time.

The three directions sign different first lines, so that no answer or notice can be sent back as a request.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Final

MERCHANT: Final = "x-acquirer-merchant"
TIMESTAMP: Final = "x-acquirer-timestamp"
NONCE: Final = "x-acquirer-nonce"
SIGNATURE: Final = "x-acquirer-signature"
WINDOW_S: Final = 300
"""How far a timestamp may be from the receiver's clock; a nonce is remembered for twice as long."""


def request_text(*, method: str, path: str, timestamp: str, nonce: str, body: bytes) -> bytes:
    """What a merchant signs."""
    return "\n".join(("request", method, path, timestamp, nonce, "")).encode() + body


def answer_text(*, request_nonce: str, status: int, timestamp: str, body: bytes) -> bytes:
    """What the acquirer signs when it answers; the request's nonce ties the answer to its question."""
    return "\n".join(("answer", request_nonce, str(status), timestamp, "")).encode() + body


def notice_text(*, path: str, timestamp: str, nonce: str, body: bytes) -> bytes:
    """What the acquirer signs when it sends a notice to `path`."""
    return "\n".join(("notice", "POST", path, timestamp, nonce, "")).encode() + body


def sign(key: bytes, text: bytes) -> str:
    """The signature as it stands in the header: base64."""
    return base64.b64encode(hmac.digest(key, text, hashlib.sha256)).decode()


def is_signed(key: bytes, text: bytes, signature: str) -> bool:
    """Whether the header's signature is that of the text, compared in constant time."""
    return hmac.compare_digest(sign(key, text).encode(), signature.encode())
