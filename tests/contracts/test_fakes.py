"""The clients in memory refuse what the real ones refuse."""

from __future__ import annotations

import hmac

import pytest

from platform_core.contracts import catalogue
from platform_core.contracts.plugin import EgressAnswer, HookContext, Refused
from platform_core.contracts.testing import FakeHost, Request
from platform_core.contracts.testing.egress import answered
from tests.contracts.manifests import WORDS, manifest_of

pytestmark = pytest.mark.unit

MORE = (
    f'[[egress]]\nhost = "api.acme.example"\npurpose = {WORDS}\nresponse_kib_max = 1\n'
    f'[[egress]]\nhost = "other.acme.example"\npurpose = {WORDS}\n'
    f'[[secrets]]\nname = "api_token"\nkind = "token"\nlabel = {WORDS}\nhosts = ["api.acme.example"]\n'
    f'[[secrets]]\nname = "mac"\nkind = "mac_key"\nlabel = {WORDS}\n'
    "[state]\nbytes_max = 1024\nkeys_max = 3\n"
)


def host(answer: EgressAnswer | None = None) -> FakeHost:
    return FakeHost(
        manifest_of("check_payment", "on_payment_captured", more=MORE),
        secrets={"api_token": b"t0ken", "mac": (b"new", b"old")},
        outside=lambda request: answer or answered(200, {"seen": request.headers}),
    )


def context(of: FakeHost, hook: str = "on_payment_captured") -> HookContext:
    return of.context(catalogue.hooks()[hook])


def refused(code: str, hook: str = "on_payment_captured") -> pytest.RaisesExc[Refused]:
    return pytest.RaisesExc(Refused, check=lambda error: error.code == code)


def test_versions_count_up_and_are_compared() -> None:
    state = context(host()).state
    assert state.get("a") is None
    assert (state.put("a", {"n": [1]}, expected_version=0), state.put("a", 2)) == (1, 2)
    with refused("plugin.state_changed"):
        state.put("a", 3, expected_version=1)
    item = state.get("a")
    assert item is not None
    assert (item.value, item.version) == (2, 2)
    state.delete("a")
    state.delete("a")
    assert state.put("a", 1, expected_version=0) == 1


def test_a_window_begins_with_the_first_increment() -> None:
    of = host()
    state = context(of).state
    assert [state.increment("w", ttl_s=60) for _ in range(2)] == [1, 2]
    of.wait(59)
    assert state.increment("w", 5, ttl_s=60) == 7
    of.wait(1)
    assert (state.get("w"), state.list("")) == (None, ())
    assert state.increment("w", ttl_s=60) == 1
    state.put("text", "x")
    with refused("plugin.state_number"):
        state.increment("text")


def test_the_store_has_its_bounds() -> None:
    state = context(host()).state
    for key in ("b", "a", "c"):
        state.put(key, key)
    assert [item.key for item in state.list("", limit=2)] == ["a", "b"]
    with refused("plugin.state_full"):
        state.put("d", 1)
    with refused("plugin.state_full"):
        state.put("a", "x" * 1_020)
    assert [item.value for item in state.list("")] == ["a", "b", "c"]
    for key in ("", "k" * 129, "a\n"):
        with refused("plugin.state_key"):
            state.put(key, 1)
    for value in (float("nan"), {1, 2}, "x" * 20_000):
        with refused("plugin.state_value"):
            state.put("a", value)


def test_requests_go_to_declared_hosts_with_their_own_secrets() -> None:
    of = host()
    egress = context(of).egress
    url = "https://api.acme.example/x"
    egress.fetch("POST", url, headers={"Authorization": "Bearer secret:api_token"}, body={"t": "名"})
    [sent] = of.egress.sent
    assert sent == Request(
        method="POST",
        url=url,
        headers={"authorization": "Bearer t0ken", "content-type": "application/json"},
        body='{"t":"名"}'.encode(),
    )
    for method, place in (
        ("GET", url),
        ("POST", "http://api.acme.example/x"),
        ("POST", "https://api.acme.example:8443/x"),
        ("POST", "https://evil.example/"),
        ("POST", "https://api.acme.example@evil.example/"),
    ):
        with refused("plugin.egress_not_declared"):
            context(of).egress.fetch(method, place)
    for name, place in (("api_token", "other"), ("mac", "api"), ("none", "api")):
        with refused("plugin.secret_not_for_host"):
            url = f"https://{place}.acme.example/"
            context(of).egress.fetch("POST", url, body=f"secret:{name}", secrets=[name])
    assert of.egress.sent == [sent]


def test_a_call_has_its_budgets() -> None:
    of = host()
    ctx = context(of)
    for _ in range(5):
        ctx.egress.fetch("POST", "https://api.acme.example/")
    with refused("plugin.egress_exhausted"):
        ctx.egress.fetch("POST", "https://api.acme.example/")
    assert len(of.egress.sent) == 5
    ctx = context(of)
    for _ in range(50):
        ctx.state.get("a")
    with refused("plugin.budget_exceeded"):
        ctx.state.put("a", 1)
    assert of.state.contents() == {}
    with refused("plugin.egress_too_large"):
        context(host(answered(200, b"x" * 1_025))).egress.fetch("POST", "https://api.acme.example/")


def test_deciding_hooks_ask_nobody_and_write_nothing_but_state() -> None:
    of = host()
    of.capabilities = {"coupons.issue": lambda arguments: {}, "payments.get": lambda arguments: {"id": arguments["id"]}}
    ctx = context(of, "check_payment")
    ctx.state.increment("seen")
    assert ctx.call("payments.get", id="pay_1") == {"id": "pay_1"}
    with refused("plugin.egress_in_decision"):
        ctx.egress.fetch("POST", "https://api.acme.example/")
    with refused("plugin.write_in_decision"):
        ctx.call("coupons.issue", key="k")
    with refused("plugin.not_allowed_here"):
        ctx.secrets.mac("mac", b"x")
    assert (of.egress.sent, [name for name, _ in of.called]) == ([], ["payments.get"])
    with refused("plugin.operation_unknown"):
        ctx.call("payments.paint")


def test_secrets_are_used_by_name_and_old_ones_still_verify() -> None:
    secrets = context(host()).secrets
    assert secrets.mac("mac", b"m") == hmac.digest(b"new", b"m", "sha256")
    assert secrets.verify("mac", b"m", hmac.digest(b"old", b"m", "sha256"))
    assert not secrets.verify("mac", b"m", hmac.digest(b"evil", b"m", "sha256"))
    with pytest.raises(KeyError):
        secrets.mac("none", b"m")


def test_problems_and_lines_are_kept_for_the_test() -> None:
    of = host()
    ctx = context(of)
    ctx.problems.report("crm.down", "The CRM is down.", hint="Look there.", severity="critical")
    ctx.log.info("told", payment="pay_1")
    ctx.log.warning("slow")
    assert [(each.key, each.severity) for each in of.problems] == [("crm.down", "critical")]
    assert of.lines == ["info: told {'payment': 'pay_1'}", "warning: slow {}"]
    for _ in range(9):
        ctx.problems.report("k", "m")
    with refused("plugin.reports_exceeded"):
        ctx.problems.report("k", "m")
