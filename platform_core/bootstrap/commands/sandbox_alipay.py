"""`arsenal sandbox alipay`: keys, signatures, notices and the inbox of an app at the Alipay-compatible gateway."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import typer
from rich.markup import escape

from platform_core.bootstrap.alipay import alipay_tools
from platform_core.bootstrap.commands.parties import within
from platform_core.bootstrap.environment import load_settings
from platform_core.bootstrap.platform import Platform
from platform_core.bootstrap.terminal import WRONG_USE, CliFailure, JsonOption, Terminal, reporting
from platform_core.kernel.i18n import Language
from sandbox.simulators.alipay_gateway import keys as key_tools
from sandbox.simulators.alipay_gateway.desk import Desk, NotThere, Refused
from sandbox.simulators.alipay_gateway.requests import RequestBook
from sandbox.simulators.alipay_gateway.schemas_tools import Examination, MessageRead, SettingsChange
from sandbox.simulators.alipay_gateway.signatures import record_of
from sandbox.simulators.alipay_gateway.signing import KeyRefused

T = TypeVar("T")
AppOption = Annotated[
    str,
    typer.Option("--app", envvar="ARSENAL_CLIENT_ID", help="The app: app_..., its client id, or its 16 digits."),
]
FileArgument = Annotated[Path, typer.Argument(help="File with the text; - reads standard input.")]
OutOption = Annotated[Path | None, typer.Option("--out", help="Write the strings as files into this folder.")]
KindName = Literal["request", "notice", "answer"]
StateName = Literal["pending", "accepted", "dead"]
AnswerName = Literal["success", "fail", "json", "error", "hang"]
POLL_S: Final = 0.5
FORMS: Final = {
    "private_pkcs1_pem": "app_private_pkcs1.pem",
    "private_pkcs1_line": "app_private_pkcs1.txt",
    "private_pkcs8_pem": "app_private_pkcs8.pem",
    "private_pkcs8_line": "app_private_pkcs8.txt",
    "public_spki_pem": "app_public.pem",
    "public_spki_line": "app_public.txt",
}

app = typer.Typer(no_args_is_help=True, help="Keys, signatures and notices at the Alipay-compatible gateway.")
keys = typer.Typer(no_args_is_help=True, help="Key pairs and certificates.")
inbox = typer.Typer(no_args_is_help=True, help="What reached an app's inbox, a notify_url that is ready for use.")
notify = typer.Typer(no_args_is_help=True, help="Notices that the gateway sent, or tried to.")
app.add_typer(keys, name="keys")
app.add_typer(inbox, name="inbox")
app.add_typer(notify, name="notify")


@app.command("app")
@reporting
def show_app(
    *,
    of: AppOption,
    gateway_url: Annotated[str | None, typer.Option(help="Announce authorisations here; inbox: in the inbox.")] = None,
    is_json: JsonOption = False,
) -> None:
    """Show what the gateway knows of an app: number, addresses, key; change where authorisations are announced."""
    terminal = Terminal(is_json=is_json)

    async def work(desk: Desk) -> dict[str, Any]:
        if gateway_url is not None:
            url = None if gateway_url == "inbox" else gateway_url
            await desk.change(SettingsChange(gateway_url=url))
        return (await desk.app()).model_dump()

    told = _at_desk(of, work)
    terminal.table(("", ""), told.items())
    terminal.document(told)


@keys.command("generate")
@reporting
def generate(*, out: OutOption = None, is_json: JsonOption = False) -> None:
    """Make a key pair in every form, try it, and say which string goes where. Nothing of it is stored here."""
    terminal = Terminal(is_json=is_json)
    pair = key_tools.spelled(key_tools.generate())
    if not all(check.is_good for check in key_tools.self_test(pair)):
        raise CliFailure("The new pair failed its own test.", "Repeat the command.", code="cli.key_bad")
    forms = {name: getattr(pair, name) for name in FORMS}
    if out is not None:
        _write(out, {FORMS[name]: text for name, text in forms.items()})
    else:
        for name, text in forms.items():
            terminal.say(f"[bold]{name}[/]")
            terminal.say(escape(text))
    places = [(place.form, place.client, place.setting, place.says.en) for place in key_tools.PLACES]
    terminal.table(("string", "client", "where", ""), places)
    terminal.say("The private key is shown this once. Upload the public one: arsenal sandbox alipay keys upload FILE")
    terminal.document({**forms, "fingerprint": pair.fingerprint, "files": None if out is None else str(out)})


@keys.command("upload")
@reporting
def upload(file: FileArgument, *, of: AppOption, is_json: JsonOption = False) -> None:
    """Give the platform an app's public key (SPKI or PKCS#1, PEM or one line). It counts from now on."""
    terminal, text = Terminal(is_json=is_json), _read(file)
    told = _at_desk(of, lambda desk: desk.upload(text))
    terminal.say(f"The app's requests are verified with {told.fingerprint[:16]}... from now on.")
    terminal.document(told.model_dump())


@keys.command("platform")
@reporting
def platform_key(
    *,
    of: AppOption,
    rotate: Annotated[bool, typer.Option("--rotate", help="Give this app a new platform key of its own.")] = False,
    is_json: JsonOption = False,
) -> None:
    """Show the platform's public key: what a client configures as "Alipay's public key"."""
    terminal = Terminal(is_json=is_json)
    told = _at_desk(of, lambda desk: desk.rotate_platform_key() if rotate else desk.platform_key())
    terminal.say(escape(told.public_spki_pem))
    terminal.say(escape(told.public_spki_line))
    terminal.document(told.model_dump())


@keys.command("certificates")
@reporting
def certificates(file: FileArgument, *, of: AppOption, out: OutOption = None, is_json: JsonOption = False) -> None:
    """Put an app into certificate mode: issue a certificate for its public key, and show the three files."""
    terminal, text = Terminal(is_json=is_json), _read(file)
    told = _at_desk(of, lambda desk: desk.certify(text))
    files = {"app_certificate.pem": told.app, "platform_certificate.pem": told.platform, "root.pem": told.root}
    if out is not None:
        _write(out, files)
    else:
        for name, content in files.items():
            terminal.say(f"[bold]{name}[/]\n{escape(content)}")
    terminal.table(
        ("serial", "value"),
        (("app_cert_sn", told.app_sn), ("alipay_root_cert_sn", told.root_sn), ("alipay_cert_sn", told.platform_sn)),
    )
    terminal.document(told.model_dump())


@app.command("doctor")
@reporting
def doctor(
    request_id: Annotated[str | None, typer.Argument(help="Number that sub_msg named (sar_...).")] = None,
    *,
    of: AppOption,
    kind: Annotated[KindName, typer.Option(help="What was pasted.")] = "request",
    parameters: Annotated[Path | None, typer.Option(help="File with a query or form as it was sent.")] = None,
    answer: Annotated[Path | None, typer.Option(help="File with the node of an answer, byte by byte.")] = None,
    sign: Annotated[str | None, typer.Option(help="The signature, where the parameters do not hold it.")] = None,
    sign_type: Annotated[str | None, typer.Option(help="RSA2 or RSA.")] = None,
    public_key: Annotated[Path | None, typer.Option(help="File with the key that the client verifies with.")] = None,
    client_text: Annotated[Path | None, typer.Option(help="File with what the client signed or verified.")] = None,
    language: Annotated[Language, typer.Option(help="en or zh.")] = "en",
    is_json: JsonOption = False,
) -> None:
    """Say which rule a bad signature broke. Exit 1 unless the signature is right. Private keys are refused."""
    terminal = Terminal(is_json=is_json)
    wanted = Examination(
        kind=kind,
        request_id=request_id,
        parameters=_read_if(parameters),
        answer=_read_if(answer),
        sign=sign,
        sign_type=sign_type,
        public_key=_read_if(public_key),
        client_text=_read_if(client_text),
    )
    found = _at_desk(of, lambda desk: desk.examine(wanted))
    terminal.say(escape(found.say(language)))
    terminal.document(record_of(found))
    if not found.is_valid:
        raise typer.Exit(1)


@notify.command("list")
@reporting
def list_notices(
    *,
    of: AppOption,
    state: Annotated[StateName | None, typer.Option(help="Only these.")] = None,
    is_json: JsonOption = False,
) -> None:
    """List notices to an app's addresses, the newest first."""
    terminal = Terminal(is_json=is_json)
    found = _at_desk(of, lambda desk: desk.notices(state=state, after=None, limit=100))
    rows = [
        (notice.id, notice.fields["notify_type"], notice.state, notice.tries, notice.due_at or "-", notice.address)
        for notice in found
    ]
    terminal.table(("notify_id", "type", "state", "tries", "next", "address"), rows)
    terminal.document({"data": [notice.model_dump() for notice in found]})


@notify.command("resend")
@reporting
def resend_notice(notify_id: str, *, of: AppOption, is_json: JsonOption = False) -> None:
    """Send a notice once more, also one that was accepted or is dead. Exit 1 unless it is accepted now."""
    terminal = Terminal(is_json=is_json)
    told = _at_desk(of, lambda desk: desk.resend(notify_id))
    last = told.attempts[-1]
    terminal.say(escape(f"{told.state}: status {last['status']}, answered {last['excerpt']!r} {last['error'] or ''}"))
    terminal.document(told.model_dump())
    if told.state != "accepted":
        raise typer.Exit(1)


@inbox.command("list")
@reporting
def list_messages(*, of: AppOption, is_json: JsonOption = False) -> None:
    """List what reached the inbox, the latest last."""
    terminal = Terminal(is_json=is_json)
    found = _at_desk(of, lambda desk: desk.messages(limit=100))
    terminal.table(("id", "received", "verified", "answered", "body"), [_row(message) for message in found])
    terminal.document({"data": [message.model_dump() for message in found]})


@inbox.command("show")
@reporting
def show_message(message_id: str, *, of: AppOption, is_json: JsonOption = False) -> None:
    """Show one message whole, as a command that sends it again, with the doctor's word on its signature."""
    terminal = Terminal(is_json=is_json)
    told = _at_desk(of, lambda desk: desk.message(message_id))
    for name, value in told.headers:
        terminal.say(escape(f"{name}: {value}"))
    terminal.say(escape(f"\n{told.body}\n\n{told.curl}"))
    if told.finding is not None:
        terminal.say(escape(f"\n{told.finding['cause']['en']} {told.finding['fix']['en']}"))
    terminal.document(told.model_dump())


@inbox.command("answer")
@reporting
def set_answer(answer: AnswerName, *, of: AppOption, is_json: JsonOption = False) -> None:
    """Choose what the inbox answers from now on; only `success` ends the gateway's attempts."""
    terminal = Terminal(is_json=is_json)
    told = _at_desk(of, lambda desk: desk.change(SettingsChange(inbox_answer=answer)))
    terminal.say(f"{told.inbox} answers {told.inbox_answer}.")
    terminal.document(told.model_dump())


@app.command("listen")
@reporting
def listen(
    *,
    of: AppOption,
    forward_to: Annotated[
        str | None, typer.Option(help="Send each message on, such as http://127.0.0.1:8000/notify.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="End after so many messages.")] = None,
    is_json: JsonOption = False,
) -> None:
    """Show what reaches the inbox from now on, and send it on to a program under development, until interrupted."""
    terminal = Terminal(is_json=is_json)

    async def work(desk: Desk) -> None:
        told = await desk.app()
        latest = await desk.messages(limit=1)
        after, seen = latest[-1].id if latest else "sai_", 0
        terminal.say(f"Use this as notify_url: [bold]{told.inbox}[/]")
        while limit is None or seen < limit:
            for message in await desk.messages(after=after):
                after, seen = message.id, seen + 1
                heard = None if forward_to is None else await desk.forward(message.id, forward_to)
                _say_heard(terminal, message, None if heard is None else heard.model_dump())
            await asyncio.sleep(POLL_S)

    try:
        _at_desk(of, work)
    except KeyboardInterrupt:
        terminal.say("Stopped.")


def _say_heard(terminal: Terminal, message: MessageRead, heard: dict[str, Any] | None) -> None:
    mark = "[green]verified[/]" if message.is_verified else "[red]not verified[/]"
    terminal.say(f"{message.received_at:%H:%M:%S} {mark} {escape(message.body[:200])}")
    if heard is not None:
        word = "[green]accepted[/]" if heard["is_accepted"] else "[red]not accepted[/]"
        terminal.say(escape(f"  > {heard['status']} {heard['error'] or ''} {heard['body'][:80]!r} ") + word)
    terminal.document({"message": message.model_dump(), "forwarded": heard})


def _row(message: MessageRead) -> tuple[object, ...]:
    return message.id, message.received_at, message.is_verified, message.answer, message.body[:120]


def _at_desk(app_text: str, work: Callable[[Desk], Awaitable[T]]) -> T:
    """Run work at the desk of an app, on the platform of this installation."""
    if not load_settings().is_sandbox:
        raise CliFailure(
            "This installation is no sandbox.",
            "Run: arsenal demo, then source its demo.env; or set ARSENAL_IS_SANDBOX=true.",
            status=WRONG_USE,
            code="cli.no_sandbox",
        )

    async def run(platform: Platform) -> T:
        tools = alipay_tools(platform)
        app_id = await tools.find_app(app_text)
        if app_id is None:
            raise CliFailure(
                f"There is no app {app_text}.", "Run: arsenal app create --help", status=WRONG_USE, code="cli.no_app"
            )
        return await work(Desk(tools, RequestBook(platform.database, platform.committer), app_id))

    try:
        return within(run)
    except (KeyRefused, Refused) as refused:
        raise CliFailure(
            str(refused), "See docs/how-to/alipay-keys-and-signatures.md.", status=WRONG_USE, code="cli.wrong_use"
        ) from refused
    except NotThere as missing:
        raise CliFailure(
            f"There is no {missing} of this app.", "List what there is first.", code="cli.not_found"
        ) from missing


def _read(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CliFailure(f"{file} cannot be read.", "Name a text file.", WRONG_USE, code="cli.wrong_use") from error


def _read_if(file: Path | None) -> str | None:
    return None if file is None else _read(file).rstrip("\r\n")


def _write(folder: Path, files: dict[str, str]) -> None:
    """Files that their owner alone reads; one that is there already is not overwritten."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        try:
            handle = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as error:
            raise CliFailure(
                f"{folder / name} is there already.", "Name another folder.", WRONG_USE, code="cli.wrong_use"
            ) from error
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
