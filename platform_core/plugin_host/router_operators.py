"""Routes of plugins for publishers (`/v1/plugin-releases`) and for the operator's staff (`/v1/admin/...`)."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from platform_core.identity.errors import MERCHANT_NOT_FOUND
from platform_core.kernel.http.acts import NoBody
from platform_core.kernel.http.idempotency import IdempotentRequest
from platform_core.kernel.http.openapi import documented, refusals
from platform_core.kernel.pagination import LIMIT_DEFAULT, Page, PageLimit
from platform_core.plugin_host import errors
from platform_core.plugin_host.assembly import PluginLife
from platform_core.plugin_host.router_parts import (
    Cursor,
    MayReview,
    MaySubmit,
    MaySwitch,
    ReleaseId,
    SwitchId,
    answered,
    claimed,
    once,
    publisher_of,
)
from platform_core.plugin_host.schemas import (
    ReleaseDetailed,
    ReleaseRead,
    RetireWrite,
    ReviewWrite,
    SwitchLift,
    SwitchPull,
    SwitchRead,
)


def publishers_router(life: PluginLife) -> APIRouter:
    """The publisher's routes; bootstrap mounts them."""
    router = APIRouter(prefix="/v1", tags=["plugins"])

    @router.get("/plugin-releases", operation_id="plugin_releases.list")
    async def list_releases(
        who: MaySubmit, *, limit: PageLimit = LIMIT_DEFAULT, cursor: Cursor = None
    ) -> Page[ReleaseRead]:
        """Your releases, the oldest first."""
        return await life.releases.own(await publisher_of(life, who), cursor=cursor, limit=limit)

    @router.get(
        "/plugin-releases/{release_id}",
        operation_id="plugin_releases.get",
        responses=refusals(errors.RELEASE_NOT_FOUND),
    )
    async def get_release(who: MaySubmit, release_id: ReleaseId) -> ReleaseDetailed:
        """One release with what its review found."""
        return await life.releases.get(release_id, isv_id=await publisher_of(life, who))

    _publish(router, life)
    return router


def _publish(router: APIRouter, life: PluginLife) -> None:
    @router.post(
        "/plugin-releases/{release_id}/publish",
        operation_id="plugin_releases.publish",
        **documented(
            answer=ReleaseRead,
            errors=(
                errors.RELEASE_NOT_FOUND,
                errors.RELEASE_STATE,
                errors.SIGNING_SECRET_NEEDED,
                errors.CHANGED_MEANWHILE,
            ),
            is_idempotent=True,
        ),
    )
    async def publish(who: MaySubmit, release_id: ReleaseId, request: Request) -> Response:
        """Let merchants see an approved release."""
        isv_id = await publisher_of(life, who)

        async def act(_: NoBody, key: IdempotentRequest) -> Response:
            extra = claimed(key, life.deps, status=200)
            made = await life.releases.publish(release_id, by=who.client_id, isv_id=isv_id, extra=extra)
            return answered(made)

        return await once(request, NoBody, act, who=who, deps=life.deps, tenant=None)

    @router.post(
        "/plugin-releases/{release_id}/retire",
        operation_id="plugin_releases.retire",
        **documented(
            answer=ReleaseRead,
            body=RetireWrite,
            errors=(errors.RELEASE_NOT_FOUND, errors.RELEASE_STATE, errors.CHANGED_MEANWHILE),
            is_idempotent=True,
        ),
    )
    async def retire(who: MaySubmit, release_id: ReleaseId, request: Request) -> Response:
        """End a release, at least 90 days ahead: no new installations, and those who run it are told."""
        isv_id = await publisher_of(life, who)

        async def act(wanted: RetireWrite, key: IdempotentRequest) -> Response:
            extra = claimed(key, life.deps, status=200)
            made = await life.releases.retire(
                release_id, retires_at=wanted.retires_at, by=who.client_id, isv_id=isv_id, extra=extra
            )
            return answered(made)

        return await once(request, RetireWrite, act, who=who, deps=life.deps, tenant=None)


def operators_router(life: PluginLife) -> APIRouter:
    """The staff's routes; bootstrap mounts them."""
    router = APIRouter(prefix="/v1/admin", tags=["admin"])
    _reviews(router, life)
    _switches(router, life)
    return router


def _reviews(router: APIRouter, life: PluginLife) -> None:
    @router.get("/plugin-reviews", operation_id="plugin_reviews.list")
    async def list_reviews(
        who: MayReview, *, limit: PageLimit = LIMIT_DEFAULT, cursor: Cursor = None
    ) -> Page[ReleaseRead]:
        """Releases that wait for a reviewer, the oldest first."""
        return await life.releases.queue(cursor=cursor, limit=limit)

    @router.get(
        "/plugin-reviews/{release_id}",
        operation_id="plugin_reviews.get",
        responses=refusals(errors.RELEASE_NOT_FOUND),
    )
    async def get_review(who: MayReview, release_id: ReleaseId) -> ReleaseDetailed:
        """One release with its difference to the version before and what the rules found."""
        return await life.releases.get(release_id, isv_id=None)

    @router.post(
        "/plugin-reviews/{release_id}/decisions",
        operation_id="plugin_reviews.decide",
        **documented(
            answer=ReleaseDetailed,
            body=ReviewWrite,
            errors=(
                errors.RELEASE_NOT_FOUND,
                errors.RELEASE_STATE,
                errors.REVIEWER_REFUSED,
                errors.CHANGED_MEANWHILE,
            ),
            is_idempotent=True,
        ),
    )
    async def decide(who: MayReview, release_id: ReleaseId, request: Request) -> Response:
        """Approve, ask for changes, or reject; the publisher reads the note."""

        async def act(wanted: ReviewWrite, key: IdempotentRequest) -> Response:
            extra = claimed(key, life.deps, status=200)
            made = await life.releases.review(release_id, wanted, reviewer=who.client_id, extra=extra)
            return answered(made)

        return await once(request, ReviewWrite, act, who=who, deps=life.deps, tenant=None)


def _switches(router: APIRouter, life: PluginLife) -> None:
    @router.get("/plugin-switches", operation_id="plugin_switches.list")
    async def list_switches(
        who: MaySwitch, *, limit: PageLimit = LIMIT_DEFAULT, cursor: Cursor = None
    ) -> Page[SwitchRead]:
        """All switches that were ever pulled, the oldest first."""
        return await life.switches.page(cursor=cursor, limit=limit)

    @router.get(
        "/plugin-switches/{switch_id}",
        operation_id="plugin_switches.get",
        responses=refusals(errors.SWITCH_NOT_FOUND),
    )
    async def get_switch(who: MaySwitch, switch_id: SwitchId) -> SwitchRead:
        """One switch."""
        return await life.switches.get(switch_id)

    @router.post(
        "/plugin-switches",
        operation_id="plugin_switches.pull",
        **documented(
            answer=SwitchRead,
            body=SwitchPull,
            status=201,
            errors=(
                errors.PLUGIN_NOT_FOUND,
                errors.RELEASE_NOT_FOUND,
                MERCHANT_NOT_FOUND,
                errors.SWITCH_REFUSED,
                errors.CHANGED_MEANWHILE,
            ),
            is_idempotent=True,
        ),
    )
    async def pull(who: MaySwitch, request: Request) -> Response:
        """Suspend a plugin, one version, or either at one merchant: everywhere within a second."""

        async def act(wanted: SwitchPull, key: IdempotentRequest) -> Response:
            extra = claimed(key, life.deps, status=201)
            return answered(await life.switches.pull(wanted, by=who.client_id, extra=extra), status=201)

        return await once(request, SwitchPull, act, who=who, deps=life.deps, tenant=None)

    @router.post(
        "/plugin-switches/{switch_id}/lift",
        operation_id="plugin_switches.lift",
        **documented(
            answer=SwitchRead,
            body=SwitchLift,
            errors=(
                errors.SWITCH_NOT_FOUND,
                errors.SWITCH_LIFTED,
                errors.SECOND_PERSON_NEEDED,
                errors.CHANGED_MEANWHILE,
            ),
            is_idempotent=True,
        ),
    )
    async def lift(who: MaySwitch, switch_id: SwitchId, request: Request) -> Response:
        """Propose to lift it, or lift what another person proposed."""

        async def act(wanted: SwitchLift, key: IdempotentRequest) -> Response:
            extra = claimed(key, life.deps, status=200)
            return answered(await life.switches.lift(switch_id, wanted, by=who.client_id, extra=extra))

        return await once(request, SwitchLift, act, who=who, deps=life.deps, tenant=None)
