"""The remote tier of one process: plugins on their publishers' servers, and what they ask while they are called."""

from __future__ import annotations

from dataclasses import dataclass

from platform_core.bootstrap.gate import PluginGate
from platform_core.identity.access import audience
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.signing_keys import SigningKeys
from platform_core.kernel.clock import Clock
from platform_core.kernel.http.guarded_client import GuardedClient
from platform_core.kernel.settings import Settings
from platform_core.plugin_host.hook_tokens import HookCalls, HookCallTools, HookTokens, TokenGround
from platform_core.plugin_host.installed import Enablement
from platform_core.plugin_host.remote import RemoteRuntime
from platform_core.plugin_host.remote_endpoints import RemoteEndpoints
from platform_core.plugin_host.router_remote import ASK_PATH


@dataclass(frozen=True, slots=True)
class Remote:
    """What is open of it."""

    runtime: RemoteRuntime
    endpoints: RemoteEndpoints
    calls: HookCalls
    client: GuardedClient

    async def stop(self) -> None:
        """Let go of the calls under way."""
        self.calls.close()
        await self.runtime.aclose()
        await self.client.aclose()


def make_remote(
    deps: IdentityDeps,
    gate: PluginGate,
    enablement: Enablement,
    *,
    keys: SigningKeys,
    settings: Settings,
    clock: Clock,
) -> Remote:
    """Nothing is opened. `clock` is that of business; tokens and signatures live by the real one, that of `deps`."""
    simulators = settings.egress_simulators
    endpoints = RemoteEndpoints(database=deps.database, vault=deps.vault, clock=deps.clock, simulators=simulators)
    origin = settings.public_origin
    ground = TokenGround(keys=keys, issuer=origin, audience=audience(origin), clock=deps.clock)
    tokens = HookTokens(gate.calls, ground)
    client = GuardedClient(allow_loopback_http=bool(simulators))
    runtime = RemoteRuntime(client, endpoints, tokens, deps.clock, ask_url=f"{origin}{ASK_PATH}")
    tools = HookCallTools(
        tokens=tokens,
        calls=gate.calls,
        enablement=enablement,
        quarantines=gate.quarantines,
        clock=clock,
        real_clock=deps.clock,
    )
    return Remote(runtime, endpoints, HookCalls(tools), client)
