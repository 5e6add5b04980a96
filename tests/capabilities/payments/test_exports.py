"""Exports over HTTP: what is in the files, who may have them, and what a crash, a cancel and a week do to them."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest

from platform_core.bootstrap.upkeep import PURGE, Upkeep
from platform_core.capabilities.payments.exports import running
from platform_core.capabilities.payments.exports.exportables import catalogue
from platform_core.capabilities.payments.exports.files import FileWriter, cell_of
from platform_core.capabilities.payments.exports.repository import RUN
from platform_core.capabilities.payments.exports.router import range_of
from platform_core.kernel.commit.due import DueWork
from platform_core.kernel.errors import PlatformError
from tests.capabilities.payments.shop import Shop
from tests.capabilities.payments.test_acts import refund, refused
from tests.capabilities.payments.test_sales import scan
from tests.support.world import SCOPES, Till

pytestmark = [pytest.mark.api, pytest.mark.database]
ALL_SCOPES = (*SCOPES, "exports:read", "customers:read")


@pytest.fixture
async def exporter(shop: Shop) -> Till:
    """A merchant whose app may export, personal fields too."""
    return await shop.new_till(scopes=ALL_SCOPES)


async def begin(till: Till, resource: str = "payments", *, key: str | None = None, **more: Any) -> httpx.Response:
    return await till.post("/exports", {"resource": resource, **more}, key=key)


async def finished(shop: Shop, till: Till, resource: str = "payments", **more: Any) -> dict[str, Any]:
    """Asked for, and made by the worker."""
    answer = await begin(till, resource, **more)
    assert answer.status_code == 202, answer.text
    await work(shop, till)
    export = (await till.get(f"/exports/{answer.json()['id']}")).json()
    assert export["state"] == "ready", export
    return dict(export)


async def work(shop: Shop, till: Till) -> None:
    """The worker's turn at the merchant's exports."""
    for row in await shop.due_rows(till):
        if row.kind == RUN:
            plan = await shop.platform.payments.export_runner.run(row)
            if plan is not None:
                await shop.platform.committer.commit(plan)


async def files(till: Till, export: dict[str, Any]) -> list[bytes]:
    """What the manifest names, as it says."""
    found = []
    for part in export["manifest"]:
        answer = await till.get(part["path"].removeprefix("/v1"))
        assert answer.headers["content-type"] == "application/gzip"
        assert hashlib.sha256(answer.content).hexdigest() == part["sha256"]
        assert len(answer.content) == part["size_bytes"]
        found.append(gzip.decompress(answer.content))
    assert export["rows"] == sum(part["rows"] for part in export["manifest"])
    assert export["size_bytes"] == sum(part["size_bytes"] for part in export["manifest"])
    return found


async def objects(till: Till, export: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(line) for content in await files(till, export) for line in content.splitlines()]


async def test_files_hold_what_the_lists_show(shop: Shop, exporter: Till) -> None:
    paid = [await scan(exporter, store_id=exporter.store_id), await scan(exporter), (await exporter.pay()).json()]
    await refund(exporter, paid[0], "r1", 100)
    for resource, path in (("payments", "/payments"), ("refunds", "/refunds"), ("transfers", "/transfers")):
        export = await finished(shop, exporter, resource)
        page = (await exporter.get(f"{path}?limit=100")).json()
        assert page["next_cursor"] is None
        shown = [{name: value for name, value in each.items() if value != []} for each in page["data"]]
        got = [{name: value for name, value in each.items() if value != []} for each in await objects(exporter, export)]
        key = "id"
        for each in shown:
            for unexpanded in ("merchant", "store", "payment"):
                each.pop(unexpanded, None)
        assert sorted(got, key=lambda each: each[key]) == sorted(shown, key=lambda each: each[key])
    transactions = await objects(exporter, await finished(shop, exporter, "transactions"))
    of_first = (await exporter.get(f"/payments/{paid[0]['id']}?expand=transactions")).json()["transactions"]
    assert [each for each in transactions if each.pop("payment_id") == paid[0]["id"]] == of_first
    events = await objects(exporter, await finished(shop, exporter, "events", filters={"object_id": paid[0]["id"]}))
    assert [(each["type"], each["sequence"]) for each in events] == [
        (type_, n) for n, type_ in enumerate(await shop.events(exporter, paid[0]["id"]), start=1)
    ]
    assert events[0]["data"]["id"] == paid[0]["id"]


async def test_csv_has_a_heading_and_the_same_rows(shop: Shop, exporter: Till) -> None:
    paid = await scan(exporter, subject="=cmd|' /C calc'!A0", metadata={"table": "7"})
    await scan(exporter)
    [content] = await files(exporter, await finished(shop, exporter, "payments", format="csv"))
    rows = list(csv.DictReader(io.StringIO(content.decode(), newline=""), strict=True))
    row = next(row for row in rows if row["id"] == paid["id"])
    assert len(rows) == 2
    assert (row["amounts.captured_minor"], row["amounts.fee_minor"]) == ("8200", "49")
    assert (row["subject"], json.loads(row["metadata"])) == ("'=cmd|' /C calc'!A0", {"table": "7"})
    assert (row["channel"], "customer" in row) == ("", False)
    for noun in catalogue():
        [empty] = await files(exporter, await finished(shop, exporter, noun, format="csv", filters=_none_of(noun)))
        assert empty.count(b"\r\n") == 1


def _none_of(noun: str) -> dict[str, str]:
    return {"created_to": "2000-01-01T00:00:00+00:00"}


async def test_filters_narrow_as_those_of_the_list_do(shop: Shop, exporter: Till) -> None:
    small = await scan(exporter, order_minor=100, store_id=exporter.store_id)
    large = await scan(exporter, order_minor=900)
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({"amount_max_minor": 100}, [small["id"]]),
        ({"amount_min_minor": 101}, [large["id"]]),
        ({"store_id": exporter.store_id, "state": "captured"}, [small["id"]]),
        ({"out_trade_no": large["out_trade_no"]}, [large["id"]]),
        ({"created_from": (shop.clock.now() + timedelta(seconds=1)).isoformat()}, []),
    ]
    for filters, ids in cases:
        export = await finished(shop, exporter, filters=filters)
        assert [each["id"] for each in await objects(exporter, export)] == ids, filters


async def test_what_came_later_is_not_in_it(shop: Shop, exporter: Till) -> None:
    first = await scan(exporter)
    answer = await begin(exporter)
    shop.later(seconds=1)
    await scan(exporter)
    await work(shop, exporter)
    export = (await exporter.get(f"/exports/{answer.json()['id']}")).json()
    assert [each["id"] for each in await objects(exporter, export)] == [first["id"]]


async def test_personal_fields_need_their_scope(shop: Shop, exporter: Till) -> None:
    await scan(exporter, customer={"channel": "wechat", "channel_user_id": "u1"})
    [plain] = await objects(exporter, await finished(shop, exporter))
    [personal] = await objects(exporter, await finished(shop, exporter, is_personal=True))
    assert "customer" not in plain
    assert personal == {**plain, "customer": {"channel": "wechat", "channel_user_id": "u1"}}
    sql = "SELECT facts FROM audit_row WHERE kind = 'export.created' AND merchant_id = $1"
    audited = [json.loads(row["facts"]) for row in await shop.fetch(sql, exporter.merchant_id)]
    assert sorted(facts["is_personal"] for facts in audited) == [False, True]


async def test_scopes_and_stores_decide_who_may_have_it(shop: Shop, exporter: Till) -> None:
    other = await shop.new_till(scopes=("exports:read", "payments:read", "payments:write"))
    await refused(shop, begin(other, "refunds"), "identity.scope_missing", 403)
    await refused(shop, begin(other, "payments", is_personal=True), "identity.scope_missing", 403)
    export = await finished(shop, exporter, "refunds")
    for path in ("", "/parts/1"):
        assert (await other.get(f"/exports/{export['id']}{path}")).json()["code"] == "payments.not_found"
    assert (await other.get("/exports")).json()["data"] == []
    listed = (await exporter.get("/exports")).json()["data"]
    assert listed == [{name: value for name, value in export.items() if name != "manifest"}]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"resource": "secrets"}, "payments.export_resource_unknown"),
        ({"filters": {"merchant_id": "mer_x"}}, "payments.export_filter_unknown"),
        ({"filters": {"types": "payment.created"}}, "payments.export_filter_unknown"),
        ({"filters": {"created_from": "yesterday"}}, "payments.export_filter_unknown"),
        ({"filters": {"created_from": "2026-11-22T00:00:00"}}, "payments.export_filter_unknown"),
        ({"filters": {"amount_min_minor": "1"}}, "payments.export_filter_unknown"),
        ({"filters": {"state": ""}}, "payments.export_filter_unknown"),
        ({"format": "xlsx"}, "kernel.validation_failed"),
    ],
)
async def test_what_cannot_be_is_refused(shop: Shop, exporter: Till, body: dict[str, Any], code: str) -> None:
    await refused(shop, exporter.post("/exports", {"resource": "payments", **body}), code, 422)


async def test_a_key_begins_one_export_and_three_may_run(shop: Shop, exporter: Till) -> None:
    first = await begin(exporter, key="once")
    assert (await begin(exporter, key="once")).json() == first.json()
    for _ in range(2):
        assert (await begin(exporter)).status_code == 202
    problem = await refused(shop, begin(exporter), "payments.exports_running", 429)
    assert "3 exports" in problem["detail"]
    await work(shop, exporter)
    assert (await begin(exporter)).status_code == 202


async def test_a_canceled_export_has_no_files(shop: Shop, exporter: Till) -> None:
    await scan(exporter)
    export = (await begin(exporter)).json()
    [row] = [row for row in await shop.due_rows(exporter) if row.kind == RUN]
    early = await exporter.get(f"/exports/{export['id']}/parts/1")
    assert (early.status_code, early.json()["code"]) == (409, "payments.export_not_ready")
    answer = await exporter.post(f"/exports/{export['id']}/cancel", {})
    assert (answer.json()["state"], answer.json()["parts"]) == ("canceled", 0)
    assert [row for row in await shop.due_rows(exporter) if row.kind == RUN] == []
    plan = await shop.platform.payments.export_runner.run(row)  # a worker who had the row before
    assert plan is not None
    await shop.platform.committer.commit(plan)
    assert await shop.fetch("SELECT 1 FROM pay_export_part WHERE export_id = $1", export["id"]) == []
    gone = await exporter.get(f"/exports/{export['id']}/parts/1")
    assert (gone.status_code, gone.json()["code"]) == (410, "payments.export_gone")
    again = await exporter.post(f"/exports/{export['id']}/cancel", {})
    assert again.json() == answer.json()


def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row a page and a page a file."""
    monkeypatch.setattr(running, "ROWS_A_PAGE", 1)
    monkeypatch.setattr(running, "ROWS_A_PART", 1)


async def test_a_cancel_during_a_run_is_heard(shop: Shop, exporter: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        await scan(exporter)
    _small(monkeypatch)
    export = (await begin(exporter)).json()
    original, turns = running._file, iter(range(10))

    async def file(*arguments: Any) -> Any:
        if next(turns) == 1:
            assert (await exporter.post(f"/exports/{export['id']}/cancel", {})).json()["state"] == "canceled"
        return await original(*arguments)

    monkeypatch.setattr(running, "_file", file)
    await work(shop, exporter)
    [row] = await shop.fetch("SELECT state, parts, slot FROM pay_export WHERE id = $1", export["id"])
    assert tuple(row) == ("canceled", 1, None)


async def test_a_crash_loses_one_file_and_the_next_run_goes_on(
    shop: Shop, exporter: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [(await scan(exporter))["id"] for _ in range(4)]
    _small(monkeypatch)
    export = (await begin(exporter)).json()
    original, turns = running._file, iter(range(10))

    async def file(*arguments: Any) -> Any:
        if next(turns) == 2:
            raise RuntimeError("the process dies")
        return await original(*arguments)

    monkeypatch.setattr(running, "_file", file)
    with pytest.raises(RuntimeError, match="dies"):
        await work(shop, exporter)
    shown = (await exporter.get(f"/exports/{export['id']}")).json()
    assert (shown["state"], shown["parts"], shown["rows"], shown["manifest"]) == ("running", 2, 2, [])
    await work(shop, exporter)
    shown = (await exporter.get(f"/exports/{export['id']}")).json()
    assert [each["id"] for each in await objects(exporter, shown)] == ids
    assert len(shown["snapshots"]) == 2


async def test_too_many_rows_and_too_many_faults_end_it(
    shop: Shop, exporter: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scan(exporter)
    monkeypatch.setattr(running, "ROWS_MAX", 0)
    export = (await begin(exporter)).json()
    await work(shop, exporter)
    shown = (await exporter.get(f"/exports/{export['id']}")).json()
    assert (shown["state"], shown["error"]["code"]) == ("failed", "payments.export_too_large")
    faulty = (await begin(exporter)).json()
    [row] = [row for row in await shop.due_rows(exporter) if row.kind == RUN]
    worn = DueWork(row.kind, row.subject_id, row.merchant_id, row.due_at, 8)
    plan = await shop.platform.payments.export_runner.run(worn)
    assert plan is not None
    await shop.platform.committer.commit(plan)
    shown = (await exporter.get(f"/exports/{faulty['id']}")).json()
    assert (shown["state"], shown["error"]["code"]) == ("failed", "payments.export_failed")


async def test_files_are_kept_for_a_week(shop: Shop, exporter: Till) -> None:
    await scan(exporter)
    export = await finished(shop, exporter)
    shop.later(days=7)
    gone = await exporter.get(f"/exports/{export['id']}/parts/1")
    assert (gone.status_code, gone.json()["code"]) == (410, "payments.export_gone")
    shown = (await exporter.get(f"/exports/{export['id']}")).json()
    assert (shown["state"], shown["manifest"]) == ("expired", [])
    shop.later(days=1, seconds=1)
    await Upkeep(shop.platform).purge(DueWork(PURGE, "platform", None, shop.clock.now(), 0))
    assert await shop.fetch("SELECT 1 FROM pay_export_part WHERE export_id = $1", export["id"]) == []


async def test_a_download_goes_on_where_it_stopped(shop: Shop, exporter: Till) -> None:
    await scan(exporter)
    export = await finished(shop, exporter)
    path = f"/v1{export['manifest'][0]['path'].removeprefix('/v1')}"
    whole = await shop.client.get(path, headers=exporter.headers())
    size = len(whole.content)
    assert (whole.status_code, whole.headers["accept-ranges"]) == (200, "bytes")
    etag = whole.headers["etag"]
    rest = await shop.client.get(path, headers={**exporter.headers(), "Range": "bytes=10-", "If-Range": etag})
    assert (rest.status_code, rest.content) == (206, whole.content[10:])
    assert rest.headers["content-range"] == f"bytes 10-{size - 1}/{size}"
    changed = await shop.client.get(path, headers={**exporter.headers(), "Range": "bytes=10-", "If-Range": '"x"'})
    assert (changed.status_code, changed.content) == (200, whole.content)
    beyond = await shop.client.get(path, headers={**exporter.headers(), "Range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")


@pytest.mark.parametrize(
    ("header", "bounds"),
    [
        ("bytes=0-0", (0, 0)),
        ("bytes=5-", (5, 9)),
        ("bytes=-3", (7, 9)),
        ("bytes=-30", (0, 9)),
        ("bytes=2-99", (2, 9)),
        ("bytes=5-2", None),
        ("bytes=-", None),
        ("bytes=0-1,3-4", None),
        ("lines=0-1", None),
    ],
)
def test_ranges_are_read_as_the_standard_says(header: str, bounds: tuple[int, int] | None) -> None:
    """RFC 9110 section 14.1.2."""
    assert range_of(header, 10) == bounds


def test_a_range_beyond_the_file_is_refused() -> None:
    for header in ("bytes=10-", "bytes=-0"):
        with pytest.raises(PlatformError, match=r"10 bytes|payments\.range_unsatisfiable"):
            range_of(header, 10)


def rows() -> Iterator[dict[str, Any]]:
    yield {"a": {"b": None}, "c": True, "d": [1, {"e": "x"}], "f": -1, "g": "-1", "h": None}


def test_cells_are_text_and_no_formula() -> None:
    [row] = rows()
    assert [cell_of(row, column) for column in ("a.b", "c", "d", "f", "g", "h")] == [
        "",
        "true",
        '[1,{"e":"x"}]',
        "-1",
        "'-1",
        "",
    ]
    assert cell_of({"a": None}, "a.b") == ""


def test_the_same_rows_are_the_same_bytes() -> None:
    written = []
    for _ in range(2):
        writer = FileWriter("jsonl", ())
        writer.write(list(rows()))
        written.append(writer.content())
    assert written[0] == written[1]
    assert msgspec.json.decode(gzip.decompress(written[0])) == next(rows())
