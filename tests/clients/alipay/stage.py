"""Where the outside clients meet the gateway: server and clients in one network namespace, on port 80.

`python -m tests.clients.alipay.stage <job as JSON>` serves on 127.0.0.1 (httptools) and 127.0.0.2 (h11), starts the
clients, and obeys its standard input: one JSON object a line, `{"to": "stage" | "pas" | "asp", ...}`, answered by one
line each. Answers are the client's own; whoever asks gets them as they are.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import socket
import struct
import sys
import traceback
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import asyncpg
import uvicorn
from cryptography.hazmat.primitives import serialization

from platform_core.identity.consent import ScopeWish
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.http.one_write import OneWriteProtocol
from platform_core.kernel.i18n import Text
from sandbox.simulators.alipay_gateway.keys import public_line, spelled
from sandbox.simulators.alipay_gateway.notices import Heard
from tests.capabilities.payments.shop import open_shop
from tests.consoles.browser import REDIRECT, answer_of, fields_of, sign_in
from tests.sandbox.alipay.bazaar import Bazaar, open_bazaar
from tests.sandbox.alipay.keys import key
from tests.sandbox.alipay.tools.yard import Yard, open_yard
from tests.support.world import ORIGIN, Till

PARSERS = {"httptools": ("127.0.0.1", OneWriteProtocol), "h11": ("127.0.0.2", "h11")}
HERE = Path(__file__).parent


class Client:
    """One outside client's process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, job: dict[str, Any]) -> dict[str, Any]:
        """What the client says to one job."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job).encode() + b"\n")
        await self._process.stdin.drain()
        line = await self._process.stdout.readline()
        told: dict[str, Any] = json.loads(line) if line else {"failed": "the client has ended"}
        return told


SHOP: Final = "http://shop.test/notify"
ISV_SCOPES: Final = ("payments:read", "payments:write", "refunds:read", "refunds:write")


class Stage:
    """Obeys orders that no client can carry out: new sellers, time, the customer's phone, the owner's consent."""

    def __init__(self, bazaar: Bazaar, yard: Yard) -> None:
        self._bazaar = bazaar
        self._yard = yard
        self._tills: dict[str, Till] = {}
        yard.shops.answers[SHOP] = Heard(200, b"success", None)

    async def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """The outcome of one order; what went wrong is told, and the stage stands."""
        try:
            return {"done": await getattr(self, order["do"])(order)}
        except Exception:  # noqa: BLE001 - whoever asked fails with these words
            return {"failed": traceback.format_exc()[-2000:]}

    async def seller(self, order: dict[str, Any]) -> dict[str, Any]:
        """A new merchant with an app, and everything that its clients configure."""
        made = await self._bazaar.new_seller()
        self._tills[made.number] = made.till
        found = await self._configured(made.app_id, made.number)
        if order.get("is_certified"):
            files = await self._bazaar.tools.rings.certify(made.app_id, spelled(made.key).public_spki_pem)
            found |= {"app_cert": files.app, "platform_cert": files.platform, "root_cert": files.root}
        return found

    async def isv(self, _: dict[str, Any]) -> dict[str, Any]:
        """An ISV's app, let in by the owner of a new merchant: what the app configures, and the code that came back."""
        app, till = await self._yard.isv_app(), await self._bazaar.shop.new_till()
        wishes = [ScopeWish(scope, purpose=Text(en="to work", zh="工作所需")) for scope in ISV_SCOPES]
        await self._bazaar.shop.platform.consent.declare_scopes(app.app_id, wishes)
        self._tills[app.number] = till
        return await self._configured(app.app_id, app.number) | {"code": await self._let_in(app.number, till)}

    async def again(self, order: dict[str, Any]) -> dict[str, Any]:
        """The same owner lets the app in once more."""
        return {"code": await self._let_in(order["app_id"], self._tills[order["app_id"]])}

    async def revoke(self, order: dict[str, Any]) -> dict[str, Any]:
        """The merchant ends what it gave."""
        platform, till = self._bazaar.shop.platform, self._tills[order["app_id"]]
        number = await self._bazaar.alipay.numbers.app_behind(order["app_id"])
        assert number is not None
        grant = await platform.grants.active_of(str(number.native_id), till.merchant_id)
        assert grant is not None
        await platform.grants.revoke(grant.id, merchant_id=till.merchant_id, by="per_owner", why="not used any more")
        return {}

    async def notices(self, order: dict[str, Any]) -> dict[str, Any]:
        """What a worker would have told the shop by now: the notices' fields, in the order in which they were sent."""
        merchant_id = self._tills[order["app_id"]].merchant_id
        self._yard.shops.told.clear()
        await self._yard.follow(merchant_id)
        await self._yard.send(merchant_id)
        forms = [form for address, form in self._yard.shops.told if address == SHOP]
        return {"told": [dict(parse_qsl(form.decode(), keep_blank_values=True, strict_parsing=True)) for form in forms]}

    async def _configured(self, app_id: str, number: str) -> dict[str, Any]:
        pair = spelled(key("app"))
        platform = (await self._bazaar.tools.rings.of(app_id)).platform.public_key
        spki = platform.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        return {
            "app_id": number,
            "pkcs8": pair.private_pkcs8_pem,
            "pkcs1_line": pair.private_pkcs1_line,
            "platform_pem": spki.decode(),
            "platform_line": public_line(platform),
        }

    async def _let_in(self, number: str, till: Till) -> str:
        """The owner follows the app's link, signs in and agrees; the code with which the browser comes back."""
        browser = await sign_in(self._yard.world, till.merchant_id)
        asked = urlencode({"app_id": number, "redirect_uri": REDIRECT, "state": "s"})
        answer = await browser.get(f"/oauth2/appToAppAuth.htm?{asked}")
        path = str(answer.headers["location"]).removeprefix(ORIGIN)
        shown = await browser.get(path)
        left = await browser.post(path, {**fields_of(shown.text), "decision": "allow"})
        return answer_of(left.headers["location"])["app_auth_code"]

    async def later(self, order: dict[str, Any]) -> dict[str, Any]:
        """Let time pass."""
        self._bazaar.shop.later(seconds=order["seconds"])
        return {}

    async def scan(self, order: dict[str, Any]) -> dict[str, Any]:
        """The customer's phone reads a code."""
        return {"status": self._bazaar.shop.acquirer.scan(order["code"], order.get("scenario", "success"))}

    async def native(self, order: dict[str, Any]) -> dict[str, Any]:
        """The payment as the native API shows it, and what the wallet holds of it."""
        till = self._tills[order["app_id"]]
        payment: dict[str, Any] = (await till.get(f"/payments/out_trade_no:{order['out_trade_no']}")).json()
        keys = {row["id"] for row in await self._bazaar.shop.transactions(payment["id"])}
        return {**payment, "collected_minor": self._bazaar.shop.acquirer.collected(keys)}


async def _client(python: str, name: str) -> Client:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("ARSENAL_", "PYTHON"))}
    process = await asyncio.create_subprocess_exec(
        python,
        HERE / name / "driver.py",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**environment, "NO_PROXY": "127.0.0.1,127.0.0.2"},
        limit=2**22,
    )
    return Client(process)


async def _serve(app: Any, address: str, protocol: Any, *, port: int = 80) -> uvicorn.Server:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    config = uvicorn.Config(app, http=protocol, ws="none", lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]  # the stage has its own end
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        assert not task.done(), task
        await asyncio.sleep(0.01)
    return server


async def main(job: dict[str, Any]) -> None:
    """Open everything, say so, obey until the input ends."""
    async with AsyncExitStack() as stack:
        clock = ManualClock(datetime.now(UTC))
        url, home = job["database_url"], Path(job["home"])
        shop = await stack.enter_async_context(open_shop(url, clock=clock, home=home, is_sandbox=True))
        owner = await asyncpg.connect(url)
        stack.push_async_callback(owner.close)
        stage = Stage(open_bazaar(shop), open_yard(shop, clock, owner))
        servers = [await _serve(shop.app, *PARSERS[name]) for name in PARSERS]
        servers.append(await _serve(shop.app, "127.0.0.1", OneWriteProtocol, port=8080))  # what the documents say
        clients = {name: await _client(python, name) for name, python in job["clients"].items()}
        reader = asyncio.StreamReader(limit=2**22)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        _say({"ready": True})
        while line := await reader.readline():
            order = json.loads(line)
            to = order.pop("to")
            _say(await (stage.obey(order) if to == "stage" else clients[to].ask(order)))
        for server in servers:
            server.should_exit = True


def _say(told: dict[str, Any]) -> None:
    _answers.write(json.dumps(told, default=str) + "\n")
    _answers.flush()


def raise_loopback() -> None:
    """Bring `lo` up, which is down in a new network namespace (netdevice(7): SIOCSIFFLAGS, IFF_UP and IFF_RUNNING)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh22x", b"lo", 0x1 | 0x40))


if __name__ == "__main__":
    _answers = os.fdopen(os.dup(1), "w")  # log lines go elsewhere
    os.dup2(2, 1)
    raise_loopback()
    asyncio.run(main(json.loads(sys.argv[1])))
