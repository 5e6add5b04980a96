"""Webhook deliveries as a queue of work: which are due, who may send one, sending it, writing down what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import asyncpg
import structlog

from platform_core.delivery.job_pool import JobPool
from platform_core.delivery.queues import LEASE
from platform_core.delivery.webhooks.models import (
    WEBHOOK_ATTEMPTS,
    WEBHOOK_DELIVERIES,
    WEBHOOK_ENDPOINTS,
    WEBHOOK_HEALTH,
)
from platform_core.delivery.webhooks.notices import endpoint_event
from platform_core.delivery.webhooks.outcome import Attempted, Health, Outcome, judge_attempt
from platform_core.identity.vault import Vault
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import (
    Audit,
    Change,
    Committer,
    Insert,
    Plan,
    PlanRefused,
    Refusal,
    VersionConflict,
)
from platform_core.kernel.commit.audit import PLATFORM
from platform_core.kernel.http.guarded_client import GuardedClient, OutboundFailed
from platform_core.kernel.http.webhook_signing import signed_headers
from platform_core.kernel.ids import Ids
from platform_core.kernel.telemetry import Correlation, continue_trace, correlated

log = structlog.get_logger(__name__)

EXCERPT_BYTES_MAX: Final = 1024
CAPACITY_RETRY: Final = timedelta(seconds=1)

# Steps from endpoint to endpoint over the index of pending work, so that a million rows that wait for one slow endpoint
# cost the others nothing. Of each endpoint as many are woken as it may still have under way.
_TAKE = """
WITH RECURSIVE waiting AS (
  (SELECT endpoint_id FROM webhook_delivery WHERE state = 'pending' ORDER BY endpoint_id LIMIT 1)
  UNION ALL
  SELECT (SELECT d.endpoint_id FROM webhook_delivery AS d WHERE d.state = 'pending' AND d.endpoint_id > w.endpoint_id
          ORDER BY d.endpoint_id LIMIT 1)
  FROM waiting AS w WHERE w.endpoint_id IS NOT NULL
), chosen AS (
  SELECT due.id
  FROM waiting AS w
  JOIN webhook_endpoint AS e ON e.id = w.endpoint_id AND e.state = 'enabled'
  JOIN webhook_endpoint_health AS h ON h.id = e.id AND (h.paused_until IS NULL OR h.paused_until <= $1)
  CROSS JOIN LATERAL (
    SELECT count(*) AS rows FROM webhook_delivery AS d
    WHERE d.endpoint_id = e.id AND d.state = 'pending' AND d.wake_at > $1 AND d.wake_at <= $2 AND d.due_at <= $1
  ) AS under_way
  CROSS JOIN LATERAL (
    SELECT d.id FROM webhook_delivery AS d
    WHERE d.endpoint_id = e.id AND d.state = 'pending' AND d.wake_at <= $1
    ORDER BY d.wake_at LIMIT greatest(h.concurrency - under_way.rows, 0) FOR UPDATE SKIP LOCKED) AS due
  LIMIT $3
)
UPDATE webhook_delivery AS t SET wake_at = $2 FROM chosen WHERE t.id = chosen.id RETURNING t.id
"""
# Claims of one endpoint take turns by this lock, so that the count of attempts under way is exact.
_LOCK_ENDPOINT = """
SELECT 1 FROM webhook_endpoint_health WHERE id = (SELECT endpoint_id FROM webhook_delivery WHERE id = $1) FOR UPDATE
"""
_CLAIM = """
UPDATE webhook_delivery AS t SET leased_until = $3, wake_at = $3, version = t.version + 1
FROM webhook_endpoint AS e, webhook_endpoint_health AS h, webhook_message AS m
WHERE t.id = $1 AND t.state = 'pending' AND t.due_at <= $2 AND (t.leased_until IS NULL OR t.leased_until <= $2)
  AND e.id = t.endpoint_id AND e.state = 'enabled' AND h.id = t.endpoint_id AND m.id = t.message_id
  AND (h.paused_until IS NULL OR h.paused_until <= $2)
  AND h.concurrency > (SELECT count(*) FROM webhook_delivery AS d
                       WHERE d.endpoint_id = t.endpoint_id AND d.state = 'pending'
                         AND d.wake_at > $2 AND d.leased_until > $2)
RETURNING t.id, t.event_id, t.event_type, t.app_id, t.endpoint_id, t.tries, t.attempts, t.version, t.traceparent,
  m.body,
  e.url, e.secret_sealed, e.secret_before_sealed, e.secret_before_until, e.version AS endpoint_version,
  h.concurrency, h.failing_since, h.warned_at, h.last_success_at
"""
_PUT_BACK = """
UPDATE webhook_delivery SET wake_at = $3
WHERE id = $1 AND state = 'pending' AND due_at <= $2 AND (leased_until IS NULL OR leased_until <= $2)
"""


@dataclass(frozen=True, slots=True)
class Meddling:
    """What a sandbox does to an attempt: `lose` it, deliver it `twice`, or send it `delay_s` seconds `late`."""

    effect: str
    delay_s: int = 0


Meddle = Callable[[str, str, str], Awaitable[Meddling | None]]
"""Asked before each attempt with app, event type and event id."""


@dataclass(frozen=True, slots=True)
class _Claim:
    row: asyncpg.Record
    health: Health

    @property
    def number(self) -> int:
        return int(self.row["attempts"]) + 1


class WebhookQueue:
    """Deliveries to webhook endpoints."""

    name = "webhooks"

    def __init__(
        self,
        pool: JobPool,
        committer: Committer,
        client: GuardedClient,
        *,
        vault: Vault,
        clock: Clock,
        signing_clock: Clock | None = None,
        ids: Ids,
        chance: Callable[[], float],
        meddle: Meddle | None = None,
    ) -> None:
        """`chance` gives [0, 1) and spreads the schedule. `signing_clock`: receivers' time, if another."""
        self._pool = pool
        self._committer = committer
        self._client = client
        self._vault = vault
        self._clock = clock
        self._signing_clock = signing_clock or clock
        self._ids = ids
        self._chance = chance
        self._meddle = meddle

    async def take_due(self, limit: int) -> list[str]:
        """Due deliveries of enabled endpoints, within each endpoint's concurrency."""
        now = self._clock.now()
        return [row["id"] for row in await self._pool.fetch(_TAKE, now, now + LEASE, limit)]

    async def run(self, work_id: str) -> None:
        """Claim, send, write the outcome. Whoever comes too late or too early does nothing."""
        claim = await self._claim(work_id)
        if claim is None:
            return
        started_at = self._clock.now()
        with correlated(continue_trace(claim.row["traceparent"])) as correlation:
            attempted = await self._attempt(claim, started_at, correlation)
            await self._settle(claim, attempted, started_at)

    async def _claim(self, delivery_id: str) -> _Claim | None:
        now = self._clock.now()
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.fetchval(_LOCK_ENDPOINT, delivery_id)
            row = await connection.fetchrow(_CLAIM, delivery_id, now, now + LEASE)
            if row is None:
                await connection.execute(_PUT_BACK, delivery_id, now, now + CAPACITY_RETRY)
                return None
        health = Health(row["concurrency"], row["failing_since"], row["warned_at"], row["last_success_at"])
        return _Claim(row, health)

    async def _attempt(self, claim: _Claim, at: datetime, correlation: Correlation) -> Attempted:
        """Send, unless a sandbox has other plans."""
        row = claim.row
        meddling = (
            None if self._meddle is None else await self._meddle(row["app_id"], row["event_type"], row["event_id"])
        )
        if meddling is not None and meddling.effect == "lose":
            return Attempted(None, "scripted_fault", "", 0)
        if meddling is not None and meddling.delay_s:
            await asyncio.sleep(meddling.delay_s)
        attempted = await self._send(claim, at, correlation)
        if meddling is not None and meddling.effect == "twice":
            attempted = await self._send(claim, at, correlation)
        return attempted

    async def _send(self, claim: _Claim, at: datetime, correlation: Correlation) -> Attempted:
        row = claim.row
        headers = {
            **signed_headers(
                message_id=row["event_id"],
                body=row["body"],
                at=self._signing_clock.now(),
                secrets=self._secrets(row, at),
            ),
            "content-type": "application/json",
            "traceparent": correlation.traceparent,
        }
        try:
            answer = await self._client.send(
                "POST", row["url"], headers=headers, content=row["body"], body_bytes_max=EXCERPT_BYTES_MAX
            )
        except OutboundFailed as failed:
            return Attempted(None, failed.kind, "", 0)
        excerpt = answer.body.decode(errors="replace").replace("\x00", "\ufffd")
        return Attempted(answer.status, None, excerpt, answer.elapsed_ms, answer.headers.get("retry-after"))

    def _secrets(self, row: asyncpg.Record, at: datetime) -> list[bytes]:
        """The newest first; the one before while it lives."""
        secrets = [self._vault.open(row["endpoint_id"], row["secret_sealed"])]
        if row["secret_before_sealed"] is not None and row["secret_before_until"] > at:
            secrets.append(self._vault.open(row["endpoint_id"], row["secret_before_sealed"]))
        return secrets

    async def _settle(self, claim: _Claim, attempted: Attempted, started_at: datetime) -> None:
        """Write attempt and outcome in one plan.

        If the endpoint was edited meanwhile, its owner's edit stays and ours is left out.
        """
        row = claim.row
        tries = row["tries"] + 1
        outcome = judge_attempt(attempted, tries=tries, health=claim.health, now=self._clock.now(), chance=self._chance)
        parts = self._endpoint_parts(claim, outcome)
        refusal = await self._write(self._plan(claim, attempted, outcome, started_at).add(*parts))
        if isinstance(refusal, VersionConflict) and refusal.table == WEBHOOK_ENDPOINTS.name:
            refusal = await self._write(self._plan(claim, attempted, outcome, started_at))
        if (
            refusal is not None
        ):  # the lease ran out and somebody else has the row: the receiver drops what it knows by its id
            log.warning("webhooks.lease_lost", delivery=row["id"], refusal=str(refusal))
            return
        log.info(
            "webhooks.attempted",
            delivery=row["id"],
            number=claim.number,
            status=attempted.status,
            error=attempted.error,
            ms=attempted.elapsed_ms,
        )

    async def _write(self, plan: Plan) -> Refusal | None:
        try:
            await self._committer.commit(plan)
        except PlanRefused as refused:
            return refused.refusal
        return None

    def _plan(self, claim: _Claim, attempted: Attempted, outcome: Outcome, started_at: datetime) -> Plan:
        row = claim.row
        attempt = {
            "id": self._ids.mint("wha"),
            "delivery_id": row["id"],
            "app_id": row["app_id"],
            "number": claim.number,
            "started_at": started_at,
            "status": attempted.status,
            "error": attempted.error,
            "excerpt": attempted.excerpt,
            "elapsed_ms": attempted.elapsed_ms,
        }
        values = {**outcome.delivery, "attempts": claim.number}
        plan = Plan(None, [Change(WEBHOOK_DELIVERIES, row["id"], values, expected=row["version"])])
        plan.add(Insert(WEBHOOK_ATTEMPTS, attempt))
        if outcome.health:
            plan.add(Change(WEBHOOK_HEALTH, row["endpoint_id"], outcome.health))
        return plan

    def _endpoint_parts(self, claim: _Claim, outcome: Outcome) -> list[object]:
        """The endpoint is disabled or its owner warned, with an event for whoever tells people."""
        if outcome.verdict == "fine":
            return []
        row, now = claim.row, self._clock.now()
        values: dict[str, object] = {"updated_at": now}
        if outcome.verdict != "warn":
            values |= {"state": "disabled", "disabled_reason": outcome.verdict.removeprefix("disable_")}
        event = endpoint_event(
            "webhook_endpoint.failing" if outcome.verdict == "warn" else "webhook_endpoint.disabled",
            event_id=self._ids.mint("evt"),
            endpoint_id=row["endpoint_id"],
            app_id=row["app_id"],
            sequence=row["endpoint_version"] + 1,
            occurred_at=now,
            facts={"reason": values.get("disabled_reason"), "last_status": outcome.delivery["last_status"]},
        )
        parts: list[object] = [
            Change(WEBHOOK_ENDPOINTS, row["endpoint_id"], values, expected=row["endpoint_version"]),
            event,
        ]
        if "disabled_reason" in values:
            facts = {"app": row["app_id"], "delivery": row["id"]}
            reason = str(values["disabled_reason"])
            parts.append(Audit("webhook_endpoint.disabled", PLATFORM, row["endpoint_id"], None, facts, reason=reason))
        return parts
