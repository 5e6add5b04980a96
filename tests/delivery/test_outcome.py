"""What an attempt means: schedule, Retry-After, concurrency, and when an endpoint is given up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_core.delivery.schedule import DELAYS_S, TRIES_MAX, next_due
from platform_core.delivery.webhooks.outcome import Attempted, Health, judge_attempt

pytestmark = pytest.mark.unit
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
WELL = Health(concurrency=16, failing_since=None, warned_at=None, last_success_at=NOW)


def failed(status: int | None = 500, retry_after: str | None = None) -> Attempted:
    return Attempted(status, None if status else "timeout", "", 7, retry_after)


def test_the_schedule_is_the_specified_one() -> None:
    minute, hour = 60, 3600
    assert (0, 5, 5 * minute, 30 * minute, *(n * hour for n in (2, 5, 10, 14, 20, 24))) == DELAYS_S
    assert [next_due(tries=n, now=NOW, chance=lambda: 0.5) for n in range(1, TRIES_MAX)] == [
        NOW + timedelta(seconds=delay_s) for delay_s in DELAYS_S[1:]
    ]
    assert next_due(tries=TRIES_MAX, now=NOW, chance=lambda: 0.5) is None


@given(st.integers(1, TRIES_MAX - 1), st.floats(0, 1, exclude_max=True))
def test_the_spread_is_a_tenth_either_way(tries: int, chance: float) -> None:
    due_at = next_due(tries=tries, now=NOW, chance=lambda: chance)
    assert due_at is not None
    delay_s = DELAYS_S[tries]
    assert 0.9 * delay_s - 1e-5 <= (due_at - NOW).total_seconds() <= 1.1 * delay_s + 1e-5


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_only_2xx_is_success(status: int) -> None:
    outcome = judge_attempt(Attempted(status, None, "", 7), tries=3, health=WELL, now=NOW, chance=lambda: 0.5)
    assert outcome.delivery == {
        "last_status": status,
        "last_error": None,
        "state": "delivered",
        "tries": 3,
        "leased_until": None,
        "finished_at": NOW,
    }
    assert (outcome.health, outcome.verdict) == ({}, "fine")


@pytest.mark.parametrize("status", [None, 100, 199, 300, 301, 302, 304, 307, 308, 400, 401, 404, 500])
def test_anything_else_is_tried_again_and_leaves_the_concurrency(status: int | None) -> None:
    outcome = judge_attempt(failed(status), tries=1, health=WELL, now=NOW, chance=lambda: 0.5)
    assert outcome.delivery["due_at"] == NOW + timedelta(seconds=5)
    assert "state" not in outcome.delivery
    assert outcome.health == {"failing_since": NOW}


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_an_overloaded_endpoint_gets_half_as_many_at_a_time(status: int) -> None:
    outcome = judge_attempt(failed(status), tries=1, health=WELL, now=NOW, chance=lambda: 0.5)
    assert outcome.health == {"failing_since": NOW, "concurrency": 8}
    alone = Health(concurrency=1, failing_since=NOW, warned_at=None, last_success_at=None)
    assert judge_attempt(failed(status), tries=1, health=alone, now=NOW, chance=lambda: 0.5).health == {
        "concurrency": 1
    }


@pytest.mark.parametrize(
    ("header", "due_at", "paused_until"),
    [
        ("120", NOW + timedelta(minutes=2), NOW + timedelta(minutes=2)),
        ("3", NOW + timedelta(seconds=5), NOW + timedelta(seconds=3)),
        ("999999999999", NOW + timedelta(hours=24), NOW + timedelta(hours=24)),
        ("Sun, 22 Nov 2026 13:00:00 GMT", NOW + timedelta(hours=1), NOW + timedelta(hours=1)),
        ("Sun, 22 Nov 2027 13:00:00 GMT", NOW + timedelta(hours=24), NOW + timedelta(hours=24)),
        ("Sun, 22 Nov 2020 13:00:00 GMT", NOW + timedelta(seconds=5), NOW),
        ("-5", NOW + timedelta(seconds=5), None),
        ("soon", NOW + timedelta(seconds=5), None),
        ("٣", NOW + timedelta(seconds=5), None),
        ("", NOW + timedelta(seconds=5), None),
    ],
)
def test_retry_after_is_honoured_up_to_a_day(header: str, due_at: datetime, paused_until: datetime | None) -> None:
    outcome = judge_attempt(failed(503, header), tries=1, health=WELL, now=NOW, chance=lambda: 0.5)
    assert outcome.delivery["due_at"] == due_at
    assert outcome.health.get("paused_until") == paused_until


def test_gone_ends_delivery_and_endpoint() -> None:
    outcome = judge_attempt(failed(410), tries=1, health=WELL, now=NOW, chance=lambda: 0.5)
    assert (outcome.delivery["state"], outcome.verdict) == ("dead", "disable_gone")


def test_the_last_try_leaves_the_delivery_dead_and_the_endpoint_enabled() -> None:
    outcome = judge_attempt(failed(), tries=TRIES_MAX, health=WELL, now=NOW, chance=lambda: 0.5)
    assert (outcome.delivery["state"], outcome.delivery["finished_at"], outcome.verdict) == ("dead", NOW, "fine")


@pytest.mark.parametrize(
    ("days", "is_warned", "verdict"),
    [
        (2.9, False, "fine"),
        (3, False, "warn"),
        (4.9, True, "fine"),
        (5, True, "disable_failing"),
        (5, False, "disable_failing"),
    ],
)
def test_an_endpoint_is_warned_then_disabled_by_time(days: float, is_warned: bool, verdict: str) -> None:
    since = NOW - timedelta(days=days)
    health = Health(concurrency=4, failing_since=since, warned_at=NOW if is_warned else None, last_success_at=None)
    assert judge_attempt(failed(), tries=2, health=health, now=NOW, chance=lambda: 0.5).verdict == verdict


def test_a_success_forgets_the_failures() -> None:
    health = Health(concurrency=4, failing_since=NOW - timedelta(days=4), warned_at=NOW, last_success_at=None)
    outcome = judge_attempt(Attempted(200, None, "", 7), tries=1, health=health, now=NOW, chance=lambda: 0.5)
    assert outcome.health == {
        "failing_since": None,
        "warned_at": None,
        "paused_until": None,
        "concurrency": 5,
        "last_success_at": NOW,
    }
