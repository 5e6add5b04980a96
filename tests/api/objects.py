"""One object of every kind for the suite of tenants: how each is made is told by the path that names it.

A new route with a path parameter adds its maker here; the suite fails until it does.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from platform_core.bootstrap.upkeep import Upkeep
from platform_core.bootstrap.worker import needs_of
from platform_core.capabilities.payments.draft import SETTLE
from platform_core.capabilities.payments.receipts import DRAW
from platform_core.contracts.scopes import catalogue
from platform_core.delivery.assembly import open_delivery
from platform_core.delivery.dispatcher import BrokerDown
from platform_core.identity.schemas import GrantCreate
from platform_core.identity.staff import Party
from platform_core.kernel.clock import SystemClock
from platform_core.kernel.commit.due import DueWork
from platform_core.plugin_host.host_deps import Unpacked
from platform_core.plugin_host.releases import Submission
from platform_core.plugin_host.repository import read_plugin
from platform_core.plugin_host.schemas import ReviewWrite
from tests.capabilities.payments.payouts.desk import confirm_destination
from tests.capabilities.payments.shop import Shop
from tests.capabilities.payments.test_bills import publish
from tests.capabilities.payments.test_exports import finished
from tests.support.people import AtConsole, at_console
from tests.support.proofs import HeldKey
from tests.support.world import Till

MARK: Final = "hidden"
"""Stands in every word that the other merchant chose."""
SCOPES: Final = tuple(name for name, scope in catalogue().items() if scope.is_for_apps and not scope.needs_step_up)
ALL_SCOPES: Final = (*SCOPES, "refunds:write", "payouts:write", "channels:write", "splits:write", "exports:read")
PLUGIN: Final = "example.suite.crm"
MANIFEST: Final = f"""manifest = 1
hooks = [{{ name = "on_payment_captured" }}]
scopes = [{{ name = "payments:read", purpose = {{ zh = "同步订单", en = "To sync orders" }} }}]
secrets = [{{ name = "key", kind = "mac_key", label = {{ zh = "密钥", en = "Key" }} }}]
[plugin]
id = "{PLUGIN}"
version = "1.0.0"
name = {{ zh = "同步", en = "Sync" }}
summary = {{ zh = "同步订单", en = "Syncs orders" }}
publisher = "isv_suite"
license = "Apache-2.0"
support = "help@suite.example"
contract = ">=1.0,<2"
"""
OF_EVERYBODY: Final = ("/v1/plugins/{plugin_id}",)
"""Paths of what every merchant may see."""
OF_OTHERS: Final = ("/v1/plugin-releases", "/v1/plugin-signing-secrets", "/v1/plugin-bundles", "/v1/admin/")
"""Paths of publishers and of the operator's staff; a merchant finds nothing there (tests/plugin_host/test_routes)."""
_keys = itertools.count(1)
_OBJECT: Final = re.compile(r"/v1/[^{]*\{\w+\}")


@dataclass
class Tenant:
    """A merchant with one object of every kind."""

    shop: Shop
    till: Till
    app_id: str
    owner: AtConsole
    ids: dict[str, str]

    async def make(self, path: str) -> str:
        """The id of its object under a path such as `/v1/payments/{payment_id}`, made at first use."""
        kind = object_path(path)
        if kind not in self.ids:
            maker = MAKERS.get(kind)
            assert maker is not None, f"no object maker for path parameter {kind}: add it to tests/api/objects.py"
            self.ids[kind] = await maker(self)
        return self.ids[kind]

    async def fill(self, path: str) -> str:
        """The path with the ids of this merchant's objects."""
        if "{" not in path:
            return path
        if not is_of_merchants(path):
            ids = self.shop.platform.ids
            return path.format(
                plugin_id=PLUGIN, release_id=ids.mint("prl"), switch_id=ids.mint("psw"), bundle_hash="0" * 64
            )
        filled = re.sub(r"\{\w+\}", await self.make(path), path, count=1)
        for name in re.findall(r"\{(\w+)\}", filled):
            filled = filled.replace(f"{{{name}}}", await INNER[name](self))
        return filled

    async def ask(self, path: str, body: Any = None) -> Any:
        """What a page of the owner's console asks the API; a POST where there is a body."""
        headers = {**self.owner.headers(), "Idempotency-Key": f"owner-{next(_keys)}"}
        method = "GET" if body is None else "POST"
        answer = await self.till.client.request(method, f"/v1{path}", json=body, headers=headers)
        assert answer.status_code < 300, answer.text
        return answer.json()


def is_of_merchants(path: str) -> bool:
    """Whether a path under /v1 belongs to one merchant."""
    return path.startswith("/v1/") and not path.startswith(OF_OTHERS) and path not in OF_EVERYBODY


def object_path(path: str) -> str:
    """The part of a route's path that names an object."""
    match = _OBJECT.match(path)
    assert match is not None, path
    return match[0]


async def _payment(tenant: Tenant) -> str:
    answer = await tenant.till.pay(
        out_trade_no=f"{MARK}_{tenant.till.merchant_id[4:]}",
        subject=f"{MARK} tea",
        form="merchant_scan",
        auth_code=f"sim:success:{tenant.till.merchant_id}",
        store_id=tenant.till.store_id,
        metadata={"table": MARK},
    )
    return str(answer.json()["id"])


async def _refund(tenant: Tenant) -> str:
    payment = await tenant.make("/v1/payments/{payment_id}")
    answer = await tenant.till.post(f"/payments/{payment}/refunds", {"out_request_no": MARK, "amount_minor": 1})
    return str(answer.json()["id"])


async def _receipt(tenant: Tenant) -> str:
    """One that is drawn, for its document."""
    payment = await tenant.make("/v1/payments/{payment_id}")
    wanted = {"media_type": "text/html", "locale": "en"}
    id_ = str((await tenant.till.post(f"/payments/{payment}/receipts", wanted)).json()["id"])
    platform = tenant.shop.platform
    plan = await platform.payments.receipts.draw(DueWork(DRAW, id_, tenant.till.merchant_id, platform.clock.now(), 0))
    assert plan is None, "it was pending"
    return id_


async def _dispute(tenant: Tenant) -> str:
    """Of a part of the payment, told of by the acquirer."""
    payment = await tenant.make("/v1/payments/{payment_id}")
    [sale, *_] = await tenant.shop.transactions(payment)
    assert tenant.shop.acquirer.dispute(sale["id"], 100)
    await tenant.shop.deliver(tenant.till)
    return str((await tenant.till.get("/disputes")).json()["data"][0]["id"])


async def _settlement(tenant: Tenant) -> str:
    await tenant.make("/v1/payments/{payment_id}")
    shop = tenant.shop
    for row in await shop.due_rows(tenant.till):
        if row.kind == SETTLE:
            shop.clock.advance(max(row.due_at - shop.clock.now(), timedelta(0)))
            await shop.platform.payments.settlement.settle(row)
    answer = await tenant.till.get("/settlements")
    return str(answer.json()["data"][0]["id"])


async def _payout(tenant: Tenant) -> str:
    """Out of what was settled, to a confirmed destination; asked for by the owner, who may."""
    await tenant.make("/v1/settlements/{settlement_id}")
    await confirm_destination(tenant.shop, tenant.till)
    await tenant.ask("/payout-terms", {"currency": "CNY", "schedule": "manual"})
    made = await tenant.ask("/payouts", {"out_payout_no": MARK, "amount_minor": 100, "currency": "CNY", "note": MARK})
    return str(made["id"])


async def _receiver(tenant: Tenant) -> str:
    wanted = {"reference": MARK, "name": MARK, "type": "channel_merchant", "account": "2088000000000001"}
    return str((await tenant.till.post("/split-receivers", wanted)).json()["id"])


async def _split(tenant: Tenant) -> str:
    payment = await tenant.make("/v1/payments/{payment_id}")
    part = {"receiver_id": await tenant.make("/v1/split-receivers/{receiver_id}"), "amount_minor": 10}
    wanted = {"out_request_no": MARK, "mode": "all_or_nothing", "is_frozen": True, "shares": [part]}
    return str((await tenant.till.post(f"/payments/{payment}/splits", wanted)).json()["id"])


async def _bill(tenant: Tenant) -> str:
    """Of the day of the payment, named by its id."""
    await tenant.make("/v1/payments/{payment_id}")
    await publish(tenant.shop, tenant.till)
    return str((await tenant.till.get("/bills")).json()["data"][0]["id"])


async def _export(tenant: Tenant) -> str:
    wanted = {"format": "csv", "filters": {"out_trade_no": MARK}}
    return str((await finished(tenant.shop, tenant.till, "payments", **wanted))["id"])


async def _sticker(tenant: Tenant) -> str:
    wanted = {"store_id": tenant.till.store_id, "name": MARK}
    return str((await tenant.till.post("/stickers", wanted)).json()["id"])


async def _channel_account(tenant: Tenant) -> str:
    wanted = {"provider_id": "cash", "name": MARK}
    return str((await tenant.till.post("/channel-accounts", wanted)).json()["id"])


async def _routing_rule(tenant: Tenant) -> str:
    """One that decides about no payment of the suite's."""
    account = await tenant.make("/v1/channel-accounts/{account_id}")
    wanted = {"position": 1, "amount_minor_min": 9_000_000_000, "channel_account_ids": [account]}
    return str((await tenant.till.post("/routing-rules", wanted)).json()["id"])


async def _endpoint(tenant: Tenant) -> str:
    wanted = {"url": f"https://{MARK}.example.com/hooks", "event_types": ["*"], "description": MARK}
    return str((await tenant.till.post("/webhook-endpoints", wanted)).json()["id"])


async def _event(tenant: Tenant) -> str:
    await tenant.make("/v1/payments/{payment_id}")
    answer = await tenant.till.get("/events")
    return str(answer.json()["data"][0]["id"])


async def _delivery(tenant: Tenant) -> str:
    await tenant.make("/v1/webhook-endpoints/{id}")
    await tenant.till.pay(out_trade_no=f"{MARK}_2_{tenant.till.merchant_id[4:]}")
    await relay(tenant.shop)
    answer = await tenant.till.get("/webhook-deliveries")
    return str(answer.json()["data"][0]["id"])


async def _operation(tenant: Tenant) -> str:
    endpoint = await tenant.make("/v1/webhook-endpoints/{id}")
    answer = await tenant.till.post(f"/webhook-endpoints/{endpoint}/resend", {"since": "2026-01-01T00:00:00Z"})
    return str(answer.json()["id"])


async def _store(tenant: Tenant) -> str:
    return tenant.till.store_id


async def _merchant(tenant: Tenant) -> str:
    return tenant.till.merchant_id


async def _staff(tenant: Tenant) -> str:
    await _invitation(tenant)  # for the list of them
    return tenant.owner.staff_id


async def _invitation(tenant: Tenant) -> str:
    wanted = {"email": f"{MARK}_{next(_keys)}@shop.example", "roles": ["cashier"]}
    return str((await tenant.ask("/staff-invitations", wanted))["id"])


async def _app(tenant: Tenant) -> str:
    """With a public key, for the list of its client's."""
    app = (await tenant.ask("/apps", {"name": MARK, "mode": "test"}))["app"]
    path = f"/apps/{app['id']}/clients/{_client_of(app)}/keys"
    await tenant.ask(path, {"jwk": HeldKey.generate().public})
    return str(app["id"])


async def _grant(tenant: Tenant) -> str:
    """Of another app than the one that asks, since it may be ended."""
    wanted = GrantCreate(
        app_id=await tenant.make("/v1/apps/{app_id}"),
        merchant_id=tenant.till.merchant_id,
        mode="test",
        scopes=frozenset({"stores:read"}),
        stores=None,
        given_by="per_owner",
    )
    return (await tenant.shop.platform.grants.create(wanted)).id


async def _destination(tenant: Tenant) -> str:
    wanted = {"currency": "CNY", "holder": MARK, "bank": MARK, "account": "6222021234567890"}
    return str((await tenant.ask("/payout-destinations", wanted))["id"])


async def _licence(tenant: Tenant) -> str:
    wanted = {"kind": "food", "number": f"{MARK}-{next(_keys):04}", "holder": MARK, "valid_from": "2026-01-01"}
    return str((await tenant.ask("/licences", wanted))["id"])


async def _secret(tenant: Tenant) -> str:
    app = await tenant.make("/v1/apps/{app_id}")
    return str((await tenant.ask(f"/apps/{app}/secrets"))["data"][0]["id"])


async def _client(tenant: Tenant) -> str:
    return _client_of(await tenant.ask(f"/apps/{await tenant.make('/v1/apps/{app_id}')}"))


def _client_of(app: Any) -> str:
    return str(app["clients"][0]["id"])


async def _public_key(tenant: Tenant) -> str:
    path = f"/apps/{await tenant.make('/v1/apps/{app_id}')}/clients/{await _client(tenant)}/keys"
    return str((await tenant.ask(path))["data"][0]["id"])


async def _plugin(tenant: Tenant) -> str:
    """The published plugin that every merchant of the suite may install."""
    life = tenant.shop.platform.plugin_life
    async with tenant.shop.platform.database.read_auth() as connection:
        row = await read_plugin(connection, PLUGIN)
    if row is None:
        await life.deps.parties.ensure_isv("isv_suite", name="Suite")
        unpacked = Unpacked(
            manifest=MANIFEST, config_schema=None, tree_hash="a" * 64, bundle_hash="b" * 64, findings=()
        )
        made = await life.releases.submit(Submission(unpacked=unpacked, isv_id="isv_suite", by="per_suite"))
        approve = ReviewWrite(decision="approve", note="Fine.")
        await life.releases.review(made.id, approve, reviewer="per_reviewer")
        await life.releases.publish(made.id, by="per_suite", isv_id=None)
    return PLUGIN


async def _installation(tenant: Tenant) -> str:
    wanted = {"plugin_id": await _plugin(tenant)}
    made = str((await tenant.ask("/plugin-installations", wanted))["id"])
    headers = {**tenant.owner.headers(), "If-Match": '"1"'}
    path = f"/v1/plugin-installations/{made}/configuration"
    assert (await tenant.till.client.put(path, json={"config": {}}, headers=headers)).status_code == 200
    secret = {"value": f"{MARK}-0123456789abcdef"}
    await tenant.ask(f"/plugin-installations/{made}/secrets/key", secret)
    await tenant.ask(f"/plugin-installations/{made}/enable", {})
    return made


async def _telling(tenant: Tenant) -> str:
    await tenant.make("/v1/plugin-installations/{installation_id}")
    await tenant.till.pay(out_trade_no=f"{MARK}_3_{tenant.till.merchant_id[4:]}")
    await relay(tenant.shop)
    answer = await tenant.till.get("/plugin-deliveries")
    return str(answer.json()["data"][0]["id"])


async def _secret_name(tenant: Tenant) -> str:
    return "key"


async def _part_number(tenant: Tenant) -> str:
    return "1"


MAKERS: Final[Mapping[str, Callable[[Tenant], Awaitable[str]]]] = {
    "/v1/payments/{payment_id}": _payment,
    "/v1/refunds/{refund_id}": _refund,
    "/v1/receipts/{receipt_id}": _receipt,
    "/v1/disputes/{dispute_id}": _dispute,
    "/v1/settlements/{settlement_id}": _settlement,
    "/v1/payouts/{payout_id}": _payout,
    "/v1/split-receivers/{receiver_id}": _receiver,
    "/v1/splits/{split_id}": _split,
    "/v1/bills/{date}": _bill,
    "/v1/exports/{export_id}": _export,
    "/v1/stickers/{sticker_id}": _sticker,
    "/v1/channel-accounts/{account_id}": _channel_account,
    "/v1/routing-rules/{rule_id}": _routing_rule,
    "/v1/merchants/{merchant_id}": _merchant,
    "/v1/stores/{store_id}": _store,
    "/v1/webhook-endpoints/{id}": _endpoint,
    "/v1/webhook-deliveries/{id}": _delivery,
    "/v1/events/{id}": _event,
    "/v1/operations/{operation_id}": _operation,
    "/v1/staff/{staff_id}": _staff,
    "/v1/staff-invitations/{invitation_id}": _invitation,
    "/v1/apps/{app_id}": _app,
    "/v1/grants/{grant_id}": _grant,
    "/v1/payout-destinations/{destination_id}": _destination,
    "/v1/licences/{licence_id}": _licence,
    "/v1/plugin-installations/{installation_id}": _installation,
    "/v1/plugin-deliveries/{delivery_id}": _telling,
}
INNER: Final[Mapping[str, Callable[[Tenant], Awaitable[str]]]] = {
    "secret_id": _secret,
    "client_id": _client,
    "key_id": _public_key,
    "secret_name": _secret_name,
    "number": _part_number,
}
"""Makers of what stands within another object, by the parameter's name."""


async def relay(shop: Shop) -> None:
    """Let the relay see every event; nothing is sent."""

    def publish(queue: str, ids: Any) -> None:
        raise BrokerDown("none here")

    async with open_delivery(needs_of(shop.platform, Upkeep(shop.platform)), publish) as delivery:
        while await delivery.relay.relay_once():
            pass


async def open_tenant(shop: Shop, document: Mapping[str, Any]) -> Tenant:
    """A new merchant with one of everything that the document's paths name."""
    till = await shop.new_till(scopes=ALL_SCOPES)
    [row] = await shop.fetch("SELECT id FROM app WHERE merchant_id = $1", till.merchant_id)
    party = Party(kind="merchant", id=till.merchant_id)
    email = f"owner.{till.merchant_id[4:]}@shop.example"
    owner = await at_console(shop.platform.people, party, "owner", email=email, clock=SystemClock())
    till.session = owner.headers()
    tenant = Tenant(shop, till, row["id"], owner, {})
    for path in document["paths"]:
        if is_of_merchants(path) and "{" in path:
            await tenant.make(path)
    return tenant
