"""A manifest is read, or refused with everything that is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from platform_core.contracts.manifest_findings import RULES, ManifestRefused
from platform_core.contracts.manifest_rules import BYTES_MAX, inspect, read

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parent.parent.parent
GOOD = """\
manifest = 1
config = { schema = "config.schema.json" }
hooks = [
  { name = "check_payment", fields = ["amount", "form", "store_id", "member.level"], deadline_ms = 120 },
  { name = "register_channel" },
]
providers = [{ hook = "register_channel", id = "acme", methods = ["describe", "send", "query"] }]
scopes = [
  { name = "payments:read", purpose = { zh = "判断付款风险", en = "To judge the risk of a payment" } },
  { name = "members:read", purpose = { zh = "老会员免打扰", en = "To spare members" }, is_required = false },
]
[plugin]
id = "example.acme.risk"
version = "1.4.0"
name = { zh = "安心风控", en = "Acme Risk" }
summary = { zh = "付款前识别高风险交易", en = "Spots risky payments before they are made" }
publisher = "isv_7Kq2"
license = "Apache-2.0"
support = "help@acme.example"
contract = ">=1.0,<2"
[[egress]]
host = "api.acme.example"
purpose = { zh = "发送短信", en = "To send texts" }
[[secrets]]
name = "api_token"
kind = "token"
label = { zh = "令牌", en = "Token" }
hosts = ["api.acme.example"]
"""
CONTRACT = 'contract = ">=1.0,<2"'
EGRESS = 'host = "api.acme.example"\npurpose'
PURPOSE = 'purpose = { zh = "为了", en = "For" }'
MEMBERS = "hooks = ["
SCOPES = "scopes = ["


def limited(kind: str, limit: str = 'per = "day", quantity = 1') -> str:
    """An authorization before `[plugin]`."""
    return f'[[authorizations]]\ntype = "{kind}"\nlimits = [{{ {limit} }}]\n{PURPOSE}\n[plugin]'


REMOTE = '[remote]\nendpoint = "https://api.acme.example/x"\n[[egress]]'
# rule: what is replaced, by what, the path of the finding, and what its sentence says
CASES: list[tuple[str, str, str, str, str]] = [
    ("MAN-001", "[plugin]", "[plugin", "", "This is no TOML"),
    ("MAN-002", 'version = "1.4.0"\n', "", "plugin.version", "`version` is missing"),
    ("MAN-002", "manifest = 1\n", "", "manifest", "is to be 1"),
    ("MAN-003", "deadline_ms = 120", "deadline = 120", "hooks[0].deadline", "no `deadline` here"),
    ("MAN-003", "manifest = 1\n", "manifest = 1\ntrusted = true\n", "trusted", "There is no 'trusted'"),
    ("MAN-004", "manifest = 1\n", "manifest = 2\n", "manifest", "is to be 1"),
    ("MAN-004", '"example.acme.risk"', '"Acme.Risk"', "plugin.id", "3 to 5 lower-case labels"),
    ("MAN-004", 'name = "members:read"', "name = 2026-01-01", "scopes[1].name", "valid string"),
    ("MAN-005", ', en = "Acme Risk"', "", "plugin.name.en", "The English text is missing"),
    ("MAN-005", 'zh = "令牌", ', "", "secrets[0].label.zh", "The Chinese text is missing"),
    ("MAN-010", CONTRACT, 'contract = ">=1.0"', "plugin.contract", "beyond one major"),
    ("MAN-010", CONTRACT, 'contract = ">=1.0,<=2.0"', "plugin.contract", "beyond one major"),
    ("MAN-010", CONTRACT, 'contract = "^1.0"', "plugin.contract", "no range of versions"),
    ("MAN-011", CONTRACT, 'contract = ">=1.7,<2"', "plugin.contract", "does not cover this contract, 1.0"),
    ("MAN-012", '"Apache-2.0"', '"proprietary"', "plugin.license", "no SPDX"),
    ("MAN-020", '"check_payment"', '"chek_payment"', "hooks[0].name", "There is no hook chek_payment"),
    ("MAN-020", '"register_channel" }', '"register_channel", version = 2 }', "hooks[1].version", "is major 1, not 2"),
    ("MAN-021", MEMBERS, 'hooks = [{ name = "register_channel" },', "hooks[2].name", "listed twice"),
    ("MAN-022", '"form"', '"forms"', "hooks[0].fields[1]", "PaymentToCheck has no forms"),
    ("MAN-022", '"form"', '"amount"', "hooks[0].fields[1]", "amount is listed twice"),
    ("MAN-022", '"register_channel" }', '"register_channel", fields = ["x"] }', "hooks[1].fields", "has no payload"),
    ("MAN-023", '"form"', '"payer_ref"', "hooks[0].fields", "payments.payer:read, which covers payer_ref"),
    ("MAN-024", "deadline_ms = 120", "deadline_ms = 151", "hooks[0].deadline_ms", "151 ms is more"),
    ("MAN-026", MEMBERS, 'hooks = [{ name = "amend_basket" },', "hooks[0]", "asks for no field"),
    ("MAN-030", '  { name = "register_channel" },\n', "", "providers[0].hook", "not among the plugin's hooks"),
    ("MAN-030", "providers = [{", "secrets_ = [{", "hooks[1]", "no [[providers]] declares"),
    ("MAN-031", '"send"', '"sent"', "providers[0].methods[1]", "has no sent"),
    ("MAN-031", '"describe", ', "", "providers[0].methods", "`describe` is missing"),
    ("MAN-031", '"send"', '"query"', "providers[0].methods[2]", "query is listed twice"),
    (
        "MAN-032",
        "providers = [",
        'providers = [{ hook = "register_channel", id = "acme", methods = ["describe"] },',
        "providers[1].id",
        "acme is listed twice",
    ),
    ("MAN-040", "members:read", "member:read", "scopes[1].name", "There is no scope member:read"),
    ("MAN-040", "members:read", "plugins:write", "scopes[1].name", "held by people"),
    ("MAN-040", "members:read", "plugins:submit", "scopes[1].name", "without a merchant"),
    ("MAN-041", SCOPES, f'scopes = [{{ name = "payments:read", {PURPOSE} }},', "scopes[1].name", "listed twice"),
    ("MAN-042", SCOPES, f'scopes = [{{ name = "disputes:read", {PURPOSE} }},', "scopes[0].name", "No declared field"),
    ("MAN-043", SCOPES, f'scopes = [{{ name = "members:write", {PURPOSE} }},', "scopes[0].name", "personal data"),
    (
        "MAN-050",
        "[plugin]",
        f'[[authorizations]]\ntype = "coupon_gift"\nlimits = [{{ per = "day", quantity = 1 }}]\n{PURPOSE}\n[plugin]',
        "authorizations[0].type",
        "There is no type coupon_gift",
    ),
    (
        "MAN-050",
        "[plugin]",
        f'[[authorizations]]\ntype = "coupon_issue"\nlimits = [{{ per = "day", quantity = 1 }}]\n{PURPOSE}\n[plugin]',
        "authorizations[0].type",
        "which is not declared",
    ),
    (
        "MAN-051",
        "[plugin]",
        f'[[authorizations]]\ntype = "message_send"\nlimits = [{{ per = "hour", quantity = 1 }}]\n{PURPOSE}\n[plugin]',
        "authorizations[0].limits[0].per",
        "not per hour",
    ),
    (
        "MAN-051",
        "[plugin]",
        limited("message_send", 'per = "day", amount_minor = 1, currency = "CNY"'),
        "authorizations[0].limits[0]",
        "does not count by amount",
    ),
    ("MAN-052", SCOPES, f'scopes = [{{ name = "refunds:write", {PURPOSE} }},', "scopes[0].name", "is metered"),
    ("MAN-060", EGRESS, EGRESS.replace("api.acme.example", "10.0.0.1"), "egress[0].host", "an address"),
    ("MAN-060", EGRESS, EGRESS.replace("api.acme.example", "db.internal"), "egress[0].host", "a private name"),
    (
        "MAN-060",
        "[[secrets]]",
        f'[[egress]]\nhost = "api.acme.example"\n{PURPOSE}\n[[secrets]]',
        "egress[1].host",
        "listed twice",
    ),
    ("MAN-061", '  { name = "register_channel" },\n', "", "egress", "Only on_ hooks and providers"),
    ("MAN-062", EGRESS, f"response_kib_max = 2048\n{EGRESS}", "egress[0].response_kib_max", "up to 2048 KiB"),
    ("MAN-070", 'hosts = ["api.acme.example"]\n', "", "secrets[0]", "names no host"),
    ("MAN-070", '"token"', '"mac_key"', "secrets[0].hosts", "never leaves the platform"),
    ("MAN-071", 'hosts = ["api', 'hosts = ["ap', "secrets[0].hosts[0]", "ap.acme.example is not declared"),
    (
        "MAN-072",
        "[[secrets]]",
        '[[secrets]]\nname = "api_token"\nkind = "mac_key"\nlabel = { zh = "钥", en = "Key" }\n[[secrets]]',
        "secrets[1].name",
        "listed twice",
    ),
    ("MAN-072", '  { name = "register_channel" },\n', "", "secrets", "use secrets; this plugin has neither"),
    (
        "MAN-080",
        "[[egress]]",
        '[remote]\nendpoint = "https://api.acme.example/x"\n[[egress]]',
        "plugin.runtime",
        "go to",
    ),
    (
        "MAN-080",
        CONTRACT,
        f'runtime = "remote"\nhas_native_code = true\n{CONTRACT}\n[remote]\nendpoint = "https://api.acme.example/x"',
        "plugin.has_native_code",
        "brings no code",
    ),
    (
        "MAN-081",
        CONTRACT,
        f'runtime = "remote"\n{CONTRACT}\n[remote]\nendpoint = "https://other.example/x"',
        "remote.endpoint",
        "other.example, the endpoint's host",
    ),
    ("MAN-090", '"config.schema.json"', '"a/../../x.json"', "config.schema", "no JSON file inside"),
    ("MAN-091", "[plugin]", "[state]\nkeys_max = 5000\n[plugin]", "state.keys_max", "above the usual 1000"),
]
WARNINGS = {"MAN-025", "MAN-026", "MAN-042", "MAN-052", "MAN-062", "MAN-091"}


def test_a_good_manifest_is_read_without_a_finding() -> None:
    reading = inspect(GOOD)
    assert reading.findings == ()
    assert reading.manifest == read(GOOD)
    hook = read(GOOD).hook("check_payment")
    assert hook is not None
    assert (hook.fields[3], hook.deadline_ms) == ("member.level", 120)
    assert read(GOOD).scope_names == {"payments:read", "members:read"}


@pytest.mark.parametrize(("rule", "old", "new", "path", "said"), CASES)
def test_each_rule_is_told_with_its_place_and_next_step(rule: str, old: str, new: str, path: str, said: str) -> None:
    assert GOOD.count(old) >= 1
    text = GOOD.replace(old, new, 1)
    reading = inspect(text)
    [finding] = [each for each in reading.findings if (each.rule, each.path) == (rule, path)]
    assert said in finding.found
    assert finding.next_step.endswith((".", "?"))
    assert finding.severity == ("warning" if rule in WARNINGS else "error")
    assert 1 <= finding.line <= text.count("\n")
    assert (reading.manifest is None) == any(each.severity == "error" for each in reading.findings)


def test_every_rule_has_a_case() -> None:
    planted = {rule for rule, *_ in CASES}
    assert planted == RULES.keys() - {"MAN-025"}  # no hook of this contract is deprecated yet


def test_all_errors_come_in_one_pass_in_the_order_of_the_file() -> None:
    text = GOOD.replace('"form"', '"forms"').replace("members:read", "member:read").replace("isv_7Kq2", "acme")
    with pytest.raises(ManifestRefused) as refused:
        read(text)
    told = [(each.line, each.rule, each.path) for each in refused.value.findings]
    assert told == [
        (4, "MAN-022", "hooks[0].fields[1]"),
        (4, "MAN-023", "hooks[0].fields"),
        (10, "MAN-040", "scopes[1].name"),
        (17, "MAN-004", "plugin.publisher"),
    ]
    assert str(refused.value).splitlines()[0] == (
        "plugin.toml:4 hooks[0].fields[1]: MAN-022 error: PaymentToCheck has no forms. Next: Did you mean form?"
    )


def test_a_broken_part_makes_no_second_finding_elsewhere() -> None:
    broken_scope = GOOD.replace('zh = "判断付款风险", ', "")
    assert [each.rule for each in inspect(broken_scope).findings] == ["MAN-005"]


@pytest.mark.parametrize(
    "text",
    ["", "\x00", "hooks = 3", "hooks = []", "plugin = 3", "[[hooks]]\nname = 3", "scopes = [1]", "[plugin]\nid = []"],
)
def test_anything_is_read_without_an_exception(text: str) -> None:
    reading = inspect(text)
    assert reading.manifest is None
    assert reading.findings


def test_a_file_has_a_largest_size() -> None:
    padded = GOOD + "#" * (BYTES_MAX - len(GOOD.encode()))
    assert inspect(padded).manifest is not None
    assert [each.rule for each in inspect(padded + "#").findings] == ["MAN-001"]


@pytest.mark.parametrize("path", sorted((ROOT / "plugins").glob("*/plugin.toml")), ids=lambda path: path.parent.name)
def test_our_own_manifests_keep_every_rule(path: Path) -> None:
    assert inspect(path.read_text(encoding="utf-8")).findings == ()
