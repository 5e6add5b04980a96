"""A platform as an operator runs it: `arsenal` processes, an acquirer's, and merchants who take payments."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from standardwebhooks.webhooks import Webhook

from platform_core.bootstrap.platform import Platform, open_platform
from platform_core.capabilities.payments.fees import FeeTerms
from platform_core.capabilities.payments.setup import PaymentSetup
from platform_core.identity.schemas import AppCreate, GrantCreate, MerchantCreate
from platform_core.kernel.database.pools import DatabaseUrls
from platform_core.kernel.settings import Settings, variable_of
from tests.delivery.receiver import Receiver
from tests.support.load import Credentials
from tests.support.processes import ARSENAL, PYTHON, Daemon, answers_http, free_port, says

ACQUIRER_KEY = b"0123456789abcdef0123456789abcdef"
MERCHANT_NO = "M1"
SCOPES = (
    "payments:write",
    "payments:read",
    "refunds:write",
    "refunds:read",
    "ledger:read",
    "webhooks:read",
    "webhooks:write",
)


def environment(home: Path, **settings: object) -> dict[str, str]:
    """The environment of an `arsenal` process: nothing of ours but these settings (`listen_port=...`)."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ARSENAL_")}
    given = {f"ARSENAL_{name.upper()}": str(value) for name, value in settings.items() if value is not None}
    return {
        **kept,
        "ARSENAL_HOME": str(home),
        "ARSENAL_LOG_LEVEL": "warning",
        "ARSENAL_IS_WEBHOOK_LOOPBACK_ALLOWED": "1",
        "ARSENAL_RATE_OWN_APP_PER_S": "100000",
        "ARSENAL_RATE_ADDRESS_PER_S": "100000",
        **given,
    }


def server(name: str, folder: Path, *, port: int, given: Mapping[str, str]) -> Daemon:
    """`arsenal serve` on a port of loopback."""
    url = f"http://127.0.0.1:{port}"
    return Daemon(
        name,
        [ARSENAL, "serve"],
        log=folder / f"{name}.log",
        ready=answers_http(f"{url}/openapi.json"),
        environment={**given, "ARSENAL_LISTEN_PORT": str(port)},
    )


def server_children(daemon: Daemon) -> set[int]:
    """The processes of `arsenal serve --workers N` that answer requests, by id."""
    found = set()
    for child in psutil.Process(daemon.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):  # a zombie is gone too
            if "spawn_main" in " ".join(child.cmdline()):
                found.add(child.pid)
    return found


def worker(name: str, folder: Path, *, given: Mapping[str, str]) -> Daemon:
    """`arsenal worker`, ready when it says so."""
    return Daemon(
        name, [ARSENAL, "worker", "--json"], log=folder / f"{name}.log", ready=says('"ready": true'), environment=given
    )


def acquirer(folder: Path) -> tuple[Daemon, str]:
    """The simulated acquirer as a process with a book of its own, and its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        PYTHON, "-m", "sandbox.simulators.acquirer", "--port", str(port), "--book", str(folder / "book.sqlite"),
        "--merchant", f"{MERCHANT_NO}={ACQUIRER_KEY.hex()}",
    ]  # fmt: skip
    return Daemon("acquirer", command, log=folder / "acquirer.log", ready=answers_http(f"{url}/_book")), url


async def read_book(acquirer_url: str) -> dict[str, Any]:
    """All that the acquirer has been asked, and what moved there."""
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        answer = await http.get(f"{acquirer_url}/_book")
    return dict(answer.json())


def run_command(*arguments: str, given: Mapping[str, str]) -> dict[str, Any]:
    """`arsenal ... --json`; what it printed. Raises AssertionError unless it exits 0."""
    done = subprocess.run(
        [ARSENAL, *arguments, "--json"], check=False, env=dict(given), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"arsenal {' '.join(arguments)} exits {done.returncode}: {done.stdout}{done.stderr}"
    return dict(json.loads(done.stdout.strip().splitlines()[-1])) if done.stdout.strip() else {}


@dataclass(frozen=True, slots=True)
class Arrived:
    """A webhook as the receiver got it, its signature verified."""

    id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Inbox:
    """Where merchants' webhooks arrive: every message's signature is verified with the library that receivers use."""

    receiver: Receiver
    secrets: Mapping[str, str]

    def arrived(self) -> list[Arrived]:
        """All messages so far. Raises `WebhookVerificationError` for one that its merchant's secret did not sign."""
        found = []
        for request in self.receiver.got:
            Webhook(self.secrets[request.target]).verify(request.body, dict(request.headers))
            found.append(Arrived(request.headers["webhook-id"], request.body))
        return found


async def open_shops(
    platform: Platform, *, count: int, acquirer_url: str, scopes: Sequence[str] = SCOPES
) -> list[Credentials]:
    """So many merchants, each with an app, cash and the simulated acquirer."""
    return [await _open_shop(platform, acquirer_url, scopes) for _ in range(count)]


async def _open_shop(platform: Platform, acquirer_url: str, scopes: Sequence[str]) -> Credentials:
    merchant = await platform.parties.create_merchant(
        MerchantCreate(name="Hutong Coffee", mode="test", industry="restaurant", verification="verified")
    )
    app = await platform.apps.create_app(
        AppCreate(name="Till", mode="test", merchant_id=merchant.id, api_version="2026-11-22")
    )
    await platform.grants.create(
        GrantCreate(
            app_id=app.id, merchant_id=merchant.id, mode="test", scopes=scopes, stores=None, given_by="per_owner"
        )
    )
    await take_money(platform.payment_setup, merchant.id, acquirer_url=acquirer_url)
    return Credentials(merchant.id, app.client.id, app.secret.secret)


async def take_money(setup: PaymentSetup, merchant_id: str, *, acquirer_url: str) -> None:
    """Give a merchant a fee plan, a contract with the simulated acquirer and a drawer."""
    await setup.set_fee_plan(merchant_id, currency="CNY", terms=FeeTerms(rate_bp=60))
    await setup.add_channel_account(
        merchant_id,
        provider_id="simulated_acquirer",
        name="Acquirer",
        settings={"gateway_url": acquirer_url, "merchant_no": MERCHANT_NO},
        secrets={"signing_key": ACQUIRER_KEY},
    )
    await setup.add_channel_account(merchant_id, provider_id="cash", name="Drawer", settings={}, secrets={})


async def subscribe(origin: str, shop: Credentials, url: str) -> str:
    """Let the shop's app hear of everything at `url`; returns the signing secret."""
    async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
        token = await http.post(
            f"{origin}/oauth/token", data={"grant_type": "client_credentials"}, auth=(shop.client_id, shop.secret)
        )
        answer = await http.post(
            f"{origin}/v1/webhook-endpoints",
            json={"url": url, "event_types": ["*"]},
            headers={"authorization": f"Bearer {token.json()['access_token']}", "idempotency-key": "subscribe"},
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["secret"])


@asynccontextmanager
async def platform_of(given: Mapping[str, str], urls: DatabaseUrls) -> AsyncIterator[Platform]:
    """A platform in this process over the same database and the same keys as the `arsenal` processes."""
    names = {variable_of(field): field for field in Settings.model_fields}
    settings = Settings(**{names[name]: value for name, value in given.items() if name in names})
    async with open_platform(settings, urls) as platform:
        yield platform
