"""What the merchant does in a dispute: evidence with its bounds, acceptance, and how both reach the provider."""

from __future__ import annotations

import hashlib
from typing import Any

import httpx
import pytest

from tests.capabilities.payments.disputes.test_disputes import disputed, step, the_one
from tests.capabilities.payments.shop import Shop
from tests.capabilities.payments.test_acts import refused
from tests.capabilities.payments.test_sales import scan
from tests.support.world import Till

pytestmark = [pytest.mark.api, pytest.mark.database]
PDF, PNG, JPEG = b"%PDF-1.7\n\r\n--x\r\n", b"\x89PNG\r\n\x1a\n\x00\xff", b"\xff\xd8\xff\xe0"


async def send(
    till: Till, dispute: dict[str, Any], *files: tuple[str, bytes], key: str | None = None
) -> httpx.Response:
    parts = [("file", (name, content, "text/plain")) for name, content in files]
    return await till.client.post(f"/v1/disputes/{dispute['id']}/evidence", files=parts, headers=till.headers(key))


async def test_evidence_is_kept_handed_over_and_decides(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    await disputed(shop, seller, payment, decides="won")
    dispute = await the_one(seller, payment)
    answer = await send(seller, dispute, ("proof of delivery.pdf", PDF), ("../sign\u202ed.png", PNG), key="once")
    assert answer.status_code == 200, answer.text
    shown = answer.json()
    assert (shown["state"], shown["documents"]) == ("evidence_sent", 2)
    assert [
        (one["name"], one["media_type"], one["size_bytes"], one["sha256"], one["state"]) for one in shown["evidence"]
    ] == [
        ("proof of delivery.pdf", "application/pdf", len(PDF), hashlib.sha256(PDF).hexdigest(), "pending"),
        (".._sign_d.png", "image/png", len(PNG), hashlib.sha256(PNG).hexdigest(), "pending"),
    ]
    again = await send(seller, dispute, ("proof of delivery.pdf", PDF), ("../sign\u202ed.png", PNG), key="once")
    assert (again.text, again.headers["idempotency-replayed"]) == (answer.text, "true")
    await shop.work_for(seller)
    answered = (await seller.get(f"/disputes/{dispute['id']}")).json()
    assert answered["state"] == "won"
    assert [one["state"] for one in answered["evidence"]] == ["sent", "refused"]  # decided by the first one
    [entry] = [one for one in shop.acquirer.book.disputes() if one.reference == dispute["provider_reference"]]
    assert entry.evidence == shown["evidence"][0]["id"]
    events = await shop.events(seller, payment["id"])
    assert events == ["payment.created", "payment.captured", "dispute.opened", "dispute.evidence_sent", "dispute.won"]
    assert (await seller.balances(shop.platform))["merchant_available"] == 8_151


async def test_same_document_again_is_not_kept_twice(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    await disputed(shop, seller, payment)
    dispute = await the_one(seller, payment)
    await send(seller, dispute, ("a.pdf", PDF))
    answer = await send(seller, dispute, ("b.pdf", PDF), ("c.jpg", JPEG), ("d.jpg", JPEG))
    assert [(one["name"], one["media_type"]) for one in answer.json()["evidence"]] == [
        ("a.pdf", "application/pdf"),
        ("c.jpg", "image/jpeg"),
    ]
    assert answer.json()["documents"] == 2


async def test_lost_handing_over_is_repeated_and_arrives_once(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    await disputed(shop, seller, payment)
    dispute = await the_one(seller, payment)
    [document] = (await send(seller, dispute, ("a.pdf", PDF))).json()["evidence"]
    shop.acquirer.is_down = True
    await shop.work_for(seller)
    shop.acquirer.is_down = False
    assert [one["state"] for one in (await seller.get(f"/disputes/{dispute['id']}")).json()["evidence"]] == ["pending"]
    shop.later(minutes=1)
    await shop.work_for(seller)
    assert [one["state"] for one in (await seller.get(f"/disputes/{dispute['id']}")).json()["evidence"]] == ["sent"]
    assert [call for call in shop.acquirer.calls if call[1] == document["id"]] == [("submit_evidence", document["id"])]
    shop.later(days=1)
    await shop.work_for(seller)
    assert shop.acquirer.calls[-1] == ("query_dispute", dispute["provider_reference"])


async def test_evidence_after_its_date_is_refused_with_the_date(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    await disputed(shop, seller, payment)
    dispute = await the_one(seller, payment)
    shop.later(days=7, seconds=1)
    problem = await refused(shop, send(seller, dispute, ("a.pdf", PDF)), "payments.evidence_late")
    assert dispute["due_at"][:19] in problem["detail"]


async def test_more_than_ten_documents_are_refused(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    await disputed(shop, seller, payment)
    dispute = await the_one(seller, payment)
    await send(seller, dispute, *((f"{n}.pdf", PDF + bytes([n])) for n in range(9)))
    files = (("x.pdf", PDF + b"x"), ("y.pdf", PDF + b"y"))
    problem = await refused(shop, send(seller, dispute, *files), "payments.evidence_full")
    assert "10 documents" in problem["detail"]
    assert (await send(seller, dispute, files[0])).json()["documents"] == 10
    eleven = [(f"{n}.pdf", PDF + bytes([n])) for n in range(11)]
    await refused(shop, send(seller, dispute, *eleven), "payments.evidence_malformed", 400)


@pytest.mark.parametrize(
    ("content", "code", "status"),
    [
        (b"GIF89a", "payments.evidence_type", 422),
        (b"<script>%PDF-", "payments.evidence_type", 422),
        (b"", "payments.evidence_type", 422),
        (PDF + bytes(5 * 1024 * 1024), "payments.evidence_too_large", 413),
        (PDF + bytes(6 * 1024 * 1024), "kernel.body_too_large", 413),
    ],
)
async def test_what_is_no_document_is_refused(shop: Shop, seller: Till, content: bytes, code: str, status: int) -> None:
    payment = await scan(seller)
    await disputed(shop, seller, payment)
    await refused(shop, send(seller, await the_one(seller, payment), ("proof.pdf", content)), code, status)


async def test_acceptance_gives_the_money_up_once_the_provider_says_so(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    await disputed(shop, seller, payment, 5_000)
    dispute = await the_one(seller, payment)
    answer = await seller.post(f"/disputes/{dispute['id']}/accept", {}, key="accept")
    assert (answer.status_code, answer.json()["state"], answer.json()["is_withdrawn"]) == (200, "accepted", False)
    again = await seller.post(f"/disputes/{dispute['id']}/accept", {}, key="accept")
    assert again.text == answer.text
    assert (await seller.balances(shop.platform))["merchant_dispute"] == 5_000
    await shop.work_for(seller)
    accepted = await the_one(seller, payment)
    assert (accepted["state"], accepted["is_withdrawn"]) == ("accepted", True)
    assert await seller.balances(shop.platform) == {
        "channel_receivable": -3_200,
        "merchant_pending": 3_151,
        "platform_fee": 49,
    }
    assert [row for row in await shop.due_rows(seller) if row.kind == "payments.dispute"] == []
    assert (await shop.events(seller, payment["id"]))[2:] == [
        "dispute.opened",
        "dispute.accepted",
        "dispute.withdrawn",
    ]
    await refused(shop, send(seller, dispute, ("a.pdf", PDF)), "payments.dispute_over")
    await refused(shop, seller.post(f"/disputes/{dispute['id']}/accept", {}), "payments.dispute_over")


async def test_strangers_and_narrow_tokens_see_and_do_nothing(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    await disputed(shop, seller, payment)
    dispute = await the_one(seller, payment)
    other = await shop.new_till()
    narrow = await shop.new_till(scopes=("payments:read", "disputes:read"))
    assert (await other.get("/disputes")).json()["data"] == []
    assert (await other.get(f"/disputes/{dispute['id']}")).status_code == 404
    await refused(shop, send(other, dispute, ("a.pdf", PDF)), "payments.not_found", 404)
    await refused(shop, other.post(f"/disputes/{dispute['id']}/accept", {}), "payments.not_found", 404)
    assert (await narrow.post(f"/disputes/{dispute['id']}/accept", {})).status_code == 403


async def test_list_filters_by_state_payment_and_date(shop: Shop, seller: Till) -> None:
    first, second = await scan(seller), await scan(seller)
    reference = await disputed(shop, seller, first)
    shop.later(days=1)
    await disputed(shop, seller, second)
    await step(shop, seller, reference, "lost")

    async def ids(query: str) -> list[str]:
        answer = await seller.get(f"/disputes?{query}")
        assert answer.status_code == 200, answer.text
        return [row["payment_id"] for row in answer.json()["data"]]

    due = str((await the_one(seller, second))["due_at"])
    assert await ids("") == [second["id"], first["id"]]
    assert await ids("order=asc") == [first["id"], second["id"]]
    assert await ids("state=lost") == [first["id"]]
    assert await ids(f"due_from={due}") == [second["id"]]
    assert await ids(f"due_to={due}") == [first["id"]]
    page = (await seller.get("/disputes?limit=1")).json()
    assert page["data"][0]["payment_id"] == second["id"]
    assert await ids(f"limit=1&cursor={page['next_cursor']}") == [first["id"]]
    assert (await seller.get("/disputes?state=open")).status_code == 422
