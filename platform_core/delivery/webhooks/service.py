"""Webhook endpoints as their app manages them: create, read, change, remove, rotate the secret."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from platform_core.delivery.catalogue import EventCatalogue
from platform_core.delivery.webhooks import repository
from platform_core.delivery.webhooks.errors import (
    API_VERSION_UNKNOWN,
    ENDPOINT_NOT_FOUND,
    ENDPOINTS_TOO_MANY,
    EVENT_TYPE_UNKNOWN,
    URL_REFUSED,
)
from platform_core.delivery.webhooks.models import WEBHOOK_ENDPOINTS, WEBHOOK_HEALTH
from platform_core.delivery.webhooks.notices import endpoint_event
from platform_core.delivery.webhooks.outcome import CONCURRENCY_MAX
from platform_core.delivery.webhooks.schemas import EndpointCreate, EndpointRead, EndpointSecretRead, EndpointUpdate
from platform_core.identity.operations import Operations
from platform_core.identity.principal import Principal
from platform_core.identity.vault import Vault
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Audit, Change, Committer, Insert, Plan, PlanRefused, VersionConflict
from platform_core.kernel.database.pools import Database
from platform_core.kernel.errors import validation_failed
from platform_core.kernel.http.guarded_client import OutboundFailed, check_url
from platform_core.kernel.http.idempotency import IdempotentRequest
from platform_core.kernel.http.preconditions import changed_meanwhile, check_version
from platform_core.kernel.http.webhook_signing import make_secret, secret_text
from platform_core.kernel.ids import Ids
from platform_core.kernel.pagination import Cursors, Page, Position

ENDPOINTS_MAX: Final = 20
SECRET_OVERLAP: Final = timedelta(hours=24)
_HEALTHY: Final = {
    "concurrency": CONCURRENCY_MAX // 2,
    "paused_until": None,
    "failing_since": None,
    "warned_at": None,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookDeps:
    """What bootstrap hands to the services of this folder. `api_versions` are the living ones, the newest last."""

    clock: Clock
    ids: Ids
    database: Database
    committer: Committer
    vault: Vault
    catalogue: EventCatalogue
    cursors: Cursors
    api_versions: Sequence[str]
    operations: Operations
    allow_loopback_http: bool = False
    entropy: Callable[[int], bytes] = os.urandom


@dataclass(frozen=True, slots=True)
class WebhookEndpoints:
    """The endpoints of one app in one mode, for whoever holds its token."""

    deps: WebhookDeps

    async def create(
        self, principal: Principal, wanted: EndpointCreate, idempotent: IdempotentRequest
    ) -> EndpointSecretRead:
        """A new endpoint, enabled, with its secret. Emits `webhook_endpoint.created`.

        422 webhooks.url_refused, event_type_unknown, api_version_unknown; 409 webhooks.endpoints_too_many. The answer
        is stored under the key without the secret: see `shown_again`.
        """
        api_version = wanted.api_version or principal.api_version
        self._check(url=wanted.url, event_types=wanted.event_types, api_version=api_version)
        async with repository.read_as_app(self.deps.database, principal.app_id) as connection:
            count = await repository.count_endpoints(connection, app_id=principal.app_id, mode=principal.mode)
        if count >= ENDPOINTS_MAX:
            raise ENDPOINTS_TOO_MANY.error({"limit": ENDPOINTS_MAX})
        now, id_, secret = self.deps.clock.now(), self.deps.ids.mint("whe"), make_secret(self.deps.entropy)
        row = {
            "id": id_,
            "app_id": principal.app_id,
            "mode": principal.mode,
            "url": wanted.url,
            "description": wanted.description,
            "event_types": wanted.event_types,
            "api_version": api_version,
            "state": "enabled",
            "disabled_reason": None,
            "secret_sealed": self.deps.vault.seal(id_, secret),
            "secret_before_sealed": None,
            "secret_before_until": None,
            "version": 1,
            "created_at": now,
            "updated_at": now,
        }
        answer = _with_secret(row | {"failing_since": None, "last_success_at": None}, secret)
        plan = Plan(None, [idempotent.claim(object_id=id_, created_at=now, status=201, body=_without_secret(answer))])
        plan.add(
            Insert(WEBHOOK_ENDPOINTS, row | {"event_types": _encode(wanted.event_types)}),
            Insert(WEBHOOK_HEALTH, {"id": id_, "app_id": principal.app_id, "last_success_at": None, **_HEALTHY}),
            *self._told(principal, "created", row, now=now),
        )
        await self.deps.committer.commit(plan)
        return answer

    async def get(self, principal: Principal, endpoint_id: str) -> EndpointRead:
        """One endpoint; 404 webhooks.endpoint_not_found."""
        return EndpointRead.model_validate(await self._row(principal, endpoint_id))

    async def page(self, principal: Principal, *, cursor: str | None, limit: int) -> Page[EndpointRead]:
        """Endpoints by the time of their creation; 400 kernel.cursor_invalid."""
        bound_to = {"list": "webhook-endpoints", "app": principal.app_id, "mode": principal.mode}
        after = self.deps.cursors.read(cursor, bound_to=bound_to) if cursor else None
        async with repository.read_as_app(self.deps.database, principal.app_id) as connection:
            rows = await repository.list_endpoints(
                connection,
                app_id=principal.app_id,
                mode=principal.mode,
                after=(after.created_at, after.id) if after else None,
                limit=limit + 1,
            )
        return self.deps.cursors.page(
            rows,
            limit=limit,
            bound_to=bound_to,
            position_of=lambda row: Position(row.created_at, row.id),
            show=EndpointRead.model_validate,
        )

    async def update(
        self, principal: Principal, endpoint_id: str, *, wanted: EndpointUpdate, version: int
    ) -> EndpointRead:
        """Change what is named. Emits `webhook_endpoint.updated`.

        412 kernel.precondition_failed unless the endpoint stands at `version`; 404 and 422 as in `create`.
        """
        row = await self._row(principal, endpoint_id, version=version)
        self._check(url=wanted.url, event_types=wanted.event_types, api_version=wanted.api_version)
        now = self.deps.clock.now()
        values: dict[str, Any] = wanted.model_dump(exclude_none=True)
        parts: list[object] = []
        if wanted.state == "disabled":
            values["disabled_reason"] = row["disabled_reason"] or "requested"
        elif wanted.state == "enabled":
            values["disabled_reason"] = None
            parts.append(Change(WEBHOOK_HEALTH, endpoint_id, _HEALTHY))
        changed = row | values | {"updated_at": now, "version": version + 1}
        if wanted.state == "enabled":
            changed["failing_since"] = None
        if wanted.event_types is not None:
            values["event_types"] = _encode(wanted.event_types)
        told = self._told(principal, "updated", changed, now=now)
        await self._change(row, values | {"updated_at": now}, [*parts, *told])
        return EndpointRead.model_validate(changed)

    async def remove(self, principal: Principal, endpoint_id: str, *, version: int) -> None:
        """Remove: nothing more is sent, and the secrets are forgotten. Deliveries stay to be seen.

        Emits `webhook_endpoint.removed`. 404, and 412 as in `update`.
        """
        row = await self._row(principal, endpoint_id, version=version)
        now = self.deps.clock.now()
        values = {
            "state": "removed",
            "disabled_reason": "requested",
            "secret_sealed": b"",
            "secret_before_sealed": None,
            "secret_before_until": None,
            "updated_at": now,
        }
        await self._change(row, values, self._told(principal, "removed", row | {"version": version + 1}, now=now))

    async def rotate_secret(
        self, principal: Principal, endpoint_id: str, idempotent: IdempotentRequest
    ) -> EndpointSecretRead:
        """A new secret; for 24 hours messages carry both signatures. Emits `webhook_endpoint.secret_rotated`."""
        row = await self._row(principal, endpoint_id)
        now, secret = self.deps.clock.now(), make_secret(self.deps.entropy)
        values = {
            "secret_sealed": self.deps.vault.seal(endpoint_id, secret),
            "secret_before_sealed": row["secret_sealed"],
            "secret_before_until": now + SECRET_OVERLAP,
            "updated_at": now,
        }
        changed = row | values | {"version": row["version"] + 1}
        answer = _with_secret(changed, secret)
        claim = idempotent.claim(object_id=endpoint_id, created_at=now, status=200, body=_without_secret(answer))
        await self._change(row, values, [claim, *self._told(principal, "secret_rotated", changed, now=now)])
        return answer

    async def shown_again(self, principal: Principal, stored: bytes) -> bytes:
        """A stored answer with its secret, for a repeated request whose first answer may have been lost.

        The secret itself is kept sealed on the endpoint alone; once the endpoint was changed, it stays hidden (null).
        """
        document = msgspec.json.decode(stored)
        async with repository.read_as_app(self.deps.database, principal.app_id) as connection:
            row = await repository.read_endpoint(
                connection, document["id"], app_id=principal.app_id, mode=principal.mode
            )
        if row is not None and row.version == document["version"]:
            document["secret"] = secret_text(self.deps.vault.open(row.id, row.secret_sealed))
        return msgspec.json.encode(document)

    async def _row(self, principal: Principal, endpoint_id: str, *, version: int | None = None) -> dict[str, Any]:
        async with repository.read_as_app(self.deps.database, principal.app_id) as connection:
            row = await repository.read_endpoint(connection, endpoint_id, app_id=principal.app_id, mode=principal.mode)
        if row is None:
            raise ENDPOINT_NOT_FOUND.error({"id": endpoint_id})
        if version is not None:
            check_version(row.version, version, object_id=endpoint_id)
        return dict(row._mapping)

    async def _change(self, row: dict[str, Any], values: dict[str, Any], parts: list[object]) -> None:
        plan = Plan(None, [Change(WEBHOOK_ENDPOINTS, row["id"], values, expected=row["version"]), *parts])
        try:
            await self.deps.committer.commit(plan)
        except PlanRefused as refused:
            if isinstance(refused.refusal, VersionConflict):
                raise changed_meanwhile(row["id"]) from refused
            raise

    def _told(self, principal: Principal, what: str, row: dict[str, Any], *, now: datetime) -> list[object]:
        """The event and the audit row of an act. An address may hold a secret, so the log names none."""
        kind = f"webhook_endpoint.{what}"
        facts = {"app": row["app_id"], "state": row["state"], "merchant": principal.merchant_id}
        event = endpoint_event(
            kind,
            event_id=self.deps.ids.mint("evt"),
            endpoint_id=row["id"],
            app_id=row["app_id"],
            sequence=row["version"],
            occurred_at=now,
            facts={"url": row["url"], "state": row["state"], "event_types": row["event_types"]},
        )
        return [event, Audit(kind, principal.client_id, row["id"], None, facts)]

    def _check(self, *, url: str | None, event_types: Sequence[str] | None, api_version: str | None) -> None:
        """Every fault at once; what is None is not there to be checked."""
        faults = []
        if url is not None:
            try:
                check_url(url, allow_loopback_http=self.deps.allow_loopback_http)
            except OutboundFailed:
                faults.append(URL_REFUSED.fault("/url"))
        for place, pattern in enumerate(event_types or ()):
            if not self.deps.catalogue.knows_pattern(pattern):
                faults.append(EVENT_TYPE_UNKNOWN.fault(f"/event_types/{place}"))
        if api_version is not None and api_version not in self.deps.api_versions:
            versions = ", ".join(self.deps.api_versions)
            faults.append(API_VERSION_UNKNOWN.fault("/api_version", {"versions": versions}))
        if faults:
            raise validation_failed(faults)


def _with_secret(row: dict[str, Any], secret: bytes) -> EndpointSecretRead:
    shown = {"secret": secret_text(secret), "previous_secret_until": row["secret_before_until"]}
    return EndpointSecretRead.model_validate(row | shown)


def _without_secret(answer: EndpointSecretRead) -> str:
    return _encode(answer.model_dump(mode="json") | {"secret": None})


def _encode(value: object) -> str:
    return msgspec.json.encode(value).decode()
