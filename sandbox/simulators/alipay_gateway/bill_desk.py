"""Addresses under which bills are downloaded, and the files behind them: the rows of the native bill, in GBK.

An address is good for 30 s of the sandbox's clock and for one bill; it says so itself, under a key of the installation.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, Literal
from urllib.parse import quote

import msgspec

from platform_core.capabilities.payments.assembly import Payments
from platform_core.capabilities.payments.bills.errors import BILL_ABSENT, BILL_NOT_READY
from platform_core.identity.principal import Principal
from platform_core.kernel.clock import Clock
from platform_core.kernel.errors import PlatformError
from sandbox.simulators.alipay_gateway.bill import ALL_ENTRIES, ENTRIES, Known, Line, archive
from sandbox.simulators.alipay_gateway.numbers import Numbers
from sandbox.simulators.alipay_gateway.protocol import CHINA

Kind = Literal["trade", "signcustomer"]
PATH: Final = "/sandbox/alipay/bill"
GOOD_FOR: Final = timedelta(seconds=30)
MONTH_READY_ON: Final = 3
"""Day of the following month on which a month's file is there."""


class Ticket(msgspec.Struct, frozen=True):
    """What an address stands for."""

    merchant_id: str
    kind: Kind
    first: date
    last: date
    until: int  # seconds since the epoch, by the sandbox's clock


@dataclass(frozen=True, slots=True)
class BillFile:
    """A downloaded file."""

    name: str
    content: bytes


class BillDesk:
    """Gives addresses and files."""

    def __init__(self, *, payments: Payments, numbers: Numbers, clock: Clock, key: bytes, origin: str) -> None:
        """`key`: 32 bytes of the installation's own."""
        self._payments = payments
        self._numbers = numbers
        self._clock = clock
        self._key = key
        self._origin = origin

    async def address(self, merchant_id: str, kind: Kind, first: date, last: date) -> str | None:
        """Where the file of these days is, for 30 s; None while there is none."""
        now = self._clock.now()
        if first != last and now.astimezone(CHINA).date() < _month_ready(last):
            return None
        if not await self._lines(merchant_id, first, last):
            return None
        ticket = Ticket(merchant_id, kind, first, last, int((now + GOOD_FOR).timestamp()))
        body = base64.urlsafe_b64encode(msgspec.json.encode(ticket))
        return f"{self._origin}{PATH}?ticket={quote(body + b'.' + self._seal(body))}"

    async def file(self, ticket: str) -> BillFile | None:
        """The file behind an address; None for one that is none, or no more."""
        body, _, seal = ticket.encode().partition(b".")
        if not hmac.compare_digest(self._seal(body), seal):
            return None
        try:
            read = msgspec.json.decode(base64.urlsafe_b64decode(body), type=Ticket)
        except (binascii.Error, msgspec.DecodeError):
            return None
        now = self._clock.now()
        if now.timestamp() > read.until:
            return None
        lines = await self._lines(read.merchant_id, read.first, read.last)
        name, content = archive(
            lines,
            seller=await self._numbers.of_seller(read.merchant_id),
            first=read.first,
            last=read.last,
            known=await self._known(read.merchant_id, lines, now=now),
            entries=ENTRIES if read.kind == "trade" else ALL_ENTRIES,
            at=now,
        )
        return BillFile(name, content)

    def _seal(self, body: bytes) -> bytes:
        return base64.urlsafe_b64encode(hmac.digest(self._key, body, "sha256"))

    async def _lines(self, merchant_id: str, first: date, last: date) -> list[Line]:
        """The native rows; none where there is no bill."""
        bills = self._payments.bills
        found: AsyncIterator[dict[str, str]]
        if first == last:
            try:
                found = bills.lines(await bills.find(merchant_id, first.isoformat()))
            except PlatformError as error:
                if error.declared not in (BILL_ABSENT, BILL_NOT_READY):
                    raise
                return []
        else:
            found = bills.period(merchant_id, first=first, last=last)
        return [line async for line in found]

    async def _known(self, merchant_id: str, lines: Sequence[Line], *, now: datetime) -> Known:
        """What the protocol says of the payments besides."""
        reader = _reader(merchant_id, now)
        numbers: dict[str, str] = {}
        subjects: dict[str, str] = {}
        buyers: dict[str, str] = {}
        for payment_id, out_trade_no in {(line["payment_id"], line["out_trade_no"]) for line in lines}:
            if not payment_id:
                continue
            subjects[payment_id] = (await self._payments.service.seen(reader, payment_id)).subject
            number = await self._numbers.named(merchant_id, "trade", out_trade_no)
            if number is not None:
                numbers[payment_id], buyers[payment_id] = number.id, number.facts.buyer_number
        return Known(numbers, subjects, buyers)


def _month_ready(last: date) -> date:
    return (last + timedelta(days=1)).replace(day=MONTH_READY_ON)


def _reader(merchant_id: str, now: datetime) -> Principal:
    """Who reads for a download: whoever holds the address that the merchant's app was given."""
    return Principal(
        kind="app",
        client_id="alipay_gateway",
        app_id="",
        merchant_id=merchant_id,
        standing="active",
        mode="test",
        scopes=frozenset({"payments:read", "ledger:read"}),
        stores=None,
        grant_id=None,
        grant_version=0,
        token_id=f"gateway:bills:{merchant_id}",
        key_id="",
        expires_at=int((now + GOOD_FOR).timestamp()),
        api_version="",
    )
