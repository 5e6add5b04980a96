"""Counting within a window, in the plugin's own store."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from platform_core.contracts.plugin import State
from platform_core.contracts.results import Decision, Reason, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one rule has counted, this time included."""

    rule_id: str
    what: str
    """For the merchant's staff: what was counted, such as `payments of this payer in 10 minutes`."""
    value: int
    most: int

    def decision(self, deny_at_percent: int) -> Decision:
        """Review above the limit, deny from the given percentage of it on."""
        if self.value * 100 >= self.most * deny_at_percent:
            return "deny"
        return "review" if self.value > self.most else "allow"


def key_of(kind: str, subject: str) -> str:
    """Where a subject is counted. A hash: whoever reads the store learns no payer and no device."""
    return f"{kind}:{hashlib.sha256(subject.encode()).hexdigest()[:32]}"


def counted(state: State, key: str, *, by: int, window_s: int) -> int:
    """Add and return the sum. The window begins with the first of its counts and is forgotten at its end."""
    return state.increment(key, by, ttl_s=window_s)


def verdict(measured: list[Measured], *, deny_at_percent: int) -> Verdict:
    """The most severe of all rules, with a reason for each limit that is passed."""
    decisions = {each.rule_id: each.decision(deny_at_percent) for each in measured}
    passed = [each for each in measured if decisions[each.rule_id] != "allow"]
    if not passed:
        return Verdict.allow()
    worst: Decision = "deny" if "deny" in decisions.values() else "review"
    reasons = tuple(
        Reason(rule_id=each.rule_id, text=f"{each.value} {each.what}; {each.most} are usual.") for each in passed
    )
    excess = max(each.value * 100 // each.most for each in passed)
    score = 100 if worst == "deny" else min(99, 50 + (excess - 100) * 50 // deny_at_percent)
    return Verdict(decision=worst, score=score, reasons=reasons)
