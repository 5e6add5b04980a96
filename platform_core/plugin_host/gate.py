"""The capability gate: opens a handle for each call of a plugin, checks whatever is asked under it, and carries it out.

Order of checks (plugins.md section 7): handle, budget, operation allowed for the kind, scope, arguments, governance
rules, limit, service, commit. A check that fails leaves an account of the ask and nothing else.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog

from platform_core.contracts.runtime import Ask, Told, refusal
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Audit
from platform_core.kernel.database.pools import is_away
from platform_core.kernel.deadline import within
from platform_core.kernel.entropy import entropy as process_entropy
from platform_core.kernel.errors import INTERNAL, PlatformError
from platform_core.kernel.telemetry import counter
from platform_core.plugin_host.call_audit import Asked, CallAudits, digest_of, misuse_of, rows_of
from platform_core.plugin_host.calls import NO_TRAIL, CallFacts, OpenCall, Trail
from platform_core.plugin_host.client_asks import ClientTools, OwnAsks
from platform_core.plugin_host.clients import TrustedClients
from platform_core.plugin_host.gate_errors import (
    BUDGET_EXCEEDED,
    DEADLINE_PASSED,
    HANDLE_INVALID,
    STATE_UNAVAILABLE,
)
from platform_core.plugin_host.installed import Enabled
from platform_core.plugin_host.operations import Operations, carry_out, read_arguments
from platform_core.plugin_host.permits import client_allowed, kind_of_call, operation_allowed, scopes_of
from platform_core.plugin_host.principals import Principals, client_id_of

log = structlog.get_logger(__name__)

ASKS_MAX: Final = 50
OK: Final = "ok"
HANDLE_BYTES: Final = 16
STALE_CALLS: Final = 4_096  # so many open calls, and those past their deadline are looked for
SETTLED_S: Final = 30.0  # how long a call that nobody closed is kept after its deadline
ASKS: Final = counter(
    "arsenal.plugin.capability_calls", unit="{ask}", description="What plugins asked, by plugin, operation and code."
)
Rules = Callable[[CallFacts, str], Awaitable[None]]


async def no_rules(facts: CallFacts, operation: str) -> None:
    """Governance that forbids nothing. A real one raises PlatformError."""


def level_by_tier(enabled: Enabled) -> str:
    """The level that an account names where nothing better is known."""
    return {"trusted": "L0", "confined": "confined", "remote": "remote"}[enabled.release.tier]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateTools:
    """What bootstrap hands to the gate."""

    clients: ClientTools
    operations: Operations
    principals: Principals
    audits: CallAudits
    clock: Clock
    """Of business."""
    rules: Rules = no_rules
    level_of: Callable[[Enabled], str] = level_by_tier
    entropy: Callable[[int], bytes] = process_entropy
    monotonic: Callable[[], float] = time.monotonic
    """By which deadlines run."""


class Gatekeeper:
    """`Calls`: all open calls of one process. Belongs to one event loop."""

    def __init__(self, tools: GateTools) -> None:
        self._tools = tools
        self._open: dict[str, GateCall] = {}
        self._writes: set[asyncio.Task[bytes]] = set()

    def open(self, facts: CallFacts) -> OpenCall:
        """Mint a handle and the clients behind it. Reads and writes nothing yet."""
        if len(self._open) >= STALE_CALLS:
            self._forget_stale()
        handle = self._tools.entropy(HANDLE_BYTES).hex()
        call = self._open[handle] = GateCall(self._tools, facts, handle=handle, writes=self._writes)
        return call

    def close(self, handle: str) -> Trail:
        """Void the handle; what the call wrote and was told. A handle that is closed already leaves an empty trail."""
        call = self._open.pop(handle, None)
        return NO_TRAIL if call is None else call.end()

    def forsake(self, parts: Iterable[object], /) -> None:
        """Keep the audit rows among parts whose plan is not to be; they are written in the next batch."""
        self._tools.audits.put(part for part in parts if isinstance(part, Audit) and part.stream == "call")

    def gate_of(self, handle: str) -> GateCall | None:
        """The open call of a handle, for callers that bring it by themselves, as remote plugins do with their token."""
        call = self._open.get(handle)
        return call if call is not None and call.is_open else None

    async def finish(self) -> None:
        """Wait for writes that outlived the asks they were for. Called once, when the process ends."""
        if self._writes:
            await asyncio.wait(self._writes)

    def _forget_stale(self) -> None:
        limit = self._tools.monotonic() - SETTLED_S
        for handle in [handle for handle, call in self._open.items() if call.facts.deadline < limit]:
            log.warning("plugin.call_never_closed", plugin=self._open[handle].facts.enabled.release.plugin_id)
            self.forsake(self._open.pop(handle).end().parts)


class GateCall:
    """One open call (`OpenCall`). `Gate` for plugins that run outside; `asked` for those in this process."""

    __slots__ = (
        "_asked",
        "_is_misused",
        "_over_budget",
        "_own",
        "_tools",
        "_writes",
        "asks",
        "facts",
        "handle",
        "is_open",
    )

    def __init__(self, tools: GateTools, facts: CallFacts, *, handle: str, writes: set[asyncio.Task[bytes]]) -> None:
        self.facts = facts
        self.asks = 0
        self.is_open = True
        self._tools = tools
        self.handle = handle
        self._writes = writes
        self._own: OwnAsks | None = None
        self._asked: list[Asked] = []
        self._over_budget = 0
        self._is_misused = False

    @property
    def gate(self) -> GateCall:
        """Itself."""
        return self

    @property
    def clients(self) -> TrustedClients:
        """Made when they are taken: only trusted plugins use them."""
        return TrustedClients(self, asyncio.get_running_loop())

    @property
    def left_s(self) -> float:
        """How long the call may still take."""
        return self.facts.deadline - self._tools.monotonic()

    async def tell(self, ask: Ask, /) -> Told:
        """Check and carry out one ask. Never raises but for cancellation."""
        is_own = hmac.compare_digest(ask.handle.encode(), self.handle.encode()) and ask.call_id == self.facts.call_id
        if not is_own or not self.is_open:
            self._misused(ask.operation)
            return _told_no(HANDLE_INVALID.error())
        return await self.asked(ask.operation, ask.arguments, ask.blobs)

    async def asked(self, operation: str, arguments: dict[str, Any], blobs: Sequence[bytes] = ()) -> Told:  # Any: JSON
        """An ask whose handle is known to be the call's own."""
        if not self.is_open:
            return _told_no(HANDLE_INVALID.error())
        self.asks += 1
        if self.asks > ASKS_MAX:
            self._over_budget += 1
            return _told_no(BUDGET_EXCEEDED.error({"max": ASKS_MAX}))
        account = _Account(self.asks, operation, digest_of(arguments, blobs), time.perf_counter())
        code = "canceled"
        try:
            told = await self._answered(operation, arguments, blobs, account)
            code = told.code or OK
        finally:
            self._accounted(account, code)
        return told

    def _accounted(self, account: _Account, code: str) -> None:
        """Keep the account of an ask that was answered: for the call's own row, or for one of its own at once."""
        plugin_id = self.facts.enabled.release.plugin_id
        ASKS.add(1, {"plugin": plugin_id, "operation": account.known_as, "code": code})
        if not account.is_reserved and self.is_open:
            self._asked.append(account.asked(code))
            return
        if account.is_reserved:
            self._tools.audits.release()
            account.is_reserved = False
        self._tools.audits.put(self._rows([account.asked(code)]))

    async def _answered(
        self, operation: str, arguments: dict[str, Any], blobs: Sequence[bytes], account: _Account
    ) -> Told:
        try:
            return await within(self._carried_out(operation, arguments, blobs, account), max(self.left_s, 0.0))
        except PlatformError as error:
            return _told_no(error)
        except TimeoutError:
            account.is_late = True
            return _told_no(DEADLINE_PASSED.error({"operation": account.known_as}))
        except Exception as error:
            if is_away(error):
                return _told_no(STATE_UNAVAILABLE.error())
            log.exception("plugin.ask_failed", operation=account.known_as, plugin=self.facts.enabled.release.plugin_id)
            return _told_no(INTERNAL.error())

    async def _carried_out(
        self, operation: str, arguments: dict[str, Any], blobs: Sequence[bytes], account: _Account
    ) -> Told:
        if self.left_s <= 0:
            raise TimeoutError
        if client_allowed(operation, self.facts):
            account.known_as = operation
            own = self._own_asks()
            if own.shows_outside(operation):
                self._reserve(account)
            return await own.carry_out(operation, arguments, blobs, left_s=self.left_s)
        return Told(value=await self._operated(operation, arguments, account))

    async def _operated(self, name: str, arguments: dict[str, Any], account: _Account) -> bytes:
        """A capability's operation, in the order of checks."""
        tools, facts = self._tools, self.facts
        operation = operation_allowed(tools.operations, name, facts)
        account.known_as, account.scope, account.limit = name, operation.scope, operation.limit
        scopes = scopes_of(operation, facts)
        client_id = client_id_of(facts.enabled.release.plugin_id)
        request = read_arguments(operation, arguments, client_id=client_id, merchant_id=facts.merchant_id)
        await tools.rules(facts, name)
        self._reserve(account)
        principal = await tools.principals.of(facts, scopes=scopes)
        scopes_of(operation, facts, granted=principal.scopes)
        work = carry_out(operation, request, principal)
        if not operation.is_write:
            return await work
        # A write that was begun is finished, also when the plugin's time is over meanwhile.
        task = asyncio.create_task(work, name=f"plugin_host.gate.{name}")
        self._writes.add(task)
        task.add_done_callback(partial(self._written, account))
        return await asyncio.shield(task)

    def _written(self, account: _Account, task: asyncio.Task[bytes]) -> None:
        """A write has ended; one that the plugin no longer waits for is accounted for once more, by its outcome."""
        self._writes.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, PlatformError):
            log.error("plugin.write_failed", plugin=self.facts.enabled.release.plugin_id, error=type(error).__name__)
        if account.is_late:
            failed = INTERNAL.code if error is not None or task.cancelled() else OK
            code = error.code if isinstance(error, PlatformError) else failed
            self._tools.audits.put(self._rows([account.asked(code)]))

    def _reserve(self, account: _Account) -> None:
        self._tools.audits.reserve()
        account.is_reserved = True

    def _own_asks(self) -> OwnAsks:
        if self._own is None:
            self._own = OwnAsks(self._tools.clients, self.facts, clock=self._tools.clock)
        return self._own

    def _misused(self, operation: str) -> None:
        if not self._is_misused:
            level = self._tools.level_of(self.facts.enabled)
            self._tools.audits.put([misuse_of(self.facts, operation=operation, level=level)])
        self._is_misused = True

    def _rows(self, asked: Sequence[Asked]) -> list[Audit]:
        return rows_of(self.facts, asked, level=self._tools.level_of(self.facts.enabled))

    def end(self) -> Trail:
        """Void the handle; what is left of the call."""
        self.is_open = False
        if not self.asks and not self._is_misused:
            return NO_TRAIL
        if self._over_budget:
            last = Asked(ASKS_MAX + 1, "beyond the budget", None, "", BUDGET_EXCEEDED.code, None, 0, self._over_budget)
            self._asked.append(last)
        parts: list[object] = []
        own = self._own
        if own is not None:
            parts += own.parts(may_refuse=kind_of_call(self.facts) == "on")
        parts += self._rows(self._asked)
        return Trail(
            parts=tuple(parts),
            asks=self.asks,
            has_sent=own is not None and own.has_sent,
            is_handle_misused=self._is_misused,
        )


@dataclass(slots=True)
class _Account:
    """What is known of an ask so far."""

    sequence: int
    operation: str
    digest: str
    began: float
    known_as: str = "unknown"
    """The operation, once it is known to be one: what a metric may be labelled with."""
    scope: str | None = None
    limit: str | None = None
    is_reserved: bool = False
    is_late: bool = False

    def asked(self, code: str) -> Asked:
        """The account, closed."""
        ms = round((time.perf_counter() - self.began) * 1000)
        limit = self.limit if code == OK else None
        return Asked(self.sequence, self.operation, self.scope, self.digest, code, limit, ms)


def _told_no(error: PlatformError) -> Told:
    hint = error.hint("en")
    return refusal(error.code, error.detail("en") + (f" {hint}" if hint else ""))
