"""Passwords: argon2id, computed off the loop, at most four at once; what may be chosen as one.

Parameters: OWASP Password Storage Cheat Sheet (argon2id, 19 MiB, t=2, p=1), read 2026-11-22. Length and lists: NIST SP
800-63B-4 section 3.1.1.2 (no rules of composition, Unicode normalised before hashing).
"""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from platform_core.identity.errors_people import PASSWORD_REFUSED, SIGN_IN_BUSY
from platform_core.kernel.i18n import Text

LENGTH_MIN: Final = 12
LENGTH_MAX: Final = 128
TYPED_MAX: Final = 1024  # characters before normalising: more is not even looked at
AT_ONCE: Final = 4
WAITING_MAX: Final = 64
MEMORY_KIB: Final = 19 * 1024
_LIST: Final = Path(__file__).with_name("common_passwords.txt")
T = TypeVar("T")


class Passwords:
    """Hashes and checks. One per process; `close` ends its threads."""

    def __init__(self, entropy: Callable[[int], bytes], *, hasher: PasswordHasher | None = None) -> None:
        """`hasher`: that of a test; in service the parameters above."""
        self._entropy = entropy
        self._hasher = hasher or PasswordHasher(
            time_cost=2, memory_cost=MEMORY_KIB, parallelism=1, hash_len=32, salt_len=16
        )
        self._threads = ThreadPoolExecutor(max_workers=AT_ONCE, thread_name_prefix="argon2")
        self._waiting = 0
        self._nobodys: str | None = None

    async def hash(self, password: str) -> str:
        """The password in PHC form. 503 `identity.sign_in_busy` when too many wait."""
        plain = normalised(password)
        return await self._run(lambda: self._hasher.hash(plain, salt=self._entropy(16)))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether the password is the one that was stored.

        Where none is stored, as for an unknown account, a hash that nobody knows is checked: equal work, and False.
        503 `identity.sign_in_busy` when too many wait.
        """
        if self._nobodys is None:
            self._nobodys = await self._run(lambda: self._hasher.hash(self._entropy(32).hex(), salt=self._entropy(16)))
        plain = normalised(password) if len(password) <= TYPED_MAX else ""
        known = stored if stored is not None else self._nobodys
        is_right = await self._run(lambda: self._matches(known, plain))
        return is_right and stored is not None

    def is_outdated(self, stored: str) -> bool:
        """Whether the hash was made with other parameters than today's; rehash at the next success."""
        return self._hasher.check_needs_rehash(stored)

    def close(self) -> None:
        """End the threads; what runs is finished."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _matches(self, stored: str, plain: str) -> bool:
        try:
            return self._hasher.verify(stored, plain)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= WAITING_MAX:
            raise SIGN_IN_BUSY.error(retry_after_s=1)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1


def normalised(password: str) -> str:
    """NFKC, so that one password typed on two keyboards is one. Lone surrogates, which no page sends, are dropped."""
    return unicodedata.normalize("NFKC", password).encode("utf-8", "ignore").decode("utf-8")


def check_choice(password: str, *, email: str, name: str) -> None:
    """Raise 422 `identity.password_refused` unless the password may be chosen."""
    if len(password) > TYPED_MAX or not LENGTH_MIN <= len(normalised(password)) <= LENGTH_MAX:
        raise _refused(
            f"It has {LENGTH_MIN} to {LENGTH_MAX} characters; any will do, spaces too.",
            f"长度须为 {LENGTH_MIN} 至 {LENGTH_MAX} 个字符，可使用任意字符，包括空格。",
        )
    folded = _folded(password)
    if any(len(part) >= 3 and part in folded for part in _own_words(email, name)):
        raise _refused("It must not hold your name or address.", "不得包含您的姓名或邮箱。")
    if folded in common_passwords():
        raise _refused("It is among the commonest and would be guessed first.", "该密码过于常见，容易被猜中。")


@cache
def common_passwords() -> frozenset[str]:
    """The 10,000 commonest, folded."""
    lines = _LIST.read_text(encoding="utf-8").splitlines()
    return frozenset(_folded(line) for line in lines if not line.startswith("# "))


def _own_words(email: str, name: str) -> set[str]:
    local, _, _ = email.partition("@")
    return {_folded(email), _folded(local), _folded(name), *(_folded(part) for part in name.split())}


def _folded(text: str) -> str:
    return normalised(text).casefold()


def _refused(en: str, zh: str) -> Exception:
    return PASSWORD_REFUSED.error({"reason": Text(en=en, zh=zh)}, param="/password")
