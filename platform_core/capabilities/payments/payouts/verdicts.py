"""What a provider's answer says of a payout, and what that makes of it. Nothing is declared by guessing."""

from __future__ import annotations

from typing import Final, Literal

from platform_core.contracts.payments import (
    NOT_FOUND,
    PAYOUT_RETURNED,
    PAYOUT_SENT,
    ErrorClass,
    Outcome,
    ProviderResult,
)

Verdict = Literal["paid", "sent", "failed", "returned", "unseen", "unknown", "silent"]
"""`unseen`: nobody there knows the payout. `silent`: the answer says nothing of the payout, only of the question."""
Step = Literal["pay", "send", "doubt", "give_back", "take_back", "contradict", "nothing"]
# The network, the rate, our settings or our request were at fault; what was perhaps sent before may still land.
SAYS_NOTHING: Final = frozenset({ErrorClass.NOT_SENT, ErrorClass.BUSY, ErrorClass.CONFIGURATION})
ENDS: Final = frozenset({"paid", "failed", "returned"})


def verdict_of(result: ProviderResult, *, is_question: bool) -> Verdict:
    """The provider's word on the payout. A question that was refused says nothing."""
    if result.outcome is Outcome.SUCCESS:
        return "paid"
    assert result.error is not None, "no success without an error"
    code, error_class = result.error.code, result.error.error_class
    if result.outcome is Outcome.UNKNOWN:
        return {PAYOUT_SENT: "sent", NOT_FOUND: "unseen"}.get(code, "unknown")  # type: ignore[return-value]  # of these
    if code == PAYOUT_RETURNED:
        return "returned"
    if error_class in SAYS_NOTHING or (is_question and error_class is ErrorClass.INVALID_REQUEST):
        return "silent"
    return "unknown" if error_class is ErrorClass.DUPLICATE else "failed"


def step_of(state: str, verdict: Verdict) -> Step:
    """What the word makes of a payout in this state.

    Ends stay, except that what was paid can come back from the bank. Doubt never takes back that the provider has it.
    """
    if state in ENDS:
        if state == "paid" and verdict == "returned":
            return "take_back"
        is_other_word = verdict in ("paid", "failed", "returned") and verdict != state
        # A payout that came back while it was on its way is told as failed or returned.
        is_contradiction = is_other_word and not (verdict in ("failed", "returned") and state in ("failed", "returned"))
        return "contradict" if is_contradiction else "nothing"
    if verdict == "paid":
        return "pay"
    if verdict in ("failed", "returned"):
        return "give_back"
    if verdict == "sent":
        return "nothing" if state == "sent" else "send"
    return "doubt" if verdict == "unknown" and state == "created" else "nothing"
