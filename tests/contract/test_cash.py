"""Cash against the contract of every provider."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from platform_core.contracts.payments import ChannelAccount
from plugins.cash import CashProvider
from sandbox.testbed.context import LocalContext
from sandbox.testbed.provider_suite import Harness, ProviderSuite

pytestmark = pytest.mark.contract


class TestCash(ProviderSuite):
    @pytest.fixture
    def harness(self) -> Harness:
        return SimpleNamespace(
            provider=CashProvider(),
            account=ChannelAccount(id="cha_till"),
            ctx=LocalContext(),
            now=datetime(2026, 11, 22, 4, 0, tzinfo=UTC),
            notify_url=None,
        )
