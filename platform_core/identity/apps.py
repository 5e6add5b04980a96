"""Apps, their clients and secrets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row

from platform_core.identity import repository
from platform_core.identity.app_secrets import make_secret
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.errors import CHANGED_MEANWHILE, CLIENT_NOT_FOUND, CLIENT_REFUSED, OWNER_NOT_FOUND
from platform_core.identity.models import APP_CLIENTS, APP_SECRETS, APPS, Profile
from platform_core.identity.redirects import is_loopback
from platform_core.identity.revocation import PUBLIC_CLIENTS, news
from platform_core.identity.schemas import AppCreate, AppCreated, ClientConfigure, ClientRead, SecretShown
from platform_core.kernel.commit import Audit, Change, Event, Insert, Plan, PlanRefused, Replayed
from platform_core.kernel.commit.audit import PLATFORM
from platform_core.kernel.http.preconditions import changed_meanwhile, check_version
from platform_core.kernel.i18n import Text

SECRET_OVERLAP: Final = timedelta(days=7)
AlsoMade = Callable[[AppCreated], Iterable[object]]
AlsoShown = Callable[[SecretShown], Iterable[object]]


def nothing_else(_: object) -> Iterable[object]:
    """No further part."""
    return ()


@dataclass(frozen=True, slots=True)
class Apps:
    """Creates apps and rotates what they sign in with."""

    deps: IdentityDeps

    async def create_app(self, wanted: AppCreate, *, also: AlsoMade = nothing_else, by: str = PLATFORM) -> AppCreated:
        """An app with one client and one secret, which is shown in this answer and never again.

        `also`: more parts of its plan. Emits `app.secret_created`. 422 `identity.owner_not_found` unless one owner
        is named and exists.
        """
        await self._check_owner(wanted)
        now = self.deps.clock.now()
        app_id = self.deps.ids.mint("app")
        client = ClientRead(
            id=self.deps.ids.mint(f"app_{wanted.mode}"),
            app_id=app_id,
            mode=wanted.mode,
            state="active",
            api_version=wanted.api_version,
            profile="confidential",
            redirect_uris=(),
            grant_types=("client_credentials",),
            requires_par=False,
            may_introspect_any=False,
            version=1,
            created_at=now,
        )
        app = {
            "id": app_id,
            "isv_id": wanted.isv_id,
            "merchant_id": wanted.merchant_id,
            "name": wanted.name,
            "state": "active",
            "version": 1,
            "created_at": now,
        }
        secret, insert = self._new_secret(client, wanted.merchant_id, now)
        plan = Plan(wanted.merchant_id).add(
            Insert(APPS, app),
            Insert(APP_CLIENTS, _row(client, wanted.merchant_id)),
            insert,
            self._event("app.secret_created", client, now),
            Audit("app.created", by, app_id, wanted.merchant_id, {"client": client.id, "secret": secret.id}),
        )
        owner = {"isv_id": wanted.isv_id, "merchant_id": wanted.merchant_id}
        made = AppCreated(id=app_id, name=wanted.name, client=client, secret=secret, **owner)
        await self.deps.committer.commit(plan.add(*also(made)))
        return made

    def plugin_parts(self, *, isv_id: str, name: str, by: str) -> tuple[str, list[object]]:
        """The app that a new plugin is: its id, and the parts of a plan of the platform that write it.

        It has no client: a plugin acts by the handle of a call, never by a token of its own.
        """
        app_id, now = self.deps.ids.mint("app"), self.deps.clock.now()
        row = {
            "id": app_id,
            "isv_id": isv_id,
            "merchant_id": None,
            "name": name,
            "state": "active",
            "version": 1,
            "created_at": now,
        }
        return app_id, [Insert(APPS, row), Audit("app.created", by, app_id, None, {"kind": "plugin"})]

    async def rotate_secret(
        self,
        client_id: str,
        *,
        overlap: timedelta = SECRET_OVERLAP,
        also: AlsoShown = nothing_else,
        by: str = PLATFORM,
    ) -> SecretShown:
        """A new secret; the one before it lives on for `overlap` (zero: not at all), any older one ends now.

        `also`: more parts of its plan. Emits `app.secret_created`. 404 `identity.client_not_found`; 422
        `identity.client_refused` for a client that proves itself otherwise; 409 `identity.changed_meanwhile` when two
        rotate at once.
        """
        if overlap < timedelta(0):
            raise ValueError("a secret cannot end before now")
        async with self.deps.database.read_auth() as connection:
            row = await repository.read_client(connection, client_id)
            secrets = await repository.read_secrets(connection, client_id)
        if row is None:
            raise CLIENT_NOT_FOUND.error({"client_id": client_id})
        now = self.deps.clock.now()
        before = _read(row)
        if before.profile != "confidential":
            raise _refused("only a confidential client signs in with a secret", "仅机密客户端使用密钥登录")
        after = before.model_copy(update={"version": before.version + 1})
        shown, insert = self._new_secret(after, row.merchant_id, now)
        plan = Plan(row.merchant_id).add(Change(APP_CLIENTS, client_id, {}, expected=before.version), insert)
        for secret in secrets:
            if secret.expires_at is None:
                plan.add(Change(APP_SECRETS, secret.id, {"expires_at": now + overlap}))
            elif secret.expires_at > now:
                plan.add(Change(APP_SECRETS, secret.id, {"expires_at": now}))
        facts = {"secret": shown.id, "overlap_s": int(overlap.total_seconds())}
        plan.add(
            self._event("app.secret_created", after, now),
            Audit("app.secret_created", by, client_id, row.merchant_id, facts),
            *also(shown),
        )
        await self._commit(plan, client_id)
        return shown

    async def disable_client(self, client_id: str, *, by: str = PLATFORM) -> ClientRead:
        """Refuse a client's tokens within a second, and new ones at once.

        404 `identity.client_not_found`; 409 `identity.changed_meanwhile`.
        """
        async with self.deps.database.read_auth() as connection:
            row = await repository.read_client(connection, client_id)
        if row is None:
            raise CLIENT_NOT_FOUND.error({"client_id": client_id})
        now = self.deps.clock.now()
        before = _read(row)
        after = before.model_copy(update={"state": "disabled", "version": before.version + 1})
        plan = Plan(row.merchant_id).add(
            Change(APP_CLIENTS, client_id, {"state": "disabled"}, expected=before.version),
            news(self.deps.ids, kind="client", subject_id=client_id, merchant_id=row.merchant_id, now=now),
            Audit("app.client_disabled", by, client_id, row.merchant_id),
        )
        self._tell_origins(plan, before.profile, now)
        await self._commit(plan, client_id)
        return after

    async def client(self, client_id: str) -> ClientRead:
        """One client. 404 `identity.client_not_found`."""
        async with self.deps.database.read_auth() as connection:
            row = await repository.read_client(connection, client_id)
        if row is None:
            raise CLIENT_NOT_FOUND.error({"client_id": client_id})
        return _read(row)

    async def configure_client(
        self, client_id: str, wanted: ClientConfigure, *, by: str = PLATFORM, expected: int | None = None
    ) -> ClientRead:
        """Say how a client may use the authorization server. Emits `app.client_changed`.

        A client that becomes public keeps no secret: its secrets end now. `expected`: the version that the caller saw,
        else 412 `kernel.precondition_failed`. 404 `identity.client_not_found`; 422
        `identity.client_refused`; 409 `identity.changed_meanwhile`.
        """
        async with self.deps.database.read_auth() as connection:
            row = await repository.read_client(connection, client_id)
            secrets = await repository.read_secrets(connection, client_id)
        if row is None:
            raise CLIENT_NOT_FOUND.error({"client_id": client_id})
        before, now = _read(row), self.deps.clock.now()
        if expected is not None:
            check_version(before.version, expected, object_id=client_id)
        _check_configuration(wanted, before)
        values = {
            "profile": wanted.profile,
            "redirect_uris": wanted.redirect_uris,
            "grant_types": tuple(sorted(wanted.grant_types)),
            "requires_par": wanted.requires_par or wanted.profile == "money",
        }
        after = before.model_copy(update={**values, "version": before.version + 1})
        plan = Plan(row.merchant_id).add(
            Change(APP_CLIENTS, client_id, _joined(values), expected=before.version),
            news(self.deps.ids, kind="client", subject_id=client_id, merchant_id=row.merchant_id, now=now),
            self._event("app.client_changed", after, now),
            Audit("app.client_changed", by, client_id, row.merchant_id, _joined(values)),
        )
        self._tell_origins(plan, before.profile, now, after=wanted.profile)
        if wanted.profile == "public":
            live = (secret for secret in secrets if secret.expires_at is None or secret.expires_at > now)
            plan.add(*(Change(APP_SECRETS, secret.id, {"expires_at": now}) for secret in live))
        await self._commit(plan, client_id, is_expected=expected is not None)
        return after

    async def let_introspect_any(self, client_id: str, *, is_allowed: bool, by: str = PLATFORM) -> None:
        """Make a client a resource server of the operator, which may introspect every token, or end that.

        404 `identity.client_not_found`; 409 `identity.changed_meanwhile`.
        """
        async with self.deps.database.read_auth() as connection:
            row = await repository.read_client(connection, client_id)
        if row is None:
            raise CLIENT_NOT_FOUND.error({"client_id": client_id})
        plan = Plan(row.merchant_id)
        plan.add(
            Change(APP_CLIENTS, client_id, {"may_introspect_any": is_allowed}, expected=row.version),
            Audit("app.introspection_changed", by, client_id, row.merchant_id, {"may_introspect_any": is_allowed}),
        )
        await self._commit(plan, client_id)

    async def _check_owner(self, wanted: AppCreate) -> None:
        async with self.deps.database.read_auth() as connection:
            if wanted.merchant_id is not None and wanted.isv_id is None:
                owner = await repository.read_merchant(connection, wanted.merchant_id)
                is_fit = owner is not None and owner.mode == wanted.mode
            elif wanted.isv_id is not None and wanted.merchant_id is None:
                is_fit = await repository.read_isv(connection, wanted.isv_id) is not None
            else:
                is_fit = False
        if not is_fit:
            raise OWNER_NOT_FOUND.error({"mode": wanted.mode})

    def _new_secret(self, client: ClientRead, merchant_id: str | None, now: datetime) -> tuple[SecretShown, Insert]:
        secret_id = self.deps.ids.mint("sec")
        plain = make_secret(client.mode, self.deps.entropy)
        row = {
            "id": secret_id,
            "client_id": client.id,
            "merchant_id": merchant_id,
            "digest": self.deps.vault.digest(secret_id, plain),
            "hint": plain[-4:],
            "created_at": now,
            "expires_at": None,
            "last_used_at": None,
        }
        shown = SecretShown(id=secret_id, client_id=client.id, secret=plain, created_at=now)
        return shown, Insert(APP_SECRETS, row)

    def _tell_origins(self, plan: Plan, before: Profile, now: datetime, *, after: Profile = "confidential") -> None:
        """Have every process read anew from which origins public clients call, where this one is or was public."""
        if "public" in (before, after):
            told = news(self.deps.ids, kind="origins", subject_id=PUBLIC_CLIENTS, merchant_id=plan.merchant_id, now=now)
            plan.add(told)

    def _event(self, kind: str, client: ClientRead, now: datetime) -> Event:
        return Event(
            id=self.deps.ids.mint("evt"),
            type=kind,
            object_id=client.id,
            sequence=client.version,
            occurred_at=now,
            body=client.model_dump_json(),
        )

    async def _commit(self, plan: Plan, client_id: str, *, is_expected: bool = False) -> None:
        try:
            await self.deps.committer.commit(plan)
        except PlanRefused as refused:
            if isinstance(refused.refusal, Replayed):
                raise
            if is_expected:
                raise changed_meanwhile(client_id) from refused
            raise CHANGED_MEANWHILE.error({"id": client_id}) from refused


def _check_configuration(wanted: ClientConfigure, client: ClientRead) -> None:
    """Raise 422 `identity.client_refused` for what does not go together."""
    if len(set(wanted.redirect_uris)) != len(wanted.redirect_uris):
        raise _refused("a redirect address is named twice", "回调地址重复")
    is_local_allowed = wanted.profile == "public" or client.mode == "test"
    if not is_local_allowed and any(is_loopback(uri) for uri in wanted.redirect_uris):
        raise _refused("a live client that keeps a secret needs https", "正式环境的机密客户端回调地址须使用 https")
    if "authorization_code" in wanted.grant_types and not wanted.redirect_uris:
        raise _refused("authorization_code needs a redirect address", "授权码模式须登记回调地址")
    if wanted.profile == "public" and "client_credentials" in wanted.grant_types:
        raise _refused("a public client has no credentials", "公开客户端不能使用 client_credentials")


def _refused(en: str, zh: str) -> Exception:
    return CLIENT_REFUSED.error({"reason": Text(en=en, zh=zh)})


def _joined(values: dict[str, Any]) -> dict[str, Any]:
    lists = ("redirect_uris", "grant_types")
    return {name: " ".join(value) if name in lists else value for name, value in values.items()}


def _row(client: ClientRead, merchant_id: str | None) -> dict[str, Any]:
    return {**_joined(client.model_dump()), "merchant_id": merchant_id}


def _read(row: Row[Any]) -> ClientRead:
    lists = {"redirect_uris": tuple(row.redirect_uris.split()), "grant_types": tuple(row.grant_types.split())}
    return ClientRead.model_validate({**row._mapping, **lists})
