"""What grows old is taken away, a bounded number at a time; figures reach whoever collects them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, NumberDataPoint

from platform_core.kernel.commit import BatchReport
from platform_core.kernel.commit.metrics import record
from platform_core.kernel.commit.purge import purge
from platform_core.kernel.telemetry import bind_instruments
from tests.kernel.commit.conftest import Bench

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
FILL = """
INSERT INTO idempotency (client_id, merchant_id, key, fingerprint, created_at)
SELECT 'app', 'mer_a', n::text, '', $1::timestamptz - n * interval '1 day' FROM generate_series(1, 60) AS n;
"""
FILL_BATCHES = """
INSERT INTO commit_batch (id, plans, committed_at)
SELECT 'bat_' || n, 1, $1::timestamptz - n * interval '1 hour' FROM generate_series(1, 60) AS n;
"""
FILL_OUTBOX = """
INSERT INTO outbox (id, type, object_id, sequence, occurred_at, body, relayed_at)
SELECT 'evt_' || n, 't', 'o', n, $1, '{}', CASE WHEN n % 2 = 0 THEN $1::timestamptz - n * interval '1 day' END
FROM generate_series(1, 60) AS n;
"""


@pytest.mark.database
async def test_purge_takes_the_oldest_first_and_no_more_than_its_limit(bench: Bench) -> None:
    for fill in (FILL, FILL_BATCHES, FILL_OUTBOX):
        await bench.owner.execute(fill, NOON)
    worker = await bench.database.connect("job")
    try:
        first = await purge(worker, now=NOON, limit=20)
        assert first == {"idempotency": 20, "commit_batch": 20, "outbox": 15, "request_log": 0}
        oldest = await bench.owner.fetchval("SELECT min(created_at) FROM idempotency")
        assert oldest == NOON - timedelta(days=40)
        second = await purge(worker, now=NOON, limit=20)
        assert second == {"idempotency": 10, "commit_batch": 16, "outbox": 0, "request_log": 0}
        assert set((await purge(worker, now=NOON, limit=20)).values()) == {0}
    finally:
        await worker.close()
    left = await bench.owner.fetchrow(
        "SELECT (SELECT count(*) FROM idempotency), (SELECT count(*) FROM commit_batch), "
        "(SELECT count(*) FROM outbox WHERE relayed_at IS NULL), (SELECT count(*) FROM outbox)"
    )
    assert tuple(left) == (30, 24, 30, 45), "an event that was never relayed stays"


@pytest.mark.database
@pytest.mark.parametrize("role", ["app", "writer", "auth"])
async def test_only_workers_may_purge(bench: Bench, role: str) -> None:
    connection = await bench.database.connect(role)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await purge(connection, now=NOON)
    finally:
        await connection.close()


@pytest.mark.unit
def test_a_batch_report_becomes_metrics() -> None:
    reader = InMemoryMetricReader()
    meters = MeterProvider(metric_readers=[reader])
    bind_instruments(meters.get_meter("test"))
    try:
        record(BatchReport(7, {"Duplicate": 2, "VersionConflict": 1}, {"CheckViolationError": 1}, 0.25, 0.5, 40))
        collected = reader.get_metrics_data()
    finally:
        bind_instruments(None)
        meters.shutdown()
    assert collected is not None
    found: dict[str, list[object]] = {}
    for metric in collected.resource_metrics[0].scope_metrics[0].metrics:
        for point in metric.data.data_points:
            assert isinstance(point, HistogramDataPoint | NumberDataPoint)
            value = point.sum if isinstance(point, HistogramDataPoint) else point.value
            found.setdefault(metric.name, []).append((dict(point.attributes or {}), value))
    assert found == {
        "arsenal.commit.batch": [({}, 7)],
        "arsenal.commit.wait": [({}, 0.25)],
        "arsenal.commit.seconds": [({}, 0.5)],
        "arsenal.commit.queue": [({}, 40)],
        "arsenal.commit.refused": [({"refusal": "Duplicate"}, 2), ({"refusal": "VersionConflict"}, 1)],
        "arsenal.commit.failed": [({"error": "CheckViolationError"}, 1)],
    }
