"""CRM sync against the contract of every plugin."""

from __future__ import annotations

from typing import ClassVar

from platform_core.contracts.plugin import EgressAnswer
from platform_core.contracts.testing import PluginSuite, Request
from platform_core.contracts.testing.egress import answered


class TestContract(PluginSuite):
    plugin = "plugins.crm_sync"
    secrets: ClassVar = {"crm_token": b"t0ken"}

    def outside(self, request: Request) -> EgressAnswer:
        return answered(200, {"account": "acc_1"})
