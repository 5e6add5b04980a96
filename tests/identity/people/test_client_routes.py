"""Clients of one's own apps over HTTP: set-up, public keys, signing; who may, what it writes, what a refusal leaves."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from platform_core.bootstrap.openapi_parts import complete_document
from platform_core.identity.permits import principal_of
from platform_core.identity.principal import Principal
from platform_core.identity.schemas import AppCreate
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.http.redaction import redacted, redactors_of
from tests.identity.conftest import Process, Shop
from tests.identity.people.conftest import Somebody, counts, fetch
from tests.identity.people.test_party_routes import Desk, code, desk_of
from tests.support.proofs import HeldKey

pytestmark = [pytest.mark.api, pytest.mark.database]
HELD = HeldKey.generate()


def match(version: int) -> dict[str, str]:
    return {"If-Match": f'"{version}"'}


def path_of(shop: Shop) -> str:
    return f"/apps/{shop.app.id}/clients/{shop.app.client.id}"


async def audited(process: Process, client_id: str) -> list[tuple[str, str, dict[str, Any]]]:
    """What the audit log says was done to the client: kind, by whom, facts."""
    rows = await fetch(
        process, "SELECT kind, actor, facts FROM audit_row WHERE subject = $1 ORDER BY position", client_id
    )
    return [(row["kind"], row["actor"], json.loads(row["facts"])) for row in rows]


async def told(process: Process, client_id: str) -> list[str]:
    """The client's events, in their order."""
    rows = await fetch(process, "SELECT type FROM outbox WHERE object_id = $1 ORDER BY sequence", client_id)
    return [row["type"] for row in rows]


async def state(process: Process) -> dict[str, int]:
    """Rows that a refusal must leave as they were."""
    tables = ("client_key", "client_key_set", "client_signing", "audit_row", "revocation", "idempotency")
    found = {table: (await fetch(process, f"SELECT count(*) FROM {table}"))[0][0] for table in tables}
    [[versions]] = await fetch(process, "SELECT sum(version) FROM app_client")
    return {**await counts(process), **found, "client_versions": versions}


async def test_a_client_is_set_up_under_its_version(owner: Somebody, process: Process, shop: Shop) -> None:
    desk, path, client_id = await desk_of(owner), path_of(shop), shop.app.client.id
    read = await desk.get(path)
    assert (read.status_code, read.headers["etag"]) == (200, '"1"')
    assert read.json()["authentication_methods"] == ["client_secret_basic", "client_secret_post", "private_key_jwt"]
    assert (read.json()["jwks_uri"], read.json()["must_sign"], read.json()["requires_par"]) == (None, False, False)
    assert (await desk.get(path, **{"If-None-Match": '"1"'})).status_code == 304
    wanted = {"redirect_uris": ["https://shop.example/back"], "grant_types": ["authorization_code", "refresh_token"]}
    before = await state(process)
    assert code(await desk.call("PATCH", path, wanted)) == (428, "kernel.precondition_missing")
    assert code(await desk.call("PATCH", path, wanted, **match(2))) == (412, "kernel.precondition_failed")
    assert await state(process) == before
    changed = await desk.call("PATCH", path, wanted, **match(1))
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"'), changed.text
    assert changed.json() == (await desk.get(path)).json()
    assert (changed.json()["redirect_uris"], changed.json()["profile"]) == (wanted["redirect_uris"], "confidential")
    pushed = await desk.call("PATCH", path, {"requires_par": True}, **match(2))
    assert (pushed.json()["requires_par"], pushed.json()["redirect_uris"]) == (True, wanted["redirect_uris"])
    assert (await desk.call("PATCH", path, {}, **match(3))).headers["etag"] == '"3"', "nothing to change"
    facts = {"profile": "confidential", "redirect_uris": "https://shop.example/back", "requires_par": False}
    facts["grant_types"] = "authorization_code refresh_token"
    by = owner.person_id
    assert await audited(process, client_id) == [
        ("app.client_changed", by, facts),
        ("app.client_changed", by, {**facts, "requires_par": True}),
    ]
    assert (await told(process, client_id))[1:] == ["app.client_changed"] * 2


async def test_a_key_is_added_listed_and_removed_with_its_audit_rows(
    owner: Somebody, process: Process, shop: Shop
) -> None:
    desk, path, client_id = await desk_of(owner), f"{path_of(shop)}/keys", shop.app.client.id
    key, body = {"Idempotency-Key": "one"}, {"jwk": {**HELD.public, "kid": "till"}}
    answers = await asyncio.gather(*(desk.post(path, body, **key) for _ in range(5)))
    made = answers[0].json()
    assert {(answer.status_code, answer.json()["id"]) for answer in answers} == {(201, made["id"])}
    assert (made["thumbprint"], made["kid"], made["client_id"], made["app_id"]) == (
        HELD.jkt, "till", client_id, shop.app.id,
    )  # fmt: skip
    assert (await desk.get(path)).json()["data"] == [made]
    assert (await desk.get(path_of(shop))).headers["etag"] == '"2"', "a key is a change of the client"
    assert code(await desk.post(path, body)) == (409, "identity.key_exists")
    assert (await desk.call("DELETE", f"{path}/{made['id']}")).status_code == 204
    assert code(await desk.call("DELETE", f"{path}/{made['id']}")) == (404, "identity.key_not_found")
    assert (await desk.get(path)).json()["data"] == []
    facts = {"key": made["id"], "thumbprint": HELD.jkt}
    assert await audited(process, client_id) == [
        ("app.key_added", owner.person_id, {**facts, "kind": "P-256"}),
        ("app.key_removed", owner.person_id, facts),
    ]
    assert (await told(process, client_id))[1:] == ["app.key_changed"] * 2


async def test_a_private_key_is_refused_and_kept_nowhere(owner: Somebody, process: Process, shop: Shop) -> None:
    desk, before = await desk_of(owner), await state(process)
    private = HELD.key.as_dict(private=True)
    answer = await desk.post(f"{path_of(shop)}/keys", {"jwk": private})
    assert code(answer) == (422, "identity.key_refused")
    assert str(private["d"]) not in answer.text
    assert await state(process) == before
    shown = redacted(
        json.dumps({"jwk": private}).encode(), redactors_of(complete_document(process.app))["app_keys.create"].request
    )
    assert shown == '{"jwk":"[secret]"}'


async def test_a_jwks_uri_is_set_and_removed(owner: Somebody, process: Process, shop: Shop) -> None:
    desk, path, client_id = await desk_of(owner), path_of(shop), shop.app.client.id
    uri, where = "https://keys.example/jwks.json", f"{path}/jwks-uri"
    before = await state(process)
    assert code(await desk.call("PUT", where, {"uri": uri})) == (428, "kernel.precondition_missing")
    assert code(await desk.call("PUT", where, {"uri": uri}, **match(9))) == (412, "kernel.precondition_failed")
    inside = await desk.call("PUT", where, {"uri": "https://10.0.0.1/jwks"}, **match(1))
    assert code(inside) == (422, "identity.jwks_uri_refused")
    assert await state(process) == before
    done = await desk.call("PUT", where, {"uri": uri}, **match(1))
    assert (done.status_code, done.json()["jwks_uri"], done.headers["etag"]) == (200, uri, '"2"')
    again = await desk.call("PUT", where, {"uri": uri}, **match(2))
    assert (again.status_code, again.headers["etag"]) == (200, '"2"')
    beside = await desk.post(f"{path}/keys", {"jwk": HELD.public})
    assert code(beside) == (409, "identity.keys_elsewhere")
    assert code(await desk.call("DELETE", where)) == (428, "kernel.precondition_missing")
    assert code(await desk.call("DELETE", where, **match(1))) == (412, "kernel.precondition_failed")
    assert (await desk.call("DELETE", where, **match(2))).status_code == 204
    assert (await desk.get(path)).json()["jwks_uri"] is None
    kinds = [("app.jwks_uri_changed", owner.person_id, {"uri": each}) for each in (uri, None)]
    assert await audited(process, client_id) == kinds
    assert (await told(process, client_id))[1:] == ["app.key_changed"] * 2


async def test_signing_is_made_compulsory_and_ended(owner: Somebody, process: Process, shop: Shop) -> None:
    desk, path, client_id = await desk_of(owner), path_of(shop), shop.app.client.id
    where, token = f"{path}/request-signing", await process.token(shop.app)
    before = await state(process)
    assert code(await desk.call("PUT", where, {"is_required": True})) == (428, "kernel.precondition_missing")
    none_yet = await desk.call("PUT", where, {"is_required": True}, **match(1))
    assert code(none_yet) == (422, "identity.key_needed")
    assert await state(process) == before
    await desk.post(f"{path}/keys", {"jwk": HELD.public})
    stale = await desk.call("PUT", where, {"is_required": True}, **match(1))
    assert code(stale) == (412, "kernel.precondition_failed")
    done = await desk.call("PUT", where, {"is_required": True}, **match(2))
    assert (done.status_code, done.json()["must_sign"], done.headers["etag"]) == (200, True, '"3"')
    await process.feed.poll()
    assert code(await process.get("/v1/stores", token)) == (401, "identity.signature_needed")
    ended = await desk.call("PUT", where, {"is_required": False}, **match(3))
    assert (ended.json()["must_sign"], ended.json() == (await desk.get(path)).json()) == (False, True)
    await process.feed.poll()
    assert (await process.get("/v1/stores", token)).status_code == 200
    rows = (await audited(process, client_id))[1:]
    assert rows == [("app.signing_changed", owner.person_id, {"is_required": each}) for each in (True, False)]
    assert (await told(process, client_id))[2:] == ["app.key_changed"] * 2


async def test_a_money_client_has_a_key_first_and_no_secret_after(
    owner: Somebody, process: Process, shop: Shop
) -> None:
    desk, path = await desk_of(owner), path_of(shop)
    before = await state(process)
    assert code(await desk.call("PATCH", path, {"profile": "money"}, **match(1))) == (422, "identity.client_refused")
    assert await state(process) == before
    await desk.post(f"{path}/keys", {"jwk": HeldKey.generate("Ed25519").public})
    refused = await desk.call("PATCH", path, {"profile": "money"}, **match(2))
    assert code(refused) == (422, "identity.client_refused"), "client assertions are ES256, PS256 or RS256"
    await desk.post(f"{path}/keys", {"jwk": HELD.public})
    done = await desk.call("PATCH", path, {"profile": "money"}, **match(3))
    assert (done.json()["profile"], done.json()["requires_par"]) == ("money", True)
    assert done.json()["authentication_methods"] == ["private_key_jwt"]
    form = {"grant_type": "client_credentials"}
    ended = await process.http.post("/oauth/token", data=form, auth=(shop.app.client.id, shop.app.secret.secret))
    assert ended.status_code == 401
    secret = await desk.post(f"/apps/{shop.app.id}/secrets", {"client_id": shop.app.client.id})
    assert code(secret) == (422, "identity.client_refused")


async def test_a_public_client_keeps_no_secret(owner: Somebody, process: Process, shop: Shop) -> None:
    desk, path = await desk_of(owner), path_of(shop)
    body = {"profile": "public", "redirect_uris": ["http://127.0.0.1/back"], "grant_types": ["authorization_code"]}
    odd = await desk.call("PATCH", path, {"profile": "public"}, **match(1))
    assert code(odd) == (422, "identity.client_refused"), "client_credentials need a credential"
    done = await desk.call("PATCH", path, body, **match(1))
    assert (done.status_code, done.json()["authentication_methods"]) == (200, ["none"])
    assert (await desk.get(f"/apps/{shop.app.id}/secrets")).json()["data"] == []
    bad = await desk.call("PATCH", path, {"redirect_uris": ["http://evil.example/x"]}, **match(2))
    assert (bad.status_code, bad.json()["errors"][0]["param"]) == (422, "/redirect_uris/0")


WRITES: list[tuple[str, str, Any]] = [
    ("PATCH", "", {"requires_par": True}),
    ("PUT", "/jwks-uri", {"uri": "https://keys.example/jwks.json"}),
    ("DELETE", "/jwks-uri", None),
    ("PUT", "/request-signing", {"is_required": False}),
    ("POST", "/keys", {"jwk": HELD.public}),
    ("DELETE", "/keys/key_01m7zzzzzzzzzzzzzzzzzzzzzz", None),
]


async def test_every_write_needs_a_fresh_second_factor(owner: Somebody, process: Process, shop: Shop) -> None:
    desk = await desk_of(owner)
    owner.clock.advance(timedelta(seconds=601))
    before = await state(process)
    for method, rest, body in WRITES:
        answer = await desk.call(method, path_of(shop) + rest, body, **match(1))
        assert code(answer) == (401, "identity.step_up_required"), (method, rest)
    assert await state(process) == before
    assert (await desk.get(path_of(shop))).status_code == 200


async def test_no_token_configures_a_client(process: Process, shop: Shop) -> None:
    """Also not one of the very app, and of whatever mode: no app can be given the scope."""
    token, before = await process.token(shop.app), await state(process)
    for method, rest, body in WRITES:
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "k", **match(1)}
        answer = await process.http.request(method, f"/v1{path_of(shop)}{rest}", json=body, headers=headers)
        assert code(answer) == (403, "identity.scope_missing"), (method, rest)
        assert "apps.keys:write" in answer.json()["detail"]
    assert await state(process) == before


async def own_live_app(process: Process, developer: Somebody) -> Any:
    """An app of the developer's ISV with a live client, as the operator makes one after a release was approved."""
    wanted = AppCreate(name="Hub", mode="live", api_version="2026-11-22", isv_id=developer.party.id)
    return await process.people.services.apps.apps.create_app(wanted)


async def test_an_isv_sets_up_its_own_clients_and_nobody_elses(
    owner: Somebody, developer: Somebody, process: Process, shop: Shop
) -> None:
    desk, live = await desk_of(developer), await own_live_app(process, developer)
    own = f"/apps/{live.id}/clients/{live.client.id}"
    assert (await desk.call("PATCH", own, {"requires_par": True}, **match(1))).status_code == 200
    loopback = {"redirect_uris": ["http://127.0.0.1/back"]}
    assert code(await desk.call("PATCH", own, loopback, **match(2))) == (422, "identity.client_refused")
    mine = f"/apps/{live.id}/clients/{shop.app.client.id}"
    stranger = await desk_of(owner)
    before = await state(process)
    for method, rest, body in WRITES:
        for asks, path, missing in (
            (desk, path_of(shop), "identity.app_not_found"),
            (desk, mine, "identity.client_not_found"),
            (stranger, own, "identity.app_not_found"),
        ):
            answer = await asks.call(method, path + rest, body, **match(1))
            assert code(answer) == (404, missing), (method, path, rest)
    for asks, path in ((desk, path_of(shop)), (desk, f"{path_of(shop)}/keys"), (stranger, own), (desk, mine)):
        assert (await asks.get(path)).status_code == 404
    assert await state(process) == before


async def test_whoever_acts_by_token_stays_in_its_mode(developer: Somebody, process: Process) -> None:
    """The service's own guard, were the scope ever given to an app."""
    live, clients = await own_live_app(process, developer), process.people.services.clients
    who = await signed_in(developer)
    assert (await clients.get(who, live.id, live.client.id)).mode == "live"
    app: Principal = replace(who, kind="app", mode="test")
    with pytest.raises(PlatformError) as refused:
        await clients.set_jwks_uri(app, live.id, live.client.id, "https://keys.example/jwks.json", expected=1)
    assert refused.value.code == "identity.client_not_found"
    assert (await clients.get(who, live.id, live.client.id)).version == 1


async def signed_in(somebody: Somebody) -> Principal:
    """The person as services see it."""
    cookie = await somebody.sign_in()
    found = await somebody.process.people.sessions.find(str(cookie), console=somebody.console)
    assert found is not None
    return principal_of(found, api_version="2026-11-22")


async def test_of_two_changes_at_once_one_counts(owner: Somebody, process: Process, shop: Shop) -> None:
    desk, path = await desk_of(owner), path_of(shop)
    other = Desk(owner, desk.cookie)
    outcomes = await asyncio.gather(
        desk.call("PATCH", path, {"requires_par": True}, **match(1)),
        other.call("PUT", f"{path}/jwks-uri", {"uri": "https://keys.example/jwks.json"}, **match(1)),
    )
    assert sorted(answer.status_code for answer in outcomes) == [200, 412]
    assert (await desk.get(path)).headers["etag"] == '"2"'
