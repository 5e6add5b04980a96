"""Two server processes and one metered limit: forty refunds at once never take more than it allows, and no less.

Also while the merchant's day ends, in one process before the other, and while the grant is revoked.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

import httpx
import pytest

from platform_core.contracts.rar import Detail
from platform_core.identity.schemas import AppCreate, GrantCreate, MerchantCreate
from platform_core.kernel.database.embedded import EmbeddedPostgres
from tests.clients.pair import PARALLEL, ROUNDS, Pair, running_pair
from tests.clients.turned_server import turn
from tests.support.processes_arsenal import take_money

pytestmark = pytest.mark.api
EXCEEDED = "identity.limit_exceeded"
REFUND = 500
ZONE = ZoneInfo("Asia/Shanghai")
Answers = list[httpx.Response]
Form = Literal["local", "merchant_scan"]
FORMS: tuple[Form, ...] = ("local", "merchant_scan")


@dataclass(frozen=True, slots=True)
class Key:
    """One app's grant, metered by the day, and a token of it."""

    grant_id: str
    token: str


@dataclass
class Desk:
    """A merchant with forty sales in cash and forty by the acquirer, each good for all refunds of all rounds."""

    pair: Pair
    merchant_id: str
    sales: dict[Form, list[str]] = field(default_factory=dict)
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    async def key(self, *, allows: int) -> Key:
        """A new app of the merchant that may refund so much a day."""
        platform = self.pair.main.platform
        app = await platform.apps.create_app(
            AppCreate(name="Desk", mode="test", merchant_id=self.merchant_id, api_version="2026-11-22")
        )
        limit = {"per": "day", "amount_minor": allows, "currency": "CNY"}
        wanted = GrantCreate(
            app_id=app.id,
            merchant_id=self.merchant_id,
            mode="test",
            scopes=frozenset({"payments:write", "refunds:write", "refunds:read"}),
            details=(Detail.model_validate({"type": "payment_refund", "limits": [limit]}),),
            given_by="per_owner",
        )
        grant = await platform.grants.create(wanted)
        answer = await self.pair.clients[0].post(
            "/oauth/token", data={"grant_type": "client_credentials"}, auth=(app.client.id, app.secret.secret)
        )
        return Key(grant.id, answer.json()["access_token"])

    async def refund(self, key: Key, n: int, *, form: Form = "local") -> httpx.Response:
        """Of the n-th sale, by the n-th server in turn."""
        name = f"r{next(self.numbers)}"
        body = {"out_request_no": name, "amount_minor": REFUND}
        return await self._post(key, n, f"/payments/{self.sales[form][n]}/refunds", name, body)

    async def refund_all(self, key: Key, *, form: Form = "local") -> Answers:
        """Forty at once, half of them at each server."""
        return await asyncio.gather(*(self.refund(key, n, form=form) for n in range(PARALLEL)))

    async def sell(self, key: Key, n: int, form: Form) -> str:
        """The sale's id."""
        name = f"o{next(self.numbers)}"
        order = {"out_trade_no": name, "subject": "Tea", "currency": "CNY", "order_minor": 8 * REFUND * ROUNDS}
        order |= {"form": form} if form == "local" else {"form": form, "auth_code": f"sim:success:{name}"}
        answer = await self._post(key, n, "/payments", name, order)
        assert answer.status_code == 201, answer.text
        assert answer.json()["state"] == "captured", answer.text
        return str(answer.json()["id"])

    async def taken(self, key: Key) -> dict[str, tuple[int, int, int]]:
        """By window of the key's limit: what is left, what is pending, what is used. First the oldest."""
        platform = self.pair.main.platform
        grant = await platform.grants.get(key.grant_id, merchant_id=self.merchant_id)
        ids = {detail["id"] for detail in grant.authorization_details}
        found: dict[str, tuple[int, int, int]] = {}
        for role in ("grant_limit", "limit_used"):
            for record in await platform.ledger.balances(self.merchant_id, role=role):
                detail_id, _, window = record.bucket.partition("/")
                if detail_id in ids:
                    left, pending, used = found.get(window, (0, 0, 0))
                    is_limit = role == "grant_limit"
                    left, pending = (record.available or 0, record.debits_pending) if is_limit else (left, pending)
                    found[window] = (left, pending, used if is_limit else record.posted)
        return dict(sorted(found.items()))

    async def _post(self, key: Key, n: int, path: str, name: str, body: dict[str, Any]) -> httpx.Response:
        headers = {"authorization": f"Bearer {key.token}", "idempotency-key": name}
        return await self.pair.clients[n % 2].post(f"/v1{path}", json=body, headers=headers)


def outcomes(answers: Answers) -> Counter[str]:
    """How many refunds succeeded, and why the others did not."""
    return Counter(a.json()["state"] if a.status_code == 201 else a.json()["code"] for a in answers)


@pytest.fixture(scope="module")
async def desk(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory, acquirer: str
) -> AsyncIterator[Desk]:
    """One merchant for all rounds; every round makes an app and a grant of its own."""
    folder = tmp_path_factory.mktemp("limits")
    async with running_pair(postgres, folder, name="race_limits", is_turned=True) as pair:
        platform = pair.main.platform
        merchant = await platform.parties.create_merchant(
            MerchantCreate(name="Tea house", mode="test", industry="restaurant", verification="verified")
        )
        await take_money(platform.payment_setup, merchant.id, acquirer_url=acquirer)
        desk = Desk(pair, merchant.id)
        key = await desk.key(allows=1)
        for form in FORMS:
            desk.sales[form] = await asyncio.gather(*(desk.sell(key, n, form) for n in range(PARALLEL)))
        yield desk
        assert (await platform.ledger.verify(datetime.now(UTC) + timedelta(days=2))).is_clean


async def test_a23_exactly_as_many_of_forty_refunds_pass_as_fit(desk: Desk) -> None:
    chance = random.Random(23)
    for number in range(ROUNDS):
        fit = chance.randrange(1, PARALLEL)
        rest = chance.randrange(REFUND)
        key = await desk.key(allows=fit * REFUND + rest)
        answers = await desk.refund_all(key, form=FORMS[number % 4 == 0])
        assert outcomes(answers) == {"succeeded": fit, EXCEEDED: PARALLEL - fit}
        assert list((await desk.taken(key)).values()) == [(rest, 0, fit * REFUND)]


async def test_a23_forty_refunds_across_midnight_stay_within_each_day(desk: Desk) -> None:
    """The day ends in one process before it does in the other, both while refunds are under way."""
    assert desk.pair.clocks is not None
    chance = random.Random(24)
    try:
        for _ in range(ROUNDS // 2):
            fit = chance.randrange(5, 15)
            key = await desk.key(allows=fit * REFUND)
            for clock in desk.pair.clocks:
                turn(clock, _until_midnight() - timedelta(seconds=20))
            calls = [asyncio.create_task(desk.refund(key, n)) for n in range(PARALLEL)]
            for clock, done in zip(desk.pair.clocks, (2, 6), strict=True):
                await _answered(calls, done)
                turn(clock, _until_midnight())
            first = outcomes(await asyncio.gather(*calls))
            days = list((await desk.taken(key)).values())
            assert set(first) <= {"succeeded", EXCEEDED}
            assert first["succeeded"] * REFUND == sum(used for _, _, used in days)
            assert all(left >= 0 and left + used == fit * REFUND and not pending for left, pending, used in days)
            more = outcomes(await asyncio.gather(*(desk.refund(key, n) for n in range(fit + 1))))
            assert more[EXCEEDED] == fit + 1 - more["succeeded"] > 0
            before, after = (await desk.taken(key)).values()
            assert before == days[0], "the day that ended takes nothing more"
            assert after == (0, 0, fit * REFUND)
    finally:
        for clock in desk.pair.clocks:
            turn(clock, timedelta(0))


def _until_midnight() -> timedelta:
    """From the present moment to the next day where the merchant is."""
    now = datetime.now(ZONE)
    return datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), ZONE) - now


async def _answered(calls: list[asyncio.Task[httpx.Response]], count: int) -> None:
    async with asyncio.timeout(20):
        for done, call in enumerate(asyncio.as_completed(calls), start=1):
            await call
            if done == count:
                return


async def test_a23_no_refund_begins_once_the_grant_is_revoked(desk: Desk) -> None:
    """Not within a second but at once: both processes have the token cached, and the limit itself is closed."""
    platform = desk.pair.main.platform
    chance = random.Random(25)
    during = 0
    for number in range(ROUNDS // 2):
        form = FORMS[number % 4 == 0]
        key = await desk.key(allows=2 * PARALLEL * REFUND)
        assert outcomes([await desk.refund(key, n, form=form) for n in (0, 1)]) == {"succeeded": 2}
        calls = [asyncio.create_task(desk.refund(key, n, form=form)) for n in range(PARALLEL)]
        await _answered(calls, chance.randrange(1, 12))
        await platform.grants.revoke(key.grant_id, merchant_id=desk.merchant_id, by="per_owner", why="test")
        late = await desk.refund_all(key, form=form)
        begun = outcomes(await asyncio.gather(*calls))
        assert outcomes(late) == {"identity.token_invalid": PARALLEL}
        assert {answer.status_code for answer in late} == {401}
        assert set(begun) <= {"succeeded", "identity.token_invalid"}
        [(_, pending, used)] = (await desk.taken(key)).values()
        assert (pending, used) == (0, (2 + begun["succeeded"]) * REFUND)
        during += begun["succeeded"]
    assert 0 < during < ROUNDS // 2 * PARALLEL, "some passed before the revocation and some came too late"
