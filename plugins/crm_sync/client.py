"""What the CRM is told, and what its answer means for the event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from platform_core.contracts.plugin import EgressAnswer, HookContext, Refused
from platform_core.contracts.results import DONE, Acknowledged, RetryLater

BASE: Final = "https://crm.arsenal.example/v1"
_AUTHORIZATION: Final = "Bearer secret:crm_token"
"""The host fills in the token, for this host alone; the plugin never sees it."""
_BUSY_S: Final = 60
_HOUR_S: Final = 3_600
_LOST: Final = frozenset({"plugin.egress_not_sent", "plugin.egress_unknown"})


@dataclass(frozen=True, slots=True)
class CrmClient:
    """The CRM during one call."""

    ctx: HookContext

    def tell(self, what: str, facts: Mapping[str, Any]) -> Acknowledged:  # Any: JSON
        """Send an order or a refund under the event's key, so that a repeat is known as one.

        Lost, busy or broken: later. Refused for what it says or who we are: a problem for people, and later, so that
        nothing is lost when they have mended it; after its last retry the event waits as a dead letter.
        """
        headers = {"authorization": _AUTHORIZATION, "idempotency-key": self.ctx.idempotency_key}
        try:
            answer = self.ctx.egress.fetch("POST", f"{BASE}/{what}", headers=headers, body=facts)
        except Refused as refused:
            if refused.code not in _LOST:
                raise
            return RetryLater(after_s=_BUSY_S, reason="The CRM could not be reached.")
        if answer.status in {200, 201}:
            return DONE
        if answer.status == 429 or answer.status >= 500:
            return RetryLater(after_s=_wait(answer), reason=f"The CRM answered {answer.status}.")
        self._report(answer)
        return RetryLater(after_s=_HOUR_S, reason=f"The CRM refused with {answer.status}.")

    def account(self) -> str | None:
        """Whose the token is; None when the CRM does not say, and a problem when it refuses the token."""
        try:
            answer = self.ctx.egress.fetch("GET", f"{BASE}/account", headers={"authorization": _AUTHORIZATION})
        except Refused as refused:
            if refused.code not in _LOST:
                raise
            return None
        if answer.status != 200:
            if answer.status in {401, 403}:
                self._report(answer)
            return None
        try:
            told = answer.json()
        except ValueError:
            return None
        found = told.get("account") if isinstance(told, dict) else None
        return found if isinstance(found, str) else None

    def _report(self, answer: EgressAnswer) -> None:
        if answer.status in {401, 403}:
            hint = "Enter the CRM's token anew under the plugin's secrets."
            self.ctx.problems.report("crm.token", "The CRM does not take the token.", hint=hint, severity="critical")
            return
        hint = "Ask the CRM's support which field it refuses; the event is sent again every hour."
        self.ctx.problems.report("crm.refused", f"The CRM refuses an event with {answer.status}.", hint=hint)


def _wait(answer: EgressAnswer) -> int:
    """Seconds that the CRM asks for in `Retry-After` (RFC 9110 section 10.2.3), 1 to 3600; else a minute."""
    asked = answer.headers.get("retry-after", "")
    return min(_HOUR_S, max(1, int(asked))) if asked.isascii() and asked.isdigit() and len(asked) < 9 else _BUSY_S
