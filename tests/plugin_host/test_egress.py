"""The host's HTTPS for plugins: where it may go, what it may carry, and that it says truthfully what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from platform_core.kernel.errors import PlatformError
from platform_core.plugin_host import egress_secrets
from platform_core.plugin_host.egress import Egress, Sent
from platform_core.plugin_host.egress_rules import Outgoing, outgoing
from tests.plugin_host.gate_support import WORDS, manifest
from tests.plugin_host.outside import (
    HOST,
    PUBLIC,
    Authority,
    Heard,
    Names,
    Network,
    Outside,
    answering,
    authority,
    serving,
)

URL = f"https://{HOST}/contacts?new=1"
EGRESS = [{"host": HOST, "methods": ["GET", "POST"], "purpose": WORDS, "response_kib_max": 4}]
SECRETS = [
    {"name": "token", "kind": "token", "label": WORDS, "hosts": [HOST]},
    {"name": "token2", "kind": "token", "label": WORDS, "hosts": [HOST]},
    {"name": "elsewhere", "kind": "token", "label": WORDS, "hosts": ["other.example"]},
    {"name": "mac", "kind": "mac_key", "label": WORDS},
]
MANIFEST = manifest(egress=EGRESS, secrets=SECRETS)


def request(url: str = URL, *, method: str = "POST", body: bytes = b"{}", **headers: str) -> Outgoing:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return outgoing(MANIFEST, method=method, url=url, headers=named, body=body, media_type="application/json")


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("tls"))


Serve = Callable[..., Awaitable[tuple[Outside, Egress, Names, Network]]]


@pytest.fixture
async def serve(tls: Authority) -> AsyncIterator[Serve]:
    """Start a server that answers so, and an egress whose network leads to it."""
    async with AsyncExitStack() as stack:

        async def start(handler: Any = None, *, names: Names | None = None) -> tuple[Outside, Egress, Names, Network]:
            outside = await stack.enter_async_context(serving(handler or answering(), tls=tls.server))
            found, network = names or Names(), Network(outside.port)
            return outside, Egress(tls=tls.client, resolver=found, inner=network), found, network

        yield start


async def failure(egress: Egress, *, timeout_s: float = 5.0, made: Outgoing | None = None) -> tuple[str, bool]:
    """The code of a fetch that fails, and whether something left."""
    sent = Sent()
    with pytest.raises(PlatformError) as failed:
        await egress.fetch(made or request(), timeout_s=timeout_s, sent=sent)
    return failed.value.code, sent.is_sent


async def test_a_request_arrives_as_it_was_meant_and_its_answer_comes_back(serve: Serve) -> None:
    outside, egress, names, network = await serve(
        answering(201, b'{"id":"c1"}', headers=("X-One: 1", "x-one: 2", "Set-Cookie: a=b"))
    )
    sent = Sent()
    answer = await egress.fetch(request(x_key="k"), timeout_s=5, sent=sent)
    assert (answer.status, answer.body, answer.headers["x-one"]) == (201, b'{"id":"c1"}', "2")
    [heard] = outside.heard
    assert heard.line == "POST /contacts?new=1 HTTP/1.1"
    assert heard.body == b"{}"
    assert dict(heard.headers) == {
        "host": HOST,
        "user-agent": "Arsenal-Plugin/1",
        "accept": "*/*",
        "accept-encoding": "identity",
        "connection": "close",
        "content-type": "application/json",
        "content-length": "2",
        "x-key": "k",
    }
    assert (names.asked, network.went_to, sent.is_sent) == ([HOST], [(PUBLIC, 443)], True)


async def test_a_name_that_changes_between_check_and_connection_gains_nothing(serve: Serve) -> None:
    outside, egress, names, network = await serve(names=Names([PUBLIC], ["127.0.0.1"]))
    await egress.fetch(request(), timeout_s=5)
    assert await failure(egress) == ("plugin.egress_not_sent", False)
    assert (len(names.asked), network.went_to, len(outside.heard)) == (2, [(PUBLIC, 443)], 1)


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"], ["10.0.0.8"], ["169.254.169.254"], ["::1"], ["fe80::1"], ["::ffff:127.0.0.1"], ["224.0.0.1"],
        ["64:ff9b::7f00:1"], ["100.64.0.1"], ["fd00::1"], [PUBLIC, "192.168.0.1"], [],
    ],
)  # fmt: skip
async def test_an_address_inside_is_never_connected_to(serve: Serve, addresses: list[str]) -> None:
    outside, egress, _, network = await serve(names=Names(addresses))
    assert await failure(egress) == ("plugin.egress_not_sent", False)
    assert (network.went_to, outside.heard) == ([], [])


async def test_a_redirect_is_an_answer_and_nobody_follows_it(serve: Serve) -> None:
    outside, egress, _, network = await serve(answering(302, b"", headers=("Location: https://127.0.0.1/admin",)))
    answer = await egress.fetch(request(), timeout_s=5)
    assert (answer.status, answer.headers["location"]) == (302, "https://127.0.0.1/admin")
    assert (len(outside.heard), len(network.went_to)) == (1, 1)


async def test_a_certificate_of_somebody_else_is_refused_before_anything_leaves(serve: Serve, tmp_path: Path) -> None:
    outside, _, _, network = await serve()
    stranger = authority(tmp_path)
    egress = Egress(tls=stranger.client, resolver=Names(), inner=network)
    assert await failure(egress) == ("plugin.egress_not_sent", False)
    assert outside.heard == []


async def test_a_certificate_for_another_name_is_refused(tls: Authority, tmp_path: Path) -> None:
    other = authority(tmp_path, host="other.example")
    async with serving(answering(), tls=other.server) as outside:
        egress = Egress(tls=other.client, resolver=Names(), inner=Network(outside.port))
        assert await failure(egress) == ("plugin.egress_not_sent", False)
        assert outside.heard == []


async def test_nobody_at_the_address_means_not_sent() -> None:
    egress = Egress(resolver=Names(), inner=Network(0))
    assert await failure(egress) == ("plugin.egress_not_sent", False)


async def test_a_resolver_that_hangs_means_not_sent() -> None:
    async def never(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    assert await failure(Egress(resolver=never), timeout_s=0.05) == ("plugin.egress_not_sent", False)


async def test_silence_after_the_request_means_unknown(serve: Serve) -> None:
    async def silent(heard: Heard, writer: Any) -> None:
        await asyncio.sleep(30)

    outside, egress, *_ = await serve(silent)
    assert await failure(egress, timeout_s=0.5) == ("plugin.egress_unknown", True)
    assert len(outside.heard) == 1


async def test_an_answer_that_dribbles_or_breaks_off_means_unknown(serve: Serve) -> None:
    async def dribbling(heard: Heard, writer: Any) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        for _ in range(100):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    async def broken(heard: Heard, writer: Any) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf")
        await writer.drain()

    for handler in (dribbling, broken):
        _, egress, *_ = await serve(handler)
        assert await failure(egress, timeout_s=0.5) == ("plugin.egress_unknown", True)


async def test_an_answer_that_is_no_http_means_unknown(serve: Serve) -> None:
    async def garbage(heard: Heard, writer: Any) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.9\r\n")
        await writer.drain()

    _, egress, *_ = await serve(garbage)
    assert await failure(egress) == ("plugin.egress_unknown", True)


@pytest.mark.parametrize("is_chunked", [True, False])
async def test_a_huge_answer_is_cut_off_at_what_was_declared(serve: Serve, is_chunked: bool) -> None:
    written = 0

    async def huge(heard: Heard, writer: Any) -> None:
        nonlocal written
        framing = "transfer-encoding: chunked" if is_chunked else f"content-length: {64 * 1024 * 1024}"
        writer.write(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n".encode())
        for _ in range(1024):
            writer.write((b"10000\r\n" if is_chunked else b"") + b"x" * 65_536 + (b"\r\n" if is_chunked else b""))
            await writer.drain()
            written += 65_536

    _, egress, *_ = await serve(huge)
    assert await failure(egress) == ("plugin.egress_too_large", True)
    assert written < 32 * 1024 * 1024, "the rest was not read"
    whole, small, *_ = await serve(answering(200, b"y" * 4096))
    assert len((await small.fetch(request(), timeout_s=5)).body) == 4096
    assert len(whole.heard) == 1


async def test_an_answer_in_another_encoding_than_was_asked_for_is_not_passed_on(serve: Serve) -> None:
    _, egress, *_ = await serve(answering(200, b"\x1f\x8b", headers=("content-encoding: gzip",)))
    assert await failure(egress) == ("plugin.egress_unknown", True)


async def test_each_request_has_a_connection_of_its_own(serve: Serve) -> None:
    outside, egress, *_ = await serve()
    for _ in range(3):
        await egress.fetch(request(), timeout_s=5)
    assert (outside.connections, len(outside.heard)) == (3, 3)


async def test_a_canceled_fetch_still_says_whether_something_left(serve: Serve) -> None:
    arrived = asyncio.Event()

    async def silent(heard: Heard, writer: Any) -> None:
        arrived.set()
        await asyncio.sleep(30)

    _, egress, *_ = await serve(silent)
    sent = Sent()
    task = asyncio.create_task(egress.fetch(request(), timeout_s=8, sent=sent))
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sent.is_sent


async def test_a_simulator_answers_for_its_host_and_for_no_other() -> None:
    async with serving(answering(200, b"simulated"), tls=None) as outside:
        egress = Egress(simulators={HOST: f"http://127.0.0.1:{outside.port}"}, resolver=_loopback)
        answer = await egress.fetch(request(), timeout_s=5)
        assert (answer.body, outside.heard[0].header("host")) == (b"simulated", HOST)
        other = manifest(egress=[{"host": "other.example", "purpose": WORDS}])
        made = outgoing(other, method="POST", url="https://other.example/", headers={}, body=b"", media_type=None)
        assert await failure(egress, made=made) == ("plugin.egress_not_sent", False)
        assert len(outside.heard) == 1


async def _loopback(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


@pytest.mark.unit
@pytest.mark.parametrize(
    "origin",
    ["https://127.0.0.1:1", "http://10.0.0.1:80", "http://127.0.0.1", "http://evil.example:80", "http://127.0.0.1:1/x"],
)
def test_a_simulator_is_on_this_machine(origin: str) -> None:
    with pytest.raises(ValueError, match="simulator"):
        Egress(simulators={HOST: origin})


@pytest.mark.unit
@pytest.mark.parametrize(
    ("method", "url", "code"),
    [
        ("POST", "https://api.crm.example:8443/", "plugin.egress_not_declared"),
        ("DELETE", URL, "plugin.egress_not_declared"),
        ("post", URL, "plugin.egress_not_declared"),
        ("POST", "https://crm.example/", "plugin.egress_not_declared"),
        ("POST", "https://x.api.crm.example/", "plugin.egress_not_declared"),
        ("POST", "https://api.crm.example.evil.example/", "plugin.egress_not_declared"),
        ("POST", "https://93.184.215.14/", "plugin.egress_not_declared"),
        ("POST", "http://api.crm.example/", "plugin.egress_refused"),
        ("POST", "https://api.crm.example@evil.example/", "plugin.egress_refused"),
        ("POST", "https://evil.example#@api.crm.example/", "plugin.egress_refused"),
        ("POST", "https://evil.example\\@api.crm.example/", "plugin.egress_refused"),
        ("POST", "https://127.0.0.1/", "plugin.egress_refused"),
        ("POST", "https://[::ffff:10.0.0.1]/", "plugin.egress_refused"),
        ("POST", "file:///etc/passwd", "plugin.egress_refused"),
        ("POST", "https://api.crm.example/ HTTP/1.1\r\nx: y", "plugin.egress_refused"),
    ],
)
def test_what_is_not_declared_is_refused_before_a_name_is_asked_for(method: str, url: str, code: str) -> None:
    with pytest.raises(PlatformError) as refused:
        request(url, method=method)
    assert refused.value.code == code


@pytest.mark.unit
def test_a_host_that_is_declared_by_number_is_refused_all_the_same() -> None:
    for host in ("1.1.1.1", "1.1", "crm.1"):
        made = manifest(egress=[{"host": host, "purpose": WORDS}])
        with pytest.raises(PlatformError) as refused:
            outgoing(made, method="POST", url=f"https://{host}/", headers={}, body=b"", media_type=None)
        assert refused.value.code == "plugin.egress_not_declared"


@pytest.mark.unit
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Host", "evil.example"), ("content-length", "0"), ("Transfer-Encoding", "chunked"), ("connection", "close"),
        ("Expect", "100-continue"), ("Upgrade", "h2c"), ("te", "trailers"), ("accept-encoding", "gzip"),
        ("x-a", "b\r\nx-c: d"), ("x-a", "b\nc"), ("x-a", "密"), ("x a", "b"), ("x-a:", "b"), ("", "b"), ("x-a", "\x00"),
        ("x-a", "b" * 20_000),
    ],
)  # fmt: skip
def test_a_header_that_is_the_hosts_or_ends_early_is_refused(name: str, value: str) -> None:
    with pytest.raises(PlatformError) as refused:
        outgoing(MANIFEST, method="POST", url=URL, headers={name: value}, body=b"", media_type=None)
    assert refused.value.code == "plugin.egress_refused"


@pytest.mark.unit
def test_headers_and_bodies_are_bounded_and_none_comes_twice() -> None:
    for headers, body in (
        ({"x-a": "1", "X-A": "2"}, b""),
        ({f"x-{number}": "1" for number in range(51)}, b""),
        ({}, b"x" * (2 * 1024 * 1024 + 1)),
    ):
        with pytest.raises(PlatformError) as refused:
            outgoing(MANIFEST, method="POST", url=URL, headers=headers, body=body, media_type=None)
        assert refused.value.code == "plugin.egress_refused"


class Tokens:
    """Gives tokens by name, and counts."""

    def __init__(self) -> None:
        self.read: list[str] = []

    async def __call__(self, name: str) -> bytes:
        self.read.append(name)
        return {"token": b"tok_live_Aa+/1", "token2": b"second"}[name]


async def filled(
    tokens: Tokens, *, names: list[str] | None = None, body: bytes = b"", **headers: str
) -> tuple[Outgoing, tuple[bytes, ...]]:
    made = request(body=body, **headers)
    return await egress_secrets.filled(made, names_in_body=names or [], manifest=MANIFEST, read=tokens)


@pytest.mark.unit
async def test_placeholders_are_filled_in_headers_and_where_the_plugin_lists_them_in_the_body() -> None:
    tokens = Tokens()
    made, used = await filled(
        tokens,
        names=["token", "token2"],
        body=b'{"key":"secret:token","other":"secret:token2"}',
        authorization="Bearer secret:token",
        x_plain="notsecret:token",
    )
    assert made.headers["authorization"] == "Bearer tok_live_Aa+/1"
    assert made.headers["x-plain"] == "notsecret:token"
    assert made.body == b'{"key":"tok_live_Aa+/1","other":"second"}'
    assert used == (b"tok_live_Aa+/1", b"second")


@pytest.mark.unit
async def test_what_a_customer_typed_into_a_body_is_not_filled() -> None:
    tokens = Tokens()
    made, used = await filled(tokens, body=b'{"text":"secret:token"}', authorization="Bearer secret:token2")
    assert made.body == b'{"text":"secret:token"}'
    assert (tokens.read, used) == (["token2"], (b"second",))


@pytest.mark.unit
@pytest.mark.parametrize("body", [b'{"key":"secret:token","text":"secret:token"}', b'{"key":"secret:token2"}', b""])
async def test_a_listed_name_stands_in_the_body_exactly_once(body: bytes) -> None:
    tokens = Tokens()
    with pytest.raises(PlatformError) as refused:
        await filled(tokens, names=["token"], body=body)
    assert (refused.value.code, tokens.read) == ("plugin.egress_refused", [])


@pytest.mark.unit
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("elsewhere", "plugin.secret_not_for_host"),
        ("mac", "plugin.secret_unfit"),
        ("undeclared", "plugin.secret_unknown"),
    ],
)
async def test_a_secret_goes_nowhere_else_and_only_tokens_go_at_all(name: str, code: str) -> None:
    tokens = Tokens()
    with pytest.raises(PlatformError) as refused:
        await filled(tokens, authorization=f"Bearer secret:{name}")
    assert (refused.value.code, tokens.read) == (code, [])


@pytest.mark.unit
async def test_a_token_that_would_end_a_header_is_refused() -> None:
    async def read(name: str) -> bytes:
        return b"tok\r\nx-evil: 1"

    with pytest.raises(PlatformError) as refused:
        await egress_secrets.filled(
            request(authorization="secret:token"), names_in_body=[], manifest=MANIFEST, read=read
        )
    assert refused.value.code == "plugin.egress_refused"


async def test_a_secret_that_the_other_side_echoes_is_blanked(serve: Serve) -> None:
    async def echo(heard: Heard, writer: Any) -> None:
        token = (heard.header("authorization") or "").partition(" ")[2]
        body = f'{{"you sent":"{token}","url":"tok_live_Aa%2B%2F1","b64":"dG9rX2xpdmVfQWErLzE="}}'.encode()
        head = f"HTTP/1.1 400 Bad\r\ncontent-length: {len(body)}\r\nx-echo: {token}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()

    outside, egress, *_ = await serve(echo)
    made, used = await filled(Tokens(), authorization="Bearer secret:token")
    answer = await egress.fetch(made, timeout_s=5, secrets=used)
    assert outside.heard[0].header("authorization") == "Bearer tok_live_Aa+/1"
    assert answer.body == b'{"you sent":"***","url":"***","b64":"***="}'
    assert answer.headers["x-echo"] == "***"
