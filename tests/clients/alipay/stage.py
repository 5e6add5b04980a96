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
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn
from cryptography.hazmat.primitives import serialization

from platform_core.kernel.clock import ManualClock
from platform_core.kernel.http.one_write import OneWriteProtocol
from sandbox.simulators.alipay_gateway.keys import public_line, spelled
from tests.capabilities.payments.shop import open_shop
from tests.sandbox.alipay.bazaar import Bazaar, Seller, open_bazaar

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


class Stage:
    """Obeys orders that no client can carry out: new sellers, time, the customer's phone, the books."""

    def __init__(self, bazaar: Bazaar) -> None:
        self._bazaar = bazaar
        self._sellers: dict[str, Seller] = {}

    async def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """The outcome of one order."""
        return {"done": await getattr(self, order["do"])(order)}

    async def seller(self, order: dict[str, Any]) -> dict[str, Any]:
        """A new merchant with an app, and everything that its clients configure."""
        bazaar = self._bazaar
        made = await bazaar.new_seller()
        self._sellers[made.number] = made
        pair = spelled(made.key)
        ring = await bazaar.tools.rings.of(made.app_id)
        found = {
            "app_id": made.number,
            "pkcs1": pair.private_pkcs1_pem,
            "pkcs8": pair.private_pkcs8_pem,
            "pkcs1_line": pair.private_pkcs1_line,
            "platform_pem": ring.platform.public_key.public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            ).decode(),
            "platform_line": public_line(ring.platform.public_key),
        }
        if order.get("is_certified"):
            files = await bazaar.tools.rings.certify(made.app_id, pair.public_spki_pem)
            found |= {"app_cert": files.app, "platform_cert": files.platform, "root_cert": files.root}
        return found

    async def later(self, order: dict[str, Any]) -> dict[str, Any]:
        """Let time pass."""
        self._bazaar.shop.later(seconds=order["seconds"])
        return {}

    async def scan(self, order: dict[str, Any]) -> dict[str, Any]:
        """The customer's phone reads a code."""
        return {"status": self._bazaar.shop.acquirer.scan(order["code"], order.get("scenario", "success"))}

    async def native(self, order: dict[str, Any]) -> dict[str, Any]:
        """The payment as the native API shows it, and what the wallet holds of it."""
        till = self._sellers[order["app_id"]].till
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
        shop = await stack.enter_async_context(open_shop(job["database_url"], clock=clock, home=Path(job["home"])))
        stage = Stage(open_bazaar(shop))
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
