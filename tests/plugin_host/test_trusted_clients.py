"""The clients of `ctx` in the host's process: the same gate, asked from a thread, refused on the loop."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from platform_core.contracts.plugin import Clients, Refused
from platform_core.identity.vault import Vault
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.commit import Committer
from platform_core.kernel.database.pools import Database
from platform_core.kernel.ids import Ids
from platform_core.plugin_host.calls import CallFacts, OpenCall
from platform_core.plugin_host.secrets import VaultContexts
from tests.plugin_host.gate_support import enabled, facts
from tests.plugin_host.test_gate import WHOLE, Bench

pytestmark = pytest.mark.database
Opened = Callable[..., OpenCall]


@pytest.fixture
def bench(database: Database, committer: Committer, clock: ManualClock, ids: Ids) -> Bench:
    return Bench(database, committer, clock, ids)


@pytest.fixture
def opened(bench: Bench) -> Opened:
    def open_call(hook_name: str = "on_payment_captured", **more: Any) -> OpenCall:
        about: CallFacts = facts(enabled(WHOLE, grant_id="gra_1"), clock=bench.clock, hook_name=hook_name, **more)
        return bench.calls.open(about)

    return open_call


def code_of(act: Callable[[], object]) -> str:
    with pytest.raises(Refused) as refused:
        act()
    return refused.value.code


async def test_a_trusted_plugin_asks_from_a_thread_and_is_told_as_any_other(opened: Opened, bench: Bench) -> None:
    clients: Clients = opened().clients

    def plugin() -> list[Any]:
        assert clients.state.get("k") is None
        said: list[Any] = [clients.state.put("k", {"a": 1}), clients.state.increment("n", 2, ttl_s=60)]
        item = clients.state.get("k")
        assert item is not None
        said += [item.value, item.version, [one.key for one in clients.state.list("")]]
        clients.state.delete("k")
        clients.problems.report("crm", "The CRM is away.", hint="Call them.", severity="notice")
        return [*said, clients.state.get("k"), clients.call("things.get", {"id": "x"})]

    assert await asyncio.to_thread(plugin) == [1, 2, {"a": 1}, 1, ["k", "n"], None, {"id": "x"}]
    assert [id_ for _, id_ in bench.service.reads] == ["x"]


async def test_refusals_come_as_refused_with_the_next_step(opened: Opened, bench: Bench) -> None:
    clients = opened("check_payment").clients

    def plugin() -> list[str]:
        return [
            code_of(lambda: clients.call("things.make", {"id": "x", "key": "k"})),
            code_of(lambda: clients.egress.fetch("POST", "https://api.crm.example/", body={"a": 1})),
            code_of(lambda: clients.secrets.mac("mac", b"m")),
            code_of(lambda: clients.state.put("", 1)),
            code_of(lambda: clients.state.put("k", float("nan"))),
        ]

    assert await asyncio.to_thread(plugin) == [
        "plugin.write_in_decision",
        "plugin.egress_in_decision",
        "plugin.not_allowed_here",
        "plugin.state_key",
        "plugin.state_value",
    ]
    assert await bench.is_untouched()


async def test_on_the_event_loop_every_client_that_waits_refuses(opened: Opened, bench: Bench) -> None:
    clients = opened().clients
    for act in (
        lambda: clients.state.get("k"),
        lambda: clients.call("things.get", {"id": "x"}),
        lambda: clients.egress.fetch("GET", "https://api.crm.example/"),
        lambda: clients.secrets.mac("mac", b"m"),
        lambda: clients.problems.report("k", "m"),
    ):
        assert code_of(act) == "plugin.on_the_loop"
    assert await bench.is_untouched()


async def test_clients_that_were_kept_beyond_the_call_are_void(opened: Opened, bench: Bench) -> None:
    call = opened()
    clients = call.clients
    bench.calls.close(call.handle)
    assert await asyncio.to_thread(lambda: code_of(lambda: clients.state.put("k", 1))) == "plugin.handle_invalid"
    assert await bench.is_untouched()


async def test_a_thread_is_not_kept_waiting_beyond_the_deadline(opened: Opened, bench: Bench) -> None:
    bench.service.may_go_on.clear()
    clients = opened(seconds=0.05).clients
    code = await asyncio.to_thread(lambda: code_of(lambda: clients.call("things.get", {"id": "x"})))
    assert code == "plugin.deadline_passed"


async def test_cryptography_goes_by_the_name_and_the_key_stays(opened: Opened) -> None:
    vault = Vault(b"v" * 32)
    sealed = {"key": VaultContexts(vault).seal(merchant_id="mer_a", name="key", key=b"k" * 32)}
    clients = opened(
        "register_payment_provider", operation="register_payment_provider/acme.pay", secrets=sealed
    ).clients

    def plugin() -> list[Any]:
        mac = clients.secrets.mac("key", b"m")
        with pytest.raises(KeyError):
            clients.secrets.mac("other", b"m")
        return [mac, clients.secrets.verify("key", b"m", mac), clients.secrets.verify("key", b"n", mac)]

    wanted = hmac.digest(b"k" * 32, b"m", hashlib.sha256)
    assert await asyncio.to_thread(plugin) == [wanted, True, False]
    assert b64encode(wanted)


async def test_the_log_is_tagged_bounded_and_never_waits(opened: Opened) -> None:
    clients = opened().clients
    with capture_logs() as lines:
        clients.log.info("asked the CRM", status=200)
        clients.log.warning("x" * 1_900, again="y" * 400)
        for _ in range(10):
            clients.log.info("z" * 1_900)
    assert lines[0] == {
        "event": "plugin.log",
        "log_level": "info",
        "plugin": "example.acme.risk",
        "version": "1.0.0",
        "call": lines[0]["call"],
        "said": "asked the CRM",
        "facts": {"status": "200"},
    }
    assert lines[1]["log_level"] == "warning"
    assert sum(len(line["said"]) for line in lines) <= 8 * 1024
