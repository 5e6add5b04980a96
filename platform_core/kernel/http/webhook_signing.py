"""Signatures of webhooks (Standard Webhooks, github.com/standard-webhooks, specification 1.0, read 2026-11-22).

Our own code: the `sign` of the PyPI library replaces the zone of the time it is given, so a local time in China signs 8
hours off.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - a prefix that scanners look for, no secret
SECRET_BYTES: Final = 32


def make_secret(entropy: Callable[[int], bytes]) -> bytes:
    """A new secret, 32 bytes from `entropy`."""
    secret = entropy(SECRET_BYTES)
    assert len(secret) == SECRET_BYTES, "entropy gives as many bytes as it is asked for"
    return secret


def secret_text(secret: bytes) -> str:
    """The secret as its owner keeps it: `whsec_` and standard base64."""
    return SECRET_PREFIX + base64.b64encode(secret).decode("ascii")


def secret_bytes(text: str) -> bytes:
    """The bytes of a secret written by `secret_text`; ValueError for anything else."""
    if not text.startswith(SECRET_PREFIX):
        raise ValueError("a webhook secret starts with whsec_")
    try:
        secret = base64.b64decode(text[len(SECRET_PREFIX) :], validate=True)
    except binascii.Error as error:
        raise ValueError("a webhook secret is standard base64") from error
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a webhook secret is {SECRET_BYTES} bytes long")
    return secret


def signed_headers(*, message_id: str, body: bytes, at: datetime, secrets: Iterable[bytes]) -> dict[str, str]:
    """The three headers of one attempt at the aware moment `at`; a signature for each secret, the newest first."""
    assert at.tzinfo is not None, "an attempt's time is aware"
    timestamp = str(int(at.timestamp()))
    content = b".".join((message_id.encode(), timestamp.encode(), body))
    signatures = (base64.b64encode(hmac.digest(secret, content, hashlib.sha256)).decode("ascii") for secret in secrets)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
