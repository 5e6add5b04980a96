"""Merge rules of hooks: what several answers come to. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from platform_core.contracts.fields import Money
from platform_core.contracts.results import REASONS_MAX, Decision, Ranking, Reason, Rendered, Verdict
from platform_core.contracts.runtime import Fault, FaultKind

SEVERITY: Final[dict[Decision, int]] = {"allow": 0, "review": 1, "deny": 2}
ALLOW: Final = Verdict.allow()


def merged_verdict(verdicts: Sequence[Verdict]) -> Verdict:
    """Deny before review before allow; the highest score; reasons joined in the order given, at most 8.

    Where there are more, those of the milder verdicts are left out first. None asked: allow.
    """
    if not verdicts:
        return ALLOW
    if len(verdicts) == 1:
        return verdicts[0]
    worst = max(verdicts, key=lambda verdict: SEVERITY[verdict.decision])
    return Verdict(
        decision=worst.decision, score=max(verdict.score for verdict in verdicts), reasons=_reasons(verdicts)
    )


def _reasons(verdicts: Sequence[Verdict]) -> tuple[Reason, ...]:
    said = [(SEVERITY[verdict.decision], reason) for verdict in verdicts for reason in verdict.reasons]
    kept = sorted(range(len(said)), key=lambda place: (-said[place][0], place))[:REASONS_MAX]
    return tuple(said[place][1] for place in sorted(kept))


def verdict_of_fault(
    plugin_id: str, fault: Fault, *, amount_minor: int | None, deny_above_minor: int | None
) -> Verdict:
    """What a plugin counts as that should have judged and did not: review, or deny from the merchant's amount on.

    Without an amount, or without one of the merchant's, it is review.
    """
    rule_id, text = f"plugin.{fault.kind.value}", f"{plugin_id} could not judge this ({fault.kind.value})."
    if amount_minor is not None and deny_above_minor is not None and amount_minor >= deny_above_minor:
        return Verdict.deny(rule_id, text)
    return Verdict.review(rule_id, text)


def full_ranking(ranking: Ranking, offered: Sequence[str]) -> Ranking | Fault:
    """The ranking with what it leaves out behind it, in the order offered; a fault when it names what was not."""
    known = frozenset(offered)
    strangers = [id_ for id_ in ranking.ids if id_ not in known]
    if strangers:
        return Fault(FaultKind.BAD_RESULT, f"{len(strangers)} of the ranked ids were not offered")
    named = frozenset(ranking.ids)
    return Ranking(ids=(*ranking.ids, *(id_ for id_ in offered if id_ not in named)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a document must be, whoever draws it."""

    media_type: str
    """As asked for, without parameters."""
    total: Money | None = None
    """By the ledger; the document states the same. None: it states none."""
    number: str | None = None
    """Of the document; the same."""
    bytes_max: int | None = None


def fault_of_drawing(drawn: Rendered, wanted: Wanted) -> Fault | None:
    """Why a document may not be shown; None when it may. An empty one may not."""
    media_type = drawn.media_type.partition(";")[0]
    if media_type != wanted.media_type:
        return Fault(FaultKind.BAD_RESULT, f"{media_type} came, {wanted.media_type} was asked for")
    if drawn.total != wanted.total:
        return Fault(FaultKind.BAD_RESULT, f"it states the total {drawn.total}; the ledger's is {wanted.total}")
    if drawn.number != wanted.number:
        return Fault(FaultKind.BAD_RESULT, "it states another number than the document has")
    if not drawn.blob:
        return Fault(FaultKind.BAD_RESULT, "the document is empty")
    if wanted.bytes_max is not None and len(drawn.blob) > wanted.bytes_max:
        return Fault(FaultKind.BAD_RESULT, f"{len(drawn.blob)} bytes came, {wanted.bytes_max} may be shown")
    return None
