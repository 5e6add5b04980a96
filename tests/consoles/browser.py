"""A browser without script: cookies, redirects and forms, over the application of a world."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field
from datetime import timedelta
from html import unescape
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import httpx

from platform_core.bootstrap.platform import Platform
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.models_people import MEMBERSHIPS, PERSONS
from platform_core.identity.roles import scopes_of
from platform_core.identity.sessions import ACR_MFA, Device, Sessions, cookie_name
from platform_core.kernel.clock import SystemClock
from platform_core.kernel.commit import Insert, Plan
from tests.support.world import ORIGIN

VERIFIER = "v" * 64
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
REDIRECT = "https://isv.example/back"
_FIELD = re.compile(r"<input([^>]*)>")
_ATTRIBUTE = re.compile(r'([a-z-]+)(?:="([^"]*)")?')


class Site(Protocol):
    """Where one signs in: a `World`, or a server under test."""

    @property
    def platform(self) -> Platform: ...

    @property
    def client(self) -> httpx.AsyncClient: ...


def deps_of(world: Site) -> IdentityDeps:
    platform = world.platform
    return IdentityDeps(
        clock=SystemClock(),
        ids=platform.ids,
        database=platform.database,
        committer=platform.committer,
        vault=platform.vault,
    )


@dataclass
class Browser:
    client: httpx.AsyncClient
    cookies: dict[str, str] = field(default_factory=dict)

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return self._kept(await self.client.get(path, headers=self._headers(headers)))

    async def post(self, path: str, form: Any, **headers: str) -> httpx.Response:
        sent = {"origin": ORIGIN, "sec-fetch-site": "same-origin", **headers}
        return self._kept(await self.client.post(path, data=form, headers=self._headers(sent)))

    def _headers(self, more: dict[str, str]) -> dict[str, str]:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return {"accept": "text/html", "cookie": cookies, **{n.replace("_", "-"): v for n, v in more.items()}}

    def _kept(self, answer: httpx.Response) -> httpx.Response:
        for line in answer.headers.get_list("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
        return answer


def fields_of(html: str) -> dict[str, list[str]]:
    """What the page's form would send if it were sent as it stands."""
    found: dict[str, list[str]] = {}
    for match in _FIELD.finditer(html):
        attributes = dict(_ATTRIBUTE.findall(match[1]))
        is_choice = attributes.get("type") in ("checkbox", "radio")
        if not is_choice or ("checked" in attributes and "disabled" not in attributes):
            found.setdefault(attributes["name"], []).append(unescape(attributes.get("value", "")))
    return found


async def sign_in(
    world: Site,
    merchant_id: str,
    *,
    roles: str = "owner",
    stores: str | None = None,
    acr: str = ACR_MFA,
    age_s: int = 0,
    locale: str = "en",
) -> Browser:
    """A person of the merchant's staff, signed in at its console."""
    platform, now = world.platform, SystemClock().now()
    person = {
        "id": platform.ids.mint("per"),
        "email": "who@shop.example",
        "email_key": platform.ids.mint("per"),
        "name": "Wang Fang",
        "locale": locale,
        "password_hash": "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA",
        "session_epoch": 1,
        "totp_sealed": platform.vault.seal("x", b"seed"),
        "totp_step": 0,
        "version": 1,
        "created_at": now,
    }
    place = {
        "id": platform.ids.mint("mbr"),
        "person_id": person["id"],
        "party_kind": "merchant",
        "party_id": merchant_id,
        "merchant_id": merchant_id,
        "roles": roles,
        "stores": stores,
        "state": "active",
        "given_by": "per_owner",
        "version": 1,
        "created_at": now,
        "expires_at": None,
    }
    assert scopes_of("merchant", roles.split())
    cookie, parts = Sessions(deps_of(world)).opening(
        person_id=str(person["id"]),
        session_epoch=1,
        console="merchant",
        acr=acr,
        auth_time=now - timedelta(seconds=age_s),
        device=Device(address="203.0.113.7", agent="test"),
        membership=(str(place["id"]), 1),
    )
    await platform.committer.commit(Plan(None).add(Insert(PERSONS, person)))
    await platform.committer.commit(Plan(merchant_id).add(Insert(MEMBERSHIPS, place)))
    await platform.committer.commit(Plan(None).add(*parts))
    return Browser(world.client, {cookie_name("merchant"): str(cookie)})


def answer_of(location: str) -> dict[str, str]:
    """The parameters with which the browser came back to the app."""
    assert location.startswith(REDIRECT), location
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
