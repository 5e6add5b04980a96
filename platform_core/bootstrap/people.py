"""Everything about people, put together: sign-in, sessions, staff, and the routes of parties."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import FastAPI

from platform_core.consoles.shared.pages import static_routes
from platform_core.consoles.sign_in.desk import Desk
from platform_core.consoles.sign_in.router import sign_in_pages
from platform_core.identity.administration import Administration
from platform_core.identity.apps import Apps
from platform_core.identity.client_keys import ClientKeys
from platform_core.identity.console_access import ConsoleAccess
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.licences import Licences
from platform_core.identity.messages import Messages
from platform_core.identity.own_apps import OwnApps
from platform_core.identity.own_clients import OwnClients
from platform_core.identity.parties import Parties
from platform_core.identity.passwords import Passwords
from platform_core.identity.payout_destinations import PayoutDestinations
from platform_core.identity.recovery import Recovery
from platform_core.identity.refusals import Refusals
from platform_core.identity.router import parties_router
from platform_core.identity.router_apps import apps_router
from platform_core.identity.router_clients import clients_router
from platform_core.identity.router_licences import licences_router
from platform_core.identity.router_parts import PartyServices
from platform_core.identity.router_staff import staff_router
from platform_core.identity.sessions import Sessions
from platform_core.identity.sign_in import SignIn
from platform_core.identity.staff import Staff
from platform_core.kernel.pagination import Cursors


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """The services of one process."""

    passwords: Passwords
    messages: Messages
    sessions: Sessions
    staff: Staff
    administration: Administration
    services: PartyServices
    access: ConsoleAccess
    desk: Desk

    def mount(self, app: FastAPI) -> None:
        """Add the pages and routes, and what the dependencies of routes find at `app.state`."""
        app.state.console_access = self.access
        app.include_router(parties_router(self.services))
        app.include_router(staff_router(self.services))
        app.include_router(licences_router(self.services))
        app.include_router(apps_router(self.services))
        app.include_router(clients_router(self.services))
        app.include_router(sign_in_pages(self.desk))
        app.include_router(static_routes())

    async def close(self) -> None:
        """End the threads that hash passwords."""
        self.passwords.close()


def make_people(
    deps: IdentityDeps,
    parties: Parties,
    apps: Apps,
    keys: ClientKeys,
    *,
    refusals: Refusals,
    cursors: Cursors,
    public_origin: str,
) -> People:
    """All services over one process's dependencies. Nothing is opened."""
    passwords, messages, sessions = Passwords(deps.entropy), Messages(deps), Sessions(deps)
    staff = Staff(deps, passwords, messages, public_origin=public_origin)
    administration = Administration(deps, parties)
    access = ConsoleAccess(sessions=sessions, vault=deps.vault, clock=deps.clock, public_origin=public_origin)
    own = OwnApps(deps, apps)
    services = PartyServices(
        parties=parties,
        administration=administration,
        staff=staff,
        apps=own,
        clients=OwnClients(own, apps, keys),
        licences=Licences(deps),
        destinations=PayoutDestinations(deps),
        cursors=cursors,
        database=deps.database,
        clock=deps.clock,
    )
    desk = Desk(
        sign_in=SignIn(deps, sessions, passwords, refusals),
        sessions=sessions,
        recovery=Recovery(deps, passwords, messages, refusals, public_origin=public_origin),
        staff=staff,
        access=access,
        entropy=deps.entropy,
    )
    return People(
        passwords=passwords,
        messages=messages,
        sessions=sessions,
        staff=staff,
        administration=administration,
        services=services,
        access=access,
        desk=desk,
    )
