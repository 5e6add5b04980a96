"""`arsenal sandbox`: merchants, buyers and scripted faults of a sandbox."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

import typer

from platform_core.bootstrap.commands import sandbox_faults
from platform_core.bootstrap.environment import load_settings, quiet_logs, run_async
from platform_core.bootstrap.sandbox_target import SANDBOX, Target, find_target, remember_apps, speaking
from platform_core.bootstrap.terminal import JsonOption, Terminal, reporting
from sandbox.testbed.trigger_till import Till

Json = dict[str, Any]
Temper = Literal["ready", "slow", "blocked"]
BuyerArgument = Annotated[str, typer.Argument(help="Such as rich, poor, slow, blocked.")]

app = typer.Typer(help="Who trades in a sandbox, and what goes wrong there.", no_args_is_help=True)
buyers = typer.Typer(help="Test buyers, their wallets and payment codes.", no_args_is_help=True)
app.add_typer(buyers, name="buyers")
app.add_typer(sandbox_faults.app, name="faults")


@app.command("seed")
@reporting
def seed_sandbox(
    *,
    merchants: Annotated[int, typer.Option(min=1, max=50, help="How many merchants.")] = 1,
    name: Annotated[str, typer.Option(help="Begins each merchant's name.")] = "Lane Nine Noodles",
    webhook: Annotated[
        str | None, typer.Option(metavar="URL", help="Register this webhook endpoint for each, for all events.")
    ] = None,
    is_json: JsonOption = False,
) -> None:
    """Make merchants in test mode that can take payments at once: store, channel accounts, fee plan, app, credentials.

    The secrets are shown this once, and kept under ARSENAL_HOME for `--app NAME`.
    """
    terminal = Terminal(is_json=is_json)

    async def work(target: Target, till: Till) -> Json:
        made = []
        for place in range(merchants):
            wanted = {"name": f"{name} {place + 1}" if merchants > 1 else name}
            one = await till.post(f"{SANDBOX}/merchants", wanted, key=f"seed-{secrets.token_hex(8)}")
            if webhook is not None:
                own = Till(till.client, target.url, one["client_id"], one["client_secret"])
                asked = {"url": webhook, "event_types": ["*"], "description": "sandbox seed"}
                endpoint = await own.post("/webhook-endpoints", asked, key=f"hook-{one['id']}")
                one |= {"webhook_secret": endpoint["secret"]}
            made.append(one)
        return {"merchants": made}

    done = _work(work)
    made = {str(one["id"])[-8:]: one for one in done["merchants"]}
    secret = ("client_id", "client_secret")
    remember_apps(load_settings().home, {app_name: {key: one[key] for key in secret} for app_name, one in made.items()})
    rows = [
        (one["id"], one["name"], app_name, one["client_id"], one["client_secret"]) for app_name, one in made.items()
    ]
    terminal.table(("merchant", "name", "--app", "client id", "client secret, shown once"), rows)
    terminal.document(done)


@buyers.command("list")
@reporting
def list_buyers(*, is_json: JsonOption = False) -> None:
    """Everybody with a wallet at the simulated acquirer."""
    _show_buyers(Terminal(is_json=is_json), _work(lambda _, till: till.get(f"{SANDBOX}/buyers")))


@buyers.command("set")
@reporting
def set_buyer(
    buyer: BuyerArgument,
    *,
    balance_minor: Annotated[int | None, typer.Option(min=0, help="What is in the wallet, minor units of CNY.")] = None,
    temper: Annotated[Temper | None, typer.Option(help="How the buyer behaves.")] = None,
    is_json: JsonOption = False,
) -> None:
    """Set a buyer's balance and behaviour; an id that is new adds a buyer."""
    asked = {"balance_minor": balance_minor, "temper": temper}
    wanted = {name: value for name, value in asked.items() if value is not None}
    done = _work(lambda _, till: till.post(f"{SANDBOX}/buyers/{buyer}", wanted, key=_key()))
    terminal = Terminal(is_json=is_json)
    terminal.table(("buyer", "temper", "balance, CNY minor"), [(done["id"], done["temper"], done["balance_minor"])])
    terminal.document(done)


@buyers.command("code")
@reporting
def show_code(buyer: BuyerArgument = "rich", *, is_json: JsonOption = False) -> None:
    """A fresh payment code of a buyer, for `auth_code`: one use, 60 seconds."""
    done = _work(lambda _, till: till.post(f"{SANDBOX}/buyers/{buyer}/codes", {}, key=_key()))
    terminal = Terminal(is_json=is_json)
    terminal.say(str(done["auth_code"]))
    terminal.document(done)


@buyers.command("scan")
@reporting
def scan(
    qr_code: Annotated[str, typer.Argument(help="next_action.code of a payment.")],
    buyer: BuyerArgument = "rich",
    *,
    is_json: JsonOption = False,
) -> None:
    """Let a buyer's phone scan a QR code and pay."""
    done = _work(lambda _, till: till.post(f"{SANDBOX}/buyers/{buyer}/scan", {"qr_code": qr_code}, key=_key()))
    terminal = Terminal(is_json=is_json)
    terminal.say(f"{done['status']}  {done['code']}")
    terminal.document(done)


def _show_buyers(terminal: Terminal, found: Json) -> None:
    rows = [(each["id"], each["temper"], each["balance_minor"]) for each in found["data"]]
    terminal.table(("buyer", "temper", "balance, CNY minor"), rows)
    terminal.document(found)


def _key() -> str:
    return f"sandbox-{secrets.token_hex(8)}"


def _work(work: Callable[[Target, Till], Awaitable[Json]]) -> Json:
    quiet_logs()

    async def run() -> Json:
        target = find_target()
        async with speaking(target) as client:
            return await work(target, target.till(client))

    return run_async(run())
