"""`arsenal dispute`: the operator's word where a provider cannot say itself that a payment is disputed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import typer

from platform_core.bootstrap.commands.parties import within
from platform_core.bootstrap.platform import Platform
from platform_core.bootstrap.terminal import WRONG_USE, CliFailure, JsonOption, Terminal, reporting
from platform_core.capabilities.payments.disputes.answers import dispute_answer
from platform_core.contracts.payments import DisputeWord
from platform_core.identity.staff import AT_THE_TERMINAL
from platform_core.kernel.commit.audit import Audit

StatusName = Literal["opened", "won", "lost"]
app = typer.Typer(no_args_is_help=True, help="Disputes that providers cannot tell of.")


@app.callback()
def dispute() -> None:
    """Disputes that providers cannot tell of."""


@app.command("state")
@reporting
def state_dispute(
    *,
    transaction: Annotated[str, typer.Option("--transaction", help="The disputed sale or capture (txn_...).")],
    reference: Annotated[str, typer.Option("--reference", help="The acquirer's own reference of the dispute.")],
    amount_minor: Annotated[int, typer.Option("--amount-minor", help="Disputed amount, minor units.", min=1)],
    status: Annotated[StatusName, typer.Option("--status", help="How it stands, seen from the merchant.")] = "opened",
    withdrawn: Annotated[bool, typer.Option("--withdrawn", help="The acquirer has taken the money.")] = False,
    currency: Annotated[str, typer.Option("--currency", help="ISO 4217.")] = "CNY",
    reason: Annotated[str, typer.Option("--reason", help="The acquirer's code of the reason.")] = "unspecified",
    due_at: Annotated[str | None, typer.Option("--due-at", help="Until when evidence is taken, RFC 3339.")] = None,
    is_json: JsonOption = False,
) -> None:
    """Open a dispute, or say how one stands, by the acquirer's letter. The same words twice change nothing.

    Money moves as by the provider's own notice: see docs/how-to/disputes.md.
    """
    terminal = Terminal(is_json=is_json)

    async def work(platform: Platform) -> dict[str, Any]:
        word = DisputeWord(
            provider_reference=reference,
            idempotency_key=transaction,
            status=status,
            is_withdrawn=withdrawn or status == "lost",
            amount_minor=amount_minor,
            currency=currency,
            reason=reason,
            occurred_at=platform.clock.now(),
            due_at=_moment(due_at),
        )
        return await _stated(platform, word)

    told = within(work)
    terminal.say(f"{told['id']} of {told['payment_id']} is {told['state']}; {told['held_minor']} stand for it.")
    terminal.document(told)


async def _stated(platform: Platform, word: DisputeWord) -> dict[str, Any]:
    def accounted(merchant_id: str) -> Sequence[object]:
        facts = {"reference": word.provider_reference, "status": word.status, "amount_minor": word.amount_minor}
        return [Audit("dispute.stated", AT_THE_TERMINAL.id, word.idempotency_key, merchant_id, facts)]

    return dispute_answer((await platform.payments.disputes.state(word, parts=accounted)).model_dump())


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise CliFailure(
            f"{text} is no moment with a zone.", "Write it as 2026-12-01T00:00:00Z.", WRONG_USE, code="cli.wrong_use"
        )
    return moment
