"""The simulated acquirer beside the tests, and a place where its notices arrive."""

from __future__ import annotations

import queue
import secrets
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

import httpx
import pytest

from platform_core.contracts.payments import ChannelAccount, Notice
from platform_core.contracts.plugin import PluginContext
from plugins.simulated_acquirer import SimulatedAcquirerProvider
from sandbox.simulators.acquirer.app import AcquirerConfig
from sandbox.simulators.acquirer.server import running
from sandbox.testbed.context import LocalContext
from sandbox.testbed.provider_suite import Fault

MERCHANT_NO = "2088000000000001"
SCENARIO_OF: dict[Fault, str] = {
    "lost_after": "timeout_after_charge",
    "lost_before": "timeout_before_charge",
    "declined": "decline_balance",
    "customer_paying": "paying",
    "unknown_then_success": "unknown",
    "other_amount": "wrong_amount",
    "broken_body": "broken_body",
}
_codes = count(10**15)


@dataclass(frozen=True)
class Arrived:
    """A notice as it came over the wire."""

    path: str
    headers: dict[str, str]
    body: bytes


class NoticeDesk:
    """A real HTTP server that keeps notices and acknowledges all but the first `refusals` of them."""

    def __init__(self) -> None:
        self.arrived: queue.Queue[Arrived] = queue.Queue()
        self.refusals = 0
        desk = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                is_refused = desk.refusals > 0
                desk.refusals -= is_refused
                answer = b"later" if is_refused else b"success"
                self.send_response(200)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)
                desk.arrived.put(Arrived(self.path, headers, body))

            def log_message(self, *_: object) -> None:
                """Keep quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1/notices/simulated_acquirer/cha_test"
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def next(self) -> Arrived:
        """The next notice; queue.Empty after ten seconds without one."""
        return self.arrived.get(timeout=10)

    def close(self) -> None:
        """Stop serving."""
        self.server.shutdown()
        self.server.server_close()
        self._thread.join(10)


@dataclass
class AcquirerHarness:
    """`RemoteHarness` over the simulated acquirer."""

    provider: SimulatedAcquirerProvider
    account: ChannelAccount
    ctx: PluginContext
    control: httpx.Client
    desk: NoticeDesk
    notify_url: str | None

    @property
    def now(self) -> datetime:
        return datetime.now(UTC)

    def script(self, operation: str, fault: Fault) -> None:
        self.scenario(operation, SCENARIO_OF[fault])

    def scenario(self, operation: str, name: str, *, times: int = 1) -> None:
        body = {"operation": operation, "scenario": name, "times": times}
        assert self.control.post("/_script", json=body).json() == {"code": "OK"}

    def auth_code(self) -> str:
        return f"28{next(_codes)}"

    def moved(self, key: str) -> int:
        counts: dict[str, int] = self.control.get("/_book").json()["moved"]
        return counts.get(key, 0)

    def scan(self, code: str, scenario: str = "success") -> None:
        self.control.post("/buyer/scan", json={"qr_code": code, "scenario": scenario})

    def dispute(self, key: str, amount_minor: int) -> str:
        claim = {"merchant_no": MERCHANT_NO, "key": key, "amount_minor": amount_minor}
        opened = self.control.post("/_disputes", json=claim).json()
        assert opened["code"] == "OK", opened
        return str(opened["reference"])

    def decide(self, reference: str, word: str) -> None:
        step = {"merchant_no": MERCHANT_NO, "step": word}
        assert self.control.post(f"/_disputes/{reference}", json=step).status_code == 200

    def visit(self, url: str, *, pays: bool) -> str:
        assert self.control.get(url).status_code == 200
        answer = self.control.post(url, data={"act": "pay" if pays else "refuse"})
        assert answer.status_code == 303
        return answer.headers["location"]

    async def notice(self, key: str) -> Notice:
        while True:
            arrived = self.desk.next()
            if key.encode() in arrived.body:
                return self.notice_of(arrived)

    def notice_of(self, arrived: Arrived) -> Notice:
        return Notice(
            method="POST",
            path=arrived.path,
            query="",
            headers=arrived.headers,
            raw_body=arrived.body,
            channel_account=self.account,
            now=self.now,
            ctx=self.ctx,
        )


@pytest.fixture(scope="session")
def acquirer_key() -> bytes:
    return secrets.token_bytes(32)


@pytest.fixture(scope="session")
def acquirer_url(acquirer_key: bytes) -> Iterator[str]:
    config = AcquirerConfig(merchants={MERCHANT_NO: acquirer_key}, notice_backoff_s=(0.05, 0.05, 0.05))
    with running(config) as url:
        yield url


@pytest.fixture
async def harness(acquirer_url: str, acquirer_key: bytes) -> AsyncIterator[AcquirerHarness]:
    desk = NoticeDesk()
    provider = SimulatedAcquirerProvider()
    account = ChannelAccount(
        id="cha_test",
        settings={"gateway_url": acquirer_url, "merchant_no": MERCHANT_NO},
        secret_names={"signing_key": "sec_acquirer"},
    )
    ctx = LocalContext({"sec_acquirer": (acquirer_key,)})
    try:
        with httpx.Client(base_url=acquirer_url, trust_env=False) as control:
            yield AcquirerHarness(provider, account, ctx, control, desk, desk.url)
    finally:
        await provider.aclose()
        desk.close()
