"""What was sent and what happened: deliveries and events to be read, and to be sent again under their own ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from platform_core.delivery.catalogue import EventSeen
from platform_core.delivery.webhooks import repository
from platform_core.delivery.webhooks.errors import (
    DELIVERY_NOT_FOUND,
    ENDPOINT_BUSY,
    ENDPOINT_DISABLED,
    ENDPOINT_NOT_FOUND,
    EVENT_NOT_FOUND,
)
from platform_core.delivery.webhooks.messages import encode_message, message_id
from platform_core.delivery.webhooks.models import WEBHOOK_DELIVERIES, WEBHOOK_MESSAGES
from platform_core.delivery.webhooks.schemas import (
    AttemptRead,
    DeliveryDetail,
    DeliveryRead,
    EventRead,
    ResendRange,
)
from platform_core.delivery.webhooks.service import WebhookDeps
from platform_core.identity.operations import OperationKind, OperationRead, Step
from platform_core.identity.principal import Principal
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.commit import Audit, Change, Insert, Plan, PlanRefused, VersionConflict
from platform_core.kernel.http.idempotency import IdempotentRequest
from platform_core.kernel.ids import Ids
from platform_core.kernel.pagination import Page, Position

RESEND_EVENTS_MAX: Final = 500
RESEND: Final = "webhooks.resend"


@dataclass(frozen=True, slots=True)
class Deliveries:
    """Deliveries of one app, and of one merchant where the token acts for one."""

    deps: WebhookDeps

    async def page(
        self, principal: Principal, *, filters: Mapping[str, str | None], cursor: str | None, limit: int
    ) -> Page[DeliveryRead]:
        """Deliveries, the newest first. `filters`: columns and what they must hold, None for anything."""
        wanted = {column: value for column, value in filters.items() if value is not None}
        bound_to = _bound("webhook-deliveries", principal) | {"filters": wanted}
        after = self.deps.cursors.read(cursor, bound_to=bound_to) if cursor else None
        async with repository.read_as_app(self.deps.database, principal.app_id) as connection:
            rows = await repository.list_deliveries(
                connection,
                app_id=principal.app_id,
                mode=principal.mode,
                merchant_id=principal.merchant_id,
                filters=wanted,
                after=(after.created_at, after.id) if after else None,
                limit=limit + 1,
            )
        return self.deps.cursors.page(
            rows,
            limit=limit,
            bound_to=bound_to,
            position_of=lambda row: Position(row.created_at, row.id),
            show=lambda row: DeliveryRead.model_validate(_shown(dict(row._mapping))),
        )

    async def get(self, principal: Principal, delivery_id: str) -> DeliveryDetail:
        """One delivery with its latest 20 attempts; 404 webhooks.delivery_not_found."""
        async with repository.read_as_app(self.deps.database, principal.app_id) as connection:
            row = await self._read(connection, principal, delivery_id)
            attempts = await repository.latest_attempts(connection, delivery_id)
        latest = [AttemptRead.model_validate(attempt) for attempt in attempts]
        return DeliveryDetail.model_validate(_shown(row) | {"latest_attempts": latest})

    async def resend(self, principal: Principal, delivery_id: str, idempotent: IdempotentRequest) -> DeliveryRead:
        """Send again, under the same ids and with the same bytes, by a new run of the schedule.

        404 webhooks.delivery_not_found; 409 webhooks.endpoint_disabled, webhooks.delivery_under_way.
        """
        async with repository.read_as_app(self.deps.database, principal.app_id) as connection:
            row = await self._read(connection, principal, delivery_id)
        now = self.deps.clock.now()
        if row["endpoint_state"] != "enabled":
            raise ENDPOINT_DISABLED.error({"id": row["endpoint_id"]})
        if row["leased_until"] is not None and row["leased_until"] > now:
            raise ENDPOINT_BUSY.error({"id": delivery_id}, retry_after_s=1)
        values = _again(now)
        answer = DeliveryRead.model_validate(_shown(row | values))
        plan = Plan(None, [Change(WEBHOOK_DELIVERIES, delivery_id, values, expected=row["version"])])
        plan.add(idempotent.claim(object_id=delivery_id, created_at=now, status=202, body=answer.model_dump_json()))
        plan.add(_resent(principal, delivery_id, {"endpoint": row["endpoint_id"]}))
        try:
            await self.deps.committer.commit(plan)
        except PlanRefused as refused:
            if isinstance(refused.refusal, VersionConflict):
                raise ENDPOINT_BUSY.error({"id": delivery_id}, retry_after_s=1) from refused
            raise
        return answer

    async def begin_resend(
        self, principal: Principal, endpoint_id: str, *, wanted: ResendRange, idempotent: IdempotentRequest
    ) -> OperationRead:
        """Begin to send an endpoint the events of a time again, also those it was never sent, in order.

        Ids and bytes stay as they were. The job `webhooks.resend` sends those that are relayed when it gets to them.
        404 webhooks.endpoint_not_found; 409 webhooks.endpoint_disabled.
        """
        now = self.deps.clock.now()
        await self._endpoint_of(principal.app_id, principal.mode, endpoint_id)
        task = {
            "endpoint_id": endpoint_id,
            "app_id": principal.app_id,
            "mode": principal.mode,
            "merchant_id": principal.merchant_id,
            "first_id": _first_id(wanted.since),
            "until": (wanted.until or now).isoformat(),
        }
        answer, parts = self.deps.operations.begin(principal, kind=RESEND, task=task)
        body = answer.model_dump_json()
        claim = idempotent.claim(object_id=answer.id, created_at=now, status=202, body=body)
        facts = {"operation": answer.id, "since": wanted.since.isoformat(), "until": task["until"]}
        told = _resent(principal, endpoint_id, facts)
        await self.deps.committer.commit(Plan(principal.merchant_id, [claim, *parts, told]))
        return answer

    async def resend_step(self, task: Mapping[str, Any], done: int) -> Step:
        """At most 500 events of the job `webhooks.resend`. Done twice, it sends them twice under the same ids.

        A `PlatformError` for an endpoint that was removed or disabled meanwhile.
        """
        now = self.deps.clock.now()
        endpoint = await self._endpoint_of(task["app_id"], task["mode"], task["endpoint_id"])
        kinds = self.deps.catalogue.kinds
        values = {
            "endpoint_id": task["endpoint_id"],
            "merchant_id": task["merchant_id"],
            "first_id": task["first_id"],
            "until": datetime.fromisoformat(task["until"]),
            "types": list(kinds),
            "scopes": [kind.scope for kind in kinds.values()],
            "now": now,
            "limit": RESEND_EVENTS_MAX + 1,
        }
        async with self.deps.database.read_all() as connection:
            rows = await repository.events_for_endpoint(connection, values)
        kept, rest = rows[:RESEND_EVENTS_MAX], rows[RESEND_EVENTS_MAX:]
        plan = Plan(None)
        for row in kept:
            plan.add(*self._resend_parts(endpoint, row, now))
        if kept:
            await self.deps.committer.commit(plan)
        sent = done + len(kept)
        if rest:
            return Step(sent, task={**task, "first_id": rest[0].id})
        return Step(sent, total=sent, result={"resent": sent})

    def _resend_parts(self, endpoint: Mapping[str, Any], row: repository.Record, now: datetime) -> list[object]:
        if row.delivery_id is not None:
            return [Change(WEBHOOK_DELIVERIES, row.delivery_id, _again(now), expected=row.delivery_version)]
        event, version = EventSeen(*tuple(row)[:8]), endpoint["api_version"]
        parts: list[object] = []
        if row.message_id is None:
            body = encode_message(event, catalogue=self.deps.catalogue, api_version=version, mode=endpoint["mode"])
            message = {"id": message_id(event.id, version), "event_id": event.id, "body": body}
            parts.append(Insert(WEBHOOK_MESSAGES, message))
        delivery = _again(now) | {
            "id": self.deps.ids.mint("whd"),
            "event_id": event.id,
            "endpoint_id": endpoint["id"],
            "message_id": message_id(event.id, version),
            "app_id": endpoint["app_id"],
            "merchant_id": event.merchant_id,
            "event_type": event.type,
            "object_id": event.object_id,
            "sequence": event.sequence,
            "attempts": 0,
            "version": 1,
            "last_status": None,
            "last_error": None,
            "traceparent": event.traceparent,
            "created_at": now,
        }
        return [*parts, Insert(WEBHOOK_DELIVERIES, delivery)]

    async def _endpoint_of(self, app_id: str, mode: str, endpoint_id: str) -> Mapping[str, Any]:
        async with repository.read_as_app(self.deps.database, app_id) as connection:
            row = await repository.read_endpoint(connection, endpoint_id, app_id=app_id, mode=mode)
        if row is None:
            raise ENDPOINT_NOT_FOUND.error({"id": endpoint_id})
        if row.state != "enabled":
            raise ENDPOINT_DISABLED.error({"id": endpoint_id})
        return dict(row._mapping)

    async def _read(self, connection: Any, principal: Principal, delivery_id: str) -> dict[str, Any]:
        # `connection` is what `read_as_app` yields.
        row = await repository.read_delivery(
            connection,
            delivery_id,
            app_id=principal.app_id,
            mode=principal.mode,
            merchant_id=principal.merchant_id,
        )
        if row is None:
            raise DELIVERY_NOT_FOUND.error({"id": delivery_id})
        return dict(row._mapping)


@dataclass(frozen=True, slots=True)
class Events:
    """Events of the merchant that the token acts for, as far as its scopes reach."""

    deps: WebhookDeps

    async def page(
        self,
        principal: Principal,
        *,
        type_: str | None,
        object_id: str | None,
        cursor: str | None,
        limit: int,
    ) -> Page[EventRead]:
        """Events, the newest first; an app by itself sees none. 400 kernel.cursor_invalid."""
        types = self._types(principal, type_)
        bound_to = _bound("events", principal) | {"type": type_, "object": object_id}
        before = self.deps.cursors.read(cursor, bound_to=bound_to).id if cursor else None
        rows: Sequence[repository.Record] = ()
        if principal.merchant_id is not None:
            async with self.deps.database.read(principal.merchant_id) as connection:
                rows = await repository.list_events(
                    connection,
                    merchant_id=principal.merchant_id,
                    grant_id=principal.grant_id,
                    types=types,
                    object_id=object_id,
                    before=before,
                    limit=limit + 1,
                )
        return self.deps.cursors.page(
            rows,
            limit=limit,
            bound_to=bound_to,
            position_of=lambda row: Position(row.occurred_at, row.id),
            show=_event_shown,
        )

    async def get(self, principal: Principal, event_id: str) -> EventRead:
        """One event; 404 webhooks.event_not_found also where the scope that reads its object is missing."""
        row = None
        if principal.merchant_id is not None:
            async with self.deps.database.read(principal.merchant_id) as connection:
                row = await repository.read_event(
                    connection,
                    event_id,
                    merchant_id=principal.merchant_id,
                    grant_id=principal.grant_id,
                    types=self._types(principal, None),
                )
        if row is None:
            raise EVENT_NOT_FOUND.error({"id": event_id})
        return _event_shown(row)

    def _types(self, principal: Principal, type_: str | None) -> list[str]:
        visible = self.deps.catalogue.types_under(principal.scopes)
        return visible if type_ is None else [known for known in visible if known == type_]


def resend_kind(deps: WebhookDeps) -> OperationKind:
    """The job of sending a range of events again; bootstrap registers it in every process."""
    return OperationKind(RESEND, Deliveries(deps).resend_step)


def _bound(name: str, principal: Principal) -> dict[str, object]:
    return {"list": name, "app": principal.app_id, "mode": principal.mode, "merchant": principal.merchant_id}


def _resent(principal: Principal, subject: str, facts: Mapping[str, object]) -> Audit:
    """`facts` beside for which merchant and app. Deliveries are the app's, so the row stands under no tenant."""
    more = {"app": principal.app_id, "merchant": principal.merchant_id}
    return Audit("webhook.resent", principal.client_id, subject, None, {**more, **facts})


def _again(now: datetime) -> dict[str, Any]:
    """A new run of the schedule, due at once."""
    return {
        "state": "pending",
        "tries": 0,
        "due_at": now,
        "wake_at": now,
        "leased_until": None,
        "finished_at": None,
    }


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    return dict(row) | {"due_at": row["due_at"] if row["state"] == "pending" else None}


def _event_shown(row: repository.Record) -> EventRead:
    return EventRead.model_validate(dict(row._mapping) | {"data": msgspec.json.decode(row.body)})


def _first_id(since: datetime) -> str:
    """The least id of an event of that millisecond: ids sort by time."""
    return Ids(ManualClock(since), entropy=bytes).mint("evt")
