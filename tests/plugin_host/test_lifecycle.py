"""A plugin's life: submitted, reviewed, published, installed, enabled, upgraded, rolled back, removed, retired."""

from __future__ import annotations

from datetime import timedelta

import pytest

from platform_core.identity.schemas import GrantNarrow
from platform_core.kernel.commit.due import DueWork
from platform_core.kernel.errors import PlatformError
from platform_core.plugin_host.host_deps import Finding
from platform_core.plugin_host.permissions import difference, digest_of
from platform_core.plugin_host.schemas import ConfigurationWrite, ReviewWrite, UpgradeAct
from tests.plugin_host.conftest import PUBLISHER, RISK, SCOPED, Market, manifest_from, manifest_text

pytestmark = pytest.mark.database

OPTIONAL = SCOPED + (
    '[[scopes]]\nname = "members:read"\npurpose = { zh = "老会员", en = "To spare members" }\nis_required = false\n'
)
SCHEMA = (
    b'{"type":"object","required":["level"],"properties":{"level":{"type":"integer","minimum":1,"maximum":9,'
    b'"title":{"zh":"\xe7\xba\xa7\xe5\x88\xab","en":"Level"}}}}'
)
WITH_CONFIG = SCOPED + '[config]\nschema = "config.schema.json"\n'


async def refused(market: Market, code: str, act: object) -> PlatformError:
    """The act is refused by this code, and nothing was written."""
    before = await market.counts()
    with pytest.raises(PlatformError) as caught:
        await act  # type: ignore[misc]  # an awaitable
    assert caught.value.code == code
    assert await market.counts() == before
    return caught.value


async def test_a_first_release_waits_for_one_person_and_reaches_merchants_when_published(market: Market) -> None:
    made = await market.submit()
    assert (made.state, made.reviews_needed, made.tier, made.version) == ("in_review", 1, "confined", 1)
    assert (await market.life.releases.catalogue(cursor=None, limit=20)).data == []
    queue = await market.life.releases.queue(cursor=None, limit=20)
    assert [row.id for row in queue.data] == [made.id]
    decision = ReviewWrite(decision="approve", rules=("REV-001",), note="Fine.")
    decided = await market.life.releases.review(made.id, decision, reviewer="per_li")
    assert (decided.state, decided.reviews[0].rules) == ("approved", ["REV-001"])
    await market.life.releases.publish(made.id, by="per_acme", isv_id=PUBLISHER)
    [listed] = (await market.life.releases.catalogue(cursor=None, limit=20)).data
    assert (listed.id, listed.plugin_version, listed.state) == (RISK, "1.0.0", "published")
    assert await market.audited(made.id) == [
        "plugin_release.submitted",
        "plugin_release.reviewed",
        "plugin_release.published",
    ]
    assert await market.events(made.id) == [
        ("plugin_release.submitted", 1),
        ("plugin_release.approved", 2),
        ("plugin_release.published", 3),
    ]


async def test_personal_scopes_need_two_reviewers_who_are_two(market: Market) -> None:
    personal = '[[scopes]]\nname = "payments.payer:read"\npurpose = { zh = "付款人", en = "Who paid" }\n'
    personal += '[[personal_data]]\ncategory = "payer"\nretention_days = 1\npurpose = { zh = "计数", en = "Count" }\n'
    made = await market.submit(more=SCOPED + personal)
    assert made.reviews_needed == 2
    approve = ReviewWrite(decision="approve", note="Fine.")
    first = await market.life.releases.review(made.id, approve, reviewer="per_li")
    assert first.state == "in_review"
    again = market.life.releases.review(made.id, approve, reviewer="per_li")
    await refused(market, "plugins.reviewer_refused", again)
    second = await market.life.releases.review(made.id, approve, reviewer="per_wang")
    assert second.state == "approved"


async def test_the_publishers_own_staff_review_nothing_of_theirs(market: Market) -> None:
    made = await market.submit()
    now = market.clock.now()
    await market.owner.execute(
        "INSERT INTO person (id, email, email_key, name, locale, session_epoch, totp_step, version, created_at) "
        "VALUES ('per_zhao', 'z@acme.example', 'z@acme.example', 'Zhao', 'en', 1, 0, 1, $1)", now,
    )  # fmt: skip
    await market.owner.execute(
        "INSERT INTO membership (id, person_id, party_kind, party_id, roles, state, given_by, version, created_at) "
        "VALUES ('mem_1', 'per_zhao', 'isv', $2, 'developer', 'active', 'platform', 1, $1)", now, PUBLISHER,
    )  # fmt: skip
    approve = ReviewWrite(decision="approve", note="Ours is good.")
    await refused(
        market, "plugins.reviewer_refused", market.life.releases.review(made.id, approve, reviewer="per_zhao")
    )


async def test_what_was_asked_for_comes_as_another_round_of_the_same_version(market: Market) -> None:
    made = await market.submit()
    ask = ReviewWrite(decision="ask", rules=("REV-010",), note="Say why.")
    assert (await market.life.releases.review(made.id, ask, reviewer="per_li")).state == "changes_asked"
    again = await market.submit(more=SCOPED.replace("To judge the risk", "To judge it"))
    assert (again.id, again.round, again.state, again.version) == (made.id, 2, "in_review", 3)
    approve = ReviewWrite(decision="approve", note="Thanks.")
    assert (await market.life.releases.review(made.id, approve, reviewer="per_li")).state == "approved"
    await refused(market, "plugins.release_exists", market.submit())


@pytest.mark.parametrize(
    ("code", "text", "schema", "findings"),
    [
        ("plugins.manifest_refused", "manifest = 2", None, ()),
        ("plugins.manifest_refused", "[[[", None, ()),
        ("plugins.manifest_refused", manifest_text(more=SCOPED.replace("payments:read", "plugins:write")), None, ()),
        ("plugins.manifest_refused", manifest_text(more=WITH_CONFIG), None, ()),
        ("plugins.schema_refused", manifest_text(more=WITH_CONFIG), b'{"type":"object","allOf":[]}', ()),
        ("plugins.publisher_refused", manifest_text().replace(PUBLISHER, "isv_other"), None, ()),
        ("plugins.check_failed", manifest_text(), None, (Finding("REV-003", "fail", "no licence"),)),
    ],
)
async def test_a_bundle_that_breaks_a_rule_is_refused(
    market: Market, code: str, text: str, schema: bytes | None, findings: tuple[Finding, ...]
) -> None:
    await refused(market, code, market.submit(text, schema=schema, findings=findings))


async def test_a_plugin_belongs_to_whoever_submitted_it_first(market: Market) -> None:
    await market.publish()
    await market.owner.execute("UPDATE plugin SET isv_id = 'isv_first'")
    await refused(market, "plugins.publisher_refused", market.submit(version="1.1.0"))


async def test_installing_gives_a_grant_of_the_plugin_and_enabling_lets_it_be_asked(market: Market) -> None:
    await market.publish(more=OPTIONAL)
    merchant, other = await market.merchant(), await market.merchant()
    made = await market.install(merchant)
    assert (made.state, made.plugin_version, made.version) == ("consented", "1.0.0", 1)
    grant = await market.row("SELECT * FROM access_grant WHERE merchant_id = $1", merchant)
    assert (grant["kind"], grant["state"], grant["scopes"]) == ("plugin", "active", "payments:read")
    assert await market.running(merchant) == []
    await market.life.installations.enable(market.actor(merchant), made.id)
    twice = market.life.installations.enable(market.actor(merchant), made.id)
    await refused(market, "plugins.installation_state", twice)
    assert await market.running(merchant) == [(RISK, "1.0.0")]
    assert await market.running(other) == []
    [enabled] = (await market.life.enablement.of(merchant)).plugins
    assert (enabled.grant_id, enabled.scopes) == (grant["id"], frozenset({"payments:read"}))
    assert await market.events(made.id) == [("plugin.installed", 1), ("plugin.enabled", 2)]
    assert await market.audited(made.id) == ["plugin.installed", "plugin.enabled"]
    await refused(market, "plugins.already_installed", market.install(merchant))


async def test_a_consent_gives_what_is_asked_for_and_no_more(market: Market) -> None:
    await market.publish(more=OPTIONAL)
    merchant = await market.merchant()
    too_much = market.install(merchant, scopes=frozenset({"payments:read", "refunds:read"}))
    await refused(market, "plugins.consent_refused", too_much)
    await refused(market, "plugins.consent_refused", market.install(merchant, scopes=frozenset({"members:read"})))
    made = await market.install(merchant, scopes=frozenset({"payments:read", "members:read"}))
    detailed = await market.life.installations.get(merchant, made.id)
    assert (detailed.scopes, detailed.missing) == (["members:read", "payments:read"], [])


async def test_a_plugin_that_asks_no_scope_needs_no_grant(market: Market) -> None:
    await market.publish(hooks="on_plugin_changed", more="")
    merchant = await market.merchant()
    await market.enable(merchant)
    assert await market.row("SELECT count(*) FROM access_grant") == (0,)
    [enabled] = (await market.life.enablement.of(merchant)).plugins
    assert (enabled.grant_id, enabled.scopes) == (None, frozenset())


async def test_what_the_merchant_takes_back_the_plugin_loses_with_the_next_news(market: Market) -> None:
    await market.publish(more=OPTIONAL)
    merchant = await market.merchant()
    made = await market.enable(merchant, scopes=frozenset({"payments:read", "members:read"}))
    await market.running(merchant)
    grant = await market.deps.grants.active_of((await market.row("SELECT app_id FROM plugin"))[0], merchant)
    assert grant is not None
    narrow = GrantNarrow(scopes=frozenset({"payments:read"}))
    await market.deps.grants.narrow(grant.id, narrow, merchant_id=merchant, by="per_owner")
    assert await market.running(merchant) == [(RISK, "1.0.0")]
    [enabled] = (await market.life.enablement.of(merchant)).plugins
    assert enabled.scopes == frozenset({"payments:read"})
    await market.deps.grants.revoke(grant.id, merchant_id=merchant, by="per_owner", why="merchant")
    assert await market.running(merchant) == []
    detailed = await market.life.installations.get(merchant, made.id)
    assert (detailed.state, detailed.missing) == ("enabled", ["scope payments:read"])


async def test_it_is_not_enabled_without_configuration_and_secret(market: Market) -> None:
    secret = '[[secrets]]\nname = "key"\nkind = "mac_key"\nlabel = { zh = "密钥", en = "Key" }\n'
    await market.publish(hooks="on_payment_captured", more=WITH_CONFIG + secret, schema=SCHEMA)
    merchant = await market.merchant()
    made = await market.install(merchant)
    enabling = market.life.installations.enable(market.actor(merchant), made.id)
    error = await refused(market, "plugins.not_ready", enabling)
    assert error.values["missing"] == "secret key, configuration"


async def test_disabled_and_removed_ones_are_not_asked_and_removal_ends_the_grant(market: Market) -> None:
    await market.publish()
    merchant = await market.merchant()
    made = await market.enable(merchant)
    await market.life.installations.disable(market.actor(merchant), made.id)
    assert await market.running(merchant) == []
    await market.life.installations.enable(market.actor(merchant), made.id)
    assert await market.running(merchant) == [(RISK, "1.0.0")]
    await market.life.installations.remove(market.actor(merchant), made.id)
    assert await market.running(merchant) == []
    assert await market.row("SELECT state, revoked_why FROM access_grant") == ("revoked", "plugin_removed")
    again = await market.enable(merchant)
    assert again.id == made.id
    assert await market.running(merchant) == [(RISK, "1.0.0")]
    sequences = [sequence for _, sequence in await market.events(made.id)]
    assert sequences == list(range(1, len(sequences) + 1))


async def test_a_version_that_asks_no_more_is_taken_without_a_question(market: Market) -> None:
    await market.publish()
    merchant = await market.merchant()
    made = await market.enable(merchant)
    await market.publish(version="1.1.0")
    after = await market.life.upgrades.upgrade(market.actor(merchant), made.id, UpgradeAct())
    assert (after.plugin_version, after.last_change, after.from_version) == ("1.1.0", "upgraded", "1.0.0")
    assert await market.running(merchant) == [(RISK, "1.1.0")]


async def test_a_version_that_asks_for_more_waits_for_the_merchants_consent(market: Market) -> None:
    await market.publish()
    merchant = await market.merchant()
    made = await market.enable(merchant)
    wider = SCOPED + '[[scopes]]\nname = "refunds:read"\npurpose = { zh = "退款", en = "Refunds" }\n'
    await market.publish(version="1.1.0", more=wider)
    actor = market.actor(merchant)
    error = await refused(market, "plugins.consent_needed", market.life.upgrades.upgrade(actor, made.id, UpgradeAct()))
    assert error.members["difference"] == {"scopes": {"added": ["refunds:read required"], "removed": []}}
    wrong = UpgradeAct(accepted_difference="0" * 64)
    await refused(market, "plugins.consent_needed", market.life.upgrades.upgrade(actor, made.id, wrong))
    assert await market.running(merchant) == [(RISK, "1.0.0")]
    preview = await market.life.upgrades.preview(merchant, made.id, version=None)
    assert (preview.is_wider, preview.digest) == (True, error.members["digest"])
    await market.life.upgrades.upgrade(actor, made.id, UpgradeAct(accepted_difference=preview.digest))
    assert await market.running(merchant) == [(RISK, "1.1.0")]
    grant = await market.row("SELECT scopes, version FROM access_grant")
    assert grant == ("payments:read refunds:read", 2)


async def test_rolling_back_is_always_possible_also_for_the_configuration(market: Market) -> None:
    await market.publish(more=WITH_CONFIG, schema=SCHEMA)
    merchant = await market.merchant()
    actor, made = market.actor(merchant), await market.install(merchant)
    life = market.life
    configured = await life.configurations.set(actor, made.id, ConfigurationWrite(config={"level": 3}), expected=1)
    assert configured.revision == 1
    await life.installations.enable(actor, made.id)
    await market.publish(version="2.0.0", more=WITH_CONFIG, schema=SCHEMA.replace(b'"maximum":9', b'"maximum":99'))
    await life.upgrades.upgrade(actor, made.id, UpgradeAct())
    await life.configurations.set(actor, made.id, ConfigurationWrite(config={"level": 50}), expected=4)
    back = await life.upgrades.rollback(actor, made.id, reason="too many reviews")
    assert (back.plugin_version, back.config_revision, back.from_version) == ("1.0.0", 1, "2.0.0")
    assert await market.running(merchant) == [(RISK, "1.0.0")]
    assert (await life.enablement.of(merchant)).plugins[0].config == b'{"level":3}'
    await refused(market, "plugins.nothing_before", life.upgrades.rollback(actor, made.id))


async def test_a_version_that_cannot_read_the_configuration_is_not_taken(market: Market) -> None:
    await market.publish(more=WITH_CONFIG, schema=SCHEMA)
    merchant = await market.merchant()
    actor, made = market.actor(merchant), await market.install(merchant)
    await market.life.configurations.set(actor, made.id, ConfigurationWrite(config={"level": 8}), expected=1)
    await market.publish(version="1.1.0", more=WITH_CONFIG, schema=SCHEMA.replace(b'"maximum":9', b'"maximum":5'))
    error = await refused(market, "plugins.config_breaks", market.life.upgrades.upgrade(actor, made.id, UpgradeAct()))
    assert [fault.param for fault in error.faults] == ["/config/level"]


async def test_a_retired_version_is_not_installed_and_those_who_run_it_are_told_once(market: Market) -> None:
    release = await market.publish()
    merchant, late = await market.merchant(), await market.merchant()
    made = await market.enable(merchant)
    soon = market.clock.now() + timedelta(days=1)
    retired = await market.life.releases.retire(release.id, retires_at=soon, by="per_acme", isv_id=PUBLISHER)
    assert retired.retires_at == market.clock.now() + timedelta(days=90)
    await refused(market, "plugins.release_state", market.install(late))
    assert await market.running(merchant) == [(RISK, "1.0.0")]
    row = await market.row(
        "SELECT kind, subject_id, merchant_id, due_at, tries FROM due WHERE kind = 'plugins.retirement'"
    )

    for _ in range(2):
        await market.deps.committer.commit(await market.life.retirement.step(DueWork(*row)))
    assert [kind for kind, _ in await market.events(made.id)].count("plugin.retiring") == 1


async def test_the_operators_order_is_total(market: Market) -> None:
    for name in ("b", "a", "c"):
        await market.publish(plugin_id=f"example.acme.{name}")
    merchant = await market.merchant()
    for name in ("c", "b", "a"):
        await market.enable(merchant, f"example.acme.{name}")
    assert [plugin_id[-1] for plugin_id, _ in await market.running(merchant)] == ["a", "b", "c"]
    before = (await market.life.enablement.of(merchant)).digest
    await market.life.releases.reorder(["example.acme.c", "example.acme.a"], by="per_operator")
    assert [plugin_id[-1] for plugin_id, _ in await market.running(merchant)] == ["c", "a", "b"]
    assert (await market.life.enablement.of(merchant)).digest != before
    assert await market.audited("plugins") == ["plugin.reordered"]


def test_a_difference_names_what_was_added_and_removed() -> None:
    before, after = manifest_from(manifest_text()), manifest_from(manifest_text(hooks="check_payment check_refund"))
    found = difference(before, after)
    assert found == {"hooks": {"added": ["check_refund"], "removed": []}}
    assert digest_of(found) != digest_of(difference(None, after))
