"""`arsenal payout`: the policy of payouts, and money that came in from merchants' banks."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from platform_core.bootstrap.commands.parties import within
from platform_core.bootstrap.commands.plugin_operation import operator
from platform_core.bootstrap.commands.settlement import CurrencyOption, MerchantArgument
from platform_core.bootstrap.platform import Platform
from platform_core.bootstrap.terminal import JsonOption, Terminal, reporting
from platform_core.kernel.money import Money, parse

app = typer.Typer(no_args_is_help=True, help="Payouts: policy and top-ups.")
TopUpArgument = Annotated[str, typer.Argument(help="top_...")]


@app.callback()
def payout() -> None:
    """Payouts: policy and top-ups."""


@app.command("set-policy")
@reporting
def set_policy(
    merchant_id: MerchantArgument,
    *,
    above: Annotated[
        str | None, typer.Option("--approval-above", help="Larger payouts need a second person; left out: none does.")
    ] = None,
    currency: CurrencyOption = "CNY",
    is_json: JsonOption = False,
) -> None:
    """Set above which amount a second person of the merchant decides on a payout."""
    terminal = Terminal(is_json=is_json)
    limit = None if above is None else parse(above, currency)

    async def work(platform: Platform) -> dict[str, Any]:
        return await platform.payments.payout_terms.set_policy(
            merchant_id,
            currency=currency,
            approval_above_minor=None if limit is None else limit.amount_minor,
            by=operator(),
        )

    told = within(work)
    terminal.say("No payout needs a second person." if limit is None else f"Above {limit} a second person decides.")
    terminal.document({name: told[name] for name in ("currency", "approval_above_minor")})


@app.command("top-up")
@reporting
def top_up(
    merchant_id: MerchantArgument,
    *,
    amount: Annotated[str, typer.Option("--amount", help="What came in, such as 500.00.")],
    bank_account: Annotated[str, typer.Option("--bank-account", help="Which of our bank accounts it came to.")],
    reference: Annotated[str, typer.Option("--reference", help="The line of the bank's statement.")],
    currency: CurrencyOption = "CNY",
    is_json: JsonOption = False,
) -> None:
    """Propose that a line of our bank's statement is a merchant's money; another person confirms it."""
    terminal = Terminal(is_json=is_json)

    async def work(platform: Platform) -> dict[str, Any]:
        made = await platform.payments.top_ups.propose(
            merchant_id, parse(amount, currency), bank_account=bank_account, reference=reference, by=operator()
        )
        return made.model_dump(mode="json")

    told = within(work)
    terminal.say(f"{told['id']} waits for a second person: arsenal payout confirm-top-up {told['id']}")
    terminal.document(told)


@app.command("confirm-top-up")
@reporting
def confirm_top_up(top_up_id: TopUpArgument, *, is_json: JsonOption = False) -> None:
    """Book what another person proposed; what the merchant owes is paid off first."""
    terminal = Terminal(is_json=is_json)

    async def work(platform: Platform) -> dict[str, Any]:
        return (await platform.payments.top_ups.confirm(top_up_id, by=operator())).model_dump(mode="json")

    told = within(work)
    booked = Money(told["amount_minor"], told["currency"])
    terminal.say(f"{booked} is booked for {told['merchant_id']}.")
    terminal.document(told)


@app.command("refuse-top-up")
@reporting
def refuse_top_up(top_up_id: TopUpArgument, *, is_json: JsonOption = False) -> None:
    """Refuse what another person proposed; the line may be proposed again."""
    terminal = Terminal(is_json=is_json)

    async def work(platform: Platform) -> dict[str, Any]:
        return (await platform.payments.top_ups.refuse(top_up_id, by=operator())).model_dump(mode="json")

    told = within(work)
    terminal.say(f"{told['id']} is refused.")
    terminal.document(told)
