"""Circuit breakers: a plugin that fails or drags is left unasked for a while (plugins.md section 10).

One for each plugin and hook, counted per process. An opening is announced through `BreakerBook`, so that all processes
open; each tries the plugin again by itself once the time is over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Final, Literal, NamedTuple, Protocol

from platform_core.contracts.runtime import SECURITY_FAULTS, FaultKind
from platform_core.kernel.clock import Clock
from platform_core.plugin_host.metrics import BREAKER_STATE

WINDOW_S: Final = 60
FAULTS_MIN: Final = 5
FAULTS_SHARE: Final = 0.30
CALLS_MIN: Final = 20
SLOW_SHARE: Final = 0.50
SLOW_DEADLINE_SHARE: Final = 0.80
"""A call counts as slow that took more than this share of its deadline."""
OPEN_S: Final = 120
OPEN_S_MAX: Final = 900
TRIALS: Final = 3
"""Good trials in a row, one at a time, that close a half-open breaker."""
COUNTED: Final = SECURITY_FAULTS | {
    FaultKind.EXCEPTION,
    FaultKind.BAD_RESULT,
    FaultKind.TIMEOUT,
    FaultKind.OVERSIZE,
    FaultKind.MALFORMED,
    FaultKind.CAPABILITY_FLOOD,
    FaultKind.MEMORY,
    FaultKind.DIED,
    FaultKind.LOAD,
    FaultKind.BOOT_TIMEOUT,
}
"""Faults of the plugin. Others say something about the machine, the load of one merchant, or the host."""

Why = Literal["faults", "slow", "trial"]


class State(IntEnum):
    """Of a breaker; the numbers are those of the metric."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """News for all processes: leave this plugin's hook unasked until then."""

    plugin_id: str
    hook: str
    version: str
    """The version whose call opened it."""
    why: Why
    until: datetime
    """Aware, UTC."""
    open_s: int
    """How long it is open; the next time, twice as long."""


class BreakerBook(Protocol):
    """Tells other processes."""

    def opened(self, opening: Opening, /) -> None:
        """Write it down and tell everybody, soon. Must not block and must not raise."""
        ...


class LocalBook:
    """For one process alone."""

    def opened(self, opening: Opening, /) -> None:
        """Nobody else to tell."""


class Ticket(NamedTuple):
    """An admitted call. Results of a call from before a change of state count for nothing."""

    epoch: int
    is_trial: bool


@dataclass(slots=True)
class _Second:
    at: int
    calls: int = 0
    faults: int = 0
    slow: int = 0


class Breaker:
    """Of one plugin and hook."""

    __slots__ = (
        "_calls",
        "_clock",
        "_entered",
        "_epoch",
        "_faults",
        "_good",
        "_is_trying",
        "_past",
        "_second",
        "_slow",
        "open_s",
        "open_until",
        "state",
    )

    def __init__(self, clock: Clock, entered: Callable[[State], None] = lambda _: None) -> None:
        """`entered` hears of each change of state."""
        self._clock = clock
        self._entered = entered
        self._epoch = 0
        self.state = State.CLOSED
        self.open_until = 0.0
        self.open_s = 0
        """Of the last opening; 0 once it was closed again."""
        self._good = 0
        self._is_trying = False
        self._clear()

    def _clear(self) -> None:
        self._past: deque[_Second] = deque()
        self._second = -1
        self._calls = self._faults = self._slow = 0

    @property
    def standing(self) -> State:
        """The state as the next call will find it."""
        if self.state is State.OPEN and self._clock.monotonic() >= self.open_until:
            return State.HALF_OPEN
        return self.state

    def admit(self) -> Ticket | None:
        """Whether to ask now: a ticket to give back with `record` or `abandon`, or None."""
        if self.state is State.CLOSED:
            return Ticket(self._epoch, False)
        if self.state is State.OPEN:
            if self._clock.monotonic() < self.open_until:
                return None
            self._enter(State.HALF_OPEN)
        if self._is_trying:
            return None
        self._is_trying = True
        return Ticket(self._epoch, True)

    def abandon(self, ticket: Ticket) -> None:
        """The call was given up by its caller: it says nothing about the plugin."""
        if ticket.epoch == self._epoch and ticket.is_trial:
            self._is_trying = False

    def record(self, ticket: Ticket, *, is_fault: bool, is_slow: bool) -> Why | None:
        """Count a call's end; why the breaker opened just now, if it did."""
        if ticket.epoch != self._epoch:
            return None
        if ticket.is_trial:
            return self._record_trial(is_bad=is_fault or is_slow)
        self._count(is_fault=is_fault, is_slow=is_slow)
        why: Why | None = None
        if is_fault and self._faults >= FAULTS_MIN and self._faults >= self._calls * FAULTS_SHARE:
            why = "faults"
        elif is_slow and self._calls >= CALLS_MIN and self._slow >= self._calls * SLOW_SHARE:
            why = "slow"
        if why is not None:
            self.open_for(OPEN_S)
        return why

    def open_for(self, open_s: float) -> None:
        """Open, or go on being open, for so long from now."""
        self.open_until = self._clock.monotonic() + open_s
        self.open_s = max(round(open_s), 1)
        self._enter(State.OPEN)

    def _record_trial(self, *, is_bad: bool) -> Why | None:
        self._is_trying = False
        if is_bad:
            self.open_for(min(self.open_s * 2, OPEN_S_MAX))
            return "trial"
        self._good += 1
        if self._good == TRIALS:
            self.open_s = 0
            self._enter(State.CLOSED)
        return None

    def _enter(self, state: State) -> None:
        if state is not self.state:
            self._entered(state)
        self.state = state
        self._epoch += 1
        self._good = 0
        self._is_trying = False
        self._clear()

    def _count(self, *, is_fault: bool, is_slow: bool) -> None:
        second = int(self._clock.monotonic())
        if second != self._second:
            self._begin(second)
        now = self._past[-1]
        now.calls += 1
        now.faults += is_fault
        now.slow += is_slow
        self._calls += 1
        self._faults += is_fault
        self._slow += is_slow

    def _begin(self, second: int) -> None:
        """A new second; what is older than the window leaves the sums."""
        past = self._past
        while past and past[0].at <= second - WINDOW_S:
            gone = past.popleft()
            self._calls -= gone.calls
            self._faults -= gone.faults
            self._slow -= gone.slow
        past.append(_Second(second))
        self._second = second


class Breakers:
    """All breakers of a process. Belongs to one event loop."""

    def __init__(self, clock: Clock, book: BreakerBook) -> None:
        """`clock` measures the windows and says until when; the system's, or a test's."""
        self._clock = clock
        self._book = book
        self._by_key: dict[tuple[str, str], Breaker] = {}

    def of(self, plugin_id: str, hook: str) -> Breaker:
        """The breaker of a plugin's hook."""
        key = (plugin_id, hook)
        breaker = self._by_key.get(key)
        if breaker is None:
            labels = {"plugin": plugin_id, "hook": hook}
            breaker = Breaker(self._clock, entered=lambda state: BREAKER_STATE.set(state, labels))
            self._by_key[key] = breaker
        return breaker

    def record(
        self, key: tuple[str, str], ticket: Ticket, *, version: str, fault: FaultKind | None, share: float
    ) -> None:
        """Count the end of a call; `share` of its deadline is what it took.

        A fault that is not the plugin's own says nothing, and neither does the time that such a call took.
        """
        breaker = self.of(*key)
        if fault is not None and fault not in COUNTED:
            breaker.abandon(ticket)
            return
        why = breaker.record(ticket, is_fault=fault is not None, is_slow=share > SLOW_DEADLINE_SHARE)
        if why is not None:
            self._book.opened(
                Opening(
                    plugin_id=key[0],
                    hook=key[1],
                    version=version,
                    why=why,
                    until=self._clock.now() + timedelta(seconds=breaker.open_s),
                    open_s=breaker.open_s,
                )
            )

    def heard(self, opening: Opening) -> None:
        """Another process opened it. Idempotent; an opening that is over counts for nothing."""
        left_s = (opening.until - self._clock.now()).total_seconds()
        breaker = self.of(opening.plugin_id, opening.hook)
        already_s = breaker.open_until - self._clock.monotonic() if breaker.state is State.OPEN else 0.0
        if left_s <= max(already_s, 0.0):
            return
        breaker.open_for(min(left_s, OPEN_S_MAX))
        breaker.open_s = min(opening.open_s, OPEN_S_MAX)

    def hear(self, *, plugin_id: str, hook: str, version: str, why: str, until: datetime, open_s: int) -> None:
        """`heard`, out of a row."""
        known: Why = why if why in ("faults", "slow", "trial") else "faults"  # type: ignore[assignment]  # just tested
        self.heard(Opening(plugin_id=plugin_id, hook=hook, version=version, why=known, until=until, open_s=open_s))

    def states(self) -> dict[tuple[str, str], State]:
        """By plugin and hook; those that were never asked are not among them."""
        return {key: breaker.state for key, breaker in self._by_key.items()}
