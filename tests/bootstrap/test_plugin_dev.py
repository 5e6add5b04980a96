"""`arsenal plugin dev`, `trace` and `replay` with real processes: a server, its confined workers, orders over HTTP."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from platform_core.kernel.database.pools import DatabaseUrls
from tests.bootstrap.conftest import CommandLine, Start, one_document
from tests.support.patience import HEARD_S
from tests.support.processes_arsenal import open_shops, platform_of

pytestmark = [pytest.mark.api, pytest.mark.database, pytest.mark.timeout(180)]
PLUGIN = "com.example.trial-risk"
RULE = '''"""The rule under trial."""

from platform_core.contracts.payments import PaymentToCheck
from platform_core.contracts.plugin import HookContext, hookimpl
from platform_core.contracts.results import Verdict


@hookimpl
def check_payment(ctx: HookContext, payment: PaymentToCheck) -> Verdict:
    """Decide."""
    {body}
'''
DENY = 'return Verdict.deny("trial", "{words}") if payment.amount.amount_minor > 5_000 else Verdict.allow()'


class Dev:
    """A running `arsenal plugin dev --json`, read line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def until(self, event: str, **facts: object) -> dict[str, Any]:
        """The next line of this event with these facts; fails on a fault that was not awaited."""
        passed: list[str] = []
        deadline = time.monotonic() + 3 * HEARD_S
        while True:
            line = self._lines.get(timeout=max(0.1, deadline - time.monotonic()))
            assert line is not None, f"it ended: {passed}"
            told = json.loads(line)
            if told.get("event") == event and all(told.get(name) == value for name, value in facts.items()):
                return dict(told)
            passed.append(line)
            assert told.get("event") != "fault" and "error" not in told, passed

    def rest(self) -> list[dict[str, Any]]:
        """Everything until it ends."""
        found = []
        while (line := self._lines.get(timeout=2 * HEARD_S)) is not None:
            found.append(json.loads(line))
        return found


class Shop:
    """A merchant's till over HTTP."""

    def __init__(self, url: str, merchant_id: str, client_id: str, secret: str) -> None:
        self.merchant_id = merchant_id
        self._url = url
        answer = httpx.post(
            f"{url}/oauth/token",
            data={"grant_type": "client_credentials"},
            auth=(client_id, secret),
            trust_env=False,
            timeout=20,
        )
        self._token = answer.json()["access_token"]
        self._count = 0

    def pay(self, amount_minor: int = 8_200) -> dict[str, Any]:
        """The answer to a new order."""
        self._count += 1
        number = f"dev_{self.merchant_id[-6:]}_{self._count}"
        answer = httpx.post(
            f"{self._url}/v1/payments",
            json={
                "out_trade_no": number,
                "subject": "Two coffees",
                "form": "local",
                "currency": "CNY",
                "order_minor": amount_minor,
            },
            headers={"Authorization": f"Bearer {self._token}", "Idempotency-Key": number},
            trust_env=False,
            timeout=20,
        )
        return {"status": answer.status_code, **answer.json()}

    def until(self, holds: Callable[[dict[str, Any]], bool], amount_minor: int = 8_200) -> dict[str, Any]:
        """Pay until an answer is as it must be."""
        deadline = time.monotonic() + HEARD_S
        while not holds(told := self.pay(amount_minor)):
            assert time.monotonic() < deadline, told
            time.sleep(0.1)
        return told


@pytest.fixture
def folder(command_line: CommandLine, tmp_path: Path) -> Path:
    """A plugin as `plugin new` writes it."""
    place = tmp_path / "trial-risk"
    made = command_line.run(
        "plugin", "new", "trial-risk", "--hook", "check_payment", "--id", PLUGIN, "--into", str(place), "--json"
    )
    assert made.exit_code == 0, made.output
    return place


def save(folder: Path, body: str) -> None:
    """Write the rule."""
    (folder / "trial_risk" / "plugin.py").write_text(RULE.format(body=body), encoding="utf-8")


@pytest.fixture
async def shops(command_line: CommandLine, start: Start, database_url: str) -> Iterator[list[Shop]]:
    """Two merchants on a server in development mode."""
    server = start(command_line, "serve", "--json", ARSENAL_LISTEN_PORT="0", ARSENAL_IS_DEVELOPMENT="true")
    assert server.stdout is not None
    url = json.loads(server.stdout.readline())["url"]
    async with platform_of(command_line.env, DatabaseUrls(owner=database_url)) as platform:
        opened = await open_shops(platform, count=2, acquirer_url="http://127.0.0.1:9")
    return [Shop(url, one.merchant_id, one.client_id, one.secret) for one in opened]


def developing(command_line: CommandLine, start: Start, folder: Path, shop: Shop) -> Dev:
    """The command, begun."""
    return Dev(start(command_line, "plugin", "dev", str(folder), "--merchant", shop.merchant_id, "--json"))


async def test_a_save_decides_the_next_order_and_ctrl_c_leaves_nothing(
    command_line: CommandLine, start: Start, shops: list[Shop], folder: Path
) -> None:
    shop, other = shops
    save(folder, DENY.format(words="Too much."))
    dev = developing(command_line, start, folder, shop)
    first = dev.until("swapped")
    assert (first["processes"], first["missing"]) == (1, 0)
    refused = shop.pay()
    assert (refused["status"], refused["code"]) == (403, "payments.denied_by_risk"), refused
    seen = dev.until("call", hook="check_payment", plugin_version=first["version"])
    assert (seen["answer"]["decision"], seen["answer"]["reasons"][0]["text"]) == ("deny", "Too much.")
    assert seen["tier"] == "confined"
    assert shop.pay(1_000)["state"] == "captured"
    assert other.pay()["state"] == "captured"
    assert dev.until("call", outcome="ok")["answer"]["decision"] == "allow"

    save(folder, 'ctx.state.increment("seen")\n    return Verdict.review("trial", "Look first.")')
    second = dev.until("swapped")
    assert second["version"] != first["version"]
    reviewed = shop.pay()
    assert reviewed["state"] == "in_review", reviewed
    call = dev.until("call", plugin_version=second["version"])
    assert (call["answer"]["decision"], call["asks"]) == ("review", ["state.increment"])
    assert call["object_id"] == reviewed["id"]

    dev.process.send_signal(signal.SIGINT)
    assert dev.rest()[-1] == {"event": "ended", "is_restored": True}
    assert dev.process.wait(30) == 0
    assert shop.pay()["state"] == "captured"
    listed = one_document(command_line.run("plugin", "list", "--merchant", shop.merchant_id, "--json").stdout)
    assert listed == {"data": []}
    home = Path(command_line.env["ARSENAL_HOME"])
    assert [path for path in (home / "plugins").glob(f"{PLUGIN}/*")] == []
