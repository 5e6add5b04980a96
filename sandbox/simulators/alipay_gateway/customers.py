"""An end user lets an app know who it is: the page of the simulated wallet, auth_code, and the token for it.

Buyers of the sandbox sign in nowhere; the page asks which of them is at the telephone. The token names a customer by
a 2088 number, and where the app is a merchant's, that merchant's customer keys know the number from then on.
Source: opendocs.alipay.com, "User information authorisation", read 2026-11-22.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from platform_core.identity import repository
from platform_core.identity.customer_keys import CustomerKeys, was_faster
from platform_core.identity.oauth.authorize import AUTHORIZATION_REFUSED, UNREADABLE
from platform_core.identity.oauth.requests import AUTHORIZATION_STALE, DECISION_WITHIN
from platform_core.identity.vault import SealBroken, Vault
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Committer, Plan, PlanRefused
from platform_core.kernel.database.pools import Database
from platform_core.kernel.i18n import Language, Text
from sandbox.simulators.alipay_gateway.auth_tokens import AuthTokens, TokenRefused
from sandbox.simulators.alipay_gateway.authorization import STATE_LENGTH_MAX, AppAuthorizations, refusal_of, with_query
from sandbox.simulators.alipay_gateway.numbers import buyer_number
from sandbox.simulators.alipay_gateway.protocol import GatewayError

SCOPES: Final = frozenset({"auth_base", "auth_user"})
BUYERS: Final = ("rich", "poor", "slow", "blocked")
KEY_KIND: Final = "alipay_user"
PATH: Final = "/oauth2/publicAppAuthorize.htm"
_TICKET: Final = "alipay_gateway.customer"
TRIES_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class Wish:
    """What an app asks an end user for. The address is proven to be the app's."""

    app_id: str
    app_number: str
    app_name: str
    merchant_id: str | None
    redirect_uri: str
    scope: str
    state: str


class CustomerAuthorizations:
    """Opens the page, takes the decision, gives tokens."""

    def __init__(
        self,
        *,
        database: Database,
        committer: Committer,
        clock: Clock,
        vault: Vault,
        keys: CustomerKeys,
        apps: AppAuthorizations,
        tokens: AuthTokens,
    ) -> None:
        """`clock`: the real one."""
        self._database = database
        self._committer = committer
        self._clock = clock
        self._vault = vault
        self._keys = keys
        self._apps = apps
        self._tokens = tokens

    async def open(self, *, app_number: str, redirect_uri: str, scope: str, state: str) -> tuple[Wish, str]:
        """What is asked for, and a ticket that brings it back with the decision. Writes nothing.

        Raises `identity.authorization_refused`.
        """
        if scope not in SCOPES or len(state) > STATE_LENGTH_MAX or not state.isprintable():
            raise AUTHORIZATION_REFUSED.error({"reason": UNREADABLE})
        client = await self._apps.client_at(app_number, redirect_uri)
        async with self._database.read_auth() as connection:
            app = await repository.read_app(connection, client.app_id)
        assert app is not None, "its client was found active"
        wish = Wish(app.id, app_number, app.name, app.merchant_id, redirect_uri, scope, state)
        values = {"n": app_number, "r": redirect_uri, "c": scope, "s": state, "t": self._clock.now().timestamp()}
        box = self._vault.seal(_TICKET, json.dumps(values).encode())
        return wish, base64.urlsafe_b64encode(box).decode("ascii")

    async def decide(self, ticket: str, *, buyer: str, is_allowed: bool) -> str:
        """The address to send the browser to. Raises `identity.authorization_stale` for a wrong or an old ticket."""
        values = self._opened(ticket)
        wish, _ = await self.open(
            app_number=values["n"], redirect_uri=values["r"], scope=values["c"], state=values["s"]
        )
        answer = {"app_id": wish.app_number, "scope": wish.scope, "state": wish.state}
        if not is_allowed:
            return with_query(wish.redirect_uri, {**answer, "error": "access_denied"})
        if buyer not in BUYERS:
            raise AUTHORIZATION_STALE.error()
        return with_query(wish.redirect_uri, {**answer, "auth_code": await self._code(wish, buyer_number(buyer))})

    async def exchange(self, app_id: str, *, grant_type: str, code: str, refresh_token: str) -> Mapping[str, str]:
        """The fields of alipay.system.oauth.token. Raises 40002 isv.code-invalid, isv.refresh-token-invalid, ..."""
        try:
            if grant_type == "authorization_code":
                issued = await self._tokens.exchange("customer", app_id=app_id, code=code)
            elif grant_type == "refresh_token":
                issued = await self._tokens.refresh("customer", app_id=app_id, refresh_token=refresh_token)
            else:
                raise GatewayError("40002", "isv.grant-type-invalid", "grant_type 参数不正确")
        except TokenRefused as refused:
            raise refusal_of(refused.reason) from refused
        return {
            "user_id": issued.user_id,
            "access_token": issued.access,
            "expires_in": str(issued.expires_in_s),
            "refresh_token": issued.refresh,
            "re_expires_in": str(issued.refresh_expires_in_s),
        }

    async def _code(self, wish: Wish, user_id: str) -> str:
        """A code, and the customer's key at the app's own merchant, in one plan."""
        for _ in range(TRIES_MAX):
            code, written = self._tokens.code(
                "customer", app_id=wish.app_id, merchant_id=wish.merchant_id, user_id=user_id, scopes=[wish.scope]
            )
            plan = Plan(wish.merchant_id, [written])
            if wish.merchant_id is not None:
                plan.add(*(await self._keys.find_or_add(wish.merchant_id, kind=KEY_KIND, value=user_id)).parts)
            try:
                await self._committer.commit(plan)
            except PlanRefused as refused:
                if was_faster(refused.refusal):
                    continue
                raise
            return code
        raise TimeoutError(f"{wish.app_id}: a customer's key was written too often meanwhile")

    def _opened(self, ticket: str) -> dict[str, Any]:
        try:
            plain = self._vault.open(_TICKET, base64.urlsafe_b64decode(ticket.encode("ascii")))
        except (ValueError, SealBroken) as error:
            raise AUTHORIZATION_STALE.error() from error
        values: dict[str, Any] = json.loads(plain)  # we wrote it: the seal held
        if self._clock.now().timestamp() - values["t"] > DECISION_WITHIN.total_seconds():
            raise AUTHORIZATION_STALE.error()
        return values


_WORDS: Final = {
    "title": Text(en="Sandbox wallet", zh="沙箱钱包"),
    "ask_auth_base": Text(en="{app} asks who you are.", zh="{app} 请求识别您的身份。"),
    "ask_auth_user": Text(
        en="{app} asks who you are and for your profile.", zh="{app} 请求识别您的身份并获取基本资料。"
    ),
    "who": Text(en="Test buyer at the telephone", zh="当前使用手机的测试买家"),
    "allow": Text(en="Agree", zh="同意"),
    "refuse": Text(en="Refuse", zh="拒绝"),
}
_PAGE: Final = """<!doctype html>
<html lang="{language}"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"></head>
<body><main><h1>{title}</h1><p>{ask}</p>
<form method="post" action="{path}"><input type="hidden" name="ticket" value="{ticket}">
<p><label for="buyer">{who}</label> <select id="buyer" name="buyer">{buyers}</select></p>
<p><button name="decision" value="allow">{allow}</button>
<button name="decision" value="refuse">{refuse}</button></p></form></main></body></html>
"""


def page_of(wish: Wish, ticket: str, language: Language) -> str:
    """The page of the simulated wallet."""
    ask = _WORDS[f"ask_{wish.scope}"].say(language).replace("{app}", html.escape(wish.app_name))
    words = {name: html.escape(text.say(language)) for name, text in _WORDS.items() if not name.startswith("ask_")}
    buyers = "".join(f'<option value="{name}">{name} ({buyer_number(name)})</option>' for name in BUYERS)
    return _PAGE.format(language=language, ask=ask, path=PATH, ticket=html.escape(ticket), buyers=buyers, **words)
