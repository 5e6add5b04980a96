"""The routes of parties by session: rights, CSRF, step-up, idempotency, ETags, other tenants."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest

from platform_core.identity.grants import Grants
from platform_core.identity.schemas import GrantCreate, StoreCreate
from platform_core.identity.sessions import cookie_name
from tests.identity.conftest import ORIGIN, Process, Shop
from tests.identity.people.conftest import Somebody, counts, fetch, join

pytestmark = [pytest.mark.api, pytest.mark.database]


class Desk:
    """Somebody's console as its pages call the API."""

    def __init__(self, somebody: Somebody, cookie: str) -> None:
        self.process, self.somebody, self.cookie, self.keys = somebody.process, somebody, cookie, 0

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        sent = {
            "Cookie": f"{cookie_name(self.somebody.console)}={self.cookie}",
            "Origin": ORIGIN,
            "X-CSRF-Token": self.process.people.access.csrf_token(self.cookie),
            **headers,
        }
        if method == "POST":
            self.keys += 1
            sent.setdefault("Idempotency-Key", f"key-{self.keys}")
        return await self.process.http.request(
            method, f"/v1{path}", json=body, headers={name: value for name, value in sent.items() if value}
        )

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.call("GET", path, **headers)

    async def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        return await self.call("POST", path, body, **headers)


async def desk_of(somebody: Somebody) -> Desk:
    return Desk(somebody, str(await somebody.sign_in()))


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_a_store_is_opened_renamed_and_closed(owner: Somebody) -> None:
    desk = await desk_of(owner)
    made = await desk.post("/stores", {"name": "Drum Tower"})
    assert (made.status_code, made.headers["etag"]) == (201, '"1"')
    store = made.json()
    listed = (await desk.get("/stores")).json()["data"]
    assert [each["id"] for each in listed] == [store["id"]]
    missing = await desk.call("PATCH", f"/stores/{store['id']}", {"name": "Bell Tower"})
    assert code(missing) == (428, "kernel.precondition_missing")
    changed = await desk.call("PATCH", f"/stores/{store['id']}", {"state": "closed"}, **{"If-Match": '"1"'})
    assert (changed.status_code, changed.json()["state"], changed.headers["etag"]) == (200, "closed", '"2"')
    stale = await desk.call("PATCH", f"/stores/{store['id']}", {"name": "x"}, **{"If-Match": '"1"'})
    assert code(stale) == (412, "kernel.precondition_failed")
    unchanged = await desk.get(f"/stores/{store['id']}", **{"If-None-Match": '"2"'})
    assert (unchanged.status_code, unchanged.content) == (304, b"")


async def test_a_key_makes_one_store_of_many_requests(owner: Somebody, process: Process) -> None:
    desk = await desk_of(owner)
    body, key = {"name": "Drum Tower"}, {"Idempotency-Key": "one"}
    answers = await asyncio.gather(*(desk.post("/stores", body, **key) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 7
    assert code(await desk.post("/stores", {"name": "Other"}, **key)) == (422, "kernel.idempotency_key_reused")
    assert code(await desk.post("/stores", body, **{"Idempotency-Key": ""})) == (400, "kernel.idempotency_key_missing")
    assert (await counts(process))["store"] == 1


async def test_a18_a_session_without_our_token_writes_nothing(owner: Somebody, process: Process) -> None:
    desk = await desk_of(owner)
    before = await counts(process)
    for headers in (
        {"X-CSRF-Token": ""},
        {"X-CSRF-Token": "AAAA"},
        {"Origin": "https://evil.example"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        assert code(await desk.post("/stores", {"name": "x"}, **headers)) == (403, "identity.csrf_refused"), headers
    assert await counts(process) == before


async def test_a_role_without_the_scope_is_refused_by_name(cashier: Somebody, process: Process) -> None:
    desk = await desk_of(cashier)
    before = await counts(process)
    assert (await desk.get("/stores")).status_code == 200
    for method, path, scope in (
        ("POST", "/stores", "stores:write"),
        ("GET", "/staff", "staff:read"),
        ("POST", "/staff-invitations", "staff:write"),
        ("GET", "/apps", "apps:read"),
        ("POST", "/payout-destinations", "payout_destinations:write"),
    ):
        answer = await desk.call(method, path, {} if method == "POST" else None)
        assert code(answer) == (403, "identity.scope_missing")
        assert scope in answer.json()["detail"]
    assert await counts(process) == before


async def test_no_token_reaches_what_people_alone_may(process: Process, shop: Shop) -> None:
    token = await process.token(shop.app)
    for path in ("/v1/staff", "/v1/apps", "/v1/payout-destinations", "/v1/staff-invitations"):
        assert code(await process.get(path, token)) == (403, "identity.scope_missing")
        nobody = await process.http.get(path)
        assert code(nobody) == (401, "identity.token_missing")


async def test_a_token_beside_a_session_is_what_counts(owner: Somebody, process: Process, shop: Shop) -> None:
    desk = await desk_of(owner)
    assert code(await desk.get("/staff", Authorization="Bearer x")) == (401, "identity.token_invalid")
    token = await process.token(shop.app)
    assert code(await desk.get("/staff", Authorization=f"Bearer {token}")) == (403, "identity.scope_missing")


async def test_two_consoles_must_be_told_apart(owner: Somebody, developer: Somebody) -> None:
    merchant, isv = await desk_of(owner), await desk_of(developer)
    both = f"{cookie_name('merchant')}={merchant.cookie}; {cookie_name('isv')}={isv.cookie}"
    assert code(await merchant.get("/apps", Cookie=both)) == (401, "identity.console_unclear")
    named = await merchant.get("/staff", Cookie=both, **{"Arsenal-Console": "isv"})
    assert [each["id"] for each in named.json()["data"]] == [developer.staff_id]
    gone = await merchant.get("/staff", **{"Arsenal-Console": "admin"})
    assert code(gone) == (401, "identity.sign_in_required")


async def test_keys_and_staff_need_a_fresh_second_factor(owner: Somebody, process: Process, shop: Shop) -> None:
    desk = await desk_of(owner)
    owner.clock.advance(timedelta(seconds=601))
    before = await counts(process)
    body = {"client_id": shop.app.client.id}
    for path, wanted in (
        (f"/apps/{shop.app.id}/secrets", body),
        ("/apps", {"name": "Till", "mode": "test"}),
        ("/staff-invitations", {"email": "a@b.example", "roles": ["cashier"]}),
        ("/payout-destinations", {"currency": "CNY", "holder": "x", "bank": "y", "account": "6222000011112222"}),
    ):
        answer = await desk.post(path, wanted)
        assert code(answer) == (401, "identity.step_up_required")
        assert 'error="insufficient_user_authentication"' in answer.headers["www-authenticate"]
        assert "max_age=600" in answer.headers["www-authenticate"]
    assert await counts(process) == before
    assert (await desk.get(f"/apps/{shop.app.id}/secrets")).status_code == 200


async def test_an_app_is_made_and_its_secret_shown_once(owner: Somebody, process: Process) -> None:
    desk = await desk_of(owner)
    key = {"Idempotency-Key": "one"}
    made = await desk.post("/apps", {"name": "Till", "mode": "test"}, **key)
    assert made.status_code == 201
    secret, app = made.json()["secret"]["secret"], made.json()["app"]
    assert secret.startswith("ask_test_")
    again = await desk.post("/apps", {"name": "Till", "mode": "test"}, **key)
    assert (again.status_code, again.json()["app"]["id"], again.json()["secret"]["secret"]) == (201, app["id"], None)
    assert secret not in str(await fetch(process, "SELECT body FROM idempotency"))
    wrong_mode = await desk.post("/apps", {"name": "Till", "mode": "live"})
    assert code(wrong_mode) == (422, "identity.app_refused")
    shown = (await desk.get(f"/apps/{app['id']}")).json()
    assert (shown["name"], shown["clients"][0]["api_version"]) == ("Till", "2026-11-22")


async def test_a_secret_is_rotated_and_revoked(owner: Somebody, process: Process, shop: Shop) -> None:
    desk, path = await desk_of(owner), f"/apps/{shop.app.id}/secrets"
    made = (await desk.post(path, {"client_id": shop.app.client.id, "overlap_s": 60})).json()
    [old, new] = (await desk.get(path)).json()["data"]
    assert (new["id"], new["hint"], old["expires_at"] is not None) == (made["id"], made["secret"][-4:], True)
    assert "secret" not in new
    assert (await process.token(shop.app)) is not None
    assert (await desk.call("DELETE", f"{path}/{old['id']}")).status_code == 204
    form = {"grant_type": "client_credentials"}
    ended = await process.http.post("/oauth/token", data=form, auth=(shop.app.client.id, shop.app.secret.secret))
    assert ended.status_code == 401
    assert code(await desk.call("DELETE", f"{path}/{old['id']}")) == (404, "identity.secret_not_found")
    kinds = await fetch(process, "SELECT type FROM outbox WHERE object_id = $1 ORDER BY sequence", shop.app.client.id)
    assert [row[0] for row in kinds] == ["app.secret_created", "app.secret_created", "app.secret_revoked"]


async def test_a_disabled_apps_tokens_end(owner: Somebody, process: Process, shop: Shop) -> None:
    desk, token = await desk_of(owner), await process.token(shop.app)
    assert (await process.get("/v1/stores", token)).status_code == 200
    body = {"state": "disabled"}
    done = await desk.call("PATCH", f"/apps/{shop.app.id}", body, **{"If-Match": '"1"'})
    assert (done.status_code, done.json()["state"]) == (200, "disabled")
    await process.feed.poll()
    assert code(await process.get("/v1/stores", token)) == (401, "identity.token_invalid")


async def test_another_partys_objects_are_absent(
    owner: Somebody, developer: Somebody, process: Process, shop: Shop, other_shop: Shop
) -> None:
    foreign = await process.people.services.parties.create_store(
        StoreCreate(merchant_id=other_shop.merchant.id, name="Hidden")
    )
    before = await counts(process)
    match = {"If-Match": '"1"'}
    for desk in (await desk_of(owner), await desk_of(developer)):
        other = developer if desk.somebody is owner else owner
        for method, path, body in (
            ("GET", f"/stores/{foreign.id}", None),
            ("PATCH", f"/stores/{foreign.id}", {"name": "x"}),
            ("GET", f"/merchants/{other_shop.merchant.id}", None),
            ("PATCH", f"/merchants/{other_shop.merchant.id}", {"name": "x"}),
            ("GET", f"/apps/{other_shop.app.id}", None),
            ("PATCH", f"/apps/{other_shop.app.id}", {"name": "x"}),
            ("GET", f"/apps/{other_shop.app.id}/secrets", None),
            ("POST", f"/apps/{other_shop.app.id}/secrets", {"client_id": other_shop.app.client.id}),
            ("DELETE", f"/apps/{other_shop.app.id}/secrets/{other_shop.app.secret.id}", None),
            ("GET", f"/staff/{other.staff_id}", None),
            ("PATCH", f"/staff/{other.staff_id}", {"roles": ["support"]}),
            ("DELETE", f"/staff/{other.staff_id}", None),
        ):
            answer = await desk.call(method, path, body, **match)
            assert (
                answer.status_code == 404
                or code(answer) == (403, "identity.scope_missing")
                or (code(answer) == (403, "identity.merchant_needed"))
            ), (method, path, answer.text)
            assert "Hidden" not in answer.text
    sessions = {**await counts(process), "console_session": before["console_session"]}
    assert sessions == before


async def test_another_apps_client_is_no_client_of_mine(owner: Somebody, shop: Shop, other_shop: Shop) -> None:
    desk = await desk_of(owner)
    answer = await desk.post(f"/apps/{shop.app.id}/secrets", {"client_id": other_shop.app.client.id})
    assert code(answer) == (404, "identity.client_not_found")


async def test_staff_is_invited_and_changed_by_the_api(owner: Somebody, process: Process) -> None:
    desk = await desk_of(owner)
    made = await desk.post("/staff-invitations", {"email": "new@shop.example", "roles": ["cashier"]})
    assert (made.status_code, made.json()["state"]) == (201, "pending")
    assert "inv_" in made.json()["id"]
    assert "link" not in made.text
    helper = await join(process, owner.clock, owner.party, "cashier", email="b@shop.example", console="merchant")
    listed = (await desk.get("/staff?limit=1")).json()
    assert ([each["id"] for each in listed["data"]], listed["next_cursor"] is not None) == ([owner.staff_id], True)
    body = {"roles": ["manager", "cashier"]}
    changed = await desk.call("PATCH", f"/staff/{helper.staff_id}", body, **{"If-Match": '"1"'})
    assert (changed.status_code, changed.json()["roles"]) == (200, ["cashier", "manager"])
    gone = await desk.call("DELETE", f"/staff/{helper.staff_id}", **{"If-Match": '"2"'})
    assert gone.status_code == 204
    assert code(await desk.get(f"/staff/{helper.staff_id}")) == (404, "identity.staff_not_found")
    withdrawn = await desk.call("DELETE", f"/staff-invitations/{made.json()['id']}")
    assert withdrawn.status_code == 204
    assert (await desk.get("/staff-invitations")).json()["data"] == []


async def test_a_verified_merchant_with_another_name_is_verified_anew(
    owner: Somebody, process: Process, shop: Shop
) -> None:
    administration = process.people.administration
    await administration.change_verification(shop.merchant.id, "pending", by="per_x")
    await administration.change_verification(shop.merchant.id, "verified", by="per_x")
    desk, path = await desk_of(owner), f"/merchants/{shop.merchant.id}"
    same = await desk.call("PATCH", path, {"time_zone": "Asia/Urumqi"}, **{"If-Match": '"3"'})
    assert (same.status_code, same.json()["verification"]) == (200, "verified")
    renamed = await desk.call("PATCH", path, {"name": "Drum Tower Tea"}, **{"If-Match": '"4"'})
    assert (renamed.json()["verification"], renamed.json()["name"]) == ("pending", "Drum Tower Tea")
    with pytest.raises(Exception, match="verification_state"):
        await administration.change_verification(shop.merchant.id, "unverified", by="per_x")


async def test_a_payout_destination_takes_two_persons_and_a_day(owner: Somebody, process: Process) -> None:
    second = await join(process, owner.clock, owner.party, "owner", email="two@shop.example", console="merchant")
    await second.enrol()
    first_desk, second_desk = await desk_of(owner), await desk_of(second)
    first_desk = await desk_of(owner)
    body = {"currency": "CNY", "holder": "Corner shop", "bank": "ICBC", "account": "6222021234567890"}
    made = (await first_desk.post("/payout-destinations", body)).json()
    assert (made["state"], made["hint"]) == ("proposed", "7890")
    decide, yes = f"/payout-destinations/{made['id']}/decide", {"is_confirmed": True}
    assert code(await first_desk.post(decide, yes)) == (403, "identity.second_person_needed")
    done = await second_desk.post(decide, yes)
    assert (done.status_code, done.json()["state"]) == (200, "active")
    destinations, now = process.people.services.destinations, owner.clock.now()
    merchant = owner.party.id
    assert await destinations.in_force(merchant, "CNY", now=now) is None
    force = await destinations.in_force(merchant, "CNY", now=now + timedelta(hours=24))
    assert force is not None
    assert (force.account, force.holder) == ("6222021234567890", "Corner shop")
    [[sealed]] = await fetch(process, "SELECT sealed FROM payout_destination")
    assert b"6222021234567890" not in sealed
    assert "6222021234567890" not in str(await fetch(process, "SELECT body FROM outbox"))
    assert "6222021234567890" not in str(await fetch(process, "SELECT body FROM idempotency"))
    assert code(await second_desk.post(decide, yes)) == (404, "identity.payout_destination_not_found")
    rows = await fetch(process, "SELECT kind, actor FROM audit_row WHERE subject = $1 ORDER BY position", made["id"])
    assert [row[0] for row in rows] == ["payout_destination.proposed", "payout_destination.confirmed"]
    assert rows[0][1] != rows[1][1]


async def test_an_isv_sees_its_own_apps_and_no_live_client(developer: Somebody, process: Process, shop: Shop) -> None:
    desk = await desk_of(developer)
    made = await desk.post("/apps", {"name": "Hub", "mode": "test"})
    assert (made.status_code, made.json()["app"]["isv_id"]) == (201, developer.party.id)
    assert [each["name"] for each in (await desk.get("/apps")).json()["data"]] == ["Hub"]
    assert code(await desk.post("/apps", {"name": "Hub", "mode": "live"})) == (422, "identity.app_refused")
    assert code(await desk.get("/stores")) == (403, "identity.scope_missing")
    grant = GrantCreate(
        app_id=made.json()["app"]["id"], merchant_id=shop.merchant.id, mode="test",
        scopes=frozenset({"stores:read"}), given_by="per_x",
    )  # fmt: skip
    await Grants(process.deps).create(grant)
    assert code(await desk.get(f"/apps/{shop.app.id}")) == (404, "identity.app_not_found")


async def test_every_change_by_a_route_leaves_its_audit_row(owner: Somebody, process: Process, shop: Shop) -> None:
    desk = await desk_of(owner)
    [[before]] = await fetch(process, "SELECT coalesce(max(position), 0) FROM audit_row")
    store = (await desk.post("/stores", {"name": "Drum Tower"})).json()
    changes = (
        (f"/stores/{store['id']}", {"name": "Bell Tower"}, store["id"], "store.changed"),
        (f"/merchants/{shop.merchant.id}", {"name": "Tea"}, shop.merchant.id, "merchant.changed"),
        (f"/apps/{shop.app.id}", {"state": "disabled"}, shop.app.id, "app.changed"),
    )
    for path, body, _, _ in changes:
        etag = (await desk.get(path)).headers["etag"]
        stale = await desk.call("PATCH", path, body, **{"If-Match": '"99"'})
        done = await desk.call("PATCH", path, body, **{"If-Match": etag})
        assert (stale.status_code, done.status_code) == (412, 200), done.text
    sql = "SELECT kind, subject FROM audit_row WHERE position > $1 ORDER BY position"
    rows = [(row[0], row[1]) for row in await fetch(process, sql, before)]
    assert rows == [("store.created", store["id"]), *((kind, subject) for _, _, subject, kind in changes)]
