"""The host as a plugin sees it, for one merchant: store, secrets, the world outside, problems and log in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

from platform_core.contracts import catalogue
from platform_core.contracts.fields import frozen_json
from platform_core.contracts.hooks import CONTRACT, KINDS, PROVIDER_CALL_MS, HookSpec
from platform_core.contracts.manifest import Manifest
from platform_core.contracts.plugin import EgressAnswer, HookContext, Mode, Refused, Severity
from platform_core.contracts.testing.egress import FETCHES_MAX, FakeEgress, Outside, nothing_outside
from platform_core.contracts.testing.secrets import FakeSecrets
from platform_core.contracts.testing.state import FakeState

ASKS_MAX: Final = 50
"""In one call (plugins.md section 7)."""
REPORTS_MAX: Final = 10
NOON: Final = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
"""Where the clock of a new host stands."""
Capability = Callable[[Mapping[str, Any]], Any]  # Any: JSON, arguments and answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """One problem that the plugin reported."""

    key: str
    message: str
    hint: str
    severity: Severity


class FakeHost:
    """One merchant's host. Its clock stands still until it is moved."""

    def __init__(
        self,
        manifest: Manifest,
        *,
        config: Mapping[str, Any] | None = None,  # Any: JSON by the plugin's own schema
        secrets: Mapping[str, bytes | tuple[bytes, ...]] | None = None,
        outside: Outside = nothing_outside,
        capabilities: Mapping[str, Capability] | None = None,
        now: datetime = NOON,
    ) -> None:
        self.manifest = manifest
        self.config: Mapping[str, Any] = frozen_json(json.loads(json.dumps(dict(config or {}))))  # Any: JSON
        self.now = now
        self.state = FakeState(now=lambda: self.now, quota=manifest.state)
        self.secrets = FakeSecrets(secrets or {}, declared=manifest.secrets)
        self.egress = FakeEgress(declared=manifest.egress, secrets=self.secrets, outside=outside)
        self.capabilities = dict(capabilities or {})
        self.called: list[tuple[str, Mapping[str, Any]]] = []  # Any: JSON
        self.problems: list[Reported] = []
        self.lines: list[str] = []

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)

    def context(
        self,
        hook: HookSpec | str,
        *,
        call_id: str = "0" * 32,
        merchant_id: str = "mer_01testtesttesttesttesttest",
        store_id: str | None = None,
        mode: Mode = "test",
        locale: str = "zh",
        idempotency_key: str = "evt_1",
    ) -> HookContext:
        """What one call of a hook, or of a provider's method, gets."""
        if isinstance(hook, str):
            hook = catalogue.hooks()[hook]
        deadline_ms = PROVIDER_CALL_MS if hook.kind == "register" else hook.rule.each_ms
        return HookContext(
            call_id=call_id,
            hook=hook.name,
            contract=CONTRACT,
            merchant_id=merchant_id,
            store_id=store_id,
            mode=mode,
            now=self.now,
            deadline_ms=deadline_ms,
            locale=locale,
            idempotency_key=idempotency_key,
            config=self.config,
            clients=FakeClients(self, hook),
        )


@dataclass(slots=True)
class FakeClients:
    """`contracts.plugin.Clients` of one call: what its kind of hook may not do is refused here too."""

    host: FakeHost = field(repr=False)
    hook: HookSpec = field(repr=False)
    _asks: int = 0
    _fetches: int = 0
    _reports: int = 0

    @property
    def state(self) -> FakeState:
        """The plugin's store."""
        self._ask()
        return self.host.state

    @property
    def secrets(self) -> FakeSecrets:
        """Cryptography by name."""
        self._not_while_deciding("plugin.not_allowed_here", "secrets")
        return self.host.secrets

    @property
    def egress(self) -> FakeClients:
        """HTTPS to declared hosts."""
        return self

    @property
    def problems(self) -> FakeClients:
        """Where to report."""
        return self

    @property
    def log(self) -> FakeClients:
        """The log."""
        return self

    def fetch(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | str | Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
        secrets: Sequence[str] = (),
    ) -> EgressAnswer:
        """As `contracts.plugin.Egress`."""
        self._not_while_deciding("plugin.egress_in_decision", "egress")
        self._fetches += 1
        if self._fetches > FETCHES_MAX:
            raise Refused("plugin.egress_exhausted", f"One call may fetch {FETCHES_MAX} times.")
        return self.host.egress.fetch(method, url, headers=headers, body=body, timeout_s=timeout_s, secrets=secrets)

    def report(self, key: str, message: str, *, hint: str = "", severity: Severity = "warning") -> None:
        """As `contracts.plugin.Problems`."""
        self._reports += 1
        if self._reports > REPORTS_MAX:
            raise Refused("plugin.reports_exceeded", f"A plugin reports at most {REPORTS_MAX} problems a minute.")
        self.host.problems.append(Reported(key=key, message=message, hint=hint, severity=severity))

    def info(self, message: str, **facts: object) -> None:
        """As `contracts.plugin.Log`."""
        self.host.lines.append(f"info: {message} {facts}")

    def warning(self, message: str, **facts: object) -> None:
        """As `contracts.plugin.Log`."""
        self.host.lines.append(f"warning: {message} {facts}")

    def call(self, operation: str, arguments: Mapping[str, Any]) -> Any:  # Any: JSON
        """A capability, out of those the test gave. Operations that end in a read verb are reads."""
        self._ask()
        if operation not in self.host.capabilities:
            known = ", ".join(sorted(self.host.capabilities)) or "none; give the test some"
            raise Refused("plugin.operation_unknown", f"There is no operation {operation}. There are: {known}.")
        if "key" in arguments:
            self._not_while_deciding("plugin.write_in_decision", operation)
        self.host.called.append((operation, MappingProxyType(dict(arguments))))
        return self.host.capabilities[operation](arguments)

    def _ask(self) -> None:
        self._asks += 1
        if self._asks > ASKS_MAX:
            raise Refused("plugin.budget_exceeded", f"One call of a hook may ask {ASKS_MAX} times.")

    def _not_while_deciding(self, code: str, what: str) -> None:
        self._ask()
        if KINDS[self.hook.kind].is_deciding:
            said = f"{self.hook.name} decides, and {what} is not for deciding hooks."
            raise Refused(code, f"{said} Do it in an on_ hook or a provider's method.")
