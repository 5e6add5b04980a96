"""The stage, started once: PostgreSQL outside, server and clients in a network namespace where port 80 is free."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from platform_core.kernel.database.embedded import EmbeddedPostgres
from tests.clients.alipay.environments import CLIENTS, missing, python_of

START_S = 60.0
ADDRESSES = {"httptools": "http://127.0.0.1/gateway.do", "h11": "http://127.0.0.2/gateway.do"}
# Root needs no user namespace; in one, root could not reach the socket of a PostgreSQL that runs as somebody else.
_APART = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--net", "--map-root-user"]


def _may_stand_apart() -> bool:
    return shutil.which("unshare") is not None and subprocess.run([*_APART, "true"], check=False).returncode == 0


@dataclass(frozen=True, slots=True)
class Theatre:
    """The stage's process, spoken to in JSON lines."""

    process: asyncio.subprocess.Process

    async def tell(self, to: str, do: str, **order: Any) -> Any:
        """The outcome of an order. AssertionError with the client's own words when it failed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"to": to, "do": do, **order}).encode() + b"\n")
        await self.process.stdin.drain()
        line = await self.process.stdout.readline()
        told = json.loads(line) if line else {"failed": "the stage has ended"}
        assert "failed" not in told, f"{to} {do} {order}: {told['failed']}"
        return told["done"]


@dataclass(frozen=True, slots=True)
class Shopkeeper:
    """One client's connection of one seller."""

    theatre: Theatre
    client: str
    name: str
    app_id: str

    async def call(self, method: str, biz: dict[str, Any], **more: Any) -> dict[str, Any]:
        """The node that the client gives back, verified by itself."""
        answer: dict[str, Any] = await self.theatre.tell(
            self.client, "call", name=self.name, method=method, biz=biz, **more
        )
        return answer

    async def stage(self, do: str, **order: Any) -> Any:
        """Something that no client can do."""
        return await self.theatre.tell("stage", do, **order)

    async def native(self, out_trade_no: str) -> dict[str, Any]:
        """The payment as the platform has it."""
        found: dict[str, Any] = await self.stage("native", app_id=self.app_id, out_trade_no=out_trade_no)
        return found


@pytest.fixture(scope="session")
async def theatre(
    postgres: EmbeddedPostgres, sandbox_template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Theatre]:
    """Skipped loudly where there is no namespace to be had; failed there under ARSENAL_REQUIRE_ALL=1."""
    if not _may_stand_apart():
        missing("a network namespace of one's own (util-linux, unprivileged user namespaces) is not to be had")
    pythons = {client: str(python_of(client)) for client in CLIENTS}
    postgres.create_database("alipay_clients", template=sandbox_template)
    folder = tmp_path_factory.mktemp("alipay-clients")
    job = {"database_url": postgres.url("alipay_clients"), "home": str(folder), "clients": pythons}
    with (folder / "stage.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *_APART,
            sys.executable,
            "-m",
            "tests.clients.alipay.stage",
            json.dumps(job),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            limit=2**22,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    async with asyncio.timeout(START_S):
        line = await process.stdout.readline()
    assert line, (folder / "stage.log").read_text()[-4000:]
    yield Theatre(process)
    process.stdin.close()
    async with asyncio.timeout(START_S):
        await process.wait()


async def open_client(
    theatre: Theatre, kind: str, *, parser: str = "httptools", sign_type: str = "RSA2", charset: str = "utf-8"
) -> Shopkeeper:
    """A new seller, and a client of a kind that speaks for it: plain, dc (certificates), asp."""
    seller = await theatre.tell("stage", "seller", is_certified=kind == "dc")
    return await configured(theatre, kind, seller, parser=parser, sign_type=sign_type, charset=charset)


async def configured(
    theatre: Theatre,
    kind: str,
    seller: dict[str, Any],
    *,
    parser: str = "httptools",
    sign_type: str = "RSA2",
    charset: str = "utf-8",
    **more: str,
) -> Shopkeeper:
    """A client with an app's keys; `more`: what else its library takes."""
    client = "asp" if kind == "asp" else "pas"
    name = f"{kind}-{seller['app_id']}"
    keys = (
        {"private_key": seller["pkcs1_line"], "platform_key": seller["platform_line"], "charset": charset}
        if client == "asp"
        else {"private_key": seller["pkcs8"], "platform_key": seller["platform_pem"], "kind": kind}
    )
    files = {part: seller[part] for part in ("app_cert", "platform_cert", "root_cert") if part in seller}
    job = {"gateway": ADDRESSES[parser], "app_id": seller["app_id"], "sign_type": sign_type, **keys, **files, **more}
    await theatre.tell(client, "open", name=name, **job)
    return Shopkeeper(theatre, client, name, seller["app_id"])
