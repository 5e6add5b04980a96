"""The network of meal cards beside the tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Final

import httpx
import pytest

from platform_core.contracts.payments import ChannelAccount
from platform_core.contracts.plugin import Egress, PluginContext, Secrets
from platform_core.contracts.testing import FakeHost, load_plugin
from plugins.meal_card import MealCardProvider
from sandbox.simulators.meal_cards.app import MealCards, running_network
from sandbox.testbed.outside import SimulatedOutside
from sandbox.testbed.provider_suite import Fault

KEY: Final = b"m" * 32
HOST: Final = "mealcards.arsenal.example"
FAULT_OF: Final[dict[Fault, str]] = {"unknown_then_success": "unsure"}
_codes = count(66 * 10**16)


class FreshContext(PluginContext):
    """A context of its own for each use, as every call of the host has."""

    def __init__(self, host: FakeHost) -> None:
        self._host = host

    @property
    def secrets(self) -> Secrets:
        return self._host.context("register_payment_provider").secrets

    @property
    def egress(self) -> Egress:
        return self._host.context("register_payment_provider").egress


@dataclass
class NetworkHarness:
    """`RemoteHarness` over the network's simulator."""

    provider: MealCardProvider
    account: ChannelAccount
    ctx: PluginContext
    outside: SimulatedOutside
    network: MealCards
    url: str
    notify_url: str | None = None

    @property
    def now(self) -> datetime:
        return datetime.now(UTC)

    def script(self, operation: str, fault: Fault) -> None:
        route = {"pay": "charges", "refund": "refunds"}[operation]
        self.fault(route, FAULT_OF.get(fault, fault))

    def fault(self, route: str, fault: str) -> None:
        """Let the next call of one of the network's own routes meet one of its own faults."""
        body = {"operation": route, "fault": fault}
        assert httpx.post(f"{self.url}/_script", json=body, trust_env=False).json() == {"code": "OK"}

    def auth_code(self) -> str:
        return str(next(_codes))

    def moved(self, key: str) -> int:
        return self.network.moved.get(key, 0)


@pytest.fixture
def harness() -> Iterator[NetworkHarness]:
    network = MealCards(shop="shop-1", key=KEY)
    with running_network(network) as url:
        outside = SimulatedOutside({HOST: url})
        host = FakeHost(load_plugin("plugins.meal_card").manifest, secrets={"shop_key": KEY}, outside=outside)
        account = ChannelAccount(id="cha_cards", settings={"shop_no": "shop-1"}, secret_names={"shop_key": "shop_key"})
        yield NetworkHarness(MealCardProvider(), account, FreshContext(host), outside, network, url)
