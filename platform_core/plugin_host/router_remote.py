"""Routes of plugins on their publishers' servers: submission, signing secret, what they ask during a call."""

from __future__ import annotations

import base64
import binascii
import dataclasses
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from platform_core.contracts.runtime import Told
from platform_core.identity.access import Access
from platform_core.identity.errors import TOKEN_INVALID
from platform_core.identity.requires import shown_token
from platform_core.kernel.errors import INTERNAL, PlatformError, declaration_of
from platform_core.kernel.http.body import parse_body
from platform_core.kernel.http.envelope import envelope_of
from platform_core.kernel.http.idempotency import IdempotentRequest
from platform_core.kernel.http.openapi import documented, refusals
from platform_core.kernel.i18n import Text
from platform_core.plugin_host import errors
from platform_core.plugin_host.assembly import PluginLife
from platform_core.plugin_host.gate import GateCall
from platform_core.plugin_host.gate_errors import HANDLE_INVALID
from platform_core.plugin_host.hook_tokens import HookCalls
from platform_core.plugin_host.releases import Submission
from platform_core.plugin_host.remote_submission import remote_version
from platform_core.plugin_host.router_parts import MaySubmit, PluginIdPath, answered, claimed, once, publisher_of
from platform_core.plugin_host.schemas import ReleaseRead, RemoteSubmit, SigningSecretRead, SigningSecretRotate

ASK_PATH: Final = "/v1/plugin-asks"
_SECRET: Final = "/plugin-signing-secrets/{plugin_id}"  # noqa: S105 - an address


def remote_publishers_router(life: PluginLife) -> APIRouter:
    """The publisher's routes; bootstrap mounts them."""
    router = APIRouter(prefix="/v1", tags=["plugins"])
    _submission(router, life)
    _signing(router, life)
    return router


def _submission(router: APIRouter, life: PluginLife) -> None:
    @router.post(
        "/plugin-releases",
        operation_id="plugin_releases.submit_remote",
        **documented(
            answer=ReleaseRead,
            body=RemoteSubmit,
            status=201,
            errors=(
                errors.NOT_REMOTE,
                errors.PUBLISHER_REFUSED,
                errors.RELEASE_EXISTS,
                errors.MANIFEST_REFUSED,
                errors.SCHEMA_REFUSED,
                errors.CHANGED_MEANWHILE,
            ),
            is_idempotent=True,
        ),
    )
    async def submit_remote(who: MaySubmit, request: Request) -> Response:
        """Submit a version of a plugin that runs on your own server. Code is submitted to /v1/plugin-bundles."""
        isv_id = await publisher_of(life, who)

        async def act(wanted: RemoteSubmit, key: IdempotentRequest) -> Response:
            submission = Submission(
                unpacked=remote_version(wanted.manifest, wanted.config_schema),
                isv_id=isv_id,
                by=who.client_id,
                change_log=wanted.change_log,
                test_account=wanted.test_account,
            )
            extra = claimed(key, life.deps, status=201)
            return answered(await life.releases.submit(submission, extra=extra), status=201)

        return await once(request, RemoteSubmit, act, who=who, deps=life.deps, tenant=None)


def _signing(router: APIRouter, life: PluginLife) -> None:
    @router.get(
        _SECRET,
        operation_id="plugin_signing_secrets.get",
        responses=refusals(errors.PLUGIN_NOT_FOUND, errors.NOT_REMOTE),
    )
    async def get_signing_secret(who: MaySubmit, plugin_id: PluginIdPath) -> SigningSecretRead:
        """When the signing secret of your remote plugin was made; never the secret itself. Version 0: there is none."""
        return await life.signing_secrets.get(plugin_id, isv_id=await publisher_of(life, who))

    @router.post(
        _SECRET,
        operation_id="plugin_signing_secrets.rotate",
        **documented(
            answer=SigningSecretRead,
            body=SigningSecretRotate,
            errors=(errors.PLUGIN_NOT_FOUND, errors.NOT_REMOTE, errors.CHANGED_MEANWHILE),
            is_idempotent=True,
        ),
    )
    async def rotate_signing_secret(who: MaySubmit, plugin_id: PluginIdPath, request: Request) -> Response:
        """Make the secret that requests to your server are signed with, or a new one.

        It is shown in this answer alone: a repetition under the same Idempotency-Key shows null. Until the overlap is
        over, requests carry the signatures of both.
        """
        isv_id = await publisher_of(life, who)

        async def act(wanted: SigningSecretRotate, key: IdempotentRequest) -> Response:
            extra = claimed(key, life.deps, status=200)
            made = await life.signing_secrets.rotate(plugin_id, wanted, isv_id=isv_id, by=who.client_id, extra=extra)
            return answered(made)

        return await once(request, SigningSecretRotate, act, who=who, deps=life.deps, tenant=None)


class PluginAsk(BaseModel):
    """What others ask by `ctx`: an operation of a capability (`payments.get`), or of a client (`secrets.sign`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    operation: Annotated[str, StringConstraints(min_length=1, max_length=80)]
    arguments: dict[str, Any] = {}  # Any: JSON, which each operation reads by its own strict model
    blobs: Annotated[tuple[str, ...], Field(max_length=8)] = ()
    """Base64 (RFC 4648 section 4): the body of `egress.fetch`."""


def asks_router(calls: HookCalls, access: Access) -> APIRouter:
    """Where remote plugins show their hook tokens; bootstrap mounts it.

    Not in the OpenAPI document, which is for apps: docs/how-to/remote-plugins.md describes it.
    """
    router = APIRouter(include_in_schema=False)

    @router.post(ASK_PATH, operation_id="plugin_asks.ask")
    async def ask(request: Request) -> Response:
        """One ask under a hook token: the very checks that `ctx` meets, in the same order.

        401 `identity.token_missing`, `identity.token_invalid`, `plugin.handle_invalid`; whatever the gate refuses.
        """
        gate = await _shown(request, calls, access)
        wanted = await parse_body(request, PluginAsk)
        told = await gate.asked(wanted.operation, wanted.arguments, _blobs(wanted))
        if told.code is not None:
            raise _as_error(told, gate)
        blobs = [base64.b64encode(blob).decode("ascii") for blob in told.blobs]
        body = msgspec.json.encode({"value": msgspec.Raw(told.value), "blobs": blobs})
        return Response(body, headers={"cache-control": "no-store"}, media_type="application/json")

    return router


async def _shown(request: Request, calls: HookCalls, access: Access) -> GateCall:
    """The call whose token the request shows. Who shows none that holds is slowed like any other stranger."""
    envelope = envelope_of(request.scope)
    envelope.settle_version(envelope.versions.newest)
    try:
        is_dpop, is_signed, token = shown_token(request.scope)
        if is_dpop or is_signed:
            raise TOKEN_INVALID.error(headers={"WWW-Authenticate": 'Bearer realm="arsenal", error="invalid_request"'})
        return await calls.of(await access.read_hook_token(token))
    except PlatformError as error:
        if error.declared in (TOKEN_INVALID, HANDLE_INVALID):
            access.limits.admit_stranger(request.scope, envelope)
        raise


def _blobs(wanted: PluginAsk) -> list[bytes]:
    try:
        return [base64.b64decode(blob, validate=True) for blob in wanted.blobs]
    except (binascii.Error, ValueError) as error:
        raise errors.BLOB_INVALID.error() from error


def _as_error(told: Told, gate: GateCall) -> PlatformError:
    """The gate's refusal as REST answers it: its code and status, in the words that the gate said."""
    declared = declaration_of(told.code or "") or INTERNAL
    said = told.hint.replace("{", "{{").replace("}", "}}")
    spoken = dataclasses.replace(declared, detail=Text(en=said, zh=said), hint=None)
    return spoken.error(plugin=gate.facts.enabled.release.plugin_id)
