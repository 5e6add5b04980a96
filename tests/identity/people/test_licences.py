"""A merchant's licences over HTTP: filed, changed, taken away; masked in lists; nobody else's."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from platform_core.identity.licences import LICENCES_MAX
from tests.identity.conftest import Process, Shop
from tests.identity.people.conftest import Somebody, fetch, join
from tests.identity.people.test_party_routes import code, desk_of

pytestmark = [pytest.mark.api, pytest.mark.database]
FOOD = {
    "kind": "food.service", "number": " JY11105000012345 ", "holder": "Corner shop", "valid_from": "2025-01-01",
    "valid_to": "2029-12-31",
}  # fmt: skip


async def state(process: Process) -> list[Any]:
    """What a refusal must leave as it was."""
    tables = ("merchant_licence", "audit_row", "idempotency", "outbox")
    counted = [(await fetch(process, f"SELECT count(*) FROM {table}"))[0][0] for table in tables]
    return [*counted, await fetch(process, "SELECT * FROM merchant_licence ORDER BY id")]


async def audited(process: Process, licence_id: str) -> list[tuple[str, str, dict[str, Any]]]:
    rows = await fetch(process, "SELECT * FROM audit_row WHERE subject = $1 ORDER BY position", licence_id)
    return [(row["kind"], row["actor"], json.loads(row["facts"])) for row in rows]


async def test_a_licence_is_filed_changed_and_taken_away(owner: Somebody, process: Process, shop: Shop) -> None:
    desk = await desk_of(owner)
    key = {"Idempotency-Key": "one"}
    answers = await asyncio.gather(*(desk.post("/licences", FOOD, **key) for _ in range(5)))
    made = answers[0].json()
    assert {(answer.status_code, answer.json()["id"]) for answer in answers} == {(201, made["id"])}
    assert (made["number"], made["hint"], made["state"]) == ("JY11105000012345", "2345", "submitted")
    path = f"/licences/{made['id']}"
    read = await desk.get(path)
    assert (read.json(), read.headers["etag"]) == (made, '"1"')
    assert (await desk.get(path, **{"If-None-Match": '"1"'})).status_code == 304
    listed = await desk.get("/licences")
    assert listed.json()["data"] == [{name: value for name, value in made.items() if name != "number"}]
    assert "JY1110" not in listed.text
    assert code(await desk.post("/licences", FOOD)) == (409, "identity.licence_exists")

    before = await state(process)
    assert code(await desk.call("PATCH", path, {"holder": "x"})) == (428, "kernel.precondition_missing")
    stale = await desk.call("PATCH", path, {"holder": "x"}, **{"If-Match": '"2"'})
    assert code(stale) == (412, "kernel.precondition_failed")
    assert await state(process) == before
    await fetch(process, "UPDATE merchant_licence SET state = 'accepted' WHERE id = $1 RETURNING 1", made["id"])
    renewed = await desk.call("PATCH", path, {"valid_to": None}, **{"If-Match": '"1"'})
    assert (renewed.status_code, renewed.headers["etag"]) == (200, '"2"'), renewed.text
    assert (renewed.json()["valid_to"], renewed.json()["state"]) == (None, "submitted"), "what changes is judged anew"
    assert (await desk.get(path)).json() == renewed.json()
    assert (await desk.call("PATCH", path, {}, **{"If-Match": '"2"'})).headers["etag"] == '"2"'

    assert code(await desk.call("DELETE", path)) == (428, "kernel.precondition_missing")
    assert code(await desk.call("DELETE", path, **{"If-Match": '"1"'})) == (412, "kernel.precondition_failed")
    assert (await desk.call("DELETE", path, **{"If-Match": '"2"'})).status_code == 204
    assert code(await desk.get(path)) == (404, "identity.licence_not_found")
    kind, by = {"kind": "food.service"}, owner.person_id
    assert await audited(process, made["id"]) == [
        ("licence.added", by, kind),
        ("licence.changed", by, {**kind, "fields": ["state", "valid_to"], "was": "accepted"}),
        ("licence.removed", by, {**kind, "was": "submitted"}),
    ]


@pytest.mark.parametrize(
    ("changed", "refusal"),
    [
        ({"valid_to": "2024-12-31"}, "identity.licence_refused"),
        ({"number": "12345"}, "kernel.validation_failed"),
        ({"kind": "Food!"}, "kernel.validation_failed"),
        ({"valid_from": "2025-02-30"}, "kernel.validation_failed"),
        ({"valid_from": 20250101.5}, "kernel.validation_failed"),
        ({"state": "accepted"}, "kernel.validation_failed"),
    ],
)
async def test_what_cannot_be_filed_leaves_nothing(
    owner: Somebody, process: Process, changed: dict[str, Any], refusal: str
) -> None:
    desk, before = await desk_of(owner), await state(process)
    assert code(await desk.post("/licences", {**FOOD, **changed})) == (422, refusal)
    assert await state(process) == before


async def test_days_that_cross_are_refused_in_a_change_too(owner: Somebody, process: Process) -> None:
    desk = await desk_of(owner)
    path = f"/licences/{(await desk.post('/licences', FOOD)).json()['id']}"
    before = await state(process)
    crossed = await desk.call("PATCH", path, {"valid_from": "2030-01-01"}, **{"If-Match": '"1"'})
    assert code(crossed) == (422, "identity.licence_refused")
    number = await desk.call("PATCH", path, {"number": "JY999999"}, **{"If-Match": '"1"'})
    assert code(number) == (422, "kernel.validation_failed")
    assert await state(process) == before


async def test_owner_and_administrator_write_and_readers_read(
    owner: Somebody, cashier: Somebody, process: Process, shop: Shop
) -> None:
    made = (await (await desk_of(owner)).post("/licences", FOOD)).json()
    path = f"/licences/{made['id']}"
    administrator = await join(
        process, owner.clock, owner.party, "administrator", email="adm@shop.example", console="merchant"
    )
    await administrator.enrol()
    renamed = await (await desk_of(administrator)).call("PATCH", path, {"holder": "Bell"}, **{"If-Match": '"1"'})
    assert renamed.status_code == 200
    desk, token = await desk_of(cashier), await process.token(shop.app)
    before = await state(process)
    assert (await desk.get(path)).json()["number"] == "JY11105000012345"
    assert (await process.get(f"/v1{path}", token)).json() == renamed.json()
    assert [one["id"] for one in (await process.get("/v1/licences", token)).json()["data"]] == [made["id"]]
    for method, where, body in (("POST", "/licences", FOOD), ("PATCH", path, {}), ("DELETE", path, None)):
        refused = await desk.call(method, where, body, **{"If-Match": '"2"'})
        assert code(refused) == (403, "identity.scope_missing")
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "k", "If-Match": '"2"'}
        by_app = await process.http.request(method, f"/v1{where}", json=body, headers=headers)
        assert code(by_app) == (403, "identity.scope_missing")
    assert await state(process) == before


async def test_another_merchants_licence_is_not_there(
    owner: Somebody, process: Process, shop: Shop, other_shop: Shop
) -> None:
    path = f"/licences/{(await (await desk_of(owner)).post('/licences', FOOD)).json()['id']}"
    token = await process.token(other_shop.app)
    assert code(await process.get(f"/v1{path}", token)) == (404, "identity.licence_not_found")
    assert (await process.get("/v1/licences", token)).json()["data"] == []


async def test_there_are_so_many_and_no_more(owner: Somebody, process: Process) -> None:
    desk = await desk_of(owner)
    await fetch(
        process,
        "INSERT INTO merchant_licence (id, merchant_id, kind, number, holder, valid_from, state, version, created_at) "
        "SELECT 'lic_' || n, $1, 'food', 'number ' || n, 'x', '2026-01-01', 'submitted', 1, now() "
        "FROM generate_series(1, $2) AS n RETURNING 1",
        owner.party.id, LICENCES_MAX,
    )  # fmt: skip
    before = await state(process)
    assert code(await desk.post("/licences", FOOD)) == (422, "identity.licence_refused")
    assert await state(process) == before
