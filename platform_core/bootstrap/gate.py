"""The capability gate of one process, put together: what plugins may ask for, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from platform_core.identity.deps import IdentityDeps
from platform_core.identity.directory import MerchantDirectory
from platform_core.identity.revocation import RevocationFeed
from platform_core.kernel.clock import Clock
from platform_core.plugin_host.call_audit import CallAudits
from platform_core.plugin_host.client_asks import ClientTools
from platform_core.plugin_host.egress import Egress
from platform_core.plugin_host.fault_desk import FaultDesk
from platform_core.plugin_host.gate import Gatekeeper, GateTools, level_by_tier
from platform_core.plugin_host.health_rows import HealthDeps, Quarantines
from platform_core.plugin_host.installed import Enabled
from platform_core.plugin_host.operations import Operations
from platform_core.plugin_host.principals import Principals
from platform_core.plugin_host.problem_book import ProblemBook
from platform_core.plugin_host.secret_rows import SecretRows
from platform_core.plugin_host.secrets import PluginSecrets
from platform_core.plugin_host.state_reader import StateReader


@dataclass(frozen=True, slots=True)
class PluginGate:
    """The gate, and what runs behind it."""

    calls: Gatekeeper
    operations: Operations
    """Filled by whoever puts the capabilities together: they ask plugins, so they come after the gate."""
    audits: CallAudits
    problems: ProblemBook
    quarantines: Quarantines
    faults: FaultDesk
    book: SecretRows

    async def start(self) -> None:
        """After the committer and the feed."""
        await self.audits.start()
        await self.problems.start()
        await self.quarantines.start()

    async def stop(self) -> None:
        """Before them; what is queued is written."""
        await self.calls.finish()
        await self.book.stop()
        await self.quarantines.stop()
        await self.problems.stop()
        await self.audits.stop()


def make_gate(
    deps: IdentityDeps,
    feed: RevocationFeed,
    directory: MerchantDirectory,
    *,
    egress: Egress,
    clock: Clock,
    level_of: Callable[[Enabled], str] = level_by_tier,
) -> PluginGate:
    """Everything put together and nothing opened. `clock` is that of business, `deps` has the real one.

    `level_of`: the level at which a plugin's code runs, for the accounts of what it asked.
    """
    problems = ProblemBook(database=deps.database, committer=deps.committer, clock=clock, ids=deps.ids)
    audits, operations = CallAudits(deps.committer), Operations()
    book = SecretRows(database=deps.database, committer=deps.committer, clock=deps.clock)
    clients = ClientTools(
        states=StateReader(deps.database),
        egress=egress,
        secrets=PluginSecrets(deps.vault, book),
        problems=problems,
    )
    tools = GateTools(
        clients=clients,
        operations=operations,
        principals=Principals(database=deps.database, directory=directory, feed=feed, clock=deps.clock),
        audits=audits,
        clock=clock,
        level_of=level_of,
    )
    health = HealthDeps(database=deps.database, committer=deps.committer, clock=deps.clock, ids=deps.ids)
    quarantines = Quarantines(health, feed)
    faults = FaultDesk(problems, quarantines)
    return PluginGate(Gatekeeper(tools), operations, audits, problems, quarantines, faults, book)
