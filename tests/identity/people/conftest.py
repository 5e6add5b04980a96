"""People over a real PostgreSQL: one process, a merchant with an owner, and browsers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from pyotp import TOTP

from platform_core.identity import repository_people
from platform_core.identity.repository_people import SessionState
from platform_core.identity.schemas import IsvCreate
from platform_core.identity.schemas_people import StaffInvite
from platform_core.identity.sessions import Cookie, Device
from platform_core.identity.sign_in import Try
from platform_core.identity.staff import AT_THE_TERMINAL, OPERATOR, Party
from platform_core.identity.totp import make_seed, seed_text
from platform_core.kernel.clock import ManualClock
from tests.identity.conftest import ORIGIN, Process, Shop

PASSWORD = "a quiet river runs north"
DEVICE = Device(address="203.0.113.7", agent="test")


@dataclass(slots=True)
class Somebody:
    """A person with a place, and an authenticator if the role needs one."""

    process: Process
    clock: ManualClock
    email: str
    person_id: str
    staff_id: str
    party: Party
    console: Any
    seed: bytes | None = None
    recovery_codes: list[str] = field(default_factory=list)

    def code(self) -> str:
        """What the authenticator shows; a step later than the last one shown, so that it was never used."""
        assert self.seed is not None
        self.clock.advance(timedelta(seconds=30))
        return TOTP(seed_text(self.seed)).at(self.clock.now())

    async def try_password(self, **changed: Any) -> Cookie:
        """The first step."""
        wanted = Try(
            **{"email": self.email, "password": PASSWORD, "console": self.console, "device": DEVICE, **changed}
        )
        return (await self.process.people.desk.sign_in.password(wanted)).cookie

    async def state(self, cookie: Cookie) -> SessionState:
        """The living session behind a cookie."""
        state = await self.process.people.sessions.state(str(cookie), console=self.console)
        assert state is not None
        return state

    async def sign_in(self) -> Cookie:
        """All steps."""
        cookie = await self.try_password()
        if self.seed is not None:
            state = await self.state(cookie)
            cookie = (await self.process.people.desk.sign_in.second_factor(state, self.code(), DEVICE)).cookie
        return cookie

    async def enrol(self) -> Cookie:
        """Set an authenticator up."""
        state = await self.state(await self.try_password())
        self.seed = make_seed(self.process.deps.entropy)
        enrolled = await self.process.people.desk.sign_in.enrol(state, self.seed, self.code(), device=DEVICE)
        self.recovery_codes = list(enrolled.recovery_codes)
        return enrolled.opened.cookie


@dataclass(slots=True)
class Browser:
    """A browser with cookies that sends forms as browsers do, and follows nothing."""

    http: httpx.AsyncClient
    csrf: str = ""

    async def get(self, path: str) -> httpx.Response:
        answer = await self.http.get(path)
        found = re.search(r'name="csrf" value="([^"]+)"', answer.text)
        self.csrf = found[1] if found else self.csrf
        return answer

    async def post(self, path: str, form: dict[str, str], **headers: str) -> httpx.Response:
        answer = await self.http.post(
            path,
            data={"csrf": self.csrf, **form},
            headers={"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin", **headers},
        )
        found = re.search(r'name="csrf" value="([^"]+)"', answer.text)
        self.csrf = found[1] if found else self.csrf
        return answer

    async def follow(self, answer: httpx.Response) -> httpx.Response:
        """The page that a redirect leads to, through every redirect of ours."""
        while answer.status_code == 303:
            answer = await self.get(answer.headers["location"])
        return answer


async def join(
    process: Process, clock: ManualClock, party: Party, *roles: str, email: str, console: Any, stores: Any = None
) -> Somebody:
    """A new person with a place in a party."""
    staff = process.people.staff
    wanted = StaffInvite(email=email, roles=list(roles), stores=stores)
    invited = await staff.invite(party, wanted, by=AT_THE_TERMINAL)
    token = invited.link.rpartition("/")[2]
    staff_id = await staff.accept(token, name="Wang Fang", password=PASSWORD, locale="en")
    async with process.deps.database.read_auth() as connection:
        person = await repository_people.read_person_by_email(connection, email.casefold())
    assert person is not None
    return Somebody(process, clock, email, person.id, staff_id, party, console)


@pytest.fixture
async def owner(process: Process, clock: ManualClock, shop: Shop) -> Somebody:
    """The owner of the shop, with an authenticator."""
    party = Party(kind="merchant", id=shop.merchant.id)
    owner = await join(process, clock, party, "owner", email="Owner@shop.example", console="merchant")
    await owner.enrol()
    return owner


@pytest.fixture
async def cashier(process: Process, clock: ManualClock, shop: Shop) -> Somebody:
    """A cashier of the shop, who needs no second factor."""
    party = Party(kind="merchant", id=shop.merchant.id)
    return await join(process, clock, party, "cashier", email="cashier@shop.example", console="merchant")


@pytest.fixture
async def admin(process: Process, clock: ManualClock) -> Somebody:
    """A security administrator of the operator."""
    admin = await join(process, clock, OPERATOR, "security_admin", email="admin@op.example", console="admin")
    await admin.enrol()
    return admin


@pytest.fixture
async def developer(process: Process, clock: ManualClock) -> Somebody:
    """The owner of an ISV."""
    isv = await process.people.services.parties.create_isv(IsvCreate(name="Lantern"))
    party = Party(kind="isv", id=isv.id)
    developer = await join(process, clock, party, "owner", email="dev@isv.example", console="isv")
    await developer.enrol()
    return developer


@pytest.fixture
async def browser(process: Process) -> AsyncIterator[Browser]:
    """A browser that never was here."""
    transport = httpx.ASGITransport(process.app, client=("203.0.113.9", 1234))
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as http:
        yield Browser(http)


async def fetch(process: Process, sql: str, *values: object) -> list[asyncpg.Record]:
    """Rows as the owner sees them."""
    connection = await asyncpg.connect(process.deps.database.urls.owner)
    try:
        return list(await connection.fetch(sql, *values))
    finally:
        await connection.close()


async def counts(process: Process) -> dict[str, int]:
    """How many rows each table of people holds; what a refusal must leave as it was."""
    tables = ("person", "membership", "invitation", "console_session", "recovery_code", "one_time_link", "app",
              "app_secret", "store", "payout_destination", "outbox")  # fmt: skip
    return {table: (await fetch(process, f"SELECT count(*) FROM {table}"))[0][0] for table in tables}
