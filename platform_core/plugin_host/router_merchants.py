"""Routes of plugins for merchants: the catalogue, what is installed, and its life."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from platform_core.identity.errors import CONSENT_REFUSED as GIVER_REFUSED
from platform_core.identity.errors import GRANT_REFUSED
from platform_core.kernel.errors import ErrorCode, PlatformError
from platform_core.kernel.http.acts import NoBody
from platform_core.kernel.http.body import parse_body
from platform_core.kernel.http.idempotency import IdempotentRequest
from platform_core.kernel.http.openapi import documented, refusals
from platform_core.kernel.http.preconditions import expected_version, shown
from platform_core.kernel.pagination import LIMIT_DEFAULT, Page, PageLimit
from platform_core.plugin_host import errors
from platform_core.plugin_host.assembly import PluginLife
from platform_core.plugin_host.installations import Actor
from platform_core.plugin_host.router_parts import (
    Cursor,
    InstallationId,
    MayRead,
    MayWrite,
    PluginIdPath,
    SecretName,
    answered,
    as_precondition,
    claimed,
    merchant_of,
    once,
)
from platform_core.plugin_host.schemas import (
    ConfigurationRead,
    ConfigurationWrite,
    HookPolicyRead,
    HookPolicyWrite,
    InstallationCreate,
    InstallationDetailed,
    InstallationRead,
    InstallationUpdate,
    PluginDetailed,
    PluginListed,
    SecretRead,
    SecretWrite,
    UpgradeAct,
    UpgradeRead,
)

_ONE = "/plugin-installations/{installation_id}"
_ABSENT = errors.INSTALLATION_NOT_FOUND
Version = Annotated[str | None, Query(max_length=64, description="A published version; left out: the newest.")]
StateFilter = Annotated[Literal["consented", "enabled", "disabled", "removed"] | None, Query()]


def merchants_router(life: PluginLife) -> APIRouter:
    """The routes over the services; bootstrap mounts them."""
    router = APIRouter(prefix="/v1", tags=["plugins"])
    _catalogue(router, life)
    _reads(router, life)
    _install(router, life)
    _acts(router, life)
    _changes(router, life)
    _configuration(router, life)
    _secrets(router, life)
    _policy(router, life)
    return router


def _catalogue(router: APIRouter, life: PluginLife) -> None:
    @router.get("/plugins", operation_id="plugins.list")
    async def list_plugins(
        who: MayRead, *, limit: PageLimit = LIMIT_DEFAULT, cursor: Cursor = None
    ) -> Page[PluginListed]:
        """Plugins that can be installed, by their age."""
        return await life.releases.catalogue(cursor=cursor, limit=limit)

    @router.get("/plugins/{plugin_id}", operation_id="plugins.get", responses=refusals(errors.PLUGIN_NOT_FOUND))
    async def get_plugin(who: MayRead, plugin_id: PluginIdPath, *, plugin_version: Version = None) -> PluginDetailed:
        """Everything that a consent page says of a plugin: what it asks for, with the purpose of each."""
        return await life.releases.plugin(plugin_id, version=plugin_version)


def _reads(router: APIRouter, life: PluginLife) -> None:
    @router.get("/plugin-installations", operation_id="plugin_installations.list")
    async def list_installations(
        who: MayRead, *, state: StateFilter = None, limit: PageLimit = LIMIT_DEFAULT, cursor: Cursor = None
    ) -> Page[InstallationRead]:
        """Your plugins, the oldest first; removed ones where `state` asks for them."""
        return await life.installations.page(merchant_of(who), state=state, cursor=cursor, limit=limit)

    @router.get(
        _ONE,
        operation_id="plugin_installations.get",
        **documented(answer=InstallationDetailed, errors=(_ABSENT,)),
    )
    async def get_installation(who: MayRead, installation_id: InstallationId) -> Response:
        """One plugin with what it is allowed and what it lacks.

        The ETag is the installation's version; grant and suspension change without it, so this answer is never a 304.
        """
        found = await life.installations.get(merchant_of(who), installation_id)
        answer = answered(found)
        answer.headers["etag"] = f'"{found.version}"'
        return answer

    @router.get(
        f"{_ONE}/upgrade",
        operation_id="plugin_installations.preview_upgrade",
        responses=refusals(_ABSENT, errors.PLUGIN_NOT_FOUND),
    )
    async def preview_upgrade(
        who: MayRead, installation_id: InstallationId, *, plugin_version: Version = None
    ) -> UpgradeRead:
        """What another version asks for beside the present one."""
        return await life.upgrades.preview(merchant_of(who), installation_id, version=plugin_version)


def _install(router: APIRouter, life: PluginLife) -> None:
    @router.post(
        "/plugin-installations",
        operation_id="plugin_installations.create",
        **documented(
            answer=InstallationRead,
            body=InstallationCreate,
            status=201,
            errors=(
                errors.PLUGIN_NOT_FOUND,
                errors.ALREADY_INSTALLED,
                errors.PLUGIN_SUSPENDED,
                errors.RELEASE_STATE,
                errors.CHANGED_MEANWHILE,
                errors.CONSENT_REFUSED,
                GRANT_REFUSED,
                GIVER_REFUSED,
            ),
            is_idempotent=True,
            has_etag=True,
        ),
    )
    async def install(who: MayWrite, request: Request) -> Response:
        """Agree to what a plugin asks for. Enable it when it is configured."""

        async def act(wanted: InstallationCreate, key: IdempotentRequest) -> Response:
            extra = claimed(key, life.deps, status=201)
            made = await life.installations.install(Actor.of(who), wanted, extra=extra)
            return shown(request, made, version=made.version, status=201)

        return await once(request, InstallationCreate, act, who=who, deps=life.deps, tenant=who.merchant_id)


def _posted(*more: ErrorCode) -> dict[str, Any]:
    return documented(
        answer=InstallationRead,
        errors=(_ABSENT, errors.INSTALLATION_STATE, errors.CHANGED_MEANWHILE, *more),
        is_idempotent=True,
        has_etag=True,
    )


def _acts(router: APIRouter, life: PluginLife) -> None:
    @router.post(
        f"{_ONE}/enable",
        operation_id="plugin_installations.enable",
        **_posted(errors.NOT_READY, errors.PLUGIN_SUSPENDED),
    )
    async def enable(who: MayWrite, installation_id: InstallationId, request: Request) -> Response:
        """Let it be asked, in every process within a second."""

        async def act(_: NoBody, key: IdempotentRequest) -> Response:
            extra = claimed(key, life.deps, status=200)
            made = await life.installations.enable(Actor.of(who), installation_id, extra=extra)
            return shown(request, made, version=made.version)

        return await once(request, NoBody, act, who=who, deps=life.deps, tenant=who.merchant_id)

    @router.post(f"{_ONE}/disable", operation_id="plugin_installations.disable", **_posted())
    async def disable(who: MayWrite, installation_id: InstallationId, request: Request) -> Response:
        """Ask it no more, in any process, within a second; what it keeps stays."""

        async def act(_: NoBody, key: IdempotentRequest) -> Response:
            extra = claimed(key, life.deps, status=200)
            made = await life.installations.disable(Actor.of(who), installation_id, extra=extra)
            return shown(request, made, version=made.version)

        return await once(request, NoBody, act, who=who, deps=life.deps, tenant=who.merchant_id)

    @router.post(
        f"{_ONE}/rollback",
        operation_id="plugin_installations.roll_back",
        **_posted(errors.NOTHING_BEFORE, errors.PLUGIN_SUSPENDED),
    )
    async def roll_back(who: MayWrite, installation_id: InstallationId, request: Request) -> Response:
        """Go back to the version that ran before."""

        async def act(_: NoBody, key: IdempotentRequest) -> Response:
            extra = claimed(key, life.deps, status=200)
            made = await life.upgrades.rollback(Actor.of(who), installation_id, extra=extra)
            return shown(request, made, version=made.version)

        return await once(request, NoBody, act, who=who, deps=life.deps, tenant=who.merchant_id)

    @router.post(
        f"{_ONE}/upgrade",
        operation_id="plugin_installations.upgrade",
        **documented(
            answer=InstallationRead,
            body=UpgradeAct,
            errors=(
                _ABSENT,
                errors.PLUGIN_NOT_FOUND,
                errors.CONSENT_NEEDED,
                errors.CONSENT_REFUSED,
                errors.CONFIG_BREAKS,
                errors.NOT_READY,
                errors.PLUGIN_SUSPENDED,
                errors.RELEASE_STATE,
                errors.INSTALLATION_STATE,
                errors.CHANGED_MEANWHILE,
                GRANT_REFUSED,
                GIVER_REFUSED,
            ),
            is_idempotent=True,
            has_etag=True,
        ),
    )
    async def upgrade(who: MayWrite, installation_id: InstallationId, request: Request) -> Response:
        """Go to another version; one that asks for more names the difference that was shown."""

        async def act(wanted: UpgradeAct, key: IdempotentRequest) -> Response:
            extra = claimed(key, life.deps, status=200)
            made = await life.upgrades.upgrade(Actor.of(who), installation_id, wanted, extra=extra)
            return shown(request, made, version=made.version)

        return await once(request, UpgradeAct, act, who=who, deps=life.deps, tenant=who.merchant_id)


def _changes(router: APIRouter, life: PluginLife) -> None:
    @router.patch(
        _ONE,
        operation_id="plugin_installations.update",
        **documented(
            answer=InstallationRead, body=InstallationUpdate, errors=(_ABSENT,), has_etag=True, needs_match=True
        ),
    )
    async def update(who: MayWrite, installation_id: InstallationId, request: Request) -> Response:
        """Begin or end a dry run."""
        await life.installations.find(installation_id, merchant_of(who))
        wanted = await parse_body(request, InstallationUpdate)
        expected = expected_version(request, object_id=installation_id)
        try:
            made = await life.installations.update(Actor.of(who), installation_id, wanted, expected=expected)
        except PlatformError as error:
            raise as_precondition(error, installation_id) from error
        return shown(request, made, version=made.version)

    @router.delete(
        _ONE,
        operation_id="plugin_installations.remove",
        **documented(answer=None, status=204, errors=(_ABSENT,), needs_match=True),
    )
    async def remove(who: MayWrite, installation_id: InstallationId, request: Request) -> Response:
        """Take it away: its grant ends, its secrets are destroyed, its state is kept for 30 days."""
        await life.installations.find(installation_id, merchant_of(who))
        expected = expected_version(request, object_id=installation_id)
        try:
            await life.installations.remove(Actor.of(who), installation_id, expected=expected)
        except PlatformError as error:
            raise as_precondition(error, installation_id) from error
        return Response(status_code=204)


def _configuration(router: APIRouter, life: PluginLife) -> None:
    @router.get(
        f"{_ONE}/configurations",
        operation_id="plugin_configurations.list",
        responses=refusals(_ABSENT),
    )
    async def list_configurations(who: MayRead, installation_id: InstallationId) -> Page[ConfigurationRead]:
        """The latest 50 revisions, the newest first."""
        found = await life.configurations.revisions(merchant_of(who), installation_id)
        return Page(data=list(found), next_cursor=None)

    @router.put(
        f"{_ONE}/configuration",
        operation_id="plugin_configurations.set",
        **documented(
            answer=ConfigurationRead,
            body=ConfigurationWrite,
            errors=(_ABSENT, errors.CONFIG_INVALID, errors.CONFIG_TOO_LARGE),
            needs_match=True,
        ),
    )
    async def configure(who: MayWrite, installation_id: InstallationId, request: Request) -> Response:
        """A new revision, which counts from the next call on. If-Match names the installation's version."""
        await life.installations.find(installation_id, merchant_of(who))
        wanted = await parse_body(request, ConfigurationWrite)
        expected = expected_version(request, object_id=installation_id)
        try:
            made = await life.configurations.set(Actor.of(who), installation_id, wanted, expected=expected)
        except PlatformError as error:
            raise as_precondition(error, installation_id) from error
        return answered(made)


def _secrets(router: APIRouter, life: PluginLife) -> None:
    @router.get(f"{_ONE}/secrets", operation_id="plugin_secrets.list", responses=refusals(_ABSENT))
    async def list_secrets(who: MayRead, installation_id: InstallationId) -> Page[SecretRead]:
        """The secrets that it asks for and whether they are there; never their values."""
        found = await life.secrets.list(merchant_of(who), installation_id)
        return Page(data=list(found), next_cursor=None)

    @router.post(
        f"{_ONE}/secrets/{{secret_name}}",
        operation_id="plugin_secrets.set",
        **documented(
            answer=SecretRead,
            body=SecretWrite,
            errors=(_ABSENT, errors.SECRET_UNKNOWN, errors.SECRET_REFUSED, errors.CHANGED_MEANWHILE),
            is_idempotent=True,
        ),
    )
    async def set_secret(
        who: MayWrite, installation_id: InstallationId, secret_name: SecretName, request: Request
    ) -> Response:
        """Store or rotate a secret; the value before lives on for the overlap."""
        await life.installations.find(installation_id, merchant_of(who))

        async def act(wanted: SecretWrite, key: IdempotentRequest) -> Response:
            extra = claimed(key, life.deps, status=200)
            made = await life.secrets.set(Actor.of(who), installation_id, secret_name, wanted=wanted, extra=extra)
            return answered(made)

        return await once(request, SecretWrite, act, who=who, deps=life.deps, tenant=who.merchant_id)

    @router.delete(
        f"{_ONE}/secrets/{{secret_name}}",
        operation_id="plugin_secrets.remove",
        **documented(answer=None, status=204, errors=(_ABSENT, errors.SECRET_UNKNOWN, errors.CHANGED_MEANWHILE)),
    )
    async def remove_secret(who: MayWrite, installation_id: InstallationId, secret_name: SecretName) -> Response:
        """Destroy a secret."""
        await life.secrets.remove(Actor.of(who), installation_id, secret_name)
        return Response(status_code=204)


def _policy(router: APIRouter, life: PluginLife) -> None:
    @router.get("/hook-policy", operation_id="hook_policy.get", **documented(answer=HookPolicyRead, has_etag=True))
    async def get_policy(who: MayRead, request: Request) -> Response:
        """What you decided about hooks."""
        found = await life.policies.get(merchant_of(who))
        return shown(request, found, version=found.version)

    @router.put(
        "/hook-policy",
        operation_id="hook_policy.set",
        **documented(answer=HookPolicyRead, body=HookPolicyWrite, has_etag=True, needs_match=True),
    )
    async def set_policy(who: MayWrite, request: Request) -> Response:
        """Decide from which amount on a failing check counts as deny, and how much plugins may take off a basket."""
        wanted = await parse_body(request, HookPolicyWrite)
        expected = expected_version(request, object_id="hook-policy")
        try:
            made = await life.policies.set(Actor.of(who), wanted, expected=expected)
        except PlatformError as error:
            raise as_precondition(error, "hook-policy") from error
        return shown(request, made, version=made.version)
