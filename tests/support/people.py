"""Somebody who signs in, for tests that need a person at a console and not how one gets there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyotp import TOTP

from platform_core.bootstrap.people import People
from platform_core.identity.schemas_people import StaffInvite
from platform_core.identity.sessions import Cookie, Device, cookie_name, next_step
from platform_core.identity.sign_in import Try
from platform_core.identity.staff import AT_THE_TERMINAL, Party
from platform_core.identity.totp import make_seed, seed_text
from platform_core.kernel.clock import Clock

PASSWORD = "a quiet river runs north"
DEVICE = Device(address="203.0.113.7", agent="test")


@dataclass(frozen=True, slots=True)
class AtConsole:
    """A person with a complete session, the second factor just given where the role needs one."""

    people: People
    console: Any
    email: str
    staff_id: str
    cookie: Cookie

    def headers(self) -> dict[str, str]:
        """What a page of the console sends with a request that writes."""
        value = str(self.cookie)
        return {
            "Cookie": f"{cookie_name(self.console)}={value}",
            "Origin": self.people.access.public_origin,
            "X-CSRF-Token": self.people.access.csrf_token(value),
        }


async def at_console(
    people: People, party: Party, *roles: str, email: str, console: Any = "merchant", clock: Clock
) -> AtConsole:
    """A new person with these roles, signed in. `clock`: the one that sessions live by."""
    wanted = StaffInvite(email=email, roles=list(roles))
    invited = await people.staff.invite(party, wanted, by=AT_THE_TERMINAL)
    token = invited.link.rpartition("/")[2]
    staff_id = await people.staff.accept(token, name="Wang Fang", password=PASSWORD, locale="en")
    sign_in = people.desk.sign_in
    opened = await sign_in.password(Try(email=email, password=PASSWORD, console=console, device=DEVICE))
    cookie = opened.cookie
    state = await people.sessions.state(str(cookie), console=console)
    assert state is not None
    if next_step(state) == "enrol":
        seed = make_seed(people.desk.entropy)
        code = TOTP(seed_text(seed)).at(clock.now())
        cookie = (await sign_in.enrol(state, seed, code, device=DEVICE)).opened.cookie
    return AtConsole(people, console, email, staff_id, cookie)
