"""The Alipay-compatible gateway of a sandbox, out of an open platform."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import FastAPI

from platform_core.bootstrap.platform import Platform
from platform_core.capabilities.payments.repository import PaymentRepository
from platform_core.identity.deps import IdentityDeps
from platform_core.kernel.clock import SystemClock
from platform_core.kernel.http.application import Application
from sandbox.simulators.alipay_gateway.app import AlipayDoor
from sandbox.simulators.alipay_gateway.assembly import AlipayGateway, Ground, assemble
from sandbox.simulators.alipay_gateway.authorization import DOOR
from sandbox.simulators.alipay_gateway.cashier import HttpWallet, Wallet
from sandbox.simulators.alipay_gateway.notices import Sender
from sandbox.simulators.alipay_gateway.router_pages import pages_router
from sandbox.simulators.alipay_gateway.router_play import bill_router, play_router
from sandbox.simulators.alipay_gateway.router_tools import tools_router
from sandbox.simulators.alipay_gateway.tools import AlipayTools, ToolGround, make_tools


def alipay_tools(platform: Platform, *, sender: Sender | None = None) -> AlipayTools:
    """Keys, notices, inboxes, authorisations: for routes, commands and workers alike."""
    identity = IdentityDeps(
        clock=SystemClock(),
        ids=platform.ids,
        database=platform.database,
        committer=platform.committer,
        vault=platform.vault,
    )
    return make_tools(
        ToolGround(
            identity=identity,
            clock=platform.clock,
            directory=platform.directory,
            consent=platform.consent,
            grants=platform.grants,
            consent_tokens=platform.oauth.consent_tokens,
            payments=platform.payments,
            origin=platform.settings.public_origin,
            hosts=platform.settings.sandbox_notice_hosts.split(),
            sender=sender,
        )
    )


def alipay_gateway(platform: Platform, tools: AlipayTools, *, wallet: Wallet | None = None) -> AlipayGateway:
    """The gateway itself. `wallet`: by default the simulated acquirer that a merchant's channel account names."""
    ground = Ground(
        database=platform.database,
        committer=platform.committer,
        clock=platform.clock,
        ids=platform.ids,
        access=platform.access,
        payments=platform.payments,
        ledger=platform.ledger,
        bill_key=platform.vault.seed(b"alipay bills"),
        origin=platform.settings.public_origin,
        wallet=wallet or HttpWallet(_AcquirerAddresses(platform)),
    )
    return assemble(ground, signatures=tools.signatures, actors=tools.authorizations, open_auth=tools)


@dataclass(frozen=True, slots=True)
class _AcquirerAddresses:
    """Where merchants' codes are paid, by their channel accounts."""

    platform: Platform

    async def __call__(self, merchant_id: str) -> str | None:
        """See `cashier.Addresses`."""
        terms = await PaymentRepository(self.platform.database).terms(merchant_id, self.platform.clock.now())
        accounts = [each for each in terms.channel_accounts.values() if each.provider_id == "simulated_acquirer"]
        return str(accounts[0].contract.settings["gateway_url"]) if accounts else None


def mount_alipay(app: FastAPI, platform: Platform) -> None:
    """Put the gateway in front of the application, and its pages and tools into it."""
    tools = alipay_tools(platform)
    alipay = alipay_gateway(platform, tools)
    platform.oauth.doors[DOOR] = tools.authorizations
    app.include_router(pages_router(tools))
    app.include_router(tools_router(tools, alipay.book))
    app.include_router(play_router(alipay.cashier, alipay.faults))
    app.include_router(bill_router(alipay.services.bills))
    assert isinstance(app, Application), "the platform's own application"
    app.surround(lambda inner: AlipayDoor(inner, alipay.gateway))
