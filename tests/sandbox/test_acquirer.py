"""The simulated acquirer's own promises: signatures, replay, restart, bill, command line."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox.simulators.acquirer.app import BODY_MAX, AcquirerConfig
from sandbox.simulators.acquirer.scenarios import MAGIC_AMOUNTS, SCENARIOS, UnknownScenario, in_auth_code, named
from sandbox.simulators.acquirer.server import running
from sandbox.simulators.acquirer.signing import answer_text, is_signed, request_text, sign

pytestmark = pytest.mark.unit
KEY = secrets.token_bytes(32)
MERCHANT_NO = "2088000000000009"


class Till:
    """A merchant's till that speaks the protocol by hand."""

    def __init__(self, url: str, key: bytes = KEY) -> None:
        self.client = httpx.Client(base_url=url, trust_env=False)
        self.key = key

    def send(
        self, operation: str, body: bytes, *, nonce: str | None = None, at: datetime | None = None
    ) -> httpx.Response:
        path, timestamp = f"/v1/{operation}", str(int((at or datetime.now(UTC)).timestamp()))
        used = secrets.token_hex(16) if nonce is None else nonce
        text = request_text(method="POST", path=path, timestamp=timestamp, nonce=used, body=body)
        headers = {
            "x-acquirer-merchant": MERCHANT_NO,
            "x-acquirer-timestamp": timestamp,
            "x-acquirer-nonce": used,
            "x-acquirer-signature": sign(self.key, text),
        }
        return self.client.post(path, content=body, headers=headers)

    def ask(self, operation: str, **fields: object) -> dict[str, Any]:
        answer: dict[str, Any] = self.send(operation, json.dumps(fields).encode()).json()
        return answer

    def book(self) -> dict[str, Any]:
        shown: dict[str, Any] = self.client.get("/_book").json()
        return shown


def order(key: str, *, amount_minor: int = 12_000, **more: object) -> dict[str, object]:
    code = f"28{secrets.randbelow(10**16):016d}"
    return {"key": key, "amount_minor": amount_minor, "currency": "CNY", "auth_code": code, **more}


@pytest.fixture
def till() -> Iterator[Till]:
    with running(AcquirerConfig(merchants={MERCHANT_NO: KEY})) as url:
        made = Till(url)
        with made.client:
            yield made


def test_an_answer_is_signed_and_bound_to_its_question(till: Till) -> None:
    nonce = secrets.token_hex(16)
    answer = till.send("query", b'{"key":"txn_1"}', nonce=nonce)
    stamp, signature = answer.headers["x-acquirer-timestamp"], answer.headers["x-acquirer-signature"]
    right = answer_text(request_nonce=nonce, status=200, timestamp=stamp, body=answer.content)
    other = answer_text(request_nonce="f" * 32, status=200, timestamp=stamp, body=answer.content)
    assert is_signed(KEY, right, signature)
    assert not is_signed(KEY, other, signature)


def test_forged_stale_and_replayed_requests_are_refused_and_move_nothing(till: Till) -> None:
    body = json.dumps(order("txn_1")).encode()
    nonce = secrets.token_hex(16)
    forger = Till(str(till.client.base_url), key=secrets.token_bytes(32))
    with forger.client:
        assert forger.send("pay", body).json()["code"] == "SIGNATURE_INVALID"
    old = datetime.now(UTC) - timedelta(minutes=6)
    assert till.send("pay", body, at=old).json()["code"] == "TIMESTAMP_STALE"
    assert till.send("pay", body, nonce="short").json()["code"] == "NONCE_INVALID"
    assert till.book()["moved"] == {}
    assert till.send("pay", body, nonce=nonce).json()["status"] == "SUCCESS"
    replayed = till.send("pay", body, nonce=nonce)
    assert (replayed.status_code, replayed.json()["code"]) == (401, "NONCE_REUSED")
    assert till.book()["moved"] == {"txn_1": 1}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"key":"k","amount_minor":1.5,"currency":"CNY"}',
        b'{"key":"k","amount_minor":"1","currency":"CNY"}',
        b'{"key":"k","amount_minor":0,"currency":"CNY"}',
        b'{"key":"k","amount_minor":-1,"currency":"CNY"}',
        b'{"key":"k","amount_minor":1,"currency":"yuan"}',
        b'{"key":"","amount_minor":1,"currency":"CNY"}',
        b'{"key":"k","amount_minor":1,"currency":"CNY","tip":1}',
        b'{"key":"k","amount_minor":1,"currency":"CNY","scenario":"no_such"}',
        b'{"key":"\xff","amount_minor":1,"currency":"CNY"}',
    ],
)
def test_bad_input_is_refused_with_a_reason_and_leaves_no_entry(till: Till, body: bytes) -> None:
    answer = till.send("pay", body)
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_PARAMETER")
    assert till.book()["entries"] == []


def test_a_body_too_large_is_refused(till: Till) -> None:
    answer = till.send("pay", b" " * (BODY_MAX + 1))
    assert (answer.status_code, answer.json()["code"]) == (413, "TOO_LARGE")


def test_a_book_in_a_file_survives_a_restart(tmp_path: Path) -> None:
    config = AcquirerConfig(merchants={MERCHANT_NO: KEY}, book_path=tmp_path / "book.sqlite")
    nonce, body = secrets.token_hex(16), json.dumps(order("txn_1")).encode()
    with running(config) as url:
        first = Till(url)
        with first.client:
            paid = first.send("pay", body, nonce=nonce).json()
            before = first.book()
    with running(AcquirerConfig(merchants={}, book_path=config.book_path)) as url:
        again = Till(url)
        with again.client:
            assert again.book() == before
            assert again.send("pay", body, nonce=nonce).json()["code"] == "NONCE_REUSED"
            assert again.send("pay", body).json() == paid
            assert again.book()["moved"] == {"txn_1": 1}


def test_an_order_expires_by_the_acquirers_clock(till: Till) -> None:
    shown = till.ask("precreate", **order("txn_1", auth_code=""))
    later = datetime.now(UTC) + timedelta(hours=3)
    till.client.post("/_clock", json={"now": later.isoformat()})
    scanned = till.client.post("/buyer/scan", json={"qr_code": shown["qr_code"]}).json()
    assert scanned["code"] == "ORDER_EXPIRED"
    asked = till.send("query", b'{"key":"txn_1"}', at=later).json()
    assert (asked["status"], asked["code"]) == ("CLOSED", "ORDER_EXPIRED")
    assert till.book()["moved"] == {}


def test_a_refused_scan_leaves_the_order_open(till: Till) -> None:
    shown = till.ask("precreate", **order("txn_1", auth_code=""))
    scan = {"qr_code": shown["qr_code"], "scenario": "decline_balance"}
    assert till.client.post("/buyer/scan", json=scan).json()["code"] == "BALANCE_NOT_ENOUGH"
    assert till.client.post("/buyer/scan", json={"qr_code": shown["qr_code"]}).json()["status"] == "SUCCESS"
    assert till.client.post("/buyer/scan", json={"qr_code": shown["qr_code"]}).json()["code"] == "ORDER_PAID"
    assert till.book()["moved"] == {"txn_1": 1}


def test_the_bill_of_a_day_adds_up(till: Till) -> None:
    till.ask("pay", **order("txn_1", amount_minor=10_000))
    till.ask("pay", **order("txn_2", amount_minor=5_000))
    till.ask("refund", key="txn_3", original_key="txn_1", amount_minor=3_000, currency="CNY")
    till.ask("cancel", key="txn_4", original_key="txn_2")
    claim = {"merchant_no": MERCHANT_NO, "key": "txn_1", "amount_minor": 4_000}
    reference = till.client.post("/_disputes", json=claim).json()["reference"]
    for step in ("withdrawn", "won", "lost"):
        till.client.post(f"/_disputes/{reference}", json={"merchant_no": MERCHANT_NO, "step": step})
    day = datetime.fromisoformat(till.book()["movements"][0]["moved_at"]).astimezone(UTC) + timedelta(hours=8)
    later = datetime.now(UTC) + timedelta(days=2)
    till.client.post("/_clock", json={"now": later.isoformat()})
    bill = till.send("bill", json.dumps({"day": f"{day:%Y-%m-%d}"}).encode(), at=later).json()
    assert [(row["kind"], row["key"], row["amount_minor"], row["cost_minor"]) for row in bill["rows"]] == [
        ("sale", "txn_1", 10_000, 38),
        ("sale", "txn_2", 5_000, 19),
        ("refund", "txn_3", 3_000, 0),
        ("cancel", "txn_4", 5_000, 0),
        ("dispute_withdrawn", "txn_1", 4_000, 0),
        ("dispute_won", "txn_1", 4_000, 0),
    ]
    assert (bill["count"], bill["total_minor"]) == (6, {"CNY": 7_000})


def test_another_merchants_key_is_not_found(till: Till) -> None:
    till.ask("pay", **order("txn_1"))
    till.client.post("/_merchants", json={"merchant_no": "other", "key": KEY.hex()})
    text = request_text(method="POST", path="/v1/query", timestamp="", nonce="", body=b"")
    assert text.startswith(b"request\nPOST\n/v1/query\n")
    stamp, nonce, body = str(int(datetime.now(UTC).timestamp())), secrets.token_hex(16), b'{"key":"txn_1"}'
    text = request_text(method="POST", path="/v1/query", timestamp=stamp, nonce=nonce, body=body)
    headers = {
        "x-acquirer-merchant": "other",
        "x-acquirer-timestamp": stamp,
        "x-acquirer-nonce": nonce,
        "x-acquirer-signature": sign(KEY, text),
    }
    assert till.client.post("/v1/query", content=body, headers=headers).json()["code"] == "NOT_FOUND"


def test_scenarios_are_read_from_names_codes_and_amounts() -> None:
    assert named("paying-7").queries == 7
    assert named("slow-50").delay_ms == 50
    assert in_auth_code("sim:decline_balance:a1") == SCENARIOS["decline_balance"]
    assert in_auth_code("281234567890123456") is None
    assert set(MAGIC_AMOUNTS.values()) <= set(SCENARIOS)
    for text in ("no_such", "paying-x", "paying-1000000"):
        with pytest.raises(UnknownScenario):
            named(text)


def test_every_scenario_stands_in_the_reference() -> None:
    page = Path(__file__).parents[2].joinpath("docs/reference/simulated-acquirer.md").read_text(encoding="utf-8")
    assert [name for name in SCENARIOS if f"`{name}`" not in page] == []
    assert [amount for amount in MAGIC_AMOUNTS if str(amount) not in page] == []


def test_the_command_prints_where_it_is_and_stops_when_told() -> None:
    command = [sys.executable, "-m", "sandbox.simulators.acquirer", "--port", "0", "--merchant", f"till={KEY.hex()}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = json.loads(process.stdout.readline())
            assert line["merchants"] == {"till": KEY.hex()}
            assert httpx.get(f"{line['url']}/_book", trust_env=False).json()["entries"] == []
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)


@pytest.mark.parametrize("merchant", ["till", "till=zz", "till=aabb"])
def test_the_command_refuses_an_unreadable_merchant(merchant: str) -> None:
    command = [sys.executable, "-m", "sandbox.simulators.acquirer", "--merchant", merchant]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert ran.returncode == 2
    assert "merchant" in ran.stderr
