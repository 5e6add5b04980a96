"""`arsenal doctor`: is this installation in order, and if not, what is to be done."""

from __future__ import annotations

from platform_core.bootstrap.doctor import (
    Finding,
    look_at_broker,
    look_at_database,
    look_at_process,
    unstarted_database,
)
from platform_core.bootstrap.doctor_sandbox import look_at_sandbox
from platform_core.bootstrap.environment import load_settings, located_database, quiet_logs, run_async
from platform_core.bootstrap.platform import secrets_key
from platform_core.bootstrap.terminal import CliFailure, JsonOption, Terminal, reporting

_MARKS = {"ok": "[green]ok[/]     ", "warning": "[yellow]warning[/]", "failed": "[red]failed[/] "}


@reporting
def doctor(*, is_json: JsonOption = False) -> None:
    """Look at Python, settings, keys, plugins, sandbox, database and broker. Exit 1 if something must be repaired."""
    terminal = Terminal(is_json=is_json)
    quiet_logs()
    settings = load_settings()
    findings = [*look_at_process(settings), *run_async(look_at_sandbox(settings))]
    absent = unstarted_database(settings)
    if absent is not None:
        findings.append(absent)
    else:
        try:
            urls = located_database(settings)
        except CliFailure as failure:
            findings.append(Finding("database", "failed", failure.message, failure.next_step))
        else:
            with terminal.console.status("looking at the database"):
                findings += run_async(look_at_database(settings, urls, secrets_key(settings)))
    findings.append(run_async(look_at_broker(settings)))
    for finding in findings:
        terminal.say(f"{_MARKS[finding.state]} [bold]{finding.name}[/]: {finding.words}")
        if finding.next_step:
            terminal.say(f"          next: {finding.next_step}")
    failed = [finding for finding in findings if finding.state == "failed"]
    told = [
        {"name": each.name, "state": each.state, "words": each.words, "next_step": each.next_step or None}
        for each in findings
    ]
    if failed:
        raise CliFailure(
            f"{len(failed)} of {len(findings)} findings must be repaired: {', '.join(each.name for each in failed)}.",
            failed[0].next_step,
            code="cli.findings",
            facts={"findings": told},
        )
    terminal.document({"findings": told})
