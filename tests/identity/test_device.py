"""The device grant: a cash register polls, a person decides, one exchange; and A19's ways around it."""

from __future__ import annotations

import asyncio
import json
import re
from base64 import urlsafe_b64decode
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from platform_core.identity.apps import Apps
from platform_core.identity.consent import Consent
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.device_approvals import TRIES_MAX, DeviceApprovals, DeviceRequest
from platform_core.identity.grants import Grants
from platform_core.identity.oauth.device import GRANT_TYPE, make_user_code, read_user_code
from platform_core.identity.parties import Parties
from platform_core.identity.schemas import (
    AppCreate,
    AppCreated,
    ClientConfigure,
    IsvCreate,
    MerchantCreate,
    StoreCreate,
)
from platform_core.identity.sessions import ACR_MFA, SignedIn
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.errors import PlatformError
from tests.identity.conftest import ORIGIN, Process
from tests.identity.test_audit_rows import audit_rows

SCOPES = frozenset({"stores:read", "payments:read"})
pytestmark = [pytest.mark.database, pytest.mark.api]


@dataclass
class Till:
    """A public client of an ISV, and a merchant whose owner decides."""

    process: Process
    clock: ManualClock
    app: AppCreated
    stores: list[str]
    who: SignedIn
    approvals: DeviceApprovals

    async def begin(self, **form: str) -> httpx.Response:
        fields = {"client_id": self.app.client.id, "scope": " ".join(sorted(SCOPES)), **form}
        return await self.process.http.post("/oauth/device_authorization", data=fields)

    async def codes(self) -> dict[str, Any]:
        answer = await self.begin()
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def poll(self, device_code: str, process: Process | None = None, **form: str) -> httpx.Response:
        fields = {"grant_type": GRANT_TYPE, "device_code": device_code, "client_id": self.app.client.id, **form}
        return await (process or self.process).http.post("/oauth/token", data=fields)

    async def later(self, seconds: float) -> None:
        self.clock.advance(timedelta(seconds=seconds))
        await self.process.feed.poll()

    async def found(self, codes: dict[str, Any], who: SignedIn | None = None) -> DeviceRequest:
        return await self.approvals.find(codes["user_code"], who or self.who)

    async def approve(self, codes: dict[str, Any], store: int = 0) -> None:
        await self.approvals.approve(await self.found(codes), self.who, store_id=self.stores[store])


async def public_app(deps: IdentityDeps, isv_id: str, name: str = "Till") -> AppCreated:
    app = await Apps(deps).create_app(AppCreate(name=name, mode="test", api_version="2026-11-22", isv_id=isv_id))
    wanted = ClientConfigure(profile="public", grant_types=frozenset({GRANT_TYPE, "refresh_token"}))
    await Apps(deps).configure_client(app.client.id, wanted)
    return app


@pytest.fixture
async def till(process: Process, deps: IdentityDeps, clock: ManualClock) -> Till:
    """A register, a merchant with two stores, and its owner at the console."""
    parties = Parties(deps)
    isv = await parties.create_isv(IsvCreate(name="Till makers"))
    merchant = await parties.create_merchant(MerchantCreate(name="Tea", mode="test", industry="restaurant"))
    stores = [(await parties.create_store(StoreCreate(merchant_id=merchant.id, name=name))).id for name in "ab"]
    who = SignedIn(
        session_id=deps.ids.mint("ses"),
        person_id="per_owner",
        console="merchant",
        party_kind="merchant",
        party_id=merchant.id,
        roles=frozenset({"owner"}),
        scopes=SCOPES | {"grants:approve"},
        stores=None,
        acr=ACR_MFA,
        auth_time=int(clock.now().timestamp()),
        locale="en",
    )
    approvals = DeviceApprovals(deps, Consent(deps, Grants(deps)), issuer=ORIGIN)
    return Till(process, clock, await public_app(deps, isv.id), stores, who, approvals)


def error_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


async def rows(deps: IdentityDeps, table: str) -> int:
    async with deps.database.engine("auth").connect() as connection:
        return int((await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one())


def altered(handle: str) -> str:
    """Another handle of the same form: one that ends in A anyway gets a B."""
    return handle[:-1] + ("B" if handle.endswith("A") else "A")


async def code_of(awaitable: Any) -> str:
    with pytest.raises(PlatformError) as refused:
        await awaitable
    return refused.value.code


async def test_a_register_gets_tokens_for_the_store_it_stands_in(till: Till) -> None:
    codes = await till.codes()
    assert codes["verification_uri"] == f"{ORIGIN}/device"
    assert codes["verification_uri_complete"] == f"{ORIGIN}/device?user_code={codes['user_code']}"
    assert re.fullmatch(r"[B-DF-HJ-NP-TV-XZ]{4}-[B-DF-HJ-NP-TV-XZ]{4}", codes["user_code"])
    assert (codes["interval"], codes["expires_in"]) == (5, 600)
    assert error_of(await till.poll(codes["device_code"])) == (400, "authorization_pending")
    device = await till.found(codes)
    assert (device.view.app_name, [store.id for store in device.view.stores]) == ("Till", till.stores)
    await till.approvals.approve(
        await till.approvals.reopen(device.handle, till.who), till.who, store_id=till.stores[0]
    )
    await till.later(5)
    answer = await till.poll(codes["device_code"])
    assert answer.status_code == 200, answer.text
    tokens = answer.json()
    assert tokens["scope"] == "payments:read stores:read"
    for _ in range(2):
        seen = await till.process.get("/v1/stores", tokens["access_token"])
        assert [store["id"] for store in seen.json()["data"]] == [till.stores[0]]
        form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
        refreshed = await till.process.http.post("/oauth/token", data={**form, "client_id": till.app.client.id})
        assert refreshed.status_code == 200, refreshed.text
        tokens = refreshed.json()


async def test_a_second_register_in_another_store_does_not_widen_the_first(till: Till) -> None:
    first, second = await till.codes(), await till.codes()
    await till.approve(first, store=0)
    await till.approve(second, store=1)
    for codes, store in ((first, 0), (second, 1)):
        tokens = (await till.poll(codes["device_code"])).json()
        form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
        fresh = await till.process.http.post("/oauth/token", data={**form, "client_id": till.app.client.id})
        for token in (tokens["access_token"], fresh.json()["access_token"]):
            seen = await till.process.get("/v1/stores", token)
            assert [one["id"] for one in seen.json()["data"]] == [till.stores[store]]


async def test_refusing_is_told_to_the_device(till: Till, deps: IdentityDeps) -> None:
    codes = await till.codes()
    await till.approvals.decline(await till.found(codes), till.who)
    assert error_of(await till.poll(codes["device_code"])) == (400, "access_denied")
    assert await rows(deps, "access_grant") == 0


async def test_what_was_decided_about_a_device_stands_in_the_audit_log(till: Till, deps: IdentityDeps) -> None:
    kept, refused = await till.codes(), await till.codes()
    await till.approve(kept, store=1)
    device = await till.found(refused)
    await till.approvals.decline(device, till.who)
    with pytest.raises(PlatformError):  # decided already: no row of that
        await till.approvals.decline(device, till.who)
    rows = [row for row in await audit_rows(deps.database) if row["kind"].startswith("device.")]
    assert [row["kind"] for row in rows] == ["device.approved", "device.declined"]
    app, client = till.app.id, till.app.client.id
    both = {"app": app, "client": client, "scopes": ["payments:read", "stores:read"]}
    for row in rows:
        assert (row["actor"], row["merchant_id"]) == (till.who.person_id, till.who.party_id)
        assert row["facts"].items() >= both.items()
    assert rows[0]["facts"]["store"] == till.stores[1]
    assert rows[0]["facts"].keys() == both.keys() | {"grant", "version", "family", "store"}
    assert rows[1]["subject"] == device.device_id


async def test_a19_polling_too_fast_costs_five_seconds_more_each_time(till: Till) -> None:
    code = (await till.codes())["device_code"]
    assert error_of(await till.poll(code)) == (400, "authorization_pending")
    await till.later(4)
    assert error_of(await till.poll(code)) == (400, "slow_down")  # now every 10 s
    await till.later(9)
    assert error_of(await till.poll(code)) == (400, "slow_down")  # now every 15 s
    await till.later(14)
    assert error_of(await till.poll(code)) == (400, "slow_down")
    await till.later(20)
    assert error_of(await till.poll(code)) == (400, "authorization_pending")


async def test_f19_codes_end_after_ten_minutes_and_unknown_ones_are_invalid_grants(till: Till) -> None:
    codes = await till.codes()
    device = await till.found(codes)
    await till.later(600)
    assert error_of(await till.poll(codes["device_code"])) == (400, "expired_token")
    assert await code_of(till.found(codes)) == "identity.device_code_unknown"
    assert await code_of(till.approvals.reopen(device.handle, till.who)) == "identity.device_code_unknown"
    for unknown in (altered(codes["device_code"]), "dvc_x", "x" * 2000, "é"):
        assert error_of(await till.poll(unknown)) == (400, "invalid_grant")


async def test_f19_clients_and_scopes_are_checked_when_it_begins(
    till: Till, deps: IdentityDeps, process: Process
) -> None:
    assert error_of(await till.begin(scope="no:such")) == (400, "invalid_scope")
    assert error_of(await till.begin(scope="grants:approve")) == (400, "invalid_scope")
    assert error_of(await till.begin(resource="https://other.example")) == (400, "invalid_target")
    assert error_of(await till.begin(client_id="app_test_x")) == (400, "invalid_client")
    wanted = ClientConfigure(profile="public", grant_types=frozenset({"refresh_token"}))
    await Apps(deps).configure_client(till.app.client.id, wanted)
    assert error_of(await till.begin()) == (400, "unauthorized_client")
    assert await rows(deps, "oauth_device_code") == 0


async def test_a19_a_code_of_another_client_is_an_invalid_grant_and_stays_good(till: Till, deps: IdentityDeps) -> None:
    isv = await Parties(deps).create_isv(IsvCreate(name="Others"))
    other = await public_app(deps, isv.id, "Other")
    codes = await till.codes()
    await till.approve(codes)
    assert error_of(await till.poll(codes["device_code"], client_id=other.client.id)) == (400, "invalid_grant")
    assert (await till.poll(codes["device_code"])).status_code == 200


async def test_a19_of_forty_uses_of_one_device_code_one_gets_tokens(till: Till, other_process: Process) -> None:
    for _ in range(3):
        codes = await till.codes()
        await till.approve(codes)
        till.who = replace(till.who, session_id=till.process.deps.ids.mint("ses"))
        answers = await asyncio.gather(
            *(till.poll(codes["device_code"], (till.process, other_process)[n % 2]) for n in range(40))
        )
        assert sorted(answer.status_code for answer in answers) == [200] + [400] * 39
        assert {answer.json()["error"] for answer in answers if answer.status_code == 400} == {"invalid_grant"}
    assert await rows(till.process.deps, "oauth_token_family") == 3


async def test_a19_a_code_is_decided_once(till: Till, deps: IdentityDeps) -> None:
    codes = await till.codes()
    device = await till.found(codes)
    outcomes = await asyncio.gather(
        *(till.approvals.approve(device, till.who, store_id=till.stores[n % 2]) for n in range(10)),
        till.approvals.decline(device, till.who),
        return_exceptions=True,
    )
    refused = {outcome.code for outcome in outcomes if isinstance(outcome, PlatformError)}
    assert outcomes.count(None) == 1
    assert refused <= {"identity.device_decided", "identity.changed_meanwhile"}
    assert await rows(deps, "oauth_device_decision") == 1
    assert await code_of(till.found(codes)) == "identity.device_code_unknown"
    assert await code_of(till.approvals.reopen(device.handle, till.who)) == "identity.device_decided"


async def test_a19_guessing_is_bounded_also_when_many_guess_at_once(till: Till) -> None:
    codes = await till.codes()
    guesses = [make_user_code(till.process.deps.entropy) for _ in range(40)]
    outcomes = await asyncio.gather(
        *(till.approvals.find(guess, till.who) for guess in guesses), return_exceptions=True
    )
    refused = [outcome.code for outcome in outcomes if isinstance(outcome, PlatformError)]
    assert refused.count("identity.device_code_unknown") == TRIES_MAX
    assert refused.count("identity.device_tries_used") == 40 - TRIES_MAX
    assert await code_of(till.found(codes)) == "identity.device_tries_used"
    assert (await till.found(codes, replace(till.who, session_id="ses_other"))).view.app_name == "Till"


async def test_a_handle_of_another_session_means_nothing(till: Till) -> None:
    device = await till.found(await till.codes())
    stranger = replace(till.who, session_id="ses_other")
    assert await code_of(till.approvals.reopen(device.handle, stranger)) == "identity.device_code_unknown"
    assert await code_of(till.approvals.reopen(altered(device.handle), till.who)) == "identity.device_code_unknown"


async def test_a18_nobody_approves_what_he_may_not_give(till: Till, deps: IdentityDeps) -> None:
    device = await till.found(await till.codes())
    weak = replace(till.who, scopes=SCOPES)
    lesser = replace(till.who, scopes=frozenset({"grants:approve", "stores:read"}))
    for who in (weak, lesser):
        attempt = till.approvals.approve(device, who, store_id=till.stores[0])
        assert await code_of(attempt) == "identity.consent_refused"
    for store in (None, "sto_01jdx0000000000000000000ab"):
        assert await code_of(till.approvals.approve(device, till.who, store_id=store)) == "identity.device_store_needed"
    assert await rows(deps, "oauth_device_decision") == 0
    assert await rows(deps, "access_grant") == 0


async def test_a_revoked_grant_ends_what_was_approved(till: Till, deps: IdentityDeps) -> None:
    codes = await till.codes()
    await till.approve(codes)
    async with deps.database.read_auth() as connection:
        grant_id = (await connection.execute(text("SELECT id FROM access_grant"))).scalar_one()
    await Grants(deps).revoke(grant_id, merchant_id=till.who.party_id, by="per_owner", why="test")
    assert error_of(await till.poll(codes["device_code"])) == (400, "invalid_grant")


async def test_user_codes_are_read_as_people_type_them() -> None:
    for typed in ("WDJB-MJHT", "wdjbmjht", " wdjb mjht ", "WDJB–MJHT"):
        assert read_user_code(typed) == "WDJBMJHT"
    for typed in ("", "WDJB-MJH", "WDJB-MJHTT", "WDJB-MJHA", "12345678", "W" * 5000, "ＷＤＪＢＭＪＨＴ"):
        assert read_user_code(typed) is None
    codes = {make_user_code(lambda n: bytes(range(n))) for _ in range(3)}
    assert codes == {"BCDFGHJK"}


def _said(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = json.loads(urlsafe_b64decode(token.split(".")[1] + "=="))
    return claims


async def test_the_token_names_the_store_alone(till: Till) -> None:
    codes = await till.codes()
    await till.approve(codes)
    said = _said((await till.poll(codes["device_code"])).json()["access_token"])
    assert (said["stores"], said["client_id"], said["sub"]) == (
        [till.stores[0]],
        till.app.client.id,
        till.who.party_id,
    )
