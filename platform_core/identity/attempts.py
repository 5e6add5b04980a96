"""Counting failed tries: five in a quarter hour for an account and for an address, then waits that grow to 15 minutes.

A try is counted before it is looked at and taken back when it succeeds, so tries made at the same moment, in whatever
processes, are all counted. Nobody is locked out for good. A browser that signed in before has a counter of its own and
is not slowed by strangers (OWASP "Slow Down Online Guessing Attacks with Device Cookies", read 2026-11-22).
"""

from __future__ import annotations

import ipaddress
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from platform_core.identity import repository_people as repository
from platform_core.identity.deps import IdentityDeps, single_reads
from platform_core.identity.errors_people import SIGN_IN_SLOWED
from platform_core.identity.models_people import SIGN_IN_COUNTERS
from platform_core.kernel.commit import Change, Insert, Plan, PlanRefused

TRIES_MAX: Final = 5
PERIOD: Final = timedelta(minutes=15)
WAIT_FIRST: Final = timedelta(seconds=30)
WAIT_MAX: Final = timedelta(minutes=15)
_ROUNDS_MAX: Final = 12  # of two tries at once one counts first and the other reads again
Kind = Literal["account", "address", "browser", "second_factor", "link"]


@dataclass(frozen=True, slots=True)
class Reservation:
    """A try that was counted. `ids` are the counters, `has_begun_wait` says that it was the one that began a wait."""

    ids: tuple[str, ...]
    has_begun_wait: bool


class Attempts:
    """The counters of all processes: rows."""

    def __init__(self, deps: IdentityDeps) -> None:
        self._deps = deps
        self._reads = single_reads(deps.database)

    def counter(self, kind: Kind, subject: str) -> str:
        """The id of a counter; it tells nobody whose it is."""
        digest = self._deps.vault.digest(f"attempts:{kind}", subject)
        return f"{kind}:{urlsafe_b64encode(digest).rstrip(b'=').decode()}"

    async def reserve(self, counters: Sequence[str]) -> Reservation:
        """Count a try on every counter. 429 `identity.sign_in_slowed` with Retry-After while one of them waits."""
        for _ in range(_ROUNDS_MAX):
            now = self._deps.clock.now()
            async with self._reads.connect() as connection:
                rows = await repository.read_counters(connection, counters)
            _refuse_while_waiting(rows, now)
            plan = Plan(None)
            waits = [self._count(plan, counter, rows.get(counter), now) for counter in counters]
            try:
                await self._deps.committer.commit(plan)
            except PlanRefused:
                continue
            return Reservation(tuple(counters), has_begun_wait=any(waits))
        raise SIGN_IN_SLOWED.error({"wait_s": 1}, retry_after_s=1)

    async def take_back(self, reservation: Reservation) -> None:
        """The try succeeded, so it was no failure: the counters stand as before it.

        A counter in which others meanwhile failed keeps their failures.
        """
        for _ in range(_ROUNDS_MAX):
            async with self._reads.connect() as connection:
                rows = await repository.read_counters(connection, reservation.ids)
            plan = Plan(None)
            for counter, row in rows.items():
                fewer = max(0, row.failures - 1)
                blocked_until = row.blocked_until if fewer >= TRIES_MAX else None
                values = {"failures": fewer, "blocked_until": blocked_until}
                plan.add(Change(SIGN_IN_COUNTERS, counter, values, expected=row.version))
            try:
                await self._deps.committer.commit(plan)
            except PlanRefused:
                continue
            return

    def _count(self, plan: Plan, counter: str, row: Any, now: datetime) -> bool:  # Any: a row or None
        """Add the part that counts a try; whether a wait begins with it."""
        before = row.failures if row is not None and now - row.last_at < PERIOD else 0
        failures = before + 1
        wait = wait_after(failures)
        values = {"failures": failures, "last_at": now, "blocked_until": now + wait if wait else None}
        if row is None:
            plan.add(Insert(SIGN_IN_COUNTERS, {"id": counter, "version": 1, **values}))
        else:
            plan.add(Change(SIGN_IN_COUNTERS, counter, values, expected=row.version))
        return failures == TRIES_MAX


def wait_after(failures: int) -> timedelta:
    """How long the next try waits after so many failures in a row: nothing up to four, then 30 s, doubled each time."""
    if failures < TRIES_MAX:
        return timedelta(0)
    return min(WAIT_MAX, WAIT_FIRST * (1 << min(failures - TRIES_MAX, 10)))


def address_block(address: str) -> str:
    """What counts as one address: all of IPv4, the /64 of IPv6."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


def _refuse_while_waiting(rows: Mapping[str, Any], now: datetime) -> None:  # Any: rows
    ends = [row.blocked_until for row in rows.values() if row.blocked_until is not None and row.blocked_until > now]
    if ends:
        wait_s = int((max(ends) - now).total_seconds()) + 1
        raise SIGN_IN_SLOWED.error({"wait_s": wait_s}, retry_after_s=wait_s)
