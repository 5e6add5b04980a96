"""`arsenal plugin health`: how a plugin is doing, and what to do about it."""

from __future__ import annotations

import typer
from rich.markup import escape

from platform_core.bootstrap.commands.parties import within
from platform_core.bootstrap.commands.plugin_operation import PluginArgument
from platform_core.bootstrap.platform import Platform
from platform_core.bootstrap.terminal import JsonOption, Terminal, reporting
from platform_core.plugin_host.health import HealthBook, PluginHealth


def add_to(app: typer.Typer) -> None:
    """Enter the command into `arsenal plugin`."""
    app.command("health")(health)


@reporting
def health(plugin_id: PluginArgument, *, is_json: JsonOption = False) -> None:
    """Show what runs where and what is wrong with it: problems, open breakers, quarantine, kill switches."""
    terminal = Terminal(is_json=is_json)

    async def work(platform: Platform) -> PluginHealth:
        deps = platform.plugin_life.deps
        return await HealthBook(deps.database, deps.real_clock).of(plugin_id)

    told = within(work)
    rows = [(each.version, each.state, each.enabled_at) for each in told.versions]
    terminal.table(("version", "release", "merchants"), rows)
    for line in lines(told):
        terminal.say(escape(line))
    terminal.document(told.model_dump(mode="json"))


def lines(told: PluginHealth) -> list[str]:
    """One for each thing that is wrong, the gravest kind first."""
    if told.is_well:
        return [f"{told.plugin_id} is well: no problem, no open breaker, no quarantine, no switch."]
    found = [
        f"quarantine: {each.plugin_version}, {each.fault} since {each.began_at:%Y-%m-%d %H:%M:%S} UTC: {each.detail}"
        for each in told.quarantines
    ]
    found += [
        f"suspended: {each.plugin_version or 'every version'} at {each.merchant_id or 'all merchants'} by {each.rule}: "
        f"{each.reason}  Lift: arsenal plugin lift {each.id}"
        for each in told.switches
    ]
    found += [
        f"breaker open: {each.hook} of {each.plugin_version} until {each.open_until:%H:%M:%S} UTC: {each.why}"
        for each in told.breakers
    ]
    found += [
        f"{each.severity}: {each.plugin_version} in {each.hook or 'no hook'}, {each.count} times, last at "
        f"{each.last_at:%H:%M:%S} UTC: {each.message.en} {each.hint.en}"
        for each in told.problems
    ]
    return found
