"""The route by which publishers send bundles."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Request, Response

from platform_core.kernel.http.openapi import documented
from platform_core.plugin_host import errors
from platform_core.plugin_host.assembly import PluginLife
from platform_core.plugin_host.bundle_uploads import Upload
from platform_core.plugin_host.router_parts import MaySubmit, answered, publisher_of
from platform_core.plugin_host.schemas import ReleaseRead

UPLOAD_PATH: Final = "/v1/plugin-bundles/"
MEDIA_TYPE: Final = "application/zip"
BundleHash = Annotated[
    str,
    Path(
        pattern=r"^[0-9a-f]{64}$",
        description="SHA-256 of the bundle, in hex.",
        examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    ),
]
ChangeLog = Annotated[str, Query(max_length=1000, description="What is new, for merchants.")]
TestAccount = Annotated[str, Query(max_length=500, description="For reviewers. Queries are not logged.")]
_BODY: Final = {
    "required": True,
    "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    "description": "A bundle made by `arsenal plugin pack`, at most 64 MiB.",
}


def bundles_router(life: PluginLife) -> APIRouter:
    """The route over the service; bootstrap mounts it, and lets its bodies be larger than others."""
    router = APIRouter(prefix="/v1", tags=["plugins"])
    told = documented(
        answer=ReleaseRead,
        errors=(
            errors.BUNDLE_REFUSED,
            errors.BUNDLE_TOO_LARGE,
            errors.UPLOAD_DIFFERS,
            errors.UPLOAD_MEDIA_TYPE,
            errors.UPLOADS_EXCEEDED,
            errors.UPLOADS_NOT_KEPT,
            errors.PUBLISHER_REFUSED,
            errors.RELEASE_EXISTS,
            errors.MANIFEST_REFUSED,
            errors.SCHEMA_REFUSED,
            errors.CHECK_FAILED,
            errors.CHANGED_MEANWHILE,
        ),
    )
    told["openapi_extra"] = {**told["openapi_extra"], "requestBody": _BODY}

    @router.put("/plugin-bundles/{bundle_hash}", operation_id="plugin_bundles.submit", **told)
    async def submit_bundle(
        who: MaySubmit,
        bundle_hash: BundleHash,
        request: Request,
        *,
        change_log: ChangeLog = "",
        test_account: TestAccount = "",
    ) -> Response:
        """Submit a bundle as its publisher; what nobody needs to look at is approved at once.

        The same bundle again is answered with the release that it became. Nothing of a refused one is kept.
        """
        if life.uploads is None:
            raise errors.UPLOADS_NOT_KEPT.error()
        if request.headers.get("content-type") != MEDIA_TYPE or "content-encoding" in request.headers:
            raise errors.UPLOAD_MEDIA_TYPE.error()
        isv_id = await publisher_of(life, who)
        if not isv_id:
            raise errors.PUBLISHER_REFUSED.error({"plugin_id": bundle_hash})
        upload = Upload(
            isv_id=isv_id, by=who.client_id, digest=bundle_hash, change_log=change_log, test_account=test_account
        )
        return answered(await life.uploads.take(upload, request))

    return router
