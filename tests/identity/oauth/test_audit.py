"""Consent, its refusal and the end of tokens leave their audit rows, in the plan that does them."""

from __future__ import annotations

import pytest

from platform_core.identity.apps import Apps
from platform_core.identity.consent import Consent, ScopeWish
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.grants import Grants
from platform_core.identity.schemas import ClientConfigure
from platform_core.kernel.database.pools import Database
from tests.identity.conftest import Process
from tests.identity.oauth.conftest import ALL_GRANTS, CALLBACK, Journey, answer_of, open_journey
from tests.identity.test_audit_rows import audit_rows

pytestmark = [pytest.mark.database, pytest.mark.api]


async def kinds_since(database: Database, before: int) -> list[tuple[str, str, str | None]]:
    """Kind, actor and reason of the rows written after the first so many."""
    return [(row["kind"], row["actor"], row["reason"]) for row in (await audit_rows(database))[before:]]


@pytest.fixture
async def public(process: Process) -> Journey:
    return await open_journey(process, profile="public")


async def test_consent_its_exchange_and_its_reuse_leave_their_rows(public: Journey, database: Database) -> None:
    before = len(await audit_rows(database))
    code = await public.code()
    assert (await public.exchange(code)).status_code == 200
    assert (await public.exchange(code)).json()["error"] == "invalid_grant"
    assert (await public.exchange(code)).json()["error"] == "invalid_grant"
    assert await kinds_since(database, before) == [
        ("grant.created", "per_owner", None),
        ("authorization.given", "per_owner", None),
        ("token.issued", public.client_id, None),
        ("token.family_ended", public.client_id, "reused"),
    ]
    (given,) = await audit_rows(database, "authorization.given")
    (created,) = await audit_rows(database, "grant.created")
    (issued,) = await audit_rows(database, "token.issued")
    assert given["merchant_id"] == public.merchant.id
    assert given["facts"] == {
        "client": public.client_id, "grant": created["subject"], "scopes": "merchant:read payments:read stores:read",
    }  # fmt: skip
    (ended,) = await audit_rows(database, "token.family_ended")
    assert ended["subject"] == issued["facts"]["family"]


async def test_saying_no_leaves_its_row(public: Journey, database: Database) -> None:
    before = len(await audit_rows(database))
    location = await public.decide(await public.request(), approve=False)
    assert answer_of(location)["error"] == "access_denied"
    assert await kinds_since(database, before) == [("authorization.declined", "per_owner", None)]
    (row,) = await audit_rows(database, "authorization.declined")
    assert (row["subject"], row["merchant_id"]) == (public.client_id, public.merchant.id)


async def test_revoking_a_token_leaves_its_row(public: Journey, database: Database) -> None:
    tokens = await public.tokens()
    before = len(await audit_rows(database))
    for name in ("access_token", "refresh_token"):
        form = {"token": tokens[name], "client_id": public.client_id}
        assert (await public.post("/oauth/revoke", **form)).status_code == 200
    assert await kinds_since(database, before) == [
        ("token.revoked", public.client_id, None),
        ("token.family_ended", public.client_id, "revoked"),
    ]


async def test_setting_up_a_client_leaves_its_rows(process: Process, deps: IdentityDeps, database: Database) -> None:
    journey = await open_journey(process)
    before = len(await audit_rows(database))
    wanted = ClientConfigure(profile="money", redirect_uris=(CALLBACK,), grant_types=ALL_GRANTS)
    await Apps(deps).configure_client(journey.client_id, wanted, by="per_1")
    await Apps(deps).let_introspect_any(journey.client_id, is_allowed=True, by="per_2")
    await Consent(deps, Grants(deps)).declare_scopes(journey.app.id, [ScopeWish("stores:read")], by="per_3")
    assert await kinds_since(database, before) == [
        ("app.client_changed", "per_1", None),
        ("app.introspection_changed", "per_2", None),
        ("app.scopes_declared", "per_3", None),
    ]
