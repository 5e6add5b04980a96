"""A sandbox as an ISV finds it: the whole platform with the gateway, and shops that answer notices as a test wants."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import asyncpg

from platform_core.bootstrap.alipay import alipay_tools
from platform_core.delivery.catalogue import EventSeen
from platform_core.identity.schemas import AppCreate, ClientConfigure, GrantCreate, IsvCreate
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.commit.due import DueWork
from sandbox.simulators.alipay_gateway.desk import Desk
from sandbox.simulators.alipay_gateway.notices import SEND, Heard
from sandbox.simulators.alipay_gateway.requests import RequestBook
from sandbox.simulators.alipay_gateway.signing import is_signed, request_text, sign
from sandbox.simulators.alipay_gateway.tools import AlipayTools
from tests.consoles.browser import REDIRECT
from tests.sandbox.alipay.keys import key, public_text
from tests.sandbox.alipay.scanners import pas_finds
from tests.support.world import ORIGIN, Till, World

SCOPES = ("payments:write", "payments:read", "refunds:write", "refunds:read", "ledger:read", "testbed:write")


@dataclass
class Shops:
    """Answers by address; what is sent to the platform's own address goes there."""

    world: World
    answers: dict[str, Heard] = field(default_factory=dict)
    told: list[tuple[str, bytes]] = field(default_factory=list)

    async def post(self, address: str, form: bytes, *, content_type: str) -> Heard:
        self.told.append((address, form))
        if address.startswith(ORIGIN):
            answer = await self.world.client.post(address, content=form, headers={"content-type": content_type})
            return Heard(answer.status_code, answer.content, None)
        return self.answers[address]


@dataclass
class App:
    """An app at the gateway, with its key."""

    yard: Yard
    app_id: str
    client_id: str
    number: str
    desk: Desk
    secret: tuple[str, str]
    till: Till | None = None

    async def ask(self, method: str, biz: dict[str, Any] | None = None, **more: str) -> dict[str, Any]:
        """The node of the answer, verified."""
        given = {
            "app_id": self.number,
            "method": method,
            "charset": "utf-8",
            "sign_type": "RSA2",
            "timestamp": "2026-11-22 20:00:00",
            "version": "1.0",
            **({} if biz is None else {"biz_content": json.dumps(biz, ensure_ascii=False)}),
            **more,
        }
        text = request_text((name.encode(), value.encode()) for name, value in given.items())
        given.setdefault("sign", sign(key("app"), text, sign_type="RSA2"))
        answer = await self.yard.world.client.post("/gateway.do", data=given)
        assert answer.status_code == 200, answer.text
        body = answer.text
        [name, *_] = json.loads(body)
        content, signature = pas_finds(body, name)
        ring = await self.yard.tools.rings.of(self.app_id)
        assert is_signed(ring.platform.public_key, content.encode(), signature, sign_type="RSA2")
        node: dict[str, Any] = json.loads(content)
        return node | {"_body": body}


@dataclass
class Yard:
    """The sandbox of these tests."""

    world: World
    clock: ManualClock
    tools: AlipayTools
    shops: Shops
    owner: asyncpg.Connection[Any]

    async def own_app(self, *, scopes: Sequence[str] = SCOPES) -> App:
        """A merchant's own app with a key at the gateway, and its till."""
        till = await self.world.new_till(scopes=tuple(scopes))
        [row] = await self.owner.fetch(
            "SELECT g.app_id, c.id FROM access_grant g JOIN app_client c ON c.app_id = g.app_id WHERE g.id = $1",
            till.grant_id,
        )
        return await self._app(row[0], row[1], till=till)

    async def isv_app(self) -> App:
        """An ISV's app with a key and a registered address."""
        platform = self.world.platform
        isv = await platform.parties.create_isv(IsvCreate(name="Till Makers", verification="verified"))
        app = await platform.apps.create_app(
            AppCreate(name="Till Cloud", mode="test", api_version="2026-11-22", isv_id=isv.id)
        )
        wanted = ClientConfigure(
            profile="confidential", redirect_uris=(REDIRECT,), grant_types=frozenset({"authorization_code"})
        )
        await platform.apps.configure_client(app.client.id, wanted)
        made = await self._app(app.id, app.client.id)
        made.secret = (app.client.id, app.secret.secret)
        return made

    async def register(self, app: App) -> None:
        """Let a merchant's own app have an address to return to."""
        wanted = ClientConfigure(
            profile="confidential",
            redirect_uris=(REDIRECT,),
            grant_types=frozenset({"authorization_code", "client_credentials"}),
        )
        await self.world.platform.apps.configure_client(app.client_id, wanted)

    async def _app(self, app_id: str, client_id: str, *, till: Till | None = None) -> App:
        platform = self.world.platform
        desk = Desk(self.tools, RequestBook(platform.database, platform.committer), app_id)
        await desk.upload(public_text(key("app")))
        return App(self, app_id, client_id, await desk.number(), desk, ("", ""), till)

    async def follow(self, merchant_id: str) -> int:
        """What the relay and its consumers do with the merchant's events; each of them once. Returns how many plans."""
        sql = (
            "SELECT id, type, merchant_id, object_id, sequence, occurred_at, body::text, traceparent FROM outbox "
            "WHERE merchant_id = $1 AND relayed_at IS NULL ORDER BY position"
        )
        done = 0
        for row in await self.owner.fetch(sql, merchant_id):
            event = EventSeen(*tuple(row))
            for consumer in self.tools.consumers():
                if event.type in consumer.types and (plan := await consumer.handle(event)) is not None:
                    await self.world.platform.committer.commit(plan)
                    done += 1
            await self.owner.execute("UPDATE outbox SET relayed_at = now() WHERE id = $1", event.id)
        return done

    async def due(self, merchant_id: str) -> list[DueWork]:
        """Sends that are planned for the merchant, the next one first."""
        sql = "SELECT kind, subject_id, merchant_id, due_at, tries FROM due WHERE kind = $1 AND merchant_id = $2"
        rows = await self.owner.fetch(f"{sql} ORDER BY due_at", SEND, merchant_id)
        return [DueWork(*row) for row in rows]

    async def send(self, merchant_id: str) -> int:
        """Send what is due now, as a worker would."""
        works = [work for work in await self.due(merchant_id) if work.due_at <= self.clock.now()]
        for work in works:
            plan = await self.tools.notices.send(work)
            assert plan is not None
            await self.world.platform.committer.commit(plan)
        return len(works)

    async def drain(self, merchant_id: str) -> list[timedelta]:
        """Turn the clock from one planned send to the next until none is left; when each was, from the first one on."""
        moments = []
        while works := await self.due(merchant_id):
            if works[0].due_at > self.clock.now():
                self.clock.advance(works[0].due_at - self.clock.now())
            moments.append(self.clock.now())
            assert await self.send(merchant_id) == 1
        return [moment - moments[0] for moment in moments]

    async def rows(self) -> dict[str, int]:
        """How many rows every table holds, but the logs of requests and of commits."""
        names = await self.owner.fetch(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace "
            "AND relname NOT IN ('request_log', 'sim_alipay_request', 'commit_batch')"
        )
        sql = " UNION ALL ".join(f"SELECT '{row[0]}', count(*) FROM {row[0]}" for row in names)
        return {row[0]: row[1] for row in await self.owner.fetch(sql)}

    async def give(self, app: App, till: Till, scopes: Sequence[str]) -> str:
        """A grant of the merchant to the app, as OAuth would make it."""
        wanted = GrantCreate(
            app_id=app.app_id,
            merchant_id=till.merchant_id,
            mode="test",
            scopes=frozenset(scopes),
            stores=None,
            given_by="per_owner",
        )
        return (await self.world.platform.grants.create(wanted)).id


def open_yard(world: World, clock: ManualClock, owner: asyncpg.Connection[Any]) -> Yard:
    """The tools as a worker has them, but for the network."""
    shops = Shops(world)
    return Yard(world, clock, alipay_tools(world.platform, sender=shops), shops, owner)
