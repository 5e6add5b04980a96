"""`arsenal merchant`, `arsenal isv`, `arsenal app`: what an installation begins with; no script seeds it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal, TypeVar

import typer
from pydantic import ValidationError

from platform_core.bootstrap.environment import load_settings, migrated_database, quiet_logs, reached
from platform_core.bootstrap.platform import Platform, open_platform
from platform_core.bootstrap.terminal import WRONG_USE, CliFailure, JsonOption, Terminal, reporting
from platform_core.contracts.versions import versions
from platform_core.identity.schemas import AppCreate, AppCreated, GrantCreate, IsvCreate, MerchantCreate, StoreCreate
from platform_core.identity.schemas_people import StaffInvite
from platform_core.identity.staff import AT_THE_TERMINAL, Invited, Party

T = TypeVar("T")
ModeName = Literal["test", "live"]
LanguageName = Literal["en", "zh"]
EmailOption = Annotated[str, typer.Option("--email", help="E-mail address of the person to invite.")]
OwnerOption = Annotated[str | None, typer.Option("--owner-email", help="Invite this address as the owner.")]
LanguageOption = Annotated[LanguageName, typer.Option("--language", help="Language of the message: en or zh.")]
ModeOption = Annotated[ModeName, typer.Option("--mode", help="test (play money) or live.")]
NameOption = Annotated[str, typer.Option("--name", help="Name as people read it.")]

merchant = typer.Typer(no_args_is_help=True, help="Merchants.")
isv = typer.Typer(no_args_is_help=True, help="Independent software vendors.")
client_app = typer.Typer(no_args_is_help=True, help="Apps and their clients.")


@merchant.callback()
def merchants() -> None:
    """Merchants."""


@isv.callback()
def isvs() -> None:
    """Independent software vendors."""


@client_app.callback()
def apps() -> None:
    """Apps and their clients."""


def within(work: Callable[[Platform], Awaitable[T]]) -> T:
    """Run work on the platform of this installation, opened and closed around it; wrong values end the command."""
    quiet_logs()
    settings = load_settings()
    urls = migrated_database(settings)

    async def run() -> T:
        async with open_platform(settings, urls, is_asking_plugins=False, application_name="arsenal-cli") as platform:
            return await work(platform)

    try:
        return reached(run())
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise CliFailure(
            f"A value cannot be used: {faults}.", "Repeat the command with --help.", WRONG_USE, code="cli.wrong_use"
        ) from error


def invited_document(invited: Invited) -> dict[str, Any]:
    """An invitation and its link, for the operator alone."""
    told = invited.invitation
    return {
        "id": told.id,
        "email": told.email,
        "roles": told.roles,
        "expires_at": told.expires_at,
        "link": invited.link,
    }


@merchant.command("create")
@reporting
def create_merchant(
    *,
    name: NameOption,
    industry: Annotated[str, typer.Option("--industry", help="Code of the industry, such as retail.convenience.")],
    mode: ModeOption = "test",
    time_zone: Annotated[str, typer.Option("--time-zone", help="IANA name.")] = "Asia/Shanghai",
    store: Annotated[list[str] | None, typer.Option("--store", help="Name of a store; may be repeated.")] = None,
    owner_email: OwnerOption = None,
    language: LanguageOption = "en",
    is_json: JsonOption = False,
) -> None:
    """Create a merchant, its stores, and an invitation for its owner. Verification begins as `unverified`."""
    terminal = Terminal(is_json=is_json)

    async def work(platform: Platform) -> dict[str, Any]:
        wanted = MerchantCreate(name=name, mode=mode, industry=industry, time_zone=time_zone)
        invite = _ownership(owner_email, language)
        made = await platform.parties.create_merchant(wanted)
        stores = [
            await platform.parties.create_store(StoreCreate(merchant_id=made.id, name=each)) for each in store or ()
        ]
        party = Party(kind="merchant", id=made.id, name=made.name)
        owner = await _invited(platform, party, invite)
        return {**made.model_dump(), "stores": [each.model_dump() for each in stores], "owner": owner}

    told = within(work)
    terminal.say(f"Merchant {told['id']} ({mode}) with {len(told['stores'])} stores.")
    _say_owner(terminal, told["owner"])
    terminal.document(told)


@isv.command("create")
@reporting
def create_isv(
    *, name: NameOption, owner_email: OwnerOption = None, language: LanguageOption = "en", is_json: JsonOption = False
) -> None:
    """Create an independent software vendor of the first tier, and an invitation for its owner."""
    terminal = Terminal(is_json=is_json)

    async def work(platform: Platform) -> dict[str, Any]:
        invite = _ownership(owner_email, language)
        made = await platform.parties.create_isv(IsvCreate(name=name))
        owner = await _invited(platform, Party(kind="isv", id=made.id, name=made.name), invite)
        return {**made.model_dump(), "owner": owner}

    told = within(work)
    terminal.say(f"ISV {told['id']}.")
    _say_owner(terminal, told["owner"])
    terminal.document(told)


@client_app.command("create")
@reporting
def create_app(
    *,
    name: NameOption,
    merchant_id: Annotated[str | None, typer.Option("--merchant", help="The merchant that owns it.")] = None,
    isv_id: Annotated[str | None, typer.Option("--isv", help="The ISV that owns it.")] = None,
    mode: ModeOption = "test",
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="Give a merchant's own app this scope; may be repeated.")
    ] = None,
    is_json: JsonOption = False,
) -> None:
    """Create an app with one client; its secret is shown this once. A merchant's own app can get scopes at once."""
    terminal = Terminal(is_json=is_json)
    if scope and merchant_id is None:
        raise CliFailure(
            "Scopes are given by a merchant, and none is named.",
            "Name one with --merchant, or leave --scope out.",
            status=WRONG_USE,
            code="cli.wrong_use",
        )

    async def work(platform: Platform) -> AppCreated:
        wanted = AppCreate(name=name, mode=mode, merchant_id=merchant_id, isv_id=isv_id, api_version=versions().newest)
        made = await platform.apps.create_app(wanted)
        if scope and merchant_id is not None:
            given = GrantCreate(
                app_id=made.id,
                merchant_id=merchant_id,
                mode=mode,
                scopes=frozenset(scope),
                given_by=AT_THE_TERMINAL.id,
            )
            await platform.grants.create(given)
        return made

    made = within(work)
    terminal.say(f"App {made.id}")
    terminal.say(f"client_id:     {made.client.id}")
    terminal.say(f"client_secret: {made.secret.secret}   (shown this once)")
    terminal.document(made.model_dump())


def _ownership(email: str | None, language: LanguageName) -> StaffInvite | None:
    """The invitation to be, checked before anything is written."""
    return StaffInvite(email=email, roles=["owner"], locale=language) if email is not None else None


async def _invited(platform: Platform, party: Party, wanted: StaffInvite | None) -> dict[str, Any] | None:
    if wanted is None:
        return None
    return invited_document(await platform.people.staff.invite(party, wanted, by=AT_THE_TERMINAL))


def _say_owner(terminal: Terminal, owner: dict[str, Any] | None) -> None:
    if owner is not None:
        terminal.say(f"{owner['email']} is invited as owner. The link, for that address alone: {owner['link']}")
