"""`arsenal plugin new | check | test | pack`: what a plugin's author does at home."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer

from platform_core.bootstrap.commands import plugin_author_check as review
from platform_core.bootstrap.commands.plugin_author_new import scaffold, write
from platform_core.bootstrap.commands.plugin_author_pack import pack as packed
from platform_core.bootstrap.commands.plugin_author_project import find_project
from platform_core.bootstrap.commands.plugin_author_tests import run_tests
from platform_core.bootstrap.terminal import WRONG_USE, CliFailure, JsonOption, Terminal, reporting
from platform_core.contracts import catalogue
from platform_core.contracts.manifest_findings import RULES as MANIFEST_RULES
from platform_core.contracts.testing.kit import RULES as KIT_RULES

FolderArgument = Annotated[Path, typer.Argument(help="The plugin's folder; by default the current one.")]
_EVERY_RULE: Final = {**review.RULES, **MANIFEST_RULES, **KIT_RULES}


def add_to(app: typer.Typer) -> None:
    """Enter the commands into `arsenal plugin`."""
    for name, command in (("new", new), ("check", check), ("test", run), ("pack", pack)):
        app.command(name)(command)


@reporting
def new(
    name: Annotated[str, typer.Argument(help="Such as acme-risk; also the folder's name.")],
    *,
    hook: Annotated[str, typer.Option("--hook", help="The hook that it implements; see: arsenal plugin list --hooks.")],
    plugin_id: Annotated[str | None, typer.Option("--id", help="Reverse DNS, such as com.acme.risk.")] = None,
    publisher: Annotated[str, typer.Option(help="Your id as an ISV.")] = "isv_example",
    into: Annotated[Path | None, typer.Option(help="Where to write it; by default ./<name>.")] = None,
    is_json: JsonOption = False,
) -> None:
    """Write a plugin that works: at most ten files, tests green at once. Touches no other file."""
    terminal = Terminal(is_json=is_json)
    files = scaffold(name, hook=hook, plugin_id=plugin_id, publisher=publisher)
    folder = into or Path(name)
    write(files, folder)
    for path in sorted(files):
        terminal.say(f"  {folder / path}")
    step = f"cd {folder} && arsenal plugin test"
    terminal.say(f"Next: {step}")
    terminal.document({"folder": str(folder), "files": sorted(files), "next_step": step})


@reporting
def check(
    folder: FolderArgument = Path(),
    *,
    explain: Annotated[str | None, typer.Option(help="Say what a rule means: an id, or a word.")] = None,
    is_json: JsonOption = False,
) -> None:
    """Try every rule of the automated review. Exit 1 if one fails."""
    terminal = Terminal(is_json=is_json)
    if explain is not None:
        found = _explained(explain)
        terminal.table(("rule", "says"), found.items())
        terminal.document({"rules": found})
        return
    project = find_project(folder)
    with terminal.console.status("checking"):
        checked = review.check(project)
    rows = [
        (each.rule, each.outcome.replace("_", " "), f"{each.found or review.RULES[each.rule]} {each.next_step}".strip())
        for each in checked
    ]
    terminal.table(("rule", "outcome", "what"), rows)
    document = {"checks": [asdict(each) for each in checked]}
    failed = sorted({each.rule for each in checked if each.outcome == "fail"})
    if failed:
        said = f"{len(failed)} rules fail: {', '.join(failed)}."
        step = f"arsenal plugin check --explain {failed[0]}"
        raise CliFailure(said, f"Run: {step}", code="cli.plugin_check_failed", facts=document)
    terminal.say("No rule fails. Next: arsenal plugin pack")
    terminal.document(document)


def _explained(word: str) -> dict[str, str]:
    found = {rule: says for rule, says in _EVERY_RULE.items() if word.upper() == rule or word.lower() in says.lower()}
    if not found:
        raise CliFailure(f"No rule is about {word!r}.", "Name a rule's id, such as REV-003.", status=WRONG_USE)
    return found


@reporting
def run(folder: FolderArgument = Path(), *, is_json: JsonOption = False) -> None:
    """Run the plugin's own tests and the contract kit. Exit 1 if one fails, or the kit did not run."""
    terminal = Terminal(is_json=is_json)
    ran = run_tests(find_project(folder))
    facts = {"passed": ran.passed, "failed": list(ran.failed), "kit_missing": sorted(ran.kit_missing)}
    if not is_json:
        terminal.console.print(ran.output.rstrip(), markup=False)
    if ran.failed:
        said = f"{len(ran.failed)} of {ran.passed + len(ran.failed)} tests fail: {ran.failed[0]}"
        raise CliFailure(said, "Mend it, and run: arsenal plugin test", code="cli.plugin_tests_failed", facts=facts)
    if ran.kit_missing:
        said = f"The contract kit did not run: {', '.join(sorted(ran.kit_missing))}."
        step = "Subclass platform_core.contracts.testing.PluginSuite in tests/test_contract.py."
        raise CliFailure(said, step, code="cli.plugin_tests_failed", facts=facts)
    terminal.say(f"{ran.passed} tests pass, the contract kit among them. Next: arsenal plugin check")
    terminal.document(facts)


@reporting
def pack(
    folder: FolderArgument = Path(),
    *,
    wheels: Annotated[Path | None, typer.Option(help="Wheels of the dependencies; by default <folder>/wheels.")] = None,
    into: Annotated[Path | None, typer.Option(help="Where to write the bundle; by default <folder>/dist.")] = None,
    is_json: JsonOption = False,
) -> None:
    """Pack the bundle that is submitted: wheel, wheels it needs, hashes, bill of materials. Always the same bytes."""
    terminal = Terminal(is_json=is_json)
    project = find_project(folder)
    bundle = packed(project, wheels=wheels)
    place = into or project.folder / "dist"
    place.mkdir(parents=True, exist_ok=True)
    path = place / bundle.file_name
    path.write_bytes(bundle.content)
    terminal.table(("wheel", "bytes"), [(name, len(content)) for name, content in bundle.wheels.items()])
    terminal.say(f"{path}, SHA-256 {bundle.sha256}")
    terminal.say(f"Next: arsenal plugin submit {path}")
    terminal.document(
        {
            "bundle": str(path),
            "sha256": bundle.sha256,
            "plugin_id": bundle.manifest.plugin.id,
            "version": bundle.manifest.plugin.version,
            "wheels": sorted(bundle.wheels),
        }
    )


def list_hooks(terminal: Terminal) -> None:
    """The hooks of this contract: kind, scope, deadline."""
    known = sorted(catalogue.hooks().values(), key=lambda hook: (hook.kind, hook.name))
    rows = [
        (hook.name, hook.kind, hook.scope or "", hook.rule.each_ms, hook.reference.splitlines()[0]) for hook in known
    ]
    terminal.table(("hook", "kind", "scope", "deadline ms", "what"), rows)
    told = [
        {"name": hook.name, "kind": hook.kind, "version": hook.version, "scope": hook.scope, "since": hook.since}
        for hook in known
    ]
    terminal.document({"hooks": told})
