"""`arsenal settlement`: holidays, reserves, and what acquirers paid; the operator's side."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any

import typer

from platform_core.bootstrap.commands.parties import within
from platform_core.bootstrap.commands.plugin_operation import operator
from platform_core.bootstrap.platform import Platform
from platform_core.bootstrap.terminal import JsonOption, Terminal, reporting
from platform_core.kernel.money import parse

app = typer.Typer(no_args_is_help=True, help="Settlement: holidays, reserves, acquirers' payouts.")
DayArgument = Annotated[datetime, typer.Argument(formats=["%Y-%m-%d"], help="A day to come, such as 2027-01-01.")]
MerchantArgument = Annotated[str, typer.Argument(help="mer_...")]
CurrencyOption = Annotated[str, typer.Option("--currency", help="ISO 4217 code.")]


@app.callback()
def settlement() -> None:
    """Settlement: holidays, reserves, acquirers' payouts."""


@app.command("holidays")
@reporting
def holidays(*, is_json: JsonOption = False) -> None:
    """List the days from today on, in Asia/Shanghai, on which nothing is settled or paid out."""
    terminal = Terminal(is_json=is_json)

    async def work(platform: Platform) -> list[dict[str, str]]:
        rows = await platform.payments.settlement_admin.holidays()
        return [{"day": row.day.isoformat(), "name": row.name} for row in rows]

    found = within(work)
    terminal.table(("day", "name"), [(row["day"], row["name"]) for row in found])
    terminal.document({"holidays": found})


@app.command("add-holiday")
@reporting
def add_holiday(
    day: DayArgument,
    *,
    name: Annotated[str, typer.Option("--name", help="As people know it.")],
    is_json: JsonOption = False,
) -> None:
    """Settle and pay out nothing on a day to come."""
    terminal, on = Terminal(is_json=is_json), day.date()

    async def work(platform: Platform) -> date:
        return (await platform.payments.settlement_admin.add_holiday(on, name=name, by=operator())).day

    within(work)
    terminal.say(f"{on} is a holiday.")
    terminal.document({"day": on.isoformat(), "name": name})


@app.command("remove-holiday")
@reporting
def remove_holiday(day: DayArgument, *, is_json: JsonOption = False) -> None:
    """Settle on a day to come after all."""
    terminal, on = Terminal(is_json=is_json), day.date()

    async def work(platform: Platform) -> None:
        await platform.payments.settlement_admin.remove_holiday(on, by=operator())

    within(work)
    terminal.say(f"{on} is a day like any other.")
    terminal.document({"day": on.isoformat()})


@app.command("set-reserve")
@reporting
def set_reserve(
    merchant_id: MerchantArgument,
    *,
    rate_bp: Annotated[int, typer.Option("--rate-bp", help="Of each settlement, basis points; 0 ends it.")],
    held_days: Annotated[int, typer.Option("--days", help="How long each part is kept.")],
    currency: CurrencyOption = "CNY",
    is_json: JsonOption = False,
) -> None:
    """Keep back a share of a merchant's settlements from now on; what was kept before is given back as agreed then."""
    terminal = Terminal(is_json=is_json)

    async def work(platform: Platform) -> str:
        admin = platform.payments.settlement_admin
        return await admin.set_reserve(
            merchant_id, currency=currency, rate_bp=rate_bp, held_days=held_days, by=operator()
        )

    plan = within(work)
    terminal.say(f"{plan}: {rate_bp} basis points of {currency} settlements are kept for {held_days} days.")
    terminal.document({"id": plan, "rate_bp": rate_bp, "held_days": held_days, "currency": currency})


@app.command("book-acquirer-payout")
@reporting
def book_acquirer_payout(
    channel_account_id: Annotated[str, typer.Argument(help="cha_...")],
    *,
    gross: Annotated[str, typer.Option("--gross", help="What the acquirer owed, such as 1200.00.")],
    cost: Annotated[str, typer.Option("--cost", help="What it kept of that.")] = "0",
    reference: Annotated[str, typer.Option("--reference", help="The line of the bank's statement.")],
    currency: CurrencyOption = "CNY",
    is_json: JsonOption = False,
) -> None:
    """Book what an acquirer has paid to our bank. The same reference with the same figures changes nothing."""
    terminal = Terminal(is_json=is_json)

    async def work(platform: Platform) -> dict[str, Any]:
        booked = await platform.payments.settlement_admin.book_acquirer_payout(
            channel_account_id,
            gross=parse(gross, currency),
            cost=parse(cost, currency),
            reference=reference,
            by=operator(),
        )
        return booked.model_dump(mode="json")

    told = within(work)
    terminal.say(f"{told['id']}: gross {gross}, cost {cost} {currency} under {reference}.")
    terminal.document(told)
