"""The routes of publishers and of the operator's staff; merchants' stand in the suite of tests/api too."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from platform_core.identity.schemas import IsvCreate
from platform_core.identity.staff import Party
from platform_core.kernel.clock import ManualClock, SystemClock
from platform_core.kernel.database.embedded import EmbeddedPostgres
from platform_core.plugin_host.host_deps import Unpacked
from platform_core.plugin_host.releases import Submission
from tests.capabilities.payments.shop import Shop, open_shop
from tests.plugin_host.conftest import manifest_text
from tests.support.people import AtConsole, at_console

pytestmark = [pytest.mark.api, pytest.mark.database]
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
async def shop(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    """A platform of this file's own."""
    postgres.create_database("plugin_routes", template="template_arsenal")
    clock = ManualClock(datetime.now(UTC))
    home = tmp_path_factory.mktemp("plugin_routes")
    async with open_shop(postgres.url("plugin_routes"), clock=clock, home=home) as shop:
        yield shop


async def person(shop: Shop, party: Party, *roles: str, console: str) -> AtConsole:
    email = f"p{next(_numbers)}@example.test"
    return await at_console(shop.platform.people, party, *roles, email=email, console=console, clock=SystemClock())


async def staff(shop: Shop, role: str) -> AtConsole:
    return await person(shop, Party(kind="platform", id="platform"), role, console="admin")


async def publisher(shop: Shop) -> tuple[AtConsole, str]:
    isv = await shop.platform.parties.create_isv(IsvCreate(name="Acme"))
    who = await person(shop, Party(kind="isv", id=isv.id), "developer", console="isv")
    return who, isv.id


async def ask(shop: Shop, who: AtConsole, path: str, body: Any = None, *, key: str | None = None) -> httpx.Response:
    headers = {**who.headers(), "Idempotency-Key": key or f"key-{next(_numbers)}"}
    method = "GET" if body is None else "POST"
    return await shop.client.request(method, f"/v1{path}", json=body, headers=headers)


async def submitted(shop: Shop, isv_id: str) -> str:
    """A release in review."""
    number = next(_numbers)
    text = manifest_text(plugin_id=f"example.acme.p{number}").replace("isv_acme", isv_id)
    unpacked = Unpacked(
        manifest=text, config_schema=None, tree_hash=f"{number:064x}", bundle_hash="b" * 64, findings=()
    )
    wanted = Submission(unpacked=unpacked, isv_id=isv_id, by="per_publisher")
    return (await shop.platform.plugin_life.releases.submit(wanted)).id


async def test_a_release_goes_from_review_to_the_catalogue_by_two_parties(shop: Shop) -> None:
    who, isv_id = await publisher(shop)
    reviewer = await staff(shop, "reviewer")
    release = await submitted(shop, isv_id)
    queue = (await ask(shop, reviewer, "/admin/plugin-reviews")).json()
    assert release in [row["id"] for row in queue["data"]]
    early = await ask(shop, who, f"/plugin-releases/{release}/publish", {})
    assert (early.status_code, early.json()["code"]) == (409, "plugins.release_state")
    note = {"decision": "approve", "rules": ["REV-001"], "note": "Fine."}
    decided = await ask(shop, reviewer, f"/admin/plugin-reviews/{release}/decisions", note, key="decide-1")
    assert (decided.status_code, decided.json()["state"]) == (200, "approved")
    again = await ask(shop, reviewer, f"/admin/plugin-reviews/{release}/decisions", note, key="decide-1")
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == decided.json()
    published = await ask(shop, who, f"/plugin-releases/{release}/publish", {})
    assert (published.status_code, published.json()["state"]) == (200, "published")
    own = (await ask(shop, who, "/plugin-releases")).json()["data"]
    assert [row["id"] for row in own] == [release]
    assert (await ask(shop, who, f"/plugin-releases/{release}")).json()["reviews"][0]["note"] == "Fine."
    till = await shop.new_till(scopes=("plugins:read",))
    shown = await till.get(f"/plugins/{published.json()['plugin_id']}")
    assert shown.json()["scopes"][0]["purpose"] == {"zh": "判断风险", "en": "To judge the risk"}
    retired = await ask(shop, who, f"/plugin-releases/{release}/retire", {"retires_at": "2030-01-01T00:00:00Z"})
    assert (retired.status_code, retired.json()["state"]) == (200, "retired")


async def test_a_publisher_finds_nothing_of_another(shop: Shop) -> None:
    _, isv_id = await publisher(shop)
    stranger, _ = await publisher(shop)
    release = await submitted(shop, isv_id)
    before = await shop.counts()
    for path, body in (
        (f"/plugin-releases/{release}", None),
        (f"/plugin-releases/{release}/publish", {}),
        (f"/plugin-releases/{release}/retire", {"retires_at": "2030-01-01T00:00:00Z"}),
    ):
        answer = await ask(shop, stranger, path, body)
        assert (answer.status_code, answer.json()["code"]) == (404, "plugins.release_not_found"), path
    assert (await ask(shop, stranger, "/plugin-releases")).json()["data"] == []
    till = await shop.new_till(scopes=("plugins:submit",))
    assert (await till.get("/plugin-releases")).json()["data"] == []
    assert (await till.get(f"/plugin-releases/{release}")).status_code == 404
    after = await shop.counts()
    changed = {name for name in after if after[name] != before[name]}
    assert not changed & {"plugin_release", "plugin_review", "idempotency"}


async def test_only_reviewers_review_and_only_operations_suspend(shop: Shop) -> None:
    _, isv_id = await publisher(shop)
    release = await submitted(shop, isv_id)
    reviewer, ops = await staff(shop, "reviewer"), await staff(shop, "ops")
    note = {"decision": "approve", "note": "Fine."}
    refused = await ask(shop, ops, f"/admin/plugin-reviews/{release}/decisions", note)
    assert (refused.status_code, refused.json()["code"]) == (403, "identity.scope_missing")
    pull = {"plugin_id": "example.acme.risk", "rule": "PLG-007", "reason": "It leaks."}
    refused = await ask(shop, reviewer, "/admin/plugin-switches", pull)
    assert (refused.status_code, refused.json()["code"]) == (403, "identity.scope_missing")


async def test_a_switch_is_pulled_by_one_and_lifted_by_two(shop: Shop) -> None:
    who, isv_id = await publisher(shop)
    reviewer = await staff(shop, "reviewer")
    release = await submitted(shop, isv_id)
    await ask(shop, reviewer, f"/admin/plugin-reviews/{release}/decisions", {"decision": "approve", "note": "Fine."})
    plugin = (await ask(shop, who, f"/plugin-releases/{release}/publish", {})).json()["plugin_id"]
    first, second = await staff(shop, "ops"), await staff(shop, "ops")
    body = {"plugin_id": plugin, "rule": "PLG-007", "reason": "It leaks."}
    pulled = await ask(shop, first, "/admin/plugin-switches", body)
    assert (pulled.status_code, pulled.json()["state"]) == (201, "pulled")
    switch = f"/admin/plugin-switches/{pulled.json()['id']}"
    proposed = await ask(shop, first, f"{switch}/lift", {"reason": "Repaired."})
    assert proposed.json()["state"] == "pulled"
    alone = await ask(shop, first, f"{switch}/lift", {"reason": "Really."})
    assert (alone.status_code, alone.json()["code"]) == (403, "plugins.second_person_needed")
    lifted = await ask(shop, second, f"{switch}/lift", {"reason": "Seen it."})
    assert lifted.json()["state"] == "lifted"
    assert (await ask(shop, second, switch)).json() == lifted.json()


async def test_who_does_not_hold_a_scope_gives_it_to_no_plugin(shop: Shop) -> None:
    """The owner of one store of a merchant gives no more than that store."""
    who, isv_id = await publisher(shop)
    reviewer = await staff(shop, "reviewer")
    release = await submitted(shop, isv_id)
    await ask(shop, reviewer, f"/admin/plugin-reviews/{release}/decisions", {"decision": "approve", "note": "Fine."})
    plugin = (await ask(shop, who, f"/plugin-releases/{release}/publish", {})).json()["plugin_id"]
    till = await shop.new_till()
    party = Party(kind="merchant", id=till.merchant_id)
    developer = await person(shop, party, "developer", console="merchant")
    answer = await ask(shop, developer, "/plugin-installations", {"plugin_id": plugin})
    assert (answer.status_code, answer.json()["code"]) == (403, "identity.scope_missing")
    owner = await person(shop, party, "owner", console="merchant")
    made = await ask(shop, owner, "/plugin-installations", {"plugin_id": plugin}, key="install-1")
    assert made.status_code == 201, made.text
    assert made.headers["etag"] == '"1"'
    again = await ask(shop, owner, "/plugin-installations", {"plugin_id": plugin}, key="install-1")
    assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")
    stale = {**owner.headers(), "If-Match": '"7"'}
    path = f"/v1/plugin-installations/{made.json()['id']}"
    answer = await shop.client.patch(path, json={"is_dry_run": True}, headers=stale)
    assert (answer.status_code, answer.json()["code"]) == (412, "kernel.precondition_failed")
    assert (await shop.client.delete(path, headers={**owner.headers(), "If-Match": '"1"'})).status_code == 204
    assert (await ask(shop, owner, f"/plugin-installations/{made.json()['id']}")).status_code == 404
