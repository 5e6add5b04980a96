"""The conventions of every route, seen from outside: problems, bounds, ids, traces, versions."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
import structlog
import uvicorn
from fastapi import FastAPI

from platform_core.kernel.ids import is_id

pytestmark = pytest.mark.api
JSON = {"content-type": "application/json"}
GOOD = {"amount_minor": 12000, "currency": "CNY"}


async def post(client: httpx.AsyncClient, document: object, language: str = "en") -> httpx.Response:
    return await client.post("/orders", content=json.dumps(document), headers={**JSON, "accept-language": language})


async def test_a_good_body_is_read_and_the_answer_is_stamped(client: httpx.AsyncClient) -> None:
    answer = await post(
        client, {**GOOD, "expires_at": "2026-11-22T08:00:00Z", "lines": [{"name": "茶", "quantity": 2}]}
    )
    assert answer.status_code == 200
    assert answer.json()["expires_at"] == "2026-11-22T08:00:00Z"
    assert is_id("req", answer.headers["request-id"])
    assert answer.headers["arsenal-version"] == "2026-11-22"


@pytest.mark.parametrize(
    ("document", "pointer", "code", "english", "chinese"),
    [
        ({"currency": "CNY"}, "/amount_minor", "kernel.field_missing", "This field is required.", "该字段为必填项。"),
        ({**GOOD, "x/~y": 1}, "/x~1~0y", "kernel.field_unknown", "This field is not known here.", "此处不支持该字段。"),
        (
            {**GOOD, "amount_minor": "1"},
            "/amount_minor",
            "kernel.field_type",
            "This must be a whole number.",
            "此处应为整数。",
        ),
        (
            {**GOOD, "amount_minor": 1.0},
            "/amount_minor",
            "kernel.field_type",
            "This must be a whole number.",
            "此处应为整数。",
        ),
        (
            {**GOOD, "amount_minor": 1.5},
            "/amount_minor",
            "kernel.field_type",
            "This must be a whole number.",
            "此处应为整数。",
        ),
        (
            {**GOOD, "amount_minor": True},
            "/amount_minor",
            "kernel.field_type",
            "This must be a whole number.",
            "此处应为整数。",
        ),
        (
            {**GOOD, "amount_minor": None},
            "/amount_minor",
            "kernel.field_type",
            "This must be a whole number.",
            "此处应为整数。",
        ),
        (
            {**GOOD, "amount_minor": 0},
            "/amount_minor",
            "kernel.field_too_small",
            "The number must be at least 1.",
            "数值应不小于 1。",
        ),
        (
            {**GOOD, "amount_minor": -5},
            "/amount_minor",
            "kernel.field_too_small",
            "The number must be at least 1.",
            "数值应不小于 1。",
        ),
        (
            {**GOOD, "amount_minor": 10_000_000_001},
            "/amount_minor",
            "kernel.field_too_large",
            "The number must be at most 10000000000.",
            "数值应不大于 10000000000。",
        ),
        (
            {**GOOD, "currency": "cny"},
            "/currency",
            "kernel.currency_unknown",
            "The currency is not a code of ISO 4217 that has a minor unit.",
            "币种不是 ISO 4217 中具有最小单位的代码。",
        ),
        ({**GOOD, "currency": 1}, "/currency", "kernel.field_type", "This must be a text.", "此处应为文本。"),
        (
            {**GOOD, "form": "app"},
            "/form",
            "kernel.field_choice",
            "This must be one of: qr, cash.",
            "应为以下值之一：qr, cash。",
        ),
        (
            {**GOOD, "expires_at": "soon"},
            "/expires_at",
            "kernel.field_time",
            "This must be a date as 2026-11-22, or a moment with its zone as 2026-11-22T08:00:00Z.",
            "应为 2026-11-22 形式的日期，或 2026-11-22T08:00:00Z 形式的带时区时刻。",
        ),
        ({**GOOD, "lines": {}}, "/lines", "kernel.field_type", "This must be a list.", "此处应为数组。"),
        ({**GOOD, "lines": [7]}, "/lines/0", "kernel.field_type", "This must be an object.", "此处应为对象。"),
        (
            {**GOOD, "lines": [{"name": "", "quantity": 1}]},
            "/lines/0/name",
            "kernel.field_too_short",
            "At least 1 character(s) are required.",
            "至少需要 1 个字符。",
        ),
        (
            {**GOOD, "lines": [{"name": "a", "quantity": 1, "price": 2}]},
            "/lines/0/price",
            "kernel.field_unknown",
            "This field is not known here.",
            "此处不支持该字段。",
        ),
        (
            {**GOOD, "lines": [{"name": "a", "quantity": 1}] * 4},
            "/lines",
            "kernel.field_too_long",
            "At most 3 item(s) are accepted.",
            "至多允许 3 项。",
        ),
        ([], "", "kernel.field_type", "This must be an object.", "此处应为对象。"),
    ],
)
async def test_a_wrong_field_is_named_in_words(
    client: httpx.AsyncClient, document: object, pointer: str, code: str, english: str, chinese: str
) -> None:
    for language, words in (("en", english), ("zh-CN,zh;q=0.9", chinese)):
        answer = await post(client, document, language)
        problem = answer.json()
        assert (answer.status_code, problem["code"], problem["param"]) == (422, "kernel.validation_failed", pointer)
        assert problem["errors"] == [{"param": pointer, "code": code, "detail": words}]
        assert answer.headers["content-language"] == language[:2]


async def test_all_faults_come_at_once_and_the_problem_is_whole(client: httpx.AsyncClient) -> None:
    answer = await post(client, {"amount_minor": 0, "currency": "XXX", "secret_note": "hunter2"})
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["vary"] == "Accept-Language"
    assert {fault["param"]: fault["code"] for fault in problem.pop("errors")} == {
        "/amount_minor": "kernel.field_too_small",
        "/currency": "kernel.currency_unknown",
        "/secret_note": "kernel.field_unknown",
    }
    assert problem == {
        "type": "https://pay.example/docs/errors#kernel.validation_failed",
        "title": "The request is not valid",
        "status": 422,
        "detail": "3 field(s) of the request are not valid; see errors.",
        "instance": "/orders",
        "code": "kernel.validation_failed",
        "param": "/amount_minor",
        "hint": "Correct the fields that errors names and send it again.",
        "retryable": False,
        "request_id": answer.headers["request-id"],
    }
    assert "hunter2" not in answer.text


@pytest.mark.parametrize(
    ("headers", "title"),
    [
        ({"content-type": "text/plain"}, "内容类型"),
        ({}, "内容类型"),
        ({"content-type": "application/json; charset=gbk"}, "内容类型"),
        ({"content-type": "application/json", "content-encoding": "gzip"}, "内容类型"),
        ({"content-type": "application/jsonp"}, "内容类型"),
    ],
)
async def test_another_media_type_is_refused(client: httpx.AsyncClient, headers: dict[str, str], title: str) -> None:
    answer = await client.post("/orders", content=b"{}", headers={**headers, "accept-language": "zh"})
    assert (answer.status_code, answer.json()["code"]) == (415, "kernel.media_type_unsupported")
    assert title in answer.json()["title"]


@pytest.mark.parametrize(
    "media_type", ["application/json", "Application/JSON; charset=UTF-8", 'application/json; charset="utf-8"']
)
async def test_json_in_utf8_is_accepted_however_it_is_written(client: httpx.AsyncClient, media_type: str) -> None:
    answer = await client.post("/orders", content=json.dumps(GOOD), headers={"content-type": media_type})
    assert answer.status_code == 200


async def test_bad_json_is_400_before_validation(client: httpx.AsyncClient) -> None:
    answer = await client.post("/orders", content=b'{"amount_minor":1,"amount_minor":2}', headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (400, "kernel.json_invalid")
    assert answer.json()["detail"] == "The body cannot be read at character 19: this object names a key twice."


async def test_the_framework_s_own_validation_speaks_the_same_way(client: httpx.AsyncClient) -> None:
    answer = await client.get("/search", params={"q": "hunter2"}, headers={"accept-language": "zh"})
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"param": "/query/q", "code": "kernel.field_type", "detail": "此处应为整数。"}]
    assert "hunter2" not in answer.text
    listing = await client.get("/orders", params={"limit": "101"})
    assert listing.json()["errors"] == [
        {"param": "/query/limit", "code": "kernel.field_too_large", "detail": "The number must be at most 100."}
    ]
    body = await client.post("/framework", json={"currency": "CNY"})
    assert body.json()["errors"] == [
        {"param": "/amount_minor", "code": "kernel.field_missing", "detail": "This field is required."}
    ]


async def test_unknown_paths_and_methods_are_problems(client: httpx.AsyncClient) -> None:
    missing = await client.get("/nowhere", headers={"accept-language": "zh"})
    assert (missing.status_code, missing.json()["code"], missing.json()["title"]) == (404, "kernel.not_found", "未找到")
    wrong = await client.delete("/orders")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "kernel.method_not_allowed")
    assert wrong.headers["allow"] == "GET, POST"
    assert wrong.json()["hint"] == "Use one of: GET, POST."


async def test_an_unexpected_error_leaks_nothing_and_is_logged_with_its_request(client: httpx.AsyncClient) -> None:
    with structlog.testing.capture_logs() as lines:
        answer = await client.get("/boom")
    assert (answer.status_code, answer.json()["code"], answer.json()["retryable"]) == (500, "kernel.internal", True)
    assert "hunter2" not in answer.text
    assert answer.headers.get_list("request-id") == [answer.json()["request_id"]]
    assert [(line["event"], line["request_id"], line["path"]) for line in lines] == [
        ("request failed", answer.json()["request_id"], "/boom")
    ]
    assert isinstance(lines[0]["exc_info"], RuntimeError)


@pytest.mark.parametrize("path", ["/orders", "/framework", "/raw/"])
async def test_a_body_over_the_limit_is_cut_off_while_it_streams(client: httpx.AsyncClient, path: str) -> None:
    pieces = 0

    async def stream() -> AsyncIterator[bytes]:
        nonlocal pieces
        for _ in range(400):
            pieces += 1
            yield b" " * 65536

    for headers in (JSON, {**JSON, "content-length": "10"}):
        pieces = 0
        answer = await client.post(path, content=stream(), headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (413, "kernel.body_too_large")
        assert answer.headers["connection"] == "close"
        assert answer.json()["detail"] == "A body holds at most 262144 bytes."
        # What a client is still sending is thrown away up to 16 MiB, so that it gets to read the answer.
        assert pieces == 261


async def test_a_declared_body_over_the_limit_is_refused_unread(client: httpx.AsyncClient) -> None:
    exact = await client.post("/raw/", content=b" " * 262144)
    assert (exact.status_code, exact.text) == (200, "262144")
    for length in ("262145", "9" * 400):
        answer = await client.post("/raw/", content=b"{}", headers={"content-length": length, "accept-language": "zh"})
        assert (answer.status_code, answer.json()["detail"]) == (413, "请求体不得超过 262144 字节。")


async def test_headers_and_targets_are_bounded(client: httpx.AsyncClient) -> None:
    long = await client.get("/envelope", headers={"x-long": "a" * 33000})
    many = await client.get("/envelope", headers={f"x-{number}": "1" for number in range(101)})
    target = await client.get("/envelope", params={"q": "a" * 8200}, headers={"accept-language": "zh"})
    assert [answer.status_code for answer in (long, many, target)] == [431, 431, 414]
    assert [answer.json()["code"] for answer in (long, many, target)] == [
        "kernel.headers_too_large",
        "kernel.headers_too_large",
        "kernel.target_too_long",
    ]
    assert target.json()["detail"] == "路径与查询参数合计不得超过 8192 字节。"
    assert all(is_id("req", answer.headers["request-id"]) for answer in (long, many, target))


async def test_a_version_is_echoed_and_an_unknown_one_refused_with_the_list(client: httpx.AsyncClient) -> None:
    known = await client.get("/envelope", headers={"arsenal-version": "2026-01-01"})
    assert known.headers["arsenal-version"] == known.json()["version"] == "2026-01-01"
    assert known.json()["named_version"] == "2026-01-01"
    unknown = await client.get("/envelope", headers={"arsenal-version": "1999"})
    assert (unknown.status_code, unknown.json()["code"]) == (400, "kernel.version_unknown")
    assert unknown.json()["param"] == "/header/Arsenal-Version"
    assert unknown.json()["hint"] == "Use one of: 2026-01-01, 2026-11-22."
    chinese = await client.get("/envelope", headers={"arsenal-version": "1999", "accept-language": "zh"})
    assert chinese.json()["hint"] == "请使用以下版本之一：2026-01-01, 2026-11-22。"


async def test_a_trace_is_continued_and_a_bad_one_replaced(client: httpx.AsyncClient) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    good = await client.get(
        "/envelope",
        headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01", "tracestate": "a=1", "x-request-id": "mine-1"},
    )
    assert good.json()["traceparent"] == f"00-{trace}-0001020304050607-01"
    assert (good.json()["tracestate"], good.json()["client_request_id"]) == ("a=1", "mine-1")
    assert good.json()["request_id"] == good.headers["request-id"] != "mine-1"
    fresh = "00-000102030405060708090a0b0c0d0e0f-1011121314151617-00"
    for bad in (
        "",
        "00-zz",
        f"ff-{trace}-b7ad6b7169203331-01",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{trace}-b7ad6b7169203331-01-x",
    ):
        answer = await client.get("/envelope", headers={"traceparent": bad, "x-request-id": "a b"})
        assert (answer.json()["traceparent"], answer.json()["client_request_id"]) == (fresh, None)


async def test_two_requests_never_share_an_id(app: FastAPI, client: httpx.AsyncClient) -> None:
    seen = [(await client.get("/envelope")).headers["request-id"] for _ in range(20)]
    assert seen == sorted(set(seen))


async def test_a_client_that_sends_10_mb_reads_the_refusal_from_a_real_server(app: FastAPI) -> None:
    async def stream() -> AsyncIterator[bytes]:
        for _ in range(160):
            yield b" " * 65536

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", trust_env=False
        ) as client:
            for content in (stream(), b" " * 10_000_000):
                answer = await client.post("/orders", content=content, headers=JSON)
                assert (answer.status_code, answer.json()["code"]) == (413, "kernel.body_too_large")
        server.should_exit = True
        await serving
