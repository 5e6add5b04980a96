"""Spend and save against the contract of every plugin."""

from __future__ import annotations

from typing import ClassVar

from platform_core.contracts.testing import PluginSuite


class TestContract(PluginSuite):
    plugin = "plugins.full_reduction"
    config: ClassVar = {"tiers": [{"threshold_minor": 5_000, "off_minor": 700, "is_repeated": True}]}
