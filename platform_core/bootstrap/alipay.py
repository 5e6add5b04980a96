"""The Alipay-compatible gateway of a sandbox, out of an open platform."""

from __future__ import annotations

from fastapi import FastAPI

from platform_core.bootstrap.platform import Platform
from platform_core.identity.deps import IdentityDeps
from platform_core.kernel.clock import SystemClock
from platform_core.kernel.http.application import Application
from sandbox.simulators.alipay_gateway.app import AlipayDoor
from sandbox.simulators.alipay_gateway.assembly import Ground, assemble
from sandbox.simulators.alipay_gateway.authorization import DOOR
from sandbox.simulators.alipay_gateway.notices import Sender
from sandbox.simulators.alipay_gateway.router_pages import pages_router
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
            sender=sender,
        )
    )


def mount_alipay(app: FastAPI, platform: Platform) -> None:
    """Put the gateway in front of the application, and its pages and tools into it."""
    tools = alipay_tools(platform)
    ground = Ground(
        database=platform.database,
        committer=platform.committer,
        clock=platform.clock,
        ids=platform.ids,
        access=platform.access,
        payments=platform.payments,
        ledger=platform.ledger,
    )
    alipay = assemble(ground, signatures=tools.signatures, actors=tools.authorizations, open_auth=tools)
    platform.oauth.doors[DOOR] = tools.authorizations
    app.include_router(pages_router(tools))
    app.include_router(tools_router(tools, alipay.book))
    assert isinstance(app, Application), "the platform's own application"
    app.surround(lambda inner: AlipayDoor(inner, alipay.gateway))
