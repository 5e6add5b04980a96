"""Keys at the platform, certificate mode at the door, the doctor by its routes, and inboxes."""

from __future__ import annotations

import asyncio
import base64
import json
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.simulators.alipay_gateway import certificates
from sandbox.simulators.alipay_gateway.doctor import diagnose
from sandbox.simulators.alipay_gateway.evidence import Evidence, KnownKey
from sandbox.simulators.alipay_gateway.inbox import as_curl
from sandbox.simulators.alipay_gateway.key_ring import KeyRings, certificate_fault
from sandbox.simulators.alipay_gateway.notices import signed_form
from sandbox.simulators.alipay_gateway.signing import KeyRefused, request_text, sign
from tests.sandbox.alipay.keys import DER, PKCS1, PKCS8, key, private_text, public_text
from tests.sandbox.alipay.tools.yard import App, Yard

pytestmark = [pytest.mark.api, pytest.mark.database]
API = "/sandbox/v1/alipay"


async def _post(app: App, path: str, body: dict[str, Any]) -> httpx.Response:
    assert app.till is not None
    return await app.till.client.post(f"{API}{path}", json=body, headers=app.till.headers())


async def _get(app: App, path: str) -> httpx.Response:
    assert app.till is not None
    return await app.till.client.get(f"{API}{path}", headers=app.till.headers())


async def test_a_generated_pair_is_shown_once_and_stored_nowhere(yard: Yard) -> None:
    app = await yard.own_app()
    before = await yard.rows()
    answer = await _post(app, "/keys/generate", {})
    assert answer.status_code == 200, answer.text
    pair = answer.json()
    assert pair["is_tested"] is True
    assert {place["owner"] for place in pair["places"]} == {"app", "platform"}
    assert await yard.rows() == before
    uploaded = await _post(app, "/keys/app", {"public_key": pair["public_spki_line"]})
    assert uploaded.json()["fingerprint"] == pair["fingerprint"]
    told = (await _get(app, "/app")).json()
    assert (told["app_number"], told["key_fingerprint"]) == (app.number, pair["fingerprint"])
    logged = await yard.owner.fetch("SELECT coalesce(string_agg(t::text, ''), '') FROM request_log t")
    assert pair["private_pkcs8_line"][:60] not in logged[0][0]


async def test_keys_that_must_not_be_uploaded_are_refused_and_nothing_is_written(yard: Yard) -> None:
    app = await yard.own_app()
    platform = (await yard.tools.rings.of(app.app_id)).platform
    before = await yard.rows()
    for text, words in (
        (private_text(key("app"), encoding=DER, form=PKCS8), "private key"),
        (private_text(key("app"), encoding=DER, form=PKCS1), "private key"),
        (public_text(key("short", 1024)), "1024 bits"),
        ("no key", "no key"),
        (public_text(platform.private_key), "platform's public key"),
    ):
        refused = await _post(app, "/keys/app", {"public_key": text})
        assert (refused.status_code, refused.json()["code"]) == (422, "sandbox.alipay_refused")
        assert words in refused.json()["detail"]
        with pytest.raises(KeyRefused):
            await yard.tools.rings.certify(app.app_id, text)
    assert await yard.rows() == before


async def test_without_the_scope_or_a_token_nothing_is_shown(yard: Yard) -> None:
    app = await yard.own_app(scopes=("payments:read",))
    assert (await _get(app, "/app")).status_code == 403
    assert (await yard.world.client.get(f"{API}/app")).status_code == 401


async def test_the_newest_key_counts_and_the_one_before_is_recognised(yard: Yard) -> None:
    app = await yard.own_app()
    assert (await app.ask("alipay.trade.query", {"out_trade_no": "none"}))["sub_code"] == "ACQ.TRADE_NOT_EXIST"
    await app.desk.upload(public_text(key("app after")))
    refused = await app.ask("alipay.trade.query", {"out_trade_no": "none"})
    assert (refused["code"], refused["sub_code"]) == ("40002", "isv.invalid-signature")
    assert "同一主体的另一把密钥" in refused["sub_msg"]
    await app.desk.upload(public_text(key("app")))
    assert (await app.ask("alipay.trade.query", {"out_trade_no": "none"}))["sub_code"] == "ACQ.TRADE_NOT_EXIST"


async def test_an_app_can_have_a_platform_key_of_its_own(yard: Yard) -> None:
    app, other = await yard.own_app(), await yard.own_app()
    shared = (await _get(app, "/keys/platform")).json()["fingerprint"]
    rotated = (await _post(app, "/keys/platform/rotate", {})).json()["fingerprint"]
    assert rotated != shared
    assert (await _get(app, "/keys/platform")).json()["fingerprint"] == rotated
    assert (await _get(other, "/keys/platform")).json()["fingerprint"] == shared
    for one in (app, other):  # `ask` verifies with the key that the app is shown
        assert (await one.ask("alipay.trade.query", {"out_trade_no": "none"}))["sub_code"] == "ACQ.TRADE_NOT_EXIST"


async def test_two_processes_make_the_platforms_first_key_once(yard: Yard) -> None:
    platform = yard.world.platform
    made = iter([key(f"made {number}") for number in range(8)])
    await yard.owner.execute("CREATE TEMP TABLE kept AS SELECT * FROM sim_alipay_key")
    await yard.owner.execute("DELETE FROM sim_alipay_key WHERE app_id = ''")
    rings = [
        KeyRings(
            database=platform.database,
            committer=platform.committer,
            vault=platform.vault,
            clock=yard.clock,
            ids=platform.ids,
            make_key=lambda: next(made),
        )
        for _ in range(2)
    ]
    first, second = await asyncio.gather(*(ring.of() for ring in rings))
    assert first.platform.key_id == second.platform.key_id
    assert first.root_sn == second.root_sn
    rows = await yard.owner.fetch("SELECT role, count(*) AS n FROM sim_alipay_key WHERE app_id = '' GROUP BY role")
    assert {row["role"]: row["n"] for row in rows} == {"platform": 1, "root": 1, "issuer": 1}
    await yard.owner.execute("DELETE FROM sim_alipay_key WHERE app_id = ''")
    await yard.owner.execute("INSERT INTO sim_alipay_key SELECT * FROM kept WHERE app_id = ''")
    await yard.owner.execute("DROP TABLE kept")


async def test_certificate_mode_wants_both_serials(yard: Yard) -> None:
    app = await yard.own_app()
    files = await app.desk.certify(public_text(key("app")))
    good = {"app_cert_sn": files.app_sn, "alipay_root_cert_sn": files.root_sn}
    node = await app.ask("alipay.trade.query", {"out_trade_no": "none"}, **good)
    assert node["sub_code"] == "ACQ.TRADE_NOT_EXIST"
    assert node["_body"].endswith(f'"alipay_cert_sn":"{files.platform_sn}"}}')
    for wrong, words in (
        ({}, "同时提供"),
        ({"app_cert_sn": files.app_sn}, "同时提供"),
        (good | {"app_cert_sn": "0" * 32}, "app_cert_sn"),
        (good | {"alipay_root_cert_sn": files.app_sn}, "alipay_root_cert_sn"),
    ):
        refused = await app.ask("alipay.trade.query", {"out_trade_no": "none"}, **wrong)
        assert (refused["code"], refused["sub_code"]) == ("40002", "isv.invalid-signature")
        assert words in refused["sub_msg"]
    biz = {"alipay_cert_sn": files.platform_sn}
    fetched = await app.ask("alipay.open.app.alipaycert.download", biz, **good)
    [certificate] = certificates.read_chain(base64.b64decode(fetched["alipay_cert_content"]).decode())
    assert certificates.certificate_sn(certificate) == files.platform_sn
    unknown = await app.ask("alipay.open.app.alipaycert.download", {"alipay_cert_sn": "0" * 32}, **good)
    assert (unknown["code"], unknown["sub_code"]) == ("40002", "isv.invalid-parameter")
    ring = await yard.tools.rings.of(app.app_id)
    later = yard.clock.now() + certificates.LIFE_OF_CERTIFICATE + timedelta(days=1)
    fault = certificate_fault(ring, app_cert_sn=files.app_sn, root_cert_sn=files.root_sn, now=later)
    assert fault == "expired"


async def test_the_doctor_explains_a_stored_request_by_its_number(yard: Yard) -> None:
    app = await yard.own_app()
    forged = sign(key("nobody's"), b"x", sign_type="RSA2")
    await app.ask("alipay.trade.query", {"out_trade_no": "旧"}, sign=forged)
    [row] = await yard.owner.fetch("SELECT id, pairs FROM sim_alipay_request WHERE app_id = $1", app.app_id)
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in json.loads(row["pairs"])]
    text = request_text(pairs)
    found = (await _post(app, "/signature-doctor", {"request_id": row["id"]})).json()
    assert (found["code"], found["length"]) == ("unknown", len(text))
    assert found["string_to_sign"] == text.decode()
    said = {"request_id": row["id"], "client_text": text.decode().replace("none", "x") + "!"}
    assert (await _post(app, "/signature-doctor", said)).json()["difference"]["at"] == len(text)
    other = await yard.own_app()
    assert (await _post(other, "/signature-doctor", {"request_id": row["id"]})).status_code == 404


async def test_the_doctor_reads_what_is_pasted_and_refuses_private_keys(yard: Yard) -> None:
    app = await yard.own_app()
    ring = await yard.tools.rings.of(app.app_id)
    form = signed_form(
        ring.platform, {"trade_no": "1", "body": "汤"}, sign_type="RSA2", notify_id="n", at=yard.clock.now()
    )
    pasted = {"kind": "notice", "parameters": urlencode(form), "public_key": public_text(key("app"))}
    assert (await _post(app, "/signature-doctor", pasted)).json()["code"] == "own_key_for_platforms"
    assert (await _post(app, "/signature-doctor", pasted | {"public_key": None})).json()["code"] == "valid"
    before = await yard.rows()
    secret = private_text(key("app"), encoding=DER, form=PKCS8)
    for where in ("parameters", "public_key", "client_text"):
        refused = await _post(app, "/signature-doctor", pasted | {where: secret})
        assert (refused.status_code, refused.json()["code"]) == (422, "sandbox.alipay_refused")
        assert "private key" in refused.json()["detail"]
        assert secret not in refused.text
    assert (await _post(app, "/signature-doctor", {"kind": "request"})).status_code == 422
    assert await yard.rows() == before


@settings(max_examples=60, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.binary(max_size=8), st.binary(max_size=30)), max_size=6),
    body=st.binary(max_size=60),
    signature=st.text(max_size=40),
    kind=st.sampled_from(["request", "notice", "answer"]),
)
def test_the_doctor_raises_for_nothing(
    pairs: list[tuple[bytes, bytes]], body: bytes, signature: str, kind: Any
) -> None:
    known = (KnownKey("platform", "p", key("platform").public_key()), KnownKey("app", "a", key("app").public_key()))
    more = [*pairs, (b"biz_content", body)]
    found = diagnose(
        Evidence(kind=kind, pairs=more, body=body, signature=signature, sign_type="RSA2", keys=known, client_text=body)
    )
    assert found.code == "unknown"


async def _notice(yard: Yard, app: App) -> dict[str, str]:
    ring = await yard.tools.rings.of(app.app_id)
    fields = {"notify_type": "trade_status_sync", "subject": "a'b 汤"}
    return signed_form(ring.platform, fields, sign_type="RSA2", notify_id="n1", at=yard.clock.now())


async def test_an_inbox_keeps_verifies_and_answers_as_set(yard: Yard) -> None:
    app = await yard.own_app()
    address, form = f"/sandbox/inbox/{app.number}", await _notice(yard, app)
    told = await yard.world.client.post(address, data=form, headers={"cookie": "secret=1"})
    assert (told.status_code, told.content) == (200, b"success")
    for wanted, status, body in (
        ("fail", 200, b"fail"),
        ("json", 200, b'{"code":"success"}'),
        ("error", 500, b"Internal Server Error"),
    ):
        assert (await _post(app, "/app", {"inbox_answer": wanted})).json()["inbox_answer"] == wanted
        told = await yard.world.client.post(address, data=form | {"subject": "changed"})
        assert (told.status_code, told.content) == (status, body)
    assert (await _post(app, "/app", {"inbox_answer": "perhaps"})).status_code == 422
    kept = (await _get(app, "/inbox/messages")).json()
    assert [(message["is_verified"], message["answer"]) for message in kept] == [
        (True, "success"),
        (False, "fail"),
        (False, "json"),
        (False, "error"),
    ]
    assert kept[0]["finding"]["code"] == "valid"
    assert kept[1]["finding"]["code"] == "unknown"
    assert kept[0]["body"] == urlencode(form)
    assert not [name for name, _ in kept[0]["headers"] if name == "cookie"]
    behind = (await _get(app, f"/inbox/messages?after={kept[1]['id']}")).json()
    assert [message["id"] for message in behind] == [kept[2]["id"], kept[3]["id"]]
    other = await yard.own_app()
    assert (await _get(other, "/inbox/messages")).json() == []


async def test_a_message_goes_on_byte_by_byte(yard: Yard) -> None:
    app = await yard.own_app()
    form = await _notice(yard, app)
    await yard.world.client.post(f"/sandbox/inbox/{app.number}", data=form)
    [kept] = await app.desk.messages()
    heard = await app.desk.forward(kept.id, f"{yard.tools.origin}/sandbox/inbox/{app.number}")
    assert (heard.status, heard.is_accepted) == (200, True)
    [first, again] = await app.desk.messages()
    assert (first.body, again.body, again.is_verified) == (urlencode(form), urlencode(form), True)
    row = await yard.tools.inbox.find(app.number, kept.id)
    assert row is not None
    command = as_curl(row, "http://127.0.0.1/x").replace("curl -sS", "printf '%s|'", 1)
    shell = await asyncio.create_subprocess_exec("bash", "-c", command, stdout=asyncio.subprocess.PIPE)
    printed, _ = await shell.communicate()
    assert printed.split(b"|")[-2] == row.body


async def test_an_inbox_of_nobody_keeps_nothing(yard: Yard) -> None:
    before = await yard.rows()
    answer = await yard.world.client.post("/sandbox/inbox/2021000000000000", data={"a": "1"})
    assert answer.status_code == 404
    assert await yard.rows() == before
