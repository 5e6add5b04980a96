"""Second factors: time-based codes (RFC 6238: SHA-1, 6 digits, 30 s) and ten recovery codes.

A code is taken one step early or late. The step of the code that was used is kept on the person, in the same plan that
opens the session, so a code works once, in whatever process it arrives twice.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Callable
from datetime import datetime
from typing import Final

from pyotp import TOTP

STEP_S: Final = 30
WINDOW: Final = 1
SEED_BYTES: Final = 20
RECOVERY_CODES: Final = 10
ISSUER: Final = "Arsenal"
_CODE: Final = re.compile(r"[0-9]{6}", re.ASCII)
_RECOVERY: Final = re.compile(r"[0-9a-hjkmnp-tv-z]{10}", re.ASCII)
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"


def make_seed(entropy: Callable[[int], bytes]) -> bytes:
    """160 random bits, as RFC 4226 section 4 asks for."""
    return entropy(SEED_BYTES)


def seed_text(seed: bytes) -> str:
    """The seed as people type it into an authenticator."""
    return base64.b32encode(seed).decode("ascii")


def provisioning_uri(seed: bytes, *, account: str) -> str:
    """What a QR code for an authenticator holds (Key Uri Format of Google Authenticator, read 2026-11-22)."""
    return TOTP(seed_text(seed)).provisioning_uri(name=account, issuer_name=ISSUER)


def used_step(seed: bytes, code: str, *, now: datetime, last_step: int) -> int | None:
    """The step that a code belongs to, if it is right now and later than the last one used; else None.

    All steps of the window are computed whatever the code, so the time taken says nothing about it.
    """
    totp = TOTP(seed_text(seed))
    present = int(now.timestamp()) // STEP_S
    found: int | None = None
    for step in range(present - WINDOW, present + WINDOW + 1):
        is_right = hmac.compare_digest(totp.generate_otp(step).encode(), code.encode("ascii", "replace"))
        if is_right and step > last_step:
            found = step
    return found


def tidy(code: str) -> str:
    """A code as it is compared: without the spaces and dashes that people type, in lower case."""
    return re.sub(r"[\s-]", "", code).lower()[:64]


def is_totp(code: str) -> bool:
    """Whether a tidy code has the form of an authenticator's."""
    return _CODE.fullmatch(code) is not None


def is_recovery(code: str) -> bool:
    """Whether a tidy code has the form of a recovery code."""
    return _RECOVERY.fullmatch(code) is not None


def make_recovery_codes(entropy: Callable[[int], bytes]) -> list[str]:
    """Ten tidy codes of 50 random bits: guessed against a counter of tries, never offline, for they are hashed."""
    return [_recovery_code(entropy) for _ in range(RECOVERY_CODES)]


def shown(code: str) -> str:
    """A recovery code as it is printed."""
    return f"{code[:5]}-{code[5:]}"


def _recovery_code(entropy: Callable[[int], bytes]) -> str:
    number = int.from_bytes(entropy(7), "big")
    return "".join(_ALPHABET[number >> 5 * place & 31] for place in range(10))
