"""The customer's side of a QR code: a wallet reads it, and pays or not.

Reading makes the trade exist, as the protocol has it: before, alipay.trade.query knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, Protocol

import httpx

from sandbox.simulators.alipay_gateway.numbers import Numbers, buyer_number

Act = Literal["read", "pay"]
Buyer = Literal["rich", "poor", "slow", "blocked"]
TIMEOUT_S: Final = 10.0
SCENARIOS: Final[Mapping[Buyer, str]] = MappingProxyType(
    {"rich": "success", "poor": "decline_balance", "slow": "paying-2", "blocked": "decline_blocked"}
)
"""How each test customer goes on, in the simulated acquirer's words."""


class Wallet(Protocol):
    """Where codes are paid."""

    async def scan(self, merchant_id: str, code: str, *, scenario: str) -> str:
        """The customer's phone reads the code and goes on as the scenario says; the wallet's word on it."""
        ...


class WalletAway(Exception):
    """Nobody can say where the merchant's codes are paid, or nobody answers there."""


class Addresses(Protocol):
    """Where the acquirer of a merchant is."""

    async def __call__(self, merchant_id: str) -> str | None:
        """The address of its gateway; None for a merchant without one."""
        ...


@dataclass(frozen=True, slots=True)
class HttpWallet:
    """The simulated acquirer's buyer side, which is not signed (docs/reference/simulated-acquirer.md)."""

    addresses: Addresses

    async def scan(self, merchant_id: str, code: str, *, scenario: str) -> str:
        """See `Wallet`. Raises WalletAway."""
        address = await self.addresses(merchant_id)
        if address is None:
            raise WalletAway("This merchant has no channel account at the simulated acquirer.")
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_S) as client:
                answer = await client.post(
                    f"{address.rstrip('/')}/buyer/scan", json={"qr_code": code, "scenario": scenario}
                )
                answer.raise_for_status()
                status: str = answer.json()["status"]
        except (httpx.HTTPError, KeyError, ValueError) as error:
            raise WalletAway(f"The simulated acquirer does not answer: {type(error).__name__}.") from error
        return status


class Cashier:
    """What a test customer does with a code of the merchant's."""

    def __init__(self, *, numbers: Numbers, wallet: Wallet) -> None:
        self._numbers = numbers
        self._wallet = wallet

    async def scan(self, merchant_id: str, code: str, *, act: Act, buyer: Buyer = "rich") -> str | None:
        """Read the code, and pay unless reading is all; the wallet's status. None: no code of this merchant.

        `buyer`: poor has too little, slow types for two questions long. A refused one leaves the code open.
        """
        number = await self._numbers.behind_code(merchant_id, code)
        if number is None:
            return None
        await self._numbers.remember(number, is_scanned=True, buyer_number=buyer_number(f"wallet {buyer}"))
        if act != "pay":
            return "PENDING"
        return await self._wallet.scan(merchant_id, code, scenario=SCENARIOS[buyer])
