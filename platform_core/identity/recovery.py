"""A forgotten password: a link over a registered channel, good once for 30 minutes.

It ends every session and never lifts the second factor. Asking for one shows neither in words nor in work whether the
account exists (OWASP Forgot Password Cheat Sheet, read 2026-11-22).
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from datetime import timedelta
from typing import Any, Final

from platform_core.identity import repository_people as repository
from platform_core.identity.attempts import Attempts, address_block
from platform_core.identity.deps import IdentityDeps, single_reads
from platform_core.identity.errors_people import LINK_INVALID
from platform_core.identity.messages import Message, Messages
from platform_core.identity.models_people import ONE_TIME_LINKS, PERSONS
from platform_core.identity.passwords import Passwords, check_choice
from platform_core.identity.refusals import UNKNOWN, Refusals
from platform_core.identity.sign_in import email_key
from platform_core.kernel.commit import Audit, Change, Insert, Plan, PlanRefused
from platform_core.kernel.i18n import Language

LIFE: Final = timedelta(minutes=30)
_TOKEN: Final = re.compile(r"(lnk_[0-9a-z]{26})[.]([A-Za-z0-9_-]{43})", re.ASCII)


class Recovery:
    """Asks for links and uses them."""

    def __init__(
        self, deps: IdentityDeps, passwords: Passwords, messages: Messages, refusals: Refusals, *, public_origin: str
    ) -> None:
        self._deps = deps
        self._refusals = refusals
        self._passwords = passwords
        self._messages = messages
        self._attempts = Attempts(deps)
        self._origin = public_origin
        self._reads = single_reads(deps.database)

    async def ask(self, email: str, *, address: str, language: Language) -> None:
        """Leave a link for the account, if there is one. 429 `identity.sign_in_slowed`, counted apart from sign-in."""
        key = email_key(email)
        async with self._reads.connect() as connection:
            person = await repository.read_person_by_email(connection, key)
        nobody = self._attempts.counter("account", key)
        with self._refusals.of_sign_in("sign_in.recovery", nobody if person is None else person.id):
            await self._attempts.reserve(
                [
                    self._attempts.counter("link", key),
                    self._attempts.counter("link", f"address {address_block(address)}"),
                ]
            )
        now = self._deps.clock.now()
        link_id = self._deps.ids.mint("lnk")
        secret = urlsafe_b64encode(self._deps.entropy(32)).rstrip(b"=").decode()
        row = {
            "id": link_id,
            "person_id": person.id if person is not None else None,
            "digest": self._deps.vault.digest(link_id, secret),
            "version": 1,
            "created_at": now,
            "expires_at": now + LIFE,
            "used_at": None,
        }
        message = Message(
            kind="recovery",
            to=person.email if person is not None else "",
            link=f"{self._origin}/sign-in/recovery/{link_id}.{secret}",
            language=person.locale if person is not None else language,
        )
        plan = Plan(None).add(Insert(ONE_TIME_LINKS, row))
        plan.add(self._messages.part(message, is_addressed=person is not None))
        plan.add(Audit("person.recovery_asked", UNKNOWN if person is None else person.id, link_id, None))
        await self._deps.committer.commit(plan)

    async def check(self, token: str) -> None:
        """Whether a link can still be used. 404 `identity.link_invalid`. Writes nothing."""
        await self._find(token)

    async def use(self, token: str, password: str) -> None:
        """Set a new password: the link is used up and every session of the person ends, in one plan.

        404 `identity.link_invalid`, also for the later of two uses; 422 `identity.password_refused`, after which the
        link is still good; 503 `identity.sign_in_busy`.
        """
        link, person = await self._find(token)
        check_choice(password, email=person.email, name=person.name)
        values = {"password_hash": await self._passwords.hash(password), "session_epoch": person.session_epoch + 1}
        plan = Plan(None).add(
            Change(ONE_TIME_LINKS, link.id, {"used_at": self._deps.clock.now()}, expected=link.version),
            Change(PERSONS, person.id, values, expected=person.version),
            Audit("person.recovered", person.id, person.id, None, {"link": link.id}),
        )
        with self._refusals.of_sign_in("sign_in.recovery", person.id):
            try:
                await self._deps.committer.commit(plan)
            except PlanRefused as refused:
                raise LINK_INVALID.error() from refused

    async def _find(self, token: str) -> tuple[Any, Any]:  # Any: rows of link and person
        match = _TOKEN.fullmatch(token)
        link = person = None
        if match is not None:
            async with self._reads.connect() as connection:
                link = await repository.read_link(connection, match[1])
                if link is not None and link.person_id is not None:
                    person = await repository.read_person(connection, link.person_id)
        is_good = (
            match is not None
            and link is not None
            and person is not None
            and self._deps.vault.matches(link.id, match[2], link.digest)
            and link.used_at is None
            and self._deps.clock.now() < link.expires_at
        )
        if not is_good:
            with self._refusals.of_sign_in("sign_in.recovery", UNKNOWN if person is None else person.id):
                raise LINK_INVALID.error()
        return link, person
