"""A sandbox with the gateway in front, and sellers whose apps speak the protocol, signing as their clients would."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from platform_core.bootstrap.alipay import alipay_gateway, alipay_tools
from sandbox.simulators.alipay_gateway.app import AlipayDoor
from sandbox.simulators.alipay_gateway.assembly import AlipayGateway
from sandbox.simulators.alipay_gateway.keys import public_line
from sandbox.simulators.alipay_gateway.router_play import bill_router, play_router
from sandbox.simulators.alipay_gateway.signing import is_signed, request_text, sign
from sandbox.simulators.alipay_gateway.tools import AlipayTools
from tests.capabilities.payments.shop import Shop
from tests.sandbox.alipay.keys import key
from tests.sandbox.alipay.scanners import asp_finds, pas_finds
from tests.support.world import Till

SCOPES = (
    "payments:write",
    "payments:read",
    "refunds:write",
    "refunds:read",
    "splits:write",
    "ledger:read",
    "testbed:write",
)
_numbers = itertools.count(1)


@dataclass
class Seller:
    """A merchant's own app at the gateway."""

    bazaar: Bazaar
    till: Till
    app_id: str
    number: str
    key: RSAPrivateKey

    def signed(self, method: str | None, biz: dict[str, Any] | None = None, **parameters: str | None) -> dict[str, str]:
        """The parameters of a request; None takes one away, and `sign` is made last unless it is given."""
        given = {
            "app_id": self.number,
            "method": method,
            "charset": "utf-8",
            "sign_type": "RSA2",
            "timestamp": "2026-11-22 20:00:00",
            "version": "1.0",
            "biz_content": None if biz is None else json.dumps(biz, ensure_ascii=False),
            **parameters,
        }
        kept = {name: value for name, value in given.items() if value is not None}
        if "sign" not in parameters:
            text = request_text((name.encode(), value.encode()) for name, value in kept.items())
            kept["sign"] = sign(self.key, text, sign_type=kept.get("sign_type", "RSA2"))
        return kept

    async def ask(self, method: str, biz: dict[str, Any] | None = None, **parameters: str | None) -> dict[str, Any]:
        """The node of the answer, found and verified as both clients do."""
        return await self.bazaar.exchange(self.signed(method, biz, **parameters))

    async def pay(self, **fields: Any) -> dict[str, Any]:
        """alipay.trade.pay of a new order."""
        biz = {
            "out_trade_no": new_no(),
            "total_amount": "88.88",
            "subject": "面条",
            "auth_code": new_code(),
            "scene": "bar_code",
            **fields,
        }
        return await self.ask("alipay.trade.pay", biz)


@dataclass
class Bazaar:
    """The shop's platform behind the gateway's door."""

    shop: Shop
    alipay: AlipayGateway
    tools: AlipayTools
    key: RSAPrivateKey

    async def new_seller(self, *, scopes: Sequence[str] = SCOPES) -> Seller:
        """A new merchant whose own app has a key at the gateway."""
        till = await self.shop.new_till(scopes=tuple(scopes))
        [grant] = await self.shop.fetch("SELECT app_id FROM access_grant WHERE id = $1", till.grant_id)
        app_id = grant["app_id"]
        number = await self.alipay.numbers.of_app(app_id, merchant_id=till.merchant_id)
        await self.tools.rings.upload(app_id, public_line(self.key.public_key()))
        return Seller(self, till, app_id, number, self.key)

    async def exchange(self, parameters: dict[str, str], *, node_name: str | None = None) -> dict[str, Any]:
        """Send parameters by POST and read the answer as both clients do; its signature is verified."""
        answer = await self.shop.client.post("/gateway.do", data=parameters)
        assert answer.status_code == 200, answer.text
        body = answer.content.decode("ascii")
        [first, *_] = json.loads(body)
        content, signature = pas_finds(body, node_name or first)
        assert asp_finds(body) == (content, signature)
        public = (await self.tools.rings.of()).platform.public_key
        sign_type = parameters.get("sign_type", "RSA2")
        sign_type = sign_type if sign_type in ("RSA", "RSA2") else "RSA2"
        assert is_signed(public, content.encode(), signature, sign_type=sign_type)
        node: dict[str, Any] = json.loads(content)
        assert (node["code"] in ("10000", "10003")) == ("sub_code" not in node)
        if parameters.get("method") and first != "error_response":
            assert first == parameters["method"].replace(".", "_") + "_response"
        node["_node"] = first
        return node

    async def get(self, parameters: dict[str, str]) -> str:
        """The body of an answer to a GET with everything in the query."""
        return (await self.shop.client.get(f"/gateway.do?{urlencode(parameters)}")).text


def new_no() -> str:
    """An order's or a request's number."""
    return f"alipay_{next(_numbers)}"


def new_code() -> str:
    """A payment code as a wallet shows it: 18 digits from 28."""
    return f"28{next(_numbers):016d}"


@dataclass(frozen=True, slots=True)
class DirectWallet:
    """The customer's side of the acquirer in process."""

    shop: Shop

    async def scan(self, merchant_id: str, code: str, *, scenario: str) -> str:
        return self.shop.acquirer.scan(code, scenario)


def open_bazaar(shop: Shop) -> Bazaar:
    """Put the gateway in front of a shop whose database is a sandbox's."""
    tools = alipay_tools(shop.platform)
    alipay = alipay_gateway(shop.platform, tools, wallet=DirectWallet(shop))
    shop.app.include_router(play_router(alipay.cashier, alipay.faults))
    shop.app.include_router(bill_router(alipay.services.bills))
    shop.app.surround(lambda app: AlipayDoor(app, alipay.gateway))
    return Bazaar(shop, alipay, tools, key("app"))
