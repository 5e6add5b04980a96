"""A party's own apps and their secrets, as its people see and change them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel
from sqlalchemy import Row, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from platform_core.identity import repository
from platform_core.identity.apps import Apps
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.errors import CHANGED_MEANWHILE, CLIENT_NOT_FOUND
from platform_core.identity.errors_people import APP_NOT_FOUND, APP_REFUSED, SECRET_NOT_FOUND
from platform_core.identity.models import APP_CLIENTS, APP_SECRETS, APPS
from platform_core.identity.principal import Principal
from platform_core.identity.revocation import news
from platform_core.identity.schemas import AppCreate, AppCreated, ClientRead, SecretShown
from platform_core.identity.schemas_people import (
    AppClientRead,
    AppMade,
    AppRead,
    AppUpdate,
    AppWrite,
    SecretCreate,
    SecretMade,
    SecretRead,
)
from platform_core.identity.sessions import require_step_up
from platform_core.kernel.commit import Audit, Change, Event, Plan, PlanRefused
from platform_core.kernel.http.preconditions import changed_meanwhile
from platform_core.kernel.i18n import Text
from platform_core.kernel.pagination import Position

_apps, _clients = APPS.table, APP_CLIENTS.table
Extra = Callable[[BaseModel, str], Iterable[object]]
"""Parts for the plan out of the answer (without its secret) and the id of what was made."""


@dataclass(frozen=True, slots=True)
class OwnApps:
    """Apps of the caller's party; any other app is 404, like one that does not exist."""

    deps: IdentityDeps
    apps: Apps

    async def list(self, who: Principal, *, after: Position | None, limit: int) -> Sequence[AppRead]:
        """At most `limit` of the party's apps, the oldest first, those behind `after`."""
        query = select(_apps).where(_owned(who))
        if after is not None:
            place = tuple_(_apps.c.created_at, _apps.c.id)
            query = query.where(place > tuple_(literal(after.created_at), literal(after.id)))
        async with self.deps.database.read_auth() as connection:
            rows = (await connection.execute(query.order_by(_apps.c.created_at, _apps.c.id).limit(limit))).all()
            clients = await _clients_of(connection, [row.id for row in rows])
        return [_app(row, clients) for row in rows]

    async def get(self, who: Principal, app_id: str) -> AppRead:
        """One app. 404 `identity.app_not_found`."""
        async with self.deps.database.read_auth() as connection:
            row = (await connection.execute(select(_apps).where(_apps.c.id == app_id, _owned(who)))).one_or_none()
            if row is None:
                raise APP_NOT_FOUND.error({"app_id": app_id})
            clients = await _clients_of(connection, [app_id])
        return _app(row, clients)

    async def create(self, who: Principal, wanted: AppWrite, *, extra: Extra) -> AppMade:
        """A new app with a client and a secret. A merchant's is of the merchant's mode.

        401 `identity.step_up_required`: it comes with a secret. 422 `identity.app_refused`.
        """
        require_step_up(who, self.deps.clock.now())
        if who.party_kind == "isv" and wanted.mode == "live":
            raise _refused("a live client needs an approved release", "正式模式的客户端须先通过发布审核")
        if who.party_kind == "merchant" and wanted.mode != who.mode:
            raise _refused(f"the merchant is in {who.mode} mode", f"该商户处于 {who.mode} 模式")
        if who.party_kind not in ("isv", "merchant"):
            raise _refused("the operator owns no apps", "平台运营方不拥有应用")
        create = AppCreate(
            name=wanted.name,
            mode=wanted.mode,
            api_version=wanted.api_version or who.api_version,
            isv_id=who.party_id if who.party_kind == "isv" else None,
            merchant_id=who.merchant_id,
        )

        def also(made: AppCreated) -> Iterable[object]:
            return extra(_made(made, is_secret_shown=False), made.id)

        return _made(await self.apps.create_app(create, by=who.client_id, also=also), is_secret_shown=True)

    async def update(self, who: Principal, app_id: str, wanted: AppUpdate, *, expected: int) -> AppRead:
        """Rename, disable (its tokens are refused within a second) or enable again.

        404 `identity.app_not_found`, 412 `kernel.precondition_failed`.
        """
        before = await self.get(who, app_id)
        if before.version != expected:
            raise changed_meanwhile(app_id)
        values = wanted.model_dump(exclude_none=True)
        if not values:
            return before
        told = news(
            self.deps.ids, kind="app", subject_id=app_id, merchant_id=before.merchant_id, now=self.deps.clock.now()
        )
        plan = Plan(before.merchant_id).add(Change(APPS, app_id, values, expected=expected), told)
        plan.add(Audit("app.changed", who.client_id, app_id, before.merchant_id, values))
        try:
            await self.deps.committer.commit(plan)
        except PlanRefused as refused:
            raise changed_meanwhile(app_id) from refused
        return before.model_copy(update={**values, "version": expected + 1})

    async def secrets(self, who: Principal, app_id: str) -> Sequence[SecretRead]:
        """The living secrets of the app's clients, the oldest first."""
        app, now = await self.get(who, app_id), self.deps.clock.now()
        found: list[SecretRead] = []
        async with self.deps.database.read_auth() as connection:
            for client in app.clients:
                rows = await repository.read_secrets(connection, client.id)
                found += [_secret(row, app_id) for row in rows if row.expires_at is None or row.expires_at > now]
        return found

    async def create_secret(self, who: Principal, app_id: str, wanted: SecretCreate, *, extra: Extra) -> SecretMade:
        """A new secret for one of the app's clients; the one before it lives on for the overlap.

        404 `identity.app_not_found`, `identity.client_not_found`; 422 `identity.client_refused` for a client that keeps
        no secret; 409 `identity.changed_meanwhile`.
        """
        app = await self.get(who, app_id)
        if wanted.client_id not in {client.id for client in app.clients}:
            raise CLIENT_NOT_FOUND.error({"client_id": wanted.client_id})

        def also(shown: SecretShown) -> Iterable[object]:
            return extra(_shown(shown, is_secret_shown=False), shown.id)

        overlap = timedelta(seconds=wanted.overlap_s)
        shown = await self.apps.rotate_secret(wanted.client_id, overlap=overlap, by=who.client_id, also=also)
        return _shown(shown, is_secret_shown=True)

    async def revoke_secret(self, who: Principal, app_id: str, secret_id: str) -> None:
        """End a secret now. Emits `app.secret_revoked`. 404 `identity.secret_not_found`, 409
        `identity.changed_meanwhile`.
        """
        app, now = await self.get(who, app_id), self.deps.clock.now()
        secret = next((one for one in await self.secrets(who, app_id) if one.id == secret_id), None)
        if secret is None:
            raise SECRET_NOT_FOUND.error({"secret_id": secret_id})
        client = await self.apps.client(secret.client_id)
        after = client.model_copy(update={"version": client.version + 1})
        plan = Plan(app.merchant_id).add(
            Change(APP_CLIENTS, client.id, {}, expected=client.version),
            Change(APP_SECRETS, secret_id, {"expires_at": now}),
            self._event("app.secret_revoked", after, now),
            Audit("app.secret_revoked", who.client_id, client.id, app.merchant_id, {"secret": secret_id}),
        )
        try:
            await self.deps.committer.commit(plan)
        except PlanRefused as refused:
            raise CHANGED_MEANWHILE.error({"id": secret_id}) from refused

    def _event(self, kind: str, client: ClientRead, now: datetime) -> Event:
        return Event(
            id=self.deps.ids.mint("evt"),
            type=kind,
            object_id=client.id,
            sequence=client.version,
            occurred_at=now,
            body=client.model_dump_json(),
        )


def _owned(who: Principal) -> Any:  # Any: SQLAlchemy's condition
    """Apps of the caller's party; an app that acts by token sees its merchant's."""
    if who.party_kind == "isv":
        return _apps.c.isv_id == who.party_id
    return _apps.c.merchant_id == (who.merchant_id or "")


async def _clients_of(connection: AsyncConnection, app_ids: Sequence[str]) -> Sequence[Row[Any]]:
    query = select(_clients).where(_clients.c.app_id.in_(app_ids)).order_by(_clients.c.mode, _clients.c.id)
    return (await connection.execute(query)).all()


def _app(row: Row[Any], clients: Sequence[Row[Any]]) -> AppRead:
    own = [AppClientRead.model_validate(client) for client in clients if client.app_id == row.id]
    return AppRead.model_validate({**row._mapping, "clients": own})


def _secret(row: Row[Any], app_id: str) -> SecretRead:
    return SecretRead.model_validate({**row._mapping, "app_id": app_id})


def _made(made: AppCreated, *, is_secret_shown: bool) -> AppMade:
    client = AppClientRead.model_validate(made.client)
    app = AppRead(
        id=made.id,
        name=made.name,
        state="active",
        isv_id=made.isv_id,
        merchant_id=made.merchant_id,
        clients=[client],
        version=1,
        created_at=made.client.created_at,
    )
    return AppMade(app=app, secret=_shown(made.secret, is_secret_shown=is_secret_shown))


def _shown(shown: SecretShown, *, is_secret_shown: bool) -> SecretMade:
    return SecretMade(
        id=shown.id,
        client_id=shown.client_id,
        hint=shown.secret[-4:],
        created_at=shown.created_at,
        expires_at=None,
        secret=shown.secret if is_secret_shown else None,
    )


def _refused(en: str, zh: str) -> Exception:
    return APP_REFUSED.error({"reason": Text(en=en, zh=zh)})
