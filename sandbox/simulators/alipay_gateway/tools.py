"""The gateway's tools of one process, put together from the platform's own parts; nothing is opened."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from cryptography.x509 import Certificate

from platform_core.capabilities.payments.assembly import Payments
from platform_core.delivery.catalogue import EventConsumer
from platform_core.identity import repository
from platform_core.identity.consent import Consent
from platform_core.identity.customer_keys import CustomerKeys
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.directory import MerchantDirectory
from platform_core.identity.grants import Grants
from platform_core.identity.oauth.requests import ConsentTokens
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Plan
from platform_core.kernel.commit.due import DueWork
from sandbox.simulators.alipay_gateway import authorization, notify
from sandbox.simulators.alipay_gateway.actors import OwnApps
from sandbox.simulators.alipay_gateway.auth_tokens import AuthTokens
from sandbox.simulators.alipay_gateway.authorization import AppAuthorizations, AuthorizationParts
from sandbox.simulators.alipay_gateway.customers import CustomerAuthorizations
from sandbox.simulators.alipay_gateway.faults import NOTICES as NOTICE_EFFECTS
from sandbox.simulators.alipay_gateway.faults import Faults
from sandbox.simulators.alipay_gateway.inbox import Inbox
from sandbox.simulators.alipay_gateway.key_ring import KeyRings
from sandbox.simulators.alipay_gateway.notices import SEND, HttpSender, Notices, Sender
from sandbox.simulators.alipay_gateway.numbers import Numbers
from sandbox.simulators.alipay_gateway.settings import AppSettings
from sandbox.simulators.alipay_gateway.signatures import KeySignatures


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolGround:
    """What the platform hands over. `identity` runs by the real clock, `clock` is the sandbox's.

    `hosts`: where notices may go besides this machine and `origin`, where inboxes are. `sender`: for tests.
    """

    identity: IdentityDeps
    clock: Clock
    directory: MerchantDirectory
    consent: Consent
    grants: Grants
    consent_tokens: ConsentTokens
    payments: Payments
    origin: str
    hosts: Sequence[str] = ()
    sender: Sender | None = None


@dataclass(frozen=True, slots=True)
class ScriptedMishaps:
    """What an app's scripted faults do to its notices."""

    faults: Faults

    async def take(self, app_id: str, fields: Mapping[str, Any]) -> tuple[str, str] | None:
        """See `notices.Mishaps`. A fault for notices names no method."""
        fault = await self.faults.take(app_id, "", fields, effects=NOTICE_EFFECTS - {"notify_before_answer"})
        return None if fault is None else (fault.effect, fault.argument)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlipayTools:
    """What routes, commands and workers call."""

    origin: str
    identity: IdentityDeps
    rings: KeyRings
    signatures: KeySignatures
    numbers: Numbers
    settings: AppSettings
    notices: Notices
    inbox: Inbox
    authorizations: AppAuthorizations
    customers: CustomerAuthorizations
    trades: notify.TradeNotices
    sender: Sender

    def consumers(self) -> list[EventConsumer]:
        """Who follows which events."""
        return [
            EventConsumer(notify.CONSUMER, notify.TYPES, self.trades.handle),
            EventConsumer(authorization.CONSUMER, authorization.ENDED, self.authorizations.ended),
        ]

    def due_handlers(self) -> Mapping[str, Callable[[DueWork], Awaitable[Plan | None]]]:
        """Who does which kind of due work."""
        return {SEND: self.notices.send}

    async def find_app(self, text: str) -> str | None:
        """The native id of an app that is named by its id, its client's id, or its number."""
        if text.isdecimal():
            number = await self.numbers.app_behind(text)
            return None if number is None else number.native_id
        async with self.identity.database.read_auth() as connection:
            client = await repository.read_client(connection, text)
            app = await repository.read_app(connection, text if client is None else client.app_id)
        return None if app is None else str(app.id)

    async def app_number(self, app_id: str) -> str:
        """An app's number, minted when first asked for. LookupError for an app that there is not."""
        async with self.identity.database.read_auth() as connection:
            app = await repository.read_app(connection, app_id)
        if app is None:
            raise LookupError(app_id)
        return await self.numbers.of_app(app_id, merchant_id=app.merchant_id)

    # `seams.OpenAuth`

    async def exchange_app(self, app_id: str, grant_type: str, *, code: str, refresh_token: str) -> Mapping[str, Any]:
        """See `seams.OpenAuth`."""
        return await self.authorizations.exchange(app_id, grant_type=grant_type, code=code, refresh_token=refresh_token)

    async def about_app(self, app_id: str, app_auth_token: str) -> Mapping[str, Any]:
        """See `seams.OpenAuth`."""
        return await self.authorizations.about(app_id, app_auth_token)

    async def exchange_user(self, app_id: str, grant_type: str, *, code: str, refresh_token: str) -> Mapping[str, Any]:
        """See `seams.OpenAuth`."""
        return await self.customers.exchange(app_id, grant_type=grant_type, code=code, refresh_token=refresh_token)

    async def platform_certificate(self, app_id: str, certificate_sn: str) -> Certificate | None:
        """See `seams.OpenAuth`."""
        return await self.rings.platform_certificate(app_id, certificate_sn)


def make_tools(ground: ToolGround) -> AlipayTools:
    """Put everything together."""
    deps, clock = ground.identity, ground.clock
    database, committer, ids = deps.database, deps.committer, deps.ids
    sender = ground.sender or HttpSender([*ground.hosts, str(urlsplit(ground.origin).hostname)])
    numbers = Numbers(database=database, committer=committer, clock=clock)
    rings = KeyRings(database=database, committer=committer, vault=deps.vault, clock=clock, ids=ids)
    signatures = KeySignatures(rings, clock=clock)
    settings = AppSettings(database, committer, origin=ground.origin)
    faults = Faults(database=database, committer=committer, clock=clock, ids=ids)
    notices = Notices(
        database=database,
        committer=committer,
        rings=rings,
        clock=clock,
        sender=sender,
        mishaps=ScriptedMishaps(faults),
    )
    tokens = AuthTokens(database=database, committer=committer, vault=deps.vault, clock=deps.clock, ids=ids)
    apps = AppAuthorizations(
        AuthorizationParts(
            database=database,
            committer=committer,
            clock=deps.clock,
            ids=ids,
            consent=ground.consent,
            grants=ground.grants,
            consent_tokens=ground.consent_tokens,
            origin=ground.origin,
            numbers=numbers,
            tokens=tokens,
            notices=notices,
            settings=settings,
            own_apps=OwnApps(database=database, directory=ground.directory, clock=deps.clock),
        )
    )
    customers = CustomerAuthorizations(
        database=database,
        committer=committer,
        clock=deps.clock,
        vault=deps.vault,
        keys=CustomerKeys(deps),
        apps=apps,
        tokens=tokens,
    )
    inbox = Inbox(
        database=database,
        committer=committer,
        clock=clock,
        ids=ids,
        numbers=numbers,
        signatures=signatures,
        settings=settings,
        sender=sender,
    )
    trades = notify.TradeNotices(database=database, payments=ground.payments, numbers=numbers, notices=notices)
    return AlipayTools(
        origin=ground.origin,
        identity=deps,
        rings=rings,
        signatures=signatures,
        numbers=numbers,
        settings=settings,
        notices=notices,
        inbox=inbox,
        authorizations=apps,
        customers=customers,
        trades=trades,
        sender=sender,
    )
