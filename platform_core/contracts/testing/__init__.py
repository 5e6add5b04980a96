"""What a plugin's own tests need: a context with clients in memory, the golden fixtures, and the contract kit.

Nothing here opens a socket, starts a process or imports pytest; a plugin's `tests/test_contract.py` is

    from platform_core.contracts.testing import PluginSuite

    class TestContract(PluginSuite):
        plugin = "acme_risk"
"""

from platform_core.contracts.testing.egress import FakeEgress, Request
from platform_core.contracts.testing.fixtures import Fixture, fixtures_of, payload_of
from platform_core.contracts.testing.host import FakeClients, FakeHost
from platform_core.contracts.testing.kit import Broken, Setup, run_kit
from platform_core.contracts.testing.loaded import LoadedPlugin, load_plugin
from platform_core.contracts.testing.running import InProcess, Runner
from platform_core.contracts.testing.secrets import FakeSecrets
from platform_core.contracts.testing.state import FakeState
from platform_core.contracts.testing.suite import PluginSuite

__all__ = [
    "Broken",
    "FakeClients",
    "FakeEgress",
    "FakeHost",
    "FakeSecrets",
    "FakeState",
    "Fixture",
    "InProcess",
    "LoadedPlugin",
    "PluginSuite",
    "Request",
    "Runner",
    "Setup",
    "fixtures_of",
    "load_plugin",
    "payload_of",
    "run_kit",
]
