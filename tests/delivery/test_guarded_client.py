"""Addresses that strangers chose: every form that must not be called, and that nothing is sent to it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import httpcore
import pytest

from platform_core.kernel.http.guarded_client import GuardedBackend, GuardedClient, OutboundFailed, check_url, is_public
from tests.delivery.receiver import Receiver

PUBLIC = "93.184.215.14"


@pytest.mark.unit
@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "0.1.2.3",  # noqa: S104 - an address to be refused
        "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.8.9.10",
        "169.254.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.170", "192.0.2.1",
        "192.31.196.1", "192.52.193.1", "192.88.99.1", "192.168.0.1", "192.175.48.1", "198.18.0.1", "198.19.255.255",
        "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
        "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::808:808",
        "64:ff9b:1::1", "100::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:2::1", "2001:10::1",
        "2001:20::1", "2001:db8::1", "2002::1", "2002:7f00:1::1", "2002:808:808::1", "2620:4f:8000::1", "3fff::1",
        "5f00::1", "fc00::1", "fd00::1", "fe80::1", "fe80::1%eth0", "2606:4700::1%eth0", "fec0::1", "ff02::1",
        "ff0e::1", "4000::1", "", "localhost", "127.1", "2130706433", "0x7f.1", "1.2.3", "nonsense",
    ],
)  # fmt: skip
def test_what_is_not_public_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.unit
@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.1", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1",
     "192.167.0.1", "192.169.0.1", "223.255.255.255", "2606:4700::1111", "2400:3200::1", "2a00:1450::1"],
)  # fmt: skip
def test_what_is_public_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.unit
@pytest.mark.parametrize(
    "url",
    [
        "", "https://", "https:///hooks", "http://example.com/", "ftp://example.com/", "file:///etc/passwd",
        "//example.com/", "example.com", "https://user@example.com/", "https://user:pass@example.com/",
        "https://example.com/#part", "https://example.com/ hooks", "https://exa\nmple.com/", "https://example.com\\@x/",
        "https://xn--/", "https://xn--zzzzzz-/", "https://例え.jp/", "https://127.0.0.1/", "https://10.0.0.1/",
        "https://[::1]/", "https://[::ffff:127.0.0.1]/", "https://[64:ff9b::7f00:1]/", "https://[2002:7f00:1::]/",
        "https://[fe80::1%25eth0]/", "https://[::1/", "https://example.com:99999/", "https://169.254.169.254/latest/",
        "gopher://127.0.0.1:6379/_FLUSHALL", "https://example.com/" + "a" * 2048, "http://127.0.0.1/",
    ],
)  # fmt: skip
def test_a_form_that_may_not_be_called_is_refused(url: str) -> None:
    with pytest.raises(OutboundFailed) as refused:
        check_url(url)
    assert refused.value.kind == "url_refused"


@pytest.mark.unit
def test_loopback_by_http_needs_the_setting_and_a_loopback_host() -> None:
    for host in ("127.0.0.1", "[::1]", "localhost"):
        assert check_url(f"http://{host}:8080/hooks", allow_loopback_http=True).port == 8080
    for host in ("127.0.0.2", "10.0.0.1", "example.com", "localhost.example.com", "2130706433"):
        with pytest.raises(OutboundFailed, match="only https"):
            check_url(f"http://{host}:8080/hooks", allow_loopback_http=True)


class Wire(httpcore.AsyncNetworkBackend):
    """Where a connection would go; none is made."""

    def __init__(self) -> None:
        self.went_to: list[str] = []

    async def connect_tcp(self, host: str, port: int, **options: Any) -> httpcore.AsyncNetworkStream:
        self.went_to.append(host)
        raise httpcore.ConnectError("no network in this test")


class Names:
    """A resolver that answers differently each time, and counts."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self.answers.pop(0)


def guarded(names: Names, wire: Wire, *, allow_loopback: bool = False) -> GuardedClient:
    backend = GuardedBackend(allow_loopback=allow_loopback, resolver=names, inner=wire)
    return GuardedClient(allow_loopback_http=allow_loopback, backend=backend)


async def kind_of(client: GuardedClient, url: str) -> str:
    """How a call fails."""
    with pytest.raises(OutboundFailed) as failed:
        await client.send("POST", url, headers={}, content=b"{}")
    return failed.value.kind


async def test_the_connection_goes_to_the_address_that_was_judged() -> None:
    names, wire = Names([PUBLIC], ["127.0.0.1"]), Wire()
    client = guarded(names, wire)
    assert await kind_of(client, "https://rebind.example/") == "connect"
    assert (names.asked, wire.went_to) == (["rebind.example"], [PUBLIC])
    assert await kind_of(client, "https://rebind.example/") == "address_refused"
    assert wire.went_to == [PUBLIC]
    await client.aclose()


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        [PUBLIC, "10.0.0.1"],
        ["10.0.0.1", PUBLIC],
        [PUBLIC, "::1"],
        ["::ffff:7f00:1"],
        ["fe80::1%2"],
        ["169.254.169.254"],
    ],
)
async def test_one_private_address_among_a_names_refuses_it(addresses: list[str]) -> None:
    wire = Wire()
    client = guarded(Names(addresses), wire)
    assert await kind_of(client, "https://example.com/") == "address_refused"
    assert wire.went_to == []
    await client.aclose()


@pytest.mark.parametrize("host", ["2130706433", "127.1", "0x7f.1", "0x7f000001", "017700000001", "localhost"])
async def test_other_spellings_of_loopback_are_refused_by_what_they_resolve_to(host: str) -> None:
    wire = Wire()
    client = GuardedClient(backend=GuardedBackend(allow_loopback=False, inner=wire))
    assert await kind_of(client, f"https://{host}/") in ("address_refused", "name_unknown", "url_refused")
    assert wire.went_to == []
    await client.aclose()


async def test_a_name_that_resolves_to_loopback_is_refused_even_where_loopback_is_allowed() -> None:
    wire = Wire()
    client = guarded(Names(["127.0.0.1"]), wire, allow_loopback=True)
    assert await kind_of(client, "https://innocent.example/") == "address_refused"
    assert wire.went_to == []
    await client.aclose()


async def test_a_name_without_addresses_and_a_slow_resolver_fail_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    client = guarded(Names([]), Wire())
    assert await kind_of(client, "https://example.com/") == "name_unknown"
    await client.aclose()

    async def never(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return ()

    backend = GuardedBackend(allow_loopback=False, resolver=never, inner=Wire())
    with pytest.raises(httpcore.ConnectTimeout):
        await backend.connect_tcp("example.com", 443, timeout=0.01)


async def test_sockets_of_this_machine_are_not_called() -> None:
    with pytest.raises(OutboundFailed, match="address_refused"):
        await GuardedBackend(allow_loopback=True).connect_unix_socket("/run/docker.sock")


async def test_redirects_are_answers_and_cookies_are_forgotten(receiver: Receiver) -> None:
    receiver.status = 302
    receiver.headers = {"location": "http://169.254.169.254/latest/", "set-cookie": "session=1"}
    client = GuardedClient(allow_loopback_http=True)
    for _ in range(2):
        answer = await client.send("POST", receiver.url(), headers={}, content=b"{}")
        assert answer.status == 302
    await client.aclose()
    assert [request.target for request in receiver.got] == ["/hooks", "/hooks"]
    assert all("cookie" not in request.headers for request in receiver.got)


async def test_only_the_beginning_of_an_answer_is_read(receiver: Receiver) -> None:
    receiver.body = b"x" * 5_000_000
    client = GuardedClient(allow_loopback_http=True)
    answer = await client.send("POST", receiver.url(), headers={}, content=b"{}", body_bytes_max=1024)
    await client.aclose()
    assert answer.body == b"x" * 1024


async def test_proxies_of_the_environment_are_not_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    client = GuardedClient(allow_loopback_http=True)
    assert (await client.send("POST", receiver.url(), headers={}, content=b"{}")).status == 200
    await client.aclose()


async def test_a_connection_that_closes_without_an_answer_is_a_failure(receiver: Receiver, unused_port: int) -> None:
    receiver.status = 0
    client = GuardedClient(allow_loopback_http=True)
    assert await kind_of(client, receiver.url()) == "protocol"
    assert await kind_of(client, f"http://127.0.0.1:{unused_port}/") == "connect"
    await client.aclose()
