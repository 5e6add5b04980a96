"""Drafts at one merchant: confined to test mode and development, gone without a trace, and no way round a refusal."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from platform_core.contracts.runtime import Fault, FaultKind
from platform_core.contracts.testing import payload_of
from platform_core.kernel.commit.due import DueWork
from platform_core.plugin_host.allow_list import NOBODY
from platform_core.plugin_host.answers import Answer, HookSeen
from platform_core.plugin_host.development import DEV_SESSION, LASTS, base_version, draft_version
from platform_core.plugin_host.discovery import catalogue
from platform_core.plugin_host.enablement import FeedEnablement
from platform_core.plugin_host.health_rows import HealthDeps, Quarantines
from platform_core.plugin_host.host_deps import Unpacked
from platform_core.plugin_host.installed import Enabled, Release
from platform_core.plugin_host.listening import Listeners
from platform_core.plugin_host.majors import Major
from platform_core.plugin_host.registry import Registry, build
from platform_core.plugin_host.releases import Submission
from platform_core.plugin_host.schemas import SwitchPull
from platform_core.plugin_host.trace_rows import TEXT_BYTES_MAX, call_row, payload_shown
from platform_core.plugin_host.tracing import Trace, TraceDeps, TraceDesk, Watched, asks_of, read_call
from tests.plugin_host.conftest import PUBLISHER, RISK, SCOPED, Market, manifest_from, manifest_text
from tests.plugin_host.test_lifecycle import refused

pytestmark = pytest.mark.database
WIDER = SCOPED + '[[scopes]]\nname = "members:read"\npurpose = { zh = "会员", en = "Members" }\n'
DRAFT = "1.0.0-dev.7"
KEPT = ("release_id", "version", "before_release_id", "state", "config_revision", "is_dry_run")


async def drafted(market: Market, version: str = DRAFT, **of: Any) -> str:
    """A draft's release."""
    unpacked = Unpacked(
        manifest=manifest_text(version=version, **of),
        config_schema=None,
        tree_hash=f"{abs(hash(version)):064x}"[:64],
        bundle_hash="b" * 64,
        findings=(),
    )
    wanted = Submission(unpacked=unpacked, isv_id=PUBLISHER, by="terminal:li")
    return await market.life.development.draft(wanted)


async def swapped(market: Market, merchant: str, version: str = DRAFT, **of: Any) -> str:
    """A draft that a merchant runs."""
    release_id = await drafted(market, version, **of)
    await market.life.development.swap(market.actor(merchant), release_id)
    return release_id


def developing(market: Market) -> FeedEnablement:
    """What a process in development mode sees."""
    return FeedEnablement(
        database=market.deps.database,
        feed=market.feed,
        feed_clock=market.clock,
        allow_list=NOBODY,
        locale="en",
        is_development=True,
    )


async def installation(market: Market, merchant: str) -> dict[str, Any]:
    row = await market.row("SELECT * FROM plugin_installation WHERE merchant_id = $1", merchant)
    return {name: row[name] for name in KEPT}


async def grant(market: Market, merchant: str) -> list[Any]:
    rows = await market.owner.fetch(
        "SELECT scopes FROM access_grant WHERE merchant_id = $1 AND state = 'active' ORDER BY id", merchant
    )
    return [sorted(row[0].split()) for row in rows]


async def test_a_draft_runs_in_development_alone_and_what_was_there_comes_back(market: Market) -> None:
    await market.publish()
    merchant, other = await market.merchant(), await market.merchant()
    made = await market.enable(merchant)
    await market.enable(other)
    before, had = await installation(market, merchant), await grant(market, merchant)
    release_id = await swapped(market, merchant, more=WIDER)
    await market.feed.poll()
    now = await developing(market).of(merchant)
    assert [(one.release.version, one.release.tier) for one in now.plugins] == [(DRAFT, "confined")]
    assert now.plugins[0].scopes == {"payments:read", "members:read"}
    elsewhere = await market.life.enablement.of(merchant)  # a process that takes no drafts
    assert ([one.release.version for one in elsewhere.suspended], elsewhere.plugins) == ([DRAFT], ())
    assert await market.running(other) == [(RISK, "1.0.0")]
    assert [one.plugin_version for one in (await market.life.releases.catalogue(cursor=None, limit=9)).data] == [
        "1.0.0"
    ]

    assert await market.life.development.end(merchant, RISK, by="terminal:li") is True
    assert await market.running(merchant) == [(RISK, "1.0.0")]
    assert (await installation(market, merchant), await grant(market, merchant)) == (before, had)
    assert await market.life.development.end(merchant, RISK, by="terminal:li") is False
    assert await market.life.development.sweep(RISK, own=[release_id], by="terminal:li") == [DRAFT]
    assert await market.row("SELECT 1 FROM plugin_release WHERE id = $1", release_id) is None
    assert [kind for kind in await market.audited(made.id) if "draft" in kind] == [
        "plugin.draft_swapped_in",
        "plugin.draft_taken_out",
    ]
    assert await market.audited(release_id) == ["plugin_release.drafted", "plugin_release.draft_removed"]


async def test_where_nothing_was_nothing_is_left(market: Market) -> None:
    merchant = await market.merchant()
    first = await swapped(market, merchant)
    second = await swapped(market, merchant, "1.0.0-dev.8")
    another = await drafted(market, "1.0.0-dev.9")  # of somebody who is about to swap it in elsewhere
    assert await market.life.development.sweep(RISK, own=[first, second], kept=second, by="terminal:li") == [DRAFT]
    assert await market.row("SELECT 1 FROM plugin_release WHERE id = $1", another) is not None
    market.clock.advance(LASTS + timedelta(seconds=1))
    assert await market.life.development.sweep(RISK, own=[], by="terminal:li") == ["1.0.0-dev.9"]
    assert await market.row("SELECT 1 FROM plugin_release WHERE id = $1", first) is None
    assert [one.release.version for one in (await developing(market).of(merchant)).plugins] == ["1.0.0-dev.8"]
    await market.life.development.end(merchant, RISK, by="terminal:li")
    assert (await installation(market, merchant))["state"] == "removed"
    assert await grant(market, merchant) == []
    assert await market.running(merchant) == []
    assert await market.row("SELECT 1 FROM plugin_dev_session") is None
    await market.publish()
    await market.enable(merchant)  # a real one afterwards is as if no draft had been
    assert await market.running(merchant) == [(RISK, "1.0.0")]


async def test_a_session_that_nobody_keeps_alive_ends_by_itself(market: Market) -> None:
    await market.publish()
    merchant = await market.merchant()
    await market.enable(merchant)
    before = await installation(market, merchant)
    await swapped(market, merchant)
    id_ = (await market.row("SELECT id FROM plugin_dev_session"))[0]

    async def step() -> None:
        work = DueWork(DEV_SESSION, id_, merchant, market.clock.now(), 0)
        await market.deps.committer.commit(await market.life.development.step(work))

    market.clock.advance(LASTS - timedelta(seconds=1))
    await market.life.development.renew(merchant, RISK)
    market.clock.advance(timedelta(seconds=30))
    await step()
    assert (await installation(market, merchant))["version"] == DRAFT
    due = await market.row("SELECT due_at FROM due WHERE kind = $1", DEV_SESSION)
    assert due[0] == market.clock.now() + timedelta(seconds=30)
    market.clock.advance(LASTS)
    await step()
    assert await installation(market, merchant) == before
    assert await market.row("SELECT 1 FROM due WHERE kind = $1", DEV_SESSION) is None
    await step()  # done again it changes nothing
    assert await installation(market, merchant) == before


async def test_a_live_merchant_a_held_session_and_anothers_plugin_are_refused(market: Market) -> None:
    await market.publish()
    merchant, live = await market.merchant(), await market.merchant("live")
    check = market.life.development.check
    await swapped(market, merchant)
    await refused(market, "plugins.dev_merchant_live", check(live, RISK, version="1.0.0"))
    await refused(market, "plugins.dev_session_held", check(merchant, RISK, version="1.0.0"))
    wanted = Unpacked(
        manifest=manifest_text(version="1.0.0-dev.9").replace(PUBLISHER, "isv_thief"),
        config_schema=None,
        tree_hash="a" * 64,
        bundle_hash="b" * 64,
        findings=(),
    )
    submission = Submission(unpacked=wanted, isv_id="isv_thief", by="terminal:li")
    await refused(market, "plugins.publisher_refused", market.life.releases.draft(submission))
    market.clock.advance(LASTS + timedelta(seconds=1))
    await check(merchant, RISK, version="1.0.0")  # whoever held it is gone


@pytest.mark.parametrize("how", ["switch", "quarantine"])
async def test_no_draft_gets_round_a_suspension_or_a_quarantine_of_its_version(market: Market, how: str) -> None:
    await market.publish()
    merchant = await market.merchant()
    release_id = await drafted(market)
    if how == "switch":
        pull = SwitchPull(plugin_id=RISK, plugin_version="1.0.0", rule="PLG-007", reason="Counts twice.", mode="stop")
        await market.life.switches.pull(pull, by="per_operator")
        code = "plugins.suspended"
    else:
        deps = market.deps
        health = HealthDeps(database=deps.database, committer=deps.committer, clock=market.clock, ids=deps.ids)
        await Quarantines(health, market.feed).begin(RISK, "1.0.0", Fault(FaultKind.FORGED_ID, "x"))
        code = "plugins.dev_version_quarantined"
    await refused(market, code, market.life.development.check(merchant, RISK, version="1.0.0"))
    await refused(market, code, market.life.development.swap(market.actor(merchant), release_id))
    await market.life.development.check(merchant, RISK, version="1.0.1")


async def test_a_draft_that_needs_what_is_not_there_is_not_swapped_in(market: Market) -> None:
    merchant = await market.merchant()
    secret = (
        '[[hooks]]\nname = "on_payment_captured"\nfields = ["amount"]\n'
        '[[secrets]]\nname = "crm"\nkind = "token"\nlabel = { zh = "令牌", en = "Token" }\n'
        'hosts = ["crm.acme.example"]\n'
        '[[egress]]\nhost = "crm.acme.example"\npurpose = { zh = "同步", en = "Sync" }\n'
    )
    release_id = await drafted(market, more=SCOPED + secret)
    swap = market.life.development.swap(market.actor(merchant), release_id)
    assert "secret crm" in (await refused(market, "plugins.not_ready", swap)).detail("en")


async def test_the_writer_can_take_drafts_away_and_no_other_release(market: Market) -> None:
    published = await market.publish()
    draft = await drafted(market)
    await market.owner.execute("SET ROLE arsenal_writer")
    try:
        assert await market.owner.execute("DELETE FROM plugin_release WHERE id = $1", published.id) == "DELETE 0"
        assert await market.owner.execute("DELETE FROM plugin_release WHERE id = $1", draft) == "DELETE 1"
    finally:
        await market.owner.execute("RESET ROLE")


@pytest.mark.parametrize(
    ("version", "draft"),
    [("1.4.0", "1.4.0-dev.12"), ("1.4.0-rc.1", "1.4.0-rc.1.dev.12"), ("1.4.0-dev.3", "1.4.0-dev.3.dev.12")],
)
def test_a_drafts_version_leads_back_to_its_own(version: str, draft: str) -> None:
    assert (draft_version(version, number=12), base_version(draft)) == (draft, version)


# ---- Traces.


@dataclass
class Seat:
    """As dispatch has one."""

    enabled: Enabled
    major: Major


def seat(*, fields: str, more: str = SCOPED) -> Seat:
    text = manifest_text(more=more).replace('name = "check_payment"', f'name = "check_payment"\nfields = {fields}')
    manifest = manifest_from(text)
    release = Release(plugin_id=RISK, version="1.0.0", tier="confined", manifest=manifest)
    enabled = Enabled(
        release=release,
        installation_id="pin_1",
        grant_id="gra_1",
        scopes=manifest.scope_names,
        revision=3,
        config=b"{}",
    )
    return Seat(enabled, Major(catalogue()["check_payment"]))


def seen(merchant: str, of: Seat, **changed: Any) -> HookSeen:
    answer = Answer(
        plugin_id=RISK, version="1.0.0", tier="confined", hook="check_payment", call_id="c" * 32, ms=1.5, **changed
    )
    return HookSeen(
        hook="check_payment",
        merchant_id=merchant,
        store_id=None,
        idempotency_key="pay_1:1",
        answers=(answer,),
        degraded=(),
        result=None,
        payload=payload_of("check_payment", "first_payment"),
        seats={(RISK, "1.0.0"): of},
    )


def test_what_is_personal_is_not_kept_although_the_plugin_got_it() -> None:
    payer = '[[scopes]]\nname = "payments.payer:read"\npurpose = { zh = "付款人", en = "Payer" }\n'
    personal = '[[personal_data]]\ncategory = "payer"\npurpose = { zh = "付款人", en = "Payer" }\nretention_days = 1\n'
    of = seat(fields='["amount", "payer_ref"]', more=SCOPED + payer + personal)
    payload = payload_of("check_payment", "first_payment")
    shown = payload_shown(of, payload)
    assert shown is not None
    assert '"amount"' in shown
    assert '"payer_ref":null' in shown
    assert '"withheld":["payer_ref"]' in shown
    long = payload.model_copy(update={"subject": "x" * TEXT_BYTES_MAX})
    assert payload_shown(seat(fields='["subject"]'), long) is None


def test_a_row_of_a_fault_has_no_answer(market: Market) -> None:
    fault = Fault(FaultKind.TIMEOUT, "d" * 2_000)
    row = call_row(
        seen("mer_1", seat(fields='["amount"]'), fault=fault), seen("mer_1", seat(fields="[]"), fault=fault).answers[0],
        id_="ptd_1", process="1@here", now=market.clock.now(),
    )  # fmt: skip
    assert (row["outcome"], row["answer"], len(row["detail"]), row["took_us"]) == ("timeout", None, 500, 1_500)


def test_asks_are_told_with_the_code_of_a_refusal() -> None:
    facts = '{"asks":[[1,"state.get",null,"x","ok",null,0,1],[2,"points.grant","p","x","identity.scope","t",1,3]]}'
    assert asks_of(facts) == ["state.get", "points.grant x3 (identity.scope)"]


async def test_a_process_listens_only_while_somebody_watches(market: Market) -> None:
    merchant, other = await market.merchant(), await market.merchant()
    deps = TraceDeps(
        database=market.deps.database,
        committer=market.deps.committer,
        clock=market.clock,
        ids=market.deps.ids,
        feed=market.feed,
    )
    listeners, empty = Listeners(), build(())

    def registry() -> Registry:
        return empty

    async def warm(plugin_id: str, version: str) -> None:
        raise AssertionError("nothing is loaded")

    desk = TraceDesk(deps, listeners, process="7@here", is_development=True, registry=registry, warm=warm)
    await desk.start()
    try:
        assert not listeners
        trace = Trace(deps, Watched(merchant_id=merchant, hook="check_payment"), by="terminal:li")
        await trace.begin()
        assert await market.audited(trace.id) == ["plugin.trace_began"]
        await market.feed.poll()
        assert listeners
        of = seat(fields='["amount"]')
        listeners.saw(seen(merchant, of))
        listeners.saw(seen(other, of))
        await desk._flush()
        rows = await trace.new_rows()
        assert [(row.kind, row.process, row.merchant_id) for row in rows] == [
            ("here", "7@here", merchant),
            ("call", "7@here", merchant),
        ]
        assert await trace.new_rows() == [], "each row is told once"
        kept = await read_call(market.deps.database, "c" * 32)
        assert kept is not None
        assert (kept.config_revision, kept.object_id) == (3, payload_of("check_payment", "first_payment").payment_id)
        async with market.deps.database.read(other) as connection:
            found = (await connection.exec_driver_sql("SELECT count(*) FROM plugin_traced")).scalar_one()
        assert found == 0, "another merchant sees nothing of it"

        await trace.end()
        await market.feed.poll()
        assert not listeners
        listeners.saw(seen(merchant, of))
        await desk._flush()
        assert (await market.row("SELECT count(*) FROM plugin_traced"))[0] == 2
    finally:
        await desk.stop()


async def test_a_trace_that_nobody_renews_ends_by_itself(market: Market) -> None:
    merchant = await market.merchant()
    deps = TraceDeps(
        database=market.deps.database,
        committer=market.deps.committer,
        clock=market.clock,
        ids=market.deps.ids,
        feed=market.feed,
    )
    listeners, empty = Listeners(), build(())

    async def warm(plugin_id: str, version: str) -> None:
        raise AssertionError("nothing is loaded")

    desk = TraceDesk(deps, listeners, process="7@here", is_development=False, registry=lambda: empty, warm=warm)
    await desk.start()
    try:
        trace = Trace(deps, Watched(merchant_id=merchant), by="terminal:li")
        await trace.begin()
        await market.feed.poll()
        await desk._flush()
        market.clock.advance(timedelta(seconds=61))
        listeners.saw(seen(merchant, seat(fields='["amount"]')))
        await desk._flush()
        assert (await market.row("SELECT count(*) FROM plugin_traced WHERE kind = 'call'"))[0] == 0
        await desk._forget()
        assert not listeners
    finally:
        await desk.stop()
