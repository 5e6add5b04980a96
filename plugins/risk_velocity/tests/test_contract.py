"""Velocity checks against the contract of every plugin."""

from __future__ import annotations

from platform_core.contracts.testing import PluginSuite


class TestContract(PluginSuite):
    plugin = "plugins.risk_velocity"
