"""`arsenal staff`: the operator's own people, and messages that wait for a channel."""

from __future__ import annotations

from typing import Any

import typer

from platform_core.bootstrap.commands.parties import EmailOption, LanguageOption, invited_document, within
from platform_core.bootstrap.platform import Platform
from platform_core.bootstrap.terminal import JsonOption, Terminal, reporting
from platform_core.identity.messages import Message
from platform_core.identity.schemas_people import StaffInvite
from platform_core.identity.staff import AT_THE_TERMINAL, OPERATOR, Invited

app = typer.Typer(no_args_is_help=True, help="The operator's staff.")


@app.callback()
def staff() -> None:
    """The operator's staff."""


@app.command("create-admin")
@reporting
def create_admin(*, email: EmailOption, language: LanguageOption = "en", is_json: JsonOption = False) -> None:
    """Invite a security administrator: who opens the link chooses password and authenticator. Good for seven days.

    The first one is made here; from then on administrators invite each other in the console.
    """
    terminal = Terminal(is_json=is_json)

    async def work(platform: Platform) -> Invited:
        wanted = StaffInvite(email=email, roles=["security_admin"], locale=language)
        return await platform.people.staff.invite(OPERATOR, wanted, by=AT_THE_TERMINAL)

    told = invited_document(within(work))
    terminal.say(f"{told['email']} is invited as security_admin.")
    terminal.say(f"Open this link in a browser, once: {told['link']}")
    terminal.document(told)


@app.command("messages")
@reporting
def messages(*, is_json: JsonOption = False) -> None:
    """Show messages that wait to be sent (recovery links, invitations), each once: the channel of an installation
    without mail.

    Hand every link to its address and to nobody else.
    """
    terminal = Terminal(is_json=is_json)
    channel = _TerminalChannel()

    async def work(platform: Platform) -> int:
        return await platform.people.messages.deliver(channel)

    within(work)
    for each in channel.shown:
        terminal.say(f"{each['kind']} for {each['to']}: {each['link']}")
    terminal.document({"messages": channel.shown})


class _TerminalChannel:
    """Carries messages to the operator's screen."""

    def __init__(self) -> None:
        self.shown: list[dict[str, Any]] = []

    async def send(self, message: Message, *, message_id: str) -> None:
        self.shown.append({"id": message_id, "kind": message.kind, "to": message.to, "link": message.link})
