"""Idempotency-Key over HTTP: read, compared, replayed, waited for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from starlette.requests import Request
from starlette.responses import Response

from platform_core.kernel.clock import ManualClock
from platform_core.kernel.commit import Committer, Plan, PlanRefused, Replayed
from platform_core.kernel.database.pools import Database
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.http.idempotency import (
    IdempotentRequest,
    answer_replay,
    canonical,
    find_record,
    fingerprint,
    parse_key,
    read_idempotency,
)
from platform_core.kernel.http.strict_json import strict_json

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
PRINT = fingerprint(method="POST", path="/v1/payments", body=b"{}")
REQUEST = IdempotentRequest("app_1", "key", PRINT)


def record(status: int | None = None, body: str | None = None, *, age_s: float = 0) -> Replayed:
    return Replayed(PRINT, status, body, "pay_1", NOON - timedelta(seconds=age_s))


def looks(
    clock: ManualClock, answers: Sequence[Replayed | None] = ()
) -> tuple[Callable[[], Awaitable[Replayed | None]], Callable[[float], Awaitable[None]], list[float]]:
    """A look-up that gives the answers in turn and then only what is in flight, and a sleep that moves the clock."""
    left, slept = list(answers), list[float]()

    async def look() -> Replayed | None:
        return left.pop(0) if left else record()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.advance(timedelta(seconds=seconds))

    return look, sleep, slept


async def present(object_id: str | None) -> str:
    return f'{{"id":"{object_id}"}}'


async def answer(
    clock: ManualClock, found: Replayed, answers: Sequence[Replayed | None] = ()
) -> tuple[Response, float]:
    look, sleep, slept = looks(clock, answers)
    response = await answer_replay(found, REQUEST, look=look, present=present, clock=clock, sleep=sleep)
    return response, sum(slept)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("k", "k"),
        ("a" * 255, "a" * 255),
        ('"8e03978e-40d5"', "8e03978e-40d5"),
        (" k ", "k"),
        ("a,b", "a,b"),
        ('a"b', 'a"b'),
    ],
)
def test_a_key_is_read_with_and_without_quotes(value: str, key: str) -> None:
    assert parse_key([value]) == key


@pytest.mark.unit
@pytest.mark.parametrize(
    "values", [[""], [" "], ["a" * 256], ["a b"], ['""'], ['"'], ['"a'], ["é"], ["a\x7f"], ["a", "a"]]
)
def test_a_malformed_key_is_refused(values: list[str]) -> None:
    with pytest.raises(PlatformError) as caught:
        parse_key(values)
    assert (caught.value.code, caught.value.status) == ("kernel.idempotency_key_malformed", 400)
    assert caught.value.param == "/header/Idempotency-Key"


@pytest.mark.unit
def test_a_missing_key_is_refused_in_both_languages() -> None:
    with pytest.raises(PlatformError) as caught:
        parse_key([])
    assert (caught.value.code, caught.value.status) == ("kernel.idempotency_key_missing", 400)
    assert caught.value.detail("zh") == "写入请求须携带 Idempotency-Key 请求头。"
    assert caught.value.detail("en") == "A request that writes carries the header Idempotency-Key."


@pytest.mark.unit
def test_a_fingerprint_tells_method_path_and_meaning_of_the_body() -> None:
    def of(method: str, path: str, body: object) -> bytes:
        return fingerprint(method=method, path=path, body=canonical(body))

    base = of("POST", "/v1/payments", {"amount_minor": 1, "currency": "CNY"})
    assert len(base) == 32
    assert of("POST", "/v1/payments", {"currency": "CNY", "amount_minor": 1}) == base
    others = {
        of("PUT", "/v1/payments", {"amount_minor": 1, "currency": "CNY"}),
        of("POST", "/v1/refunds", {"amount_minor": 1, "currency": "CNY"}),
        of("POST", "/v1/payments", {"amount_minor": 2, "currency": "CNY"}),
        of("POST", "/v1/payments", {"amount_minor": "1", "currency": "CNY"}),
    }
    assert len(others | {base}) == 5


@pytest.mark.unit
def test_a_request_is_told_by_its_bodys_meaning() -> None:
    def read(raw: bytes, path: str = "/v1/payments") -> IdempotentRequest:
        body = canonical(strict_json(raw)) if raw else b""
        headers = [(b"idempotency-key", b'"k"')]
        scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}
        return read_idempotency(Request(scope), client_id="app_1", body=body)

    base = read(b'{"a": 1, "b": [2]}')
    assert (base.client_id, base.key) == ("app_1", "k")
    assert base == read(b'{"b":[2],"a":1}')
    assert (
        len(
            {
                r.fingerprint
                for r in (base, read(b'{"a":1}'), read(b'{"a":1.0}'), read(b""), read(b"null"), read(b"{}", "/v1/x"))
            }
        )
        == 6
    )


@pytest.mark.unit
async def test_a_finished_request_is_answered_again_as_it_was(clock: ManualClock) -> None:
    response, slept_s = await answer(clock, record(201, '{"id":"pay_1"}'))
    assert (response.status_code, response.body, slept_s) == (201, b'{"id":"pay_1"}', 0)
    assert response.headers["idempotency-replayed"] == "true"
    assert response.headers["content-type"] == "application/json"


@pytest.mark.unit
async def test_a_stored_decline_stays_a_problem(clock: ManualClock) -> None:
    response, _ = await answer(clock, record(402, '{"code":"payments.declined"}'))
    assert (response.status_code, response.headers["content-type"]) == (402, "application/problem+json")


@pytest.mark.unit
@pytest.mark.parametrize("status", [None, 201])
async def test_another_request_under_the_key_is_refused(clock: ManualClock, status: int | None) -> None:
    other = Replayed(b"0" * 32, status, "{}" if status else None, "pay_1", NOON)
    with pytest.raises(PlatformError) as caught:
        await answer(clock, other)
    assert (caught.value.code, caught.value.status) == ("kernel.idempotency_key_reused", 422)


@pytest.mark.unit
async def test_a_request_in_flight_is_waited_for(clock: ManualClock) -> None:
    response, slept_s = await answer(clock, record(), [record(), None, record(201, "{}")])
    assert response.status_code == 201
    assert slept_s == pytest.approx(0.3)


@pytest.mark.unit
async def test_a_request_in_flight_for_long_enough_is_a_conflict(clock: ManualClock) -> None:
    look, sleep, slept = looks(clock)
    with pytest.raises(PlatformError) as caught:
        await answer_replay(record(), REQUEST, look=look, present=present, clock=clock, sleep=sleep)
    assert (caught.value.code, caught.value.status, caught.value.retry_after_s) == ("kernel.in_flight", 409, 1)
    assert 5 <= sum(slept) < 5.2


@pytest.mark.unit
@pytest.mark.parametrize(("age_s", "waits_s"), [(31, 0), (28, 2.1)])
async def test_a_stale_request_gets_the_present_state(clock: ManualClock, age_s: float, waits_s: float) -> None:
    response, slept_s = await answer(clock, record(age_s=age_s), [record(age_s=age_s)] * 60)
    assert (response.status_code, response.body) == (202, b'{"id":"pay_1"}')
    assert response.headers["idempotency-replayed"] == "true"
    assert slept_s == pytest.approx(waits_s)


@pytest.mark.unit
def test_an_answer_beyond_64_kib_is_a_bug_of_the_caller() -> None:
    with pytest.raises(AssertionError):
        REQUEST.answer(status=200, body="x" * 65537)
    assert REQUEST.answer(status=200, body="x" * 65536).status == 200


@pytest.mark.database
async def test_claim_answer_and_replay_through_the_writer(committer: Committer, database: Database) -> None:
    async def found() -> Replayed | None:
        return await find_record(database, merchant_id="mer_a", request=REQUEST)

    assert await found() is None
    await committer.commit(Plan("mer_a", [REQUEST.claim(created_at=NOON, object_id="pay_1")]))
    assert await found() == record()
    with pytest.raises(PlanRefused) as caught:
        await committer.commit(Plan("mer_a", [REQUEST.claim(created_at=NOON, object_id="pay_2")]))
    assert caught.value.refusal == record()
    await committer.commit(Plan("mer_a", [REQUEST.answer(status=201, body="{}")]))
    await committer.commit(Plan("mer_a", [REQUEST.answer(status=500, body="[]")]))
    assert await found() == record(201, "{}"), "the first answer stays"
    with pytest.raises(PlanRefused) as caught:
        await committer.commit(Plan("mer_a", [REQUEST.claim(created_at=NOON, object_id="pay_2")]))
    assert caught.value.refusal == record(201, "{}")


@pytest.mark.database
async def test_a_key_is_of_one_client_and_one_merchant(committer: Committer, database: Database) -> None:
    other_app = IdempotentRequest("app_2", "key", PRINT)
    for merchant_id, request in (("mer_a", REQUEST), ("mer_b", REQUEST), (None, REQUEST), ("mer_a", other_app)):
        body = f'"{merchant_id} {request.client_id}"'
        await committer.commit(Plan(merchant_id, [request.claim(created_at=NOON, status=200, body=body)]))
    found = await find_record(database, merchant_id="mer_b", request=REQUEST)
    assert found is not None
    assert found.body == '"mer_b app_1"'
    async with database.read("mer_a") as connection:
        rows = await connection.exec_driver_sql("SELECT body FROM idempotency ORDER BY body")
        assert [row[0] for row in rows] == ['"mer_a app_1"', '"mer_a app_2"']
