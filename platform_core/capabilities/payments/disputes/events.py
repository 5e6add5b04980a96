"""The events of disputes. They carry the payment's `sequence`, and the dispute as of their commit.

Apart from the list of payments.md section 9 there are `dispute.withdrawn` and `dispute.accepted`, so that every move of
money and every change of state is announced.
"""

from __future__ import annotations

from typing import Final

DISPUTE_EVENTS: Final = (
    "dispute.opened",
    "dispute.withdrawn",
    "dispute.evidence_sent",
    "dispute.accepted",
    "dispute.won",
    "dispute.lost",
)
