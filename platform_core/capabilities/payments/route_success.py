"""How often attempts succeeded lately, by channel account: what a process saw end in the last hour.

Kept in memory, so it starts anew with the process; a route chooser is told None until there is enough to go by.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Final

from platform_core.contracts.payments import ErrorClass, Outcome, ProviderResult
from platform_core.kernel.clock import Clock

WINDOW_MINUTES: Final = 60
ATTEMPTS_MIN: Final = 20
"""With fewer the share says more about chance than about the route."""
ACCOUNTS_MAX: Final = 10_000
BEGINNINGS: Final = frozenset({"sale", "authorize"})
"""Kinds of transaction whose end is the end of an attempt."""
ENDS: Final = frozenset({"payment.captured", "payment.authorized", "payment.attempt_failed"})
"""Events that tell of the end of one."""
OF_THE_ROUTE: Final = frozenset(
    {
        ErrorClass.NOT_SENT,
        ErrorClass.BUSY,
        ErrorClass.DECLINED_TRY_OTHER,
        ErrorClass.CONFIGURATION,
        ErrorClass.UNKNOWN,
    }
)
"""Failures that another route might not have had. What the customer or the request caused says nothing of a route."""


@dataclass(slots=True)
class _Minute:
    at: int
    succeeded: int = 0
    failed: int = 0


@dataclass(slots=True)
class _Account:
    minutes: deque[_Minute] = field(default_factory=deque)
    succeeded: int = 0
    failed: int = 0

    def forget_before(self, minute: int) -> None:
        while self.minutes and self.minutes[0].at <= minute:
            gone = self.minutes.popleft()
            self.succeeded -= gone.succeeded
            self.failed -= gone.failed


class RouteSuccess:
    """Of one process. Belongs to one event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._accounts: OrderedDict[str, _Account] = OrderedDict()

    def ended(self, account_id: str, result: ProviderResult) -> None:
        """Count the end of an attempt; what is still unknown, or no fault of the route's, does not count."""
        is_success = result.outcome is Outcome.SUCCESS
        if not is_success and (result.error is None or result.error.error_class not in OF_THE_ROUTE):
            return
        if result.outcome is Outcome.UNKNOWN:
            return
        account = self._accounts.setdefault(account_id, _Account())
        self._accounts.move_to_end(account_id)
        if len(self._accounts) > ACCOUNTS_MAX:
            self._accounts.popitem(last=False)
        minute = self._minute()
        account.forget_before(minute - WINDOW_MINUTES)
        if not account.minutes or account.minutes[-1].at != minute:
            account.minutes.append(_Minute(minute))
        account.minutes[-1].succeeded += is_success
        account.minutes[-1].failed += not is_success
        account.succeeded += is_success
        account.failed += not is_success

    def success_bp(self, account_id: str) -> int | None:
        """Successful attempts in basis points of those that ended in the last hour; None while there are too few."""
        account = self._accounts.get(account_id)
        if account is None:
            return None
        account.forget_before(self._minute() - WINDOW_MINUTES)
        count = account.succeeded + account.failed
        return account.succeeded * 10_000 // count if count >= ATTEMPTS_MIN else None

    def _minute(self) -> int:
        return int(self._clock.monotonic() // 60)
