"""`arsenal plugin dev`, `trace`, `replay` with real processes; every command of docs/how-to/develop-a-plugin.md."""

from __future__ import annotations

import asyncio
import json
import queue
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from platform_core.kernel.database.pools import DatabaseUrls
from tests.bootstrap.conftest import CommandLine, Start, one_document
from tests.docs.markdown import examples
from tests.support.load import Credentials
from tests.support.patience import HEARD_S
from tests.support.processes_arsenal import open_shops, platform_of

pytestmark = [pytest.mark.api, pytest.mark.database, pytest.mark.timeout(180)]
PLUGIN = "com.example.trial-risk"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "develop-a-plugin.md"
RULE = '''"""The rule under trial."""

from platform_core.contracts.hooks import hookimpl
from platform_core.contracts.payments import PaymentToCheck
from platform_core.contracts.plugin import HookContext
from platform_core.contracts.results import Verdict


@hookimpl
def check_payment(ctx: HookContext, payment: PaymentToCheck) -> Verdict:
    """Decide."""
    {body}
'''
DENY = 'return Verdict.deny("{rule}", "{words}") if payment.amount.amount_minor > 5_000 else Verdict.allow()'


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
            assert told.get("event") != "fault", passed
            assert "error" not in told, passed

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
def shops(command_line: CommandLine, start: Start, database_url: str) -> list[Shop]:
    """Two merchants on a server in development mode."""
    server = start(command_line, "serve", "--json", ARSENAL_LISTEN_PORT="0", ARSENAL_IS_DEVELOPMENT="true")
    assert server.stdout is not None
    url = json.loads(server.stdout.readline())["url"]

    async def opened_shops() -> list[Credentials]:
        async with platform_of(command_line.env, DatabaseUrls(owner=database_url)) as platform:
            return await open_shops(platform, count=2, acquirer_url="http://127.0.0.1:9")

    opened = asyncio.run(opened_shops())
    return [Shop(url, one.merchant_id, one.client_id, one.secret) for one in opened]


def developing(command_line: CommandLine, start: Start, folder: Path, shop: Shop) -> Dev:
    """The command, begun."""
    return Dev(start(command_line, "plugin", "dev", str(folder), "--merchant", shop.merchant_id, "--json"))


def test_a_save_decides_the_next_order_and_ctrl_c_leaves_nothing(
    command_line: CommandLine,
    start: Start,
    shops: list[Shop],
    folder: Path,
    record_property: Callable[[str, object], None],
) -> None:
    shop, other = shops
    save(folder, DENY.format(rule="trial", words="Too much."))
    dev = developing(command_line, start, folder, shop)
    first = dev.until("swapped")
    record_property("first_saved_to_swapped_ms", first["saved_to_swapped_ms"])
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
    record_property("saved_to_swapped_ms", second["saved_to_swapped_ms"])
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
    assert list((home / "plugins").glob(f"{PLUGIN}/*")) == []


def installed(command_line: CommandLine, shop: Shop) -> dict[str, Any]:
    """The plugin's installation as the operator sees it."""
    told = one_document(command_line.run("plugin", "list", "--merchant", shop.merchant_id, "--json").stdout)
    return next(dict(row) for row in told["data"] if row["plugin_id"] == PLUGIN)


def publish(command_line: CommandLine, folder: Path, shop: Shop) -> None:
    """The plugin as it is, packed, submitted, reviewed, published, installed and enabled."""

    def run(*words: str, **changed: str) -> dict[str, Any]:
        done = command_line.run("plugin", *words, "--json", **changed)
        assert done.exit_code == 0, done.output
        return one_document(done.stdout)

    publisher = one_document(command_line.run("isv", "create", "--name", "Acme", "--json").stdout)["id"]
    manifest = folder / "trial_risk" / "plugin.toml"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace("isv_example", publisher), encoding="utf-8")
    release = run("submit", run("pack", str(folder))["bundle"])
    for reviewer in ("li", "wang")[: release["reviews_needed"]]:
        run("review", release["id"], "--decision", "approve", "--note", "Read it.", LOGNAME=reviewer)
    run("publish", release["id"])
    run("install", PLUGIN, "--merchant", shop.merchant_id)
    run("enable", PLUGIN, "--merchant", shop.merchant_id)


def test_a_save_that_cannot_be_taken_keeps_the_old_one_and_what_was_enabled_before_comes_back(
    command_line: CommandLine, start: Start, shops: list[Shop], folder: Path
) -> None:
    shop = shops[0]
    save(folder, DENY.format(rule="published", words="Too much."))
    publish(command_line, folder, shop)
    assert decided_by(shop.until(lambda told: told["status"] == 403)) == "published"
    before = installed(command_line, shop)

    save(folder, DENY.format(rule="drafted", words="Too much."))
    dev = developing(command_line, start, folder, shop)
    running = dev.until("swapped")["version"]
    assert decided_by(shop.pay()) == "drafted"

    wrong = {
        "syntax": "return Verdict.allow(",
        "fixtures": "return payment.amount.amount_minor / 0",
        "load": "raise Nothing\n\nimport nothing_of_this_name",
    }
    for stage, body in wrong.items():
        save(folder, body)
        fault = dev.until("fault", stage=stage)
        assert fault["running"] == running, fault
        assert fault["next_step"]
        assert decided_by(shop.pay()) == "drafted"
    assert "trial_risk/plugin.py:14" in dev_said(dev, folder, "x = (")
    socket = "import socket; socket.socket()\n    return Verdict.allow()"
    save(folder, socket)
    kernel = dev.until("fault", stage="kernel")
    assert "socket at trial_risk/plugin.py:12" in kernel["said"], kernel
    assert decided_by(shop.pay()) == "drafted"

    dev.process.send_signal(signal.SIGTERM)
    assert dev.rest()[-1] == {"event": "ended", "is_restored": True}
    assert decided_by(shop.pay()) == "published"
    after = installed(command_line, shop)
    kept = ("id", "plugin_version", "state", "scopes", "grant_id", "missing", "suspension", "rolls_back_to")
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}


def decided_by(answer: dict[str, Any]) -> str:
    """The rule that refused a payment."""
    assert (answer["status"], answer["code"]) == (403, "payments.denied_by_risk"), answer
    return str(answer["detail"]).rpartition("by: ")[2].rstrip(".")


def dev_said(dev: Dev, folder: Path, line: str) -> str:
    """What it says of a line that stands behind the rule."""
    save(folder, f"return Verdict.allow()\n\n{line}")
    return str(dev.until("fault", stage="syntax")["said"])


def test_a_plugin_that_swallows_a_refusal_or_dies_in_a_call_is_told(
    command_line: CommandLine, start: Start, shops: list[Shop], folder: Path
) -> None:
    """What fixtures do not meet, an order may: the call's line names the kernel call, and the next save mends it."""
    shop = shops[0]
    forks = "if payment.amount.amount_minor == 7_777:\n        import os; os.fork()"
    traces = "if payment.amount.amount_minor == 6_666:\n        import ctypes; ctypes.CDLL(None).ptrace(0, 0, 0, 0)"
    save(folder, f"{forks}\n    {traces}\n    return Verdict.allow()")
    dev = developing(command_line, start, folder, shop)
    version = dev.until("swapped")["version"]
    assert shop.pay(7_777)["state"] == "in_review"
    call = dev.until("call", plugin_version=version)
    assert (call["outcome"], call["refused_kernel_calls"]) == ("exception", ["fork at trial_risk/plugin.py:13"])
    assert shop.pay(6_666)["state"] == "in_review"
    call = dev.until("call", plugin_version=version, outcome="forbidden_call")
    assert call["refused_kernel_calls"] == ["ptrace (by ctypes) at trial_risk/plugin.py:15"]
    assert shop.pay()["state"] == "in_review"  # the draft is in quarantine, its successor is not
    assert dev.until("call", outcome="quarantined")["call_id"] == ""
    save(folder, "return Verdict.allow()")
    assert dev.until("swapped")["version"] != version
    assert shop.pay(6_666)["state"] == "captured"
    dev.process.send_signal(signal.SIGINT)
    assert dev.rest()[-1]["event"] == "ended"


def test_a_platform_that_is_not_in_development_takes_no_drafts(
    command_line: CommandLine, start: Start, database_url: str, folder: Path
) -> None:
    made = command_line.run("merchant", "create", "--name", "Trial", "--industry", "retail", "--json")
    merchant_id = one_document(made.stdout)["id"]
    server = start(command_line, "serve", "--json", ARSENAL_LISTEN_PORT="0")
    assert server.stdout is not None
    server.stdout.readline()
    dev = start(command_line, "plugin", "dev", str(folder), "--merchant", merchant_id, "--json")
    said, _ = dev.communicate(timeout=2 * HEARD_S)
    assert (dev.returncode, json.loads(said.splitlines()[-1])["error"]["code"]) == (1, "cli.not_in_development")
    assert drafts(database_url) == 0


def drafts(database_url: str) -> int:
    """How many releases there are of the plugin, drafts or not."""

    async def count() -> int:
        connection = await asyncpg.connect(database_url)
        try:
            return int(await connection.fetchval("SELECT count(*) FROM plugin_release WHERE plugin_id = $1", PLUGIN))
        finally:
            await connection.close()

    return asyncio.run(count())


def test_a_live_merchant_takes_no_drafts(
    command_line: CommandLine, start: Start, database_url: str, folder: Path
) -> None:
    made = command_line.run("merchant", "create", "--name", "Real", "--industry", "retail", "--mode", "live", "--json")
    merchant_id = one_document(made.stdout)["id"]
    dev = start(command_line, "plugin", "dev", str(folder), "--merchant", merchant_id, "--json")
    said, _ = dev.communicate(timeout=2 * HEARD_S)
    assert (dev.returncode, json.loads(said)["error"]["code"]) == (1, "plugins.dev_merchant_live")
    assert drafts(database_url) == 0


def test_a_traced_call_is_replayed_by_version_and_by_folder(
    command_line: CommandLine, start: Start, shops: list[Shop], folder: Path
) -> None:
    shop = shops[0]
    save(folder, DENY.format(rule="trial", words="Too much."))
    publish(command_line, folder, shop)
    shop.until(lambda told: told["status"] == 403)
    words = ("plugin", "trace", "--merchant", shop.merchant_id, "--hook", "check_payment", "--calls", "1", "--json")
    trace = Dev(start(command_line, *words))
    trace.until("process")
    shop.pay()
    call = trace.until("call")
    assert (call["plugin_version"], call["outcome"], call["is_used"]) == ("0.1.0", "ok", True)
    assert "deny" in call["result"]
    assert trace.rest() == []
    assert trace.process.wait(30) == 0

    same = one_document(command_line.run("plugin", "replay", call["call_id"], "--json").stdout)
    assert (same["is_same"], same["difference"], same["now"]["version"]) == (True, [], "0.1.0")
    assert same["now"]["where"].startswith("in a worker at L")
    save(folder, DENY.format(rule="trial", words="Far too much."))
    other = one_document(
        command_line.run("plugin", "replay", call["call_id"], "--folder", str(folder), "--json").stdout
    )
    assert other["is_same"] is False
    assert other["difference"] == [{"path": "reasons[0].text", "then": "Too much.", "now": "Far too much."}]
    assert shop.pay()["status"] == 403
    unknown = command_line.run("plugin", "replay", "0" * 32, "--json")
    assert (unknown.exit_code, one_document(unknown.stdout)["error"]["code"]) == (1, "cli.call_not_traced")


def lines_until(process: subprocess.Popen[str], word: str) -> list[str]:
    """The lines of a command's text up to the one with a word in it."""
    assert process.stdout is not None
    found = []
    for line in process.stdout:
        found.append(line)
        if word in line:
            return found
    raise AssertionError(f"it ended without {word!r}: {found}")


def test_every_command_of_the_guide_works(
    command_line: CommandLine, start: Start, shops: list[Shop], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shop = shops[0]
    lines = [
        line for example in examples(PAGE) if example.language == "bash" for line in example.text.strip().splitlines()
    ]
    commands = iter(lines)

    def next_words(**known: str) -> list[str]:
        line = next(commands)
        for name, value in known.items():
            line = line.replace(f"${name}", value)
        words = shlex.split(line)
        assert (words[0], "$" in line) == ("arsenal", False), line
        return words[1:]

    for _ in range(2):
        done = command_line.run(*next_words())
        assert done.exit_code == 0, done.output
    dev = start(command_line, *next_words(MERCHANT=shop.merchant_id))
    swapped = lines_until(dev, "swapped")[-1]
    assert "ms after the save" in swapped
    trace = start(command_line, *next_words(MERCHANT=shop.merchant_id))
    lines_until(trace, "watching")
    shop.pay()
    call_id = lines_until(trace, "check_payment")[-1].split()[-1]
    assert trace.wait(30) == 0
    assert call_id in lines_until(dev, "check_payment")[-1]
    for _ in range(2):
        done = command_line.run(*next_words(CALL=call_id))
        assert done.exit_code == 0, done.output
        assert "The answer is the same." in done.output
    assert next(commands, None) is None
    dev.send_signal(signal.SIGINT)
    assert "What was enabled before is back." in lines_until(dev, "enabled before")[-1]
    assert dev.wait(30) == 0
