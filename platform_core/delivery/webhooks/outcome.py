"""What an attempt means: for its delivery, and for the endpoint. Pure: given what was seen, says what to write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal

from platform_core.delivery.schedule import next_due

CONCURRENCY_MAX: Final = 16
DISABLED_AFTER: Final = timedelta(days=5)
WARNED_AFTER: Final = timedelta(days=3)
RETRY_AFTER_MAX: Final = timedelta(hours=24)
SUCCESS_NOTED_EVERY: Final = timedelta(minutes=1)
OVERLOADED: Final = frozenset({429, 502, 503, 504})

Verdict = Literal["fine", "warn", "disable_failing", "disable_gone"]


@dataclass(frozen=True, slots=True)
class Health:
    """The endpoint as it stood when the delivery was claimed."""

    concurrency: int
    failing_since: datetime | None
    warned_at: datetime | None
    last_success_at: datetime | None


@dataclass(frozen=True, slots=True)
class Attempted:
    """One attempt: an HTTP status, or none and the `error` that prevented it."""

    status: int | None
    error: str | None
    excerpt: str
    elapsed_ms: int
    retry_after: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What to write: values of the delivery and of the endpoint's health, and what becomes of the endpoint."""

    delivery: Mapping[str, Any]
    health: Mapping[str, Any] = field(default_factory=dict)
    verdict: Verdict = "fine"


def judge_attempt(
    attempted: Attempted, *, tries: int, health: Health, now: datetime, chance: Callable[[], float]
) -> Outcome:
    """The outcome of the attempt that was number `tries` in the present run of the schedule. Only 2xx is success."""
    if attempted.status is not None and 200 <= attempted.status < 300:
        return Outcome(
            _finished("delivered", tries=tries, attempted=attempted, now=now), _health_after_success(health, now)
        )
    is_gone = attempted.status == 410
    retry_at = _retry_at(attempted, now) if attempted.status in OVERLOADED else None
    due_at = None if is_gone else next_due(tries=tries, now=now, chance=chance, not_before=retry_at)
    delivery = (
        _finished("dead", tries=tries, attempted=attempted, now=now)
        if due_at is None
        else _seen(attempted) | {"tries": tries, "due_at": due_at, "wake_at": due_at, "leased_until": None}
    )
    values: dict[str, Any] = {}
    failing_since = health.failing_since or now
    if health.failing_since is None:
        values["failing_since"] = now
    if attempted.status in OVERLOADED:
        values["concurrency"] = max(health.concurrency // 2, 1)
        if retry_at is not None:
            values["paused_until"] = retry_at
    verdict = _verdict(is_gone=is_gone, failing_for=now - failing_since, is_warned=health.warned_at is not None)
    if verdict == "warn":
        values["warned_at"] = now
    return Outcome(delivery, values, verdict)


def _verdict(*, is_gone: bool, failing_for: timedelta, is_warned: bool) -> Verdict:
    """By time, not by count: ten failures are a short outage."""
    if is_gone:
        return "disable_gone"
    if failing_for >= DISABLED_AFTER:
        return "disable_failing"
    return "warn" if failing_for >= WARNED_AFTER and not is_warned else "fine"


def _seen(attempted: Attempted) -> dict[str, Any]:
    return {"last_status": attempted.status, "last_error": attempted.error}


def _finished(state: str, *, tries: int, attempted: Attempted, now: datetime) -> dict[str, Any]:
    return _seen(attempted) | {"state": state, "tries": tries, "leased_until": None, "finished_at": now}


def _health_after_success(health: Health, now: datetime) -> dict[str, Any]:
    """Nothing while all is well, so that a busy endpoint's row is written once a minute and not at every delivery."""
    values: dict[str, Any] = {}
    if health.failing_since is not None:
        values |= {"failing_since": None, "warned_at": None, "paused_until": None}
    if health.concurrency < CONCURRENCY_MAX:
        values["concurrency"] = health.concurrency + 1
    if values or health.last_success_at is None or now - health.last_success_at >= SUCCESS_NOTED_EVERY:
        values["last_success_at"] = now
    return values


def _retry_at(attempted: Attempted, now: datetime) -> datetime | None:
    """Retry-After (RFC 9110 section 10.2.3: seconds or a date), at most 24 hours away; None if absent or unreadable."""
    text = (attempted.retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return now + min(timedelta(seconds=min(int(text[:9]), 86_400)), RETRY_AFTER_MAX)
    if not text:
        return None
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return min(max(moment, now), now + RETRY_AFTER_MAX)
