"""Numbers of the protocol: an app's, a seller's, a trade's, a freeze's. Each is minted once and stands for ever."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import Row, select

from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Change, Committer, Duplicate, Insert, Plan, PlanRefused, VersionConflict
from platform_core.kernel.database.pools import Database
from platform_core.kernel.entropy import entropy as process_entropy
from sandbox.simulators.alipay_gateway.models import IDS
from sandbox.simulators.alipay_gateway.protocol import CHINA

Kind = Literal["app", "seller", "buyer", "trade", "freeze", "operation"]
TRIES_MAX: Final = 5
_ids = IDS.table


class TradeFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the protocol keeps of a trade or freeze, and the platform has no place for.

    `app_number`, `auth_app_number`: who asked, and the pseudo app of the merchant it asked for. `payment_id` and
    `capture_no`: of a trade that is the capture of a freeze; its refunds are `refund_numbers`. `request_no`: the number
    under which a freeze was asked for. `code`: of the QR code that was shown; `is_scanned`: a wallet has read it, so
    the trade exists. `sign_type`: of the request, by which notices are signed.
    """

    app_number: str = ""
    auth_app_number: str = ""
    notify_url: str = ""
    return_url: str = ""
    passback_params: str = ""
    body: str = ""
    subject: str = ""
    buyer_number: str = ""
    sign_type: str = ""
    payment_id: str = ""
    capture_no: str = ""
    request_no: str = ""
    refund_numbers: Sequence[str] = ()
    is_scanned: bool = False
    code: str = ""


class Number(msgspec.Struct, frozen=True):
    """A number and what it stands for; see `models.AlipayId`."""

    id: str
    kind: str
    native_id: str | None
    merchant_id: str | None
    out_no: str | None
    facts: TradeFacts
    version: int


def buyer_number(wallet: str) -> str:
    """The number of the buyer behind a payment code or a wallet's name: the same for ever, and no other table's."""
    digest = hashlib.sha256(f"buyer {wallet}".encode()).digest()
    return f"2088{int.from_bytes(digest[:8], 'big') % 10**12:012d}"


class Numbers:
    """Finds and mints. Writes only through the committer; of two who mint at once, both get the same number."""

    def __init__(
        self,
        *,
        database: Database,
        committer: Committer,
        clock: Clock,
        entropy: Callable[[int], bytes] = process_entropy,
    ) -> None:
        """`clock`: the sandbox's, by which the date in a number goes."""
        self._database = database
        self._committer = committer
        self._clock = clock
        self._entropy = entropy

    async def of_app(self, app_id: str, *, merchant_id: str | None = None) -> str:
        """The number of an app, or of a merchant's pseudo app; `merchant_id`: its owner, where that is a merchant."""
        return (await self._minted("app", native_id=app_id, merchant_id=merchant_id)).id

    async def of_seller(self, merchant_id: str) -> str:
        """The number under which a merchant's customers know it."""
        return (await self._minted("seller", native_id=merchant_id, merchant_id=merchant_id)).id

    async def of_transaction(self, merchant_id: str, transaction_id: str) -> str:
        """The number of one operation on a freeze."""
        return (await self._minted("operation", native_id=transaction_id, merchant_id=merchant_id)).id

    async def app_behind(self, number: str) -> Number | None:
        """The app that a number stands for: asked before it is known who acts."""
        query = select(_ids).where(_ids.c.id == number, _ids.c.kind == "app")
        async with self._database.read_auth() as connection:
            return _number((await connection.execute(query)).one_or_none())

    async def behind(self, merchant_id: str, kind: Kind, number: str) -> Number | None:
        """What a number of the merchant's stands for."""
        return await self._find(merchant_id, _ids.c.kind == kind, _ids.c.id == number)

    async def named(self, merchant_id: str, kind: Kind, out_no: str) -> Number | None:
        """What stands under the merchant's own number."""
        return await self._find(merchant_id, _ids.c.kind == kind, _ids.c.out_no == out_no)

    async def behind_code(self, merchant_id: str, code: str) -> Number | None:
        """The trade whose QR code says this."""
        return await self._find(merchant_id, _ids.c.kind == "trade", _ids.c.facts["code"].astext == code)

    async def begun(self, merchant_id: str, kind: Kind, out_no: str, **facts: Any) -> Number:
        """The number of what is about to be asked for, with what is to be remembered of the request.

        Written before the act, so that a notice about it knows where to go. A later request's facts stand.
        """
        found = await self.named(merchant_id, kind, out_no)
        if found is None:
            told = TradeFacts(**facts)
            found = await self._minted(kind, merchant_id=merchant_id, out_no=out_no, facts=told)
        return await self.remember(found, **facts)

    async def remember(self, number: Number, **facts: Any) -> Number:
        """Change some of what is remembered."""
        for _ in range(TRIES_MAX):
            told = msgspec.structs.replace(number.facts, **facts)
            if told == number.facts:
                return number
            if await self._changed(number, {"facts": _encoded(told)}):
                return msgspec.structs.replace(number, facts=told, version=number.version + 1)
            current = await self._find(str(number.merchant_id), _ids.c.id == number.id)
            assert current is not None, "numbers stand for ever"
            number = current
        raise TimeoutError(f"{number.id}: changed too often meanwhile")

    async def settle(self, number: Number, native_id: str) -> Number:
        """Say what the number stands for, once that is known; whoever says so at the same time says the same."""
        if number.native_id is None:
            await self._changed(number, {"native_id": native_id})
            number = msgspec.structs.replace(number, native_id=native_id, version=number.version + 1)
        return number

    async def _find(self, merchant_id: str, *conditions: Any) -> Number | None:  # SQL expressions
        query = select(_ids).where(_ids.c.merchant_id == merchant_id, *conditions)
        async with self._database.read(merchant_id) as connection:
            return _number((await connection.execute(query)).one_or_none())

    async def _minted(
        self,
        kind: Kind,
        *,
        merchant_id: str | None,
        native_id: str | None = None,
        out_no: str | None = None,
        facts: TradeFacts | None = None,
    ) -> Number:
        for _ in range(TRIES_MAX):
            known = await self._known(kind, merchant_id=merchant_id, native_id=native_id, out_no=out_no)
            if known is not None:
                return known
            now = self._clock.now()
            digits = self._digits(kind, now)
            row = {
                "id": digits,
                "kind": kind,
                "native_id": native_id,
                "merchant_id": merchant_id,
                "out_no": out_no,
                "facts": _encoded(facts or TradeFacts()),
                "version": 1,
                "created_at": now,
            }
            try:
                await self._committer.commit(Plan(merchant_id, [Insert(IDS, row)]))
            except PlanRefused as refused:
                if not isinstance(refused.refusal, Duplicate):
                    raise
                continue  # somebody else minted it, or chance struck twice
            return Number(digits, kind, native_id, merchant_id, out_no, facts or TradeFacts(), 1)
        raise TimeoutError(f"{native_id or out_no}: no number could be minted")

    async def _known(
        self, kind: Kind, *, merchant_id: str | None, native_id: str | None, out_no: str | None
    ) -> Number | None:
        column, value = (_ids.c.native_id, native_id) if native_id is not None else (_ids.c.out_no, out_no)
        query = select(_ids).where(_ids.c.kind == kind, column == value, _ids.c.merchant_id == merchant_id)
        async with self._database.read_auth() as connection:
            return _number((await connection.execute(query)).one_or_none())

    async def _changed(self, number: Number, values: dict[str, Any]) -> bool:
        change = Change(IDS, number.id, values, expected=number.version)
        try:
            await self._committer.commit(Plan(number.merchant_id, [change]))
        except PlanRefused as refused:
            if isinstance(refused.refusal, VersionConflict):
                return False
            raise
        return True

    def _digits(self, kind: Kind, now: datetime) -> str:
        """16 digits from 2021 or 2088; 28 from the date, by the protocol's habit with 22001 behind it."""
        chance = int.from_bytes(self._entropy(8), "big")
        if kind in ("app", "seller", "buyer"):
            return f"{'2021' if kind == 'app' else '2088'}{chance % 10**12:012d}"
        return f"{now.astimezone(CHINA):%Y%m%d}22001{chance % 10**15:015d}"


def _number(row: Row[Any] | None) -> Number | None:
    if row is None:
        return None
    facts = msgspec.convert(row.facts, type=TradeFacts)
    return Number(row.id, row.kind, row.native_id, row.merchant_id, row.out_no, facts, row.version)


def _encoded(facts: TradeFacts) -> str:
    return msgspec.json.encode(facts).decode()
