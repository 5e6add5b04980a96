"""`arsenal plugin submit | install | enable | ...`: the operator's side of plugins, at the terminal."""

from __future__ import annotations

import getpass
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer
from pydantic import BaseModel
from rich.markup import escape

from platform_core.bootstrap.commands.parties import within
from platform_core.bootstrap.commands.plugin_author import list_hooks
from platform_core.bootstrap.commands.plugin_submission import Handed, send
from platform_core.bootstrap.platform import Platform
from platform_core.bootstrap.terminal import WRONG_USE, CliFailure, JsonOption, Terminal, reporting
from platform_core.identity.repository import read_isv
from platform_core.plugin_host import repository
from platform_core.plugin_host.allow_list import tree_hash_of
from platform_core.plugin_host.discovery import discover
from platform_core.plugin_host.errors import BUNDLE_REFUSED, INSTALLATION_NOT_FOUND, RELEASE_NOT_FOUND
from platform_core.plugin_host.host_deps import BundleRefused, Unpacked
from platform_core.plugin_host.installations import Actor
from platform_core.plugin_host.releases import Submission, read_manifest
from platform_core.plugin_host.remote_submission import remote_version
from platform_core.plugin_host.repository import Record
from platform_core.plugin_host.schemas import (
    InstallationCreate,
    InstallationRead,
    ReviewWrite,
    SigningSecretRotate,
    SwitchLift,
    SwitchPull,
    UpgradeAct,
)
from platform_core.plugin_host.versions import newest

T = TypeVar("T")
LISTED_MAX: Final = 100
_SUBMITTED: Final = "{plugin_id} {plugin_version} is {state} as {id}."
PluginArgument = Annotated[str, typer.Argument(help="The plugin's id, such as example.acme.risk.")]
ReleaseArgument = Annotated[
    str, typer.Argument(help="prl_..., or a plugin's id for the one of its releases that waits for this step.")
]
MerchantOption = Annotated[str, typer.Option("--merchant", help="The merchant concerned.")]
MerchantFilter = Annotated[str | None, typer.Option("--merchant", help="Only this merchant.")]
VersionOption = Annotated[str | None, typer.Option("--version", help="A version; by default the newest published.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, in words that others will read.")]

app = typer.Typer(
    no_args_is_help=True, help="Plugins: write, check and pack them; releases, installations, suspension."
)


@app.callback()
def plugins() -> None:
    """Plugins: releases, installations, suspension."""


def operator() -> str:
    """Who is at the terminal, for the audit log and for acts that need two."""
    return f"terminal:{getpass.getuser()}"


@app.command("list")
@reporting
def list_plugins(
    *,
    merchant: MerchantFilter = None,
    hooks: Annotated[bool, typer.Option("--hooks", help="List what plugins can implement instead.")] = False,
    is_json: JsonOption = False,
) -> None:
    """Plugins of the catalogue; with a merchant, what it has installed; with --hooks, what there is to implement."""
    terminal = Terminal(is_json=is_json)
    if hooks:
        list_hooks(terminal)
        return

    async def work(platform: Platform) -> Sequence[BaseModel]:
        life = platform.plugin_life
        await life.host_releases.register(discover())
        if merchant is None:
            return (await life.releases.catalogue(cursor=None, limit=LISTED_MAX)).data
        page = await life.installations.page(merchant, state=None, cursor=None, limit=LISTED_MAX)
        return [await life.installations.get(merchant, found.id) for found in page.data]

    rows = [row.model_dump(mode="json") for row in within(work)]
    if merchant is None:
        catalogue_head = ("plugin", "version", "state", "publisher")
        found = [(row["id"], row["plugin_version"], row["state"], row["publisher"]) for row in rows]
        terminal.table(catalogue_head, found)
    else:
        head = ("plugin", "version", "state", "missing", "suspended by")
        shown = [
            (
                row["plugin_id"],
                row["plugin_version"],
                row["state"],
                ", ".join(row["missing"]) or "-",
                row["suspension"]["rule"] if row["suspension"] else "-",
            )
            for row in rows
        ]
        terminal.table(head, shown)
    terminal.document({"data": rows})


@app.command("submit")
@reporting
def submit(
    bundle: Annotated[
        Path,
        typer.Argument(
            exists=True,
            dir_okay=False,
            help="A bundle made by `arsenal plugin pack`; the plugin.toml of a plugin with runtime = remote.",
        ),
    ],
    *,
    url: Annotated[
        str | None, typer.Option("--url", help="The platform to hand it to; without it, this installation.")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file", exists=True, dir_okay=False, help="Holds an access token of the publisher's, for --url."
        ),
    ] = None,
    change_log: Annotated[str, typer.Option("--change-log", help="What is new, for merchants.")] = "",
    test_account: Annotated[str, typer.Option("--test-account", help="For reviewers.")] = "",
    is_json: JsonOption = False,
) -> None:
    """Submit a version as its publisher. What nobody needs to look at is approved at once."""
    terminal = Terminal(is_json=is_json)
    handed = Handed(file=bundle, change_log=change_log, test_account=test_account)
    if (url is None) != (token_file is None):
        raise CliFailure(
            "--url and --token-file go together.",
            "Name both, or neither to submit to this installation.",
            WRONG_USE,
            code="cli.wrong_use",
        )
    if url is not None and token_file is not None:
        made = send(handed, url=url, token_file=token_file)
        terminal.say(_SUBMITTED.format_map(made))
        terminal.document(made)
        return

    async def work(platform: Platform) -> BaseModel:
        unpacked, publisher = await _unpacked(platform, handed)
        return await platform.plugin_life.releases.submit(
            Submission(
                unpacked=unpacked,
                isv_id=publisher,
                by=operator(),
                change_log=change_log,
                test_account=test_account,
            )
        )

    _tell(terminal, within(work), _SUBMITTED)


async def _unpacked(platform: Platform, handed: Handed) -> tuple[Unpacked, str]:
    """What is submitted, and its publisher, who is known here before anything is kept."""
    if handed.is_remote:
        manifest, schema = handed.manifest()
        remote = remote_version(manifest, schema)
        return remote, await _publisher(platform, remote)
    bundles = platform.plugin_life.bundles
    if bundles is None:
        raise CliFailure(
            "This installation keeps no bundles.",
            "Run: arsenal doctor (says what the sandbox lacks)",
            code="plugins.no_bundles",
        )
    try:
        publisher = await _publisher(platform, await bundles.look(handed.file))
        return await bundles.unpack(handed.file), publisher
    except BundleRefused as refused:
        raise BUNDLE_REFUSED.error({"reason": str(refused)}) from refused


async def _publisher(platform: Platform, unpacked: Unpacked) -> str:
    publisher = read_manifest(unpacked.manifest).plugin.publisher
    async with platform.database.read_auth() as connection:
        if await read_isv(connection, publisher) is None:
            raise CliFailure(
                f"There is no publisher {publisher}, which plugin.toml names.",
                "Run: arsenal isv create, and set plugin.publisher to its id",
                code="plugins.publisher_unknown",
            )
    return publisher


@app.command("secret")
@reporting
def secret(
    plugin_id: PluginArgument,
    *,
    overlap_s: Annotated[
        int, typer.Option("--overlap-s", min=0, max=30 * 86_400, help="How long the one before signs too, seconds.")
    ] = 86_400,
    is_json: JsonOption = False,
) -> None:
    """Make or rotate the signing secret of a remote plugin; it is shown now and never again."""
    terminal = Terminal(is_json=is_json)

    async def work(platform: Platform) -> BaseModel:
        wanted = SigningSecretRotate(overlap_s=overlap_s)
        return await platform.plugin_life.signing_secrets.rotate(plugin_id, wanted, isv_id=None, by=operator())

    _tell(terminal, within(work), "{plugin_id} is called under {secret}. Keep it now: nobody can show it again.")


@app.command("review")
@reporting
def review(
    release: ReleaseArgument,
    *,
    decision: Annotated[str, typer.Option("--decision", help="approve, ask or reject.")],
    note: Annotated[str, typer.Option("--note", help="What the publisher reads.")],
    rule: Annotated[list[str] | None, typer.Option("--rule", help="Id of a rule; may be repeated.")] = None,
    is_json: JsonOption = False,
) -> None:
    """Decide on a release as one reviewer."""
    terminal = Terminal(is_json=is_json)

    async def work(platform: Platform) -> BaseModel:
        wanted = ReviewWrite.model_validate({"decision": decision, "note": note, "rules": tuple(rule or ())})
        release_id = await _release_id(platform, release, states=("in_review",))
        return await platform.plugin_life.releases.review(release_id, wanted, reviewer=operator())

    _tell(terminal, within(work), "{plugin_id} {plugin_version} is {state}.")


@app.command("publish")
@reporting
def publish(release: ReleaseArgument, *, is_json: JsonOption = False) -> None:
    """Let merchants see an approved release."""
    terminal = Terminal(is_json=is_json)

    async def work(platform: Platform) -> BaseModel:
        release_id = await _release_id(platform, release, states=("approved",))
        return await platform.plugin_life.releases.publish(release_id, by=operator(), isv_id=None)

    _tell(terminal, within(work), "{plugin_id} {plugin_version} is {state}.")


@app.command("install")
@reporting
def install(
    plugin_id: PluginArgument,
    *,
    merchant: MerchantOption,
    version: VersionOption = None,
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", help="Give this scope; by default the required ones."),
    ] = None,
    is_json: JsonOption = False,
) -> None:
    """Install a plugin at a merchant who asked for it, with the grant that it needs. Enable it afterwards."""
    terminal = Terminal(is_json=is_json)

    async def work(platform: Platform) -> BaseModel:
        await platform.plugin_life.host_releases.register(discover())
        wanted = InstallationCreate(
            plugin_id=plugin_id, plugin_version=version, scopes=frozenset(scope) if scope else None
        )
        return await platform.plugin_life.installations.install(_actor(merchant), wanted)

    _tell(terminal, within(work), "{plugin_id} {plugin_version} is {state} as {id}.")


@app.command("enable")
@reporting
def enable(plugin_id: PluginArgument, *, merchant: MerchantOption, is_json: JsonOption = False) -> None:
    """Let a plugin be asked at a merchant."""
    terminal = Terminal(is_json=is_json)

    async def work(platform: Platform, found: Record) -> InstallationRead:
        return await platform.plugin_life.installations.enable(_actor(merchant), found.id)

    _tell(terminal, _at(merchant, plugin_id, work), "{plugin_id} {plugin_version} is {state}.")


@app.command("disable")
@reporting
def disable(plugin_id: PluginArgument, *, merchant: MerchantOption, is_json: JsonOption = False) -> None:
    """Ask a plugin no more at a merchant."""
    terminal = Terminal(is_json=is_json)

    async def work(platform: Platform, found: Record) -> InstallationRead:
        return await platform.plugin_life.installations.disable(_actor(merchant), found.id)

    _tell(terminal, _at(merchant, plugin_id, work), "{plugin_id} {plugin_version} is {state}.")


@app.command("upgrade")
@reporting
def upgrade(
    plugin_id: PluginArgument,
    *,
    merchant: MerchantFilter = None,
    version: VersionOption = None,
    accept: Annotated[str | None, typer.Option("--accept", help="Digest of the difference that was shown.")] = None,
    percent: Annotated[int, typer.Option("--percent", min=1, max=100, help="First stage of a rollout.")] = 1,
    is_json: JsonOption = False,
) -> None:
    """Upgrade one merchant, or begin a rollout to all. A version that asks for more shows the difference first."""
    terminal = Terminal(is_json=is_json)
    if merchant is not None:

        async def one(platform: Platform, found: Record) -> InstallationRead:
            wanted = UpgradeAct(plugin_version=version, accepted_difference=accept)
            preview = await platform.plugin_life.upgrades.preview(merchant, found.id, version=version)
            if preview.is_wider and accept != preview.digest:
                raise CliFailure(
                    f"{plugin_id} {preview.to_version} asks for more: {preview.difference}.",
                    f"Run it again with --accept {preview.digest} once the merchant has agreed.",
                    code="plugins.consent_needed",
                    facts={"difference": preview.difference, "digest": preview.digest},
                )
            return await platform.plugin_life.upgrades.upgrade(_actor(merchant), found.id, wanted)

        _tell(terminal, _at(merchant, plugin_id, one), "{plugin_id} is at {plugin_version}.")
        return

    async def everyone(platform: Platform) -> BaseModel:
        await platform.plugin_life.host_releases.register(discover())
        wanted = version or await _newest(platform, plugin_id)
        return await platform.plugin_life.rollouts.start(plugin_id, wanted, by=operator(), percent=percent)

    _tell(terminal, within(everyone), "{plugin_id} {plugin_version} goes to {percent} % of merchants as {id}.")


@app.command("rollback")
@reporting
def rollback(
    plugin_id: PluginArgument,
    *,
    reason: ReasonOption,
    merchant: MerchantFilter = None,
    version: VersionOption = None,
    is_json: JsonOption = False,
) -> None:
    """Take one merchant back, or everybody who runs a version; a rollout of it is halted."""
    terminal = Terminal(is_json=is_json)
    if merchant is not None:

        async def one(platform: Platform, found: Record) -> InstallationRead:
            return await platform.plugin_life.upgrades.rollback(_actor(merchant), found.id, reason=reason)

        _tell(terminal, _at(merchant, plugin_id, one), "{plugin_id} is back at {plugin_version}.")
        return
    if version is None:
        raise CliFailure(
            "A rollback for everybody names the version that is left.",
            "Add --version, or --merchant for one merchant.",
            status=WRONG_USE,
            code="cli.wrong_use",
        )

    async def everyone(platform: Platform) -> int:
        life = platform.plugin_life
        async with platform.database.read_all() as connection:
            running = await repository.running_rollout(connection, plugin_id)
        if running is not None and running.version == version:
            await life.rollouts.halt(plugin_id, by=operator(), reason=reason)
        return await life.rollouts.roll_back_all(plugin_id, version, by=operator(), reason=reason)

    count = within(everyone)
    terminal.say(f"{count} merchant(s) are back from {plugin_id} {version}.")
    terminal.document({"plugin_id": plugin_id, "version": version, "rolled_back": count})


@app.command("suspend")
@reporting
def suspend(
    plugin_id: PluginArgument,
    *,
    rule: Annotated[str, typer.Option("--rule", help="Id of the rule that it breaks.")],
    reason: ReasonOption,
    version: Annotated[str | None, typer.Option("--version", help="Only this version.")] = None,
    merchant: MerchantFilter = None,
    mode: Annotated[str, typer.Option("--mode", help="stop; or drain, for providers: no new payments.")] = "stop",
    is_json: JsonOption = False,
) -> None:
    """Pull the kill switch: everywhere within a second."""
    terminal = Terminal(is_json=is_json)

    async def work(platform: Platform) -> BaseModel:
        wanted = SwitchPull.model_validate(
            {
                "plugin_id": plugin_id,
                "plugin_version": version,
                "merchant_id": merchant,
                "mode": mode,
                "rule": rule,
                "reason": reason,
            }
        )
        return await platform.plugin_life.switches.pull(wanted, by=operator())

    _tell(terminal, within(work), "{plugin_id} is suspended as {id}. Two people lift it: arsenal plugin lift {id}")


@app.command("lift")
@reporting
def lift(
    switch_id: Annotated[str, typer.Argument(help="psw_...")], *, reason: ReasonOption, is_json: JsonOption = False
) -> None:
    """Propose to lift a switch, or lift what another person proposed."""
    terminal = Terminal(is_json=is_json)

    async def work(platform: Platform) -> BaseModel:
        return await platform.plugin_life.switches.lift(switch_id, SwitchLift(reason=reason), by=operator())

    _tell(terminal, within(work), "{id} is {state}; its lifting was proposed by {lift_proposed_by}.")


@app.command("order")
@reporting
def order(
    plugin_ids: Annotated[list[str], typer.Argument(help="Ids in the order in which plugins are asked.")],
    *,
    is_json: JsonOption = False,
) -> None:
    """Set the order in which plugins are asked; those not named come behind, by their ids."""
    terminal = Terminal(is_json=is_json)

    async def work(platform: Platform) -> None:
        await platform.plugin_life.releases.reorder(plugin_ids, by=operator())

    within(work)
    terminal.say(f"The order is {', '.join(plugin_ids)}, then the others.")
    terminal.document({"order": plugin_ids})


@app.command("hash")
@reporting
def tree_hash(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="The plugin's import package.")],
    *,
    is_json: JsonOption = False,
) -> None:
    """The tree hash of a plugin's files, for `plugins.allow.toml`."""
    terminal = Terminal(is_json=is_json)
    try:
        found = tree_hash_of(folder)
    except ValueError as error:
        raise CliFailure(f"{error}.", "Replace the link by the file.", code="plugins.link_in_tree") from error
    terminal.say(found)
    terminal.document({"folder": str(folder), "tree_hash": found})


_NEXT: Final[Mapping[str, str]] = {
    "in_review": 'arsenal plugin review {plugin_id} --decision approve --note "..."',
    "approved": "arsenal plugin publish {plugin_id}",
    "published": "arsenal plugin install {plugin_id} --merchant mer_...",
    "consented": "arsenal plugin enable {plugin_id} --merchant {merchant_id}",
}
"""By the state of a release or an installation: the command that comes next."""


def _tell(terminal: Terminal, told: BaseModel, words: str) -> None:
    document: dict[str, Any] = told.model_dump(mode="json")  # Any: JSON
    terminal.say(words.format_map(document))
    step = _NEXT.get(str(document.get("state")))
    if step is not None:
        terminal.say(escape(f"Next: {step.format_map(document)}"))
    terminal.document(document)


async def _release_id(platform: Platform, named: str, *, states: tuple[str, ...]) -> str:
    """A release by its id, or by its plugin's: the newest in one of these states. 404 `plugins.release_not_found`."""
    if named.startswith("prl_"):
        return named
    async with platform.database.read_auth() as connection:
        row = newest(await repository.read_releases_of(connection, named, states=states))
    if row is None:
        raise RELEASE_NOT_FOUND.error({"release": f"{' or '.join(states)} of {named}"})
    return str(row.id)


def _actor(merchant_id: str) -> Actor:
    return Actor(id=operator(), merchant_id=merchant_id)


def _at(merchant_id: str, plugin_id: str, work: Callable[[Platform, Record], Awaitable[T]]) -> T:
    """Work on a merchant's installation of a plugin. 404 `plugins.installation_not_found`."""

    async def run(platform: Platform) -> T:
        async with platform.database.read(merchant_id) as connection:
            found = await repository.read_installed(connection, plugin_id, merchant_id=merchant_id)
        if found is None:
            raise INSTALLATION_NOT_FOUND.error({"installation_id": f"{plugin_id} at {merchant_id}"})
        return await work(platform, found)

    return within(run)


async def _newest(platform: Platform, plugin_id: str) -> str:
    async with platform.database.read(None) as connection:
        row = newest(await repository.read_releases_of(connection, plugin_id, states=("published",)))
    if row is None:
        raise CliFailure(f"{plugin_id} has no published version.", "Run: arsenal plugin list", code="plugins.not_found")
    return str(row.version)
