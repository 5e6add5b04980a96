#!/usr/bin/env python3
"""Write the generated pages of docs/reference, or with `--check` say which are stale.

A page is one function below that returns its whole text from the code that it describes, and one row in PAGES.
Exit status 1: a page is stale, or the interface would break a caller of the committed openapi.json and no file of
`platform_core/contracts/versions` covers it; nothing is written then, unless `--accept-breaking` says that this version
is not released yet. `make docs` writes, `make check` and tests/docs check.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import typer.cli
import typer.main

REFERENCE: Final = Path(__file__).resolve().parent / "reference"
ROOT_PACKAGES: Final = ("platform_core", "plugins", "capability_packs")
NOTICE: Final = "<!-- Written by `make docs` from {source}; edit that instead. -->"
TESTING: Final = "testing."  # the family of codes that only tests declare
HTTP_METHODS: Final = ("get", "put", "post", "patch", "delete", "head", "options")


@dataclass(frozen=True, slots=True)
class Page:
    """One generated file: its name, the module that it describes, and the function that writes it."""

    name: str
    producer: str
    render: Callable[[], str]

    @property
    def path(self) -> Path:
        """Where the page stands."""
        return REFERENCE / self.name


def declared_errors() -> dict[str, Any]:  # Any: kernel.errors.ErrorCode, which is imported late
    """Every error that the platform declares, by code; not those that tests declare in the same process (TESTING)."""
    import_everything()
    catalogue = importlib.import_module("platform_core.kernel.errors").catalogue()
    return {code: error for code, error in catalogue.items() if not code.startswith(TESTING)}


def error_codes() -> str:
    """Every declared error: code, status, words in both languages."""
    lines = heading("Error codes", source="the declarations (`declare`) beside the code that raises them")
    lines += [
        "Every error answer is `application/problem+json` (RFC 9457). `code` is stable; the words follow",
        "`Accept-Language` (en, zh). `{name}` stands for a value of the occurrence.",
        "",
    ]
    family = ""
    for code, error in declared_errors().items():
        if code.partition(".")[0] != family:
            family = code.partition(".")[0]
            lines += [f"## {family}", ""]
        retry = (
            "may succeed when sent again unchanged"
            if error.is_retryable
            else "sending it again unchanged does not help"
        )
        lines += [f"### {code}", "", f"HTTP {error.status}; {retry}.", "", "| | en | zh |", "|---|---|---|"]
        for label, text in (("title", error.title), ("detail", error.detail), ("hint", error.hint)):
            if text is not None:
                lines.append(f"| {label} | {cell(text.en)} | {cell(text.zh)} |")
        lines.append("")
    return joined(lines)


def settings() -> str:
    """Every setting: variable, values, default, meaning."""
    module = importlib.import_module("platform_core.kernel.settings")
    schema = module.Settings.model_json_schema()
    lines = heading("Settings", source="`platform_core/kernel/settings.py`")
    lines += [
        "Settings are environment variables, read once when a process starts. A misspelt one is reported.",
        "",
        "| variable | values | default | meaning |",
        "|---|---|---|---|",
    ]
    for name, field in schema["properties"].items():
        default = "" if field.get("default") is None else f"`{default_of(field['default'])}`"
        meaning = field.get("description")
        if not meaning:
            raise ValueError(f"setting {name} has no description")
        lines.append(
            f"| `{module.variable_of(name)}` | {cell(values_of(field))} | {default or 'unset'} | {cell(meaning)} |"
        )
    return joined([*lines, ""])


def default_of(value: object) -> str:
    """A default as the variable would hold it."""
    return json.dumps(value) if isinstance(value, Mapping) else str(value)


def command_line() -> str:
    """Every command of `arsenal`, with its options, as Typer documents it."""
    app = importlib.import_module("platform_core.bootstrap.cli").app
    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="arsenal")
    text = typer.cli.get_docs_for_click(obj=command, ctx=context, name="arsenal", title="The command line")
    readable = text.replace("```console", "```text").strip()  # nobody runs these transcripts
    return joined([NOTICE.format(source="`platform_core/bootstrap/cli.py`"), "", readable, ""])


def openapi_document() -> str:
    """The OpenAPI document as served, with sorted keys so that a change reads as a change."""
    return json.dumps(served_openapi(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def http_api() -> str:
    """Every route: method, path, operation, what it does, statuses."""
    document = served_openapi()
    lines = heading("HTTP API", source="the served OpenAPI document")
    lines += [
        "The whole document, with schemas and examples: [openapi.json](openapi.json). Errors: [errors.md](errors.md).",
        "",
        "| route | operation | does | answers |",
        "|---|---|---|---|",
    ]
    for path, methods in sorted(document["paths"].items()):
        for method in (name for name in HTTP_METHODS if name in methods):
            route = methods[method]
            statuses = ", ".join(sorted(route.get("responses", {})))
            summary = route.get("summary", "")
            lines.append(f"| `{method.upper()} {path}` | `{route['operationId']}` | {cell(summary)} | {statuses} |")
    return joined([*lines, ""])


def scopes() -> str:
    """Every scope: name, words of the consent page in both languages, marks."""
    package = importlib.import_module("platform_core.contracts.scopes")
    lines = heading("Scopes", source="`platform_core/contracts/scopes/`")
    lines += [
        "What an app may be allowed to do, in the words of the consent page. A scope is never renamed.",
        "",
        "M: metered by limits. S: needs a fresh second factor. P: personal data. I: also for an app that acts for no",
        "merchant. T: test mode only. O: owner or administrator, never an app.",
        "",
        "| scope | en | zh | marks |",
        "|---|---|---|---|",
    ]
    for name, scope in package.catalogue().items():
        lines.append(f"| `{name}` | {cell(scope.text.en)} | {cell(scope.text.zh)} | {' '.join(scope.marks)} |")
    return joined([*lines, ""])


def headers() -> str:
    """Every header of the API's own conventions: what may be sent, what is answered."""
    module = importlib.import_module("platform_core.kernel.http.openapi_document")
    lines = heading("Headers", source="`platform_core/kernel/http/openapi_document.py`")
    lines += ["## Sent", "", "| header | meaning | form |", "|---|---|---|"]
    for words in module.PARAMETERS.values():
        needed = "Needed where the route names it. " if words.get("required") else ""
        form = words["schema"].get("pattern")
        lines.append(
            f"| `{words['name']}` | {needed}{cell(words['description'])} | {f'`{cell(form)}`' if form else ''} |"
        )
    lines += ["", "## Answered", "", "| header | meaning | form |", "|---|---|---|"]
    for name, meaning, pattern in module.HEADERS.values():
        lines.append(f"| `{name}` | {cell(meaning)} | {form_cell(pattern)} |")
    return joined([*lines, ""])


def authorization_details() -> str:
    """Every type of `authorization_details`: what it limits, what it counts, how it reads, default and ceiling."""
    types = importlib.import_module("platform_core.contracts.rar").detail_types()
    policy = importlib.import_module("platform_core.identity.limit_policy").shipped_policy()
    lines = heading("Authorization details", source="`DETAIL_TYPES` of `platform_core/contracts/scopes`")
    lines += [
        "What an app may do up to a limit (RFC 9396). A limit is `per` request, day, week (from Monday), month or",
        "grant, in the merchant's time zone, and names one measure: `amount_minor` or `face_amount_minor` with",
        "`currency`, `quantity`, `points` or `receivers`. A grant of a metered scope without details gets the default;",
        "nobody gets more than the ceiling. The table shows what ships; the operator sets how much money, by currency",
        "([`ARSENAL_MONEY_LIMITS`](settings.md)): one without a ceiling is not granted, but to a merchant's own app.",
        "`actions`, `locations` and `stores` may narrow a detail further; there are at most 20.",
        "",
        "An act beyond a limit is refused: [`identity.limit_exceeded`](errors.md#identitylimit_exceeded).",
        "The event `limit.exhausted` (scope `grant_management_query`) says so once for a window: when an act leaves",
        "nothing of it, or a first act is refused for more than is `left`. It names `grant_id`, `type`, `limit`, the",
        "first day of the `window` (`all`: the grant's whole life) and `resets_at`. A window is closed 35 days after",
        "its end.",
        "",
        "| type | scopes | measures | actions | en | zh | default | ceiling |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind in types.values():
        said = [
            ", ".join(limit.say("en", kind.counted) for limit in limits[kind.name])
            for limits in (policy.defaults, policy.ceilings)
        ]
        cells = [
            f"`{kind.name}`",
            ", ".join(f"`{name}`" for name in kind.scopes),
            ", ".join(kind.measures),
            ", ".join(kind.actions),
            kind.text.en,
            kind.text.zh,
            *said,
        ]
        lines.append(f"| {' | '.join(map(cell, cells))} |")
    return joined([*lines, ""])


def hooks() -> str:
    """Every hook: what it is told, what it answers, deadline, failure, example."""
    known = importlib.import_module("platform_core.contracts.catalogue").hooks()
    lines = heading("Hooks", source="the hookspecs (`@hook`) of `platform_core/contracts`")
    lines += [
        "What a plugin may implement; [write-a-plugin.md](../how-to/write-a-plugin.md) shows the way, beginning with",
        "`arsenal plugin new <name> --hook <hook>`. A field is sent when the manifest lists its path and the",
        "scopes beside it are granted; a path that is listed and not granted is None and named in `withheld`.",
        "",
    ]
    kinds = importlib.import_module("platform_core.contracts.hooks").KINDS
    lines += ["| kind | deadline each | all | decides | on failure |", "|---|---|---|---|---|"]
    for kind, rule in kinds.items():
        all_ms = "" if rule.all_ms is None else f"{rule.all_ms} ms"
        deciding = "yes: reads and state alone" if rule.is_deciding else "no"
        lines.append(f"| `{kind}_` | {rule.each_ms} ms | {all_ms} | {deciding} | {cell(rule.on_failure)} |")
    for kind in kinds:
        for spec in sorted((each for each in known.values() if each.kind == kind), key=lambda each: str(each.name)):
            lines += hook_section(spec)
    return joined([*lines, ""])


def alipay_gateway() -> str:
    """What the Alipay-compatible gateway speaks: methods with their fields, and how refusals read."""
    rows = importlib.import_module("sandbox.simulators.alipay_gateway.methods").catalogue().values()
    table = importlib.import_module("sandbox.simulators.alipay_gateway.codes").TABLE
    lines = heading("The Alipay-compatible gateway", source="`sandbox/simulators/alipay_gateway`")
    lines += [
        "What `/gateway.do` of a sandbox speaks. Use and limits: [how-to](../how-to/alipay-gateway.md).",
        "",
        "## Methods",
        "",
        "Required fields are marked `*`. Fields that stand in no row are taken, kept on the stored request and counted",
        "by `arsenal sandbox alipay methods --unused`.",
        "",
        "| method | behind it | scope | fields |",
        "|---|---|---|---|",
    ]
    for row in rows:
        if row.asks is not None:
            scope = f"`{row.scope}`" if row.scope else ""
            lines.append(f"| `{row.name}` | {cell(row.native)} | {scope} | {fields_of(row.asks)} |")
    lines += [
        "",
        "## Methods that are not here yet",
        "",
        "They are answered as methods that do not exist: `40002 isv.invalid-method` in `error_response`.",
        "",
        "| method | waits for |",
        "|---|---|",
        *(f"| `{row.name}` | {row.waits_for} |" for row in rows if row.asks is None),
        "",
        "## How refusals of the platform read",
        "",
        "| native error | code, sub_code | sub_msg |",
        "|---|---|---|",
        *(f"| `{row.native}` | {row.code} `{row.sub_code}` | {cell(row.sub_msg)} |" for row in table.native),
        "",
        "## How declines of the wallet read",
        "",
        "Code 40004. A decline that is not listed is `ACQ.PAYMENT_FAIL`.",
        "",
        "| wallet | sub_code | sub_msg |",
        "|---|---|---|",
        *(f"| `{row.wallet}` | `{row.sub_code}` | {cell(row.sub_msg)} |" for row in table.wallet),
        "",
    ]
    return joined(lines)


def fields_of(model: Any) -> str:  # Any: a pydantic model
    """The fields of a request, required ones marked and first."""
    ordered = sorted(model.model_fields.items(), key=lambda item: not item[1].is_required())
    return ", ".join(f"`{name}`{'*' if field.is_required() else ''}" for name, field in ordered)


def hook_section(spec: Any) -> list[str]:  # Any: contracts.hooks.HookSpec, which is imported late
    """One hook's part of the page."""
    text, example = spec.reference.partition(">>>")[0].strip(), spec.reference.partition(">>>")[2]
    signature = str(inspect.signature(spec.function)).replace("'", "")
    lines = ["", f"## {spec.name}", "", text, "", "```text", f"{spec.name}{signature}", "```", ""]
    facts = [f"Kind `{spec.kind}_`", f"major {spec.version}", f"since contract {spec.since}"]
    facts.append(f"scope `{spec.scope}`" if spec.scope else "no scope")
    if spec.deprecated_since is not None:
        facts.append(f"deprecated since {spec.deprecated_since}, leaves in {spec.removed_in}, use {spec.replaced_by}")
    lines.append(f"{', '.join(facts)}.")
    if spec.payload is not None:
        paths = importlib.import_module("platform_core.contracts.fields").paths_of(spec.payload)
        lines += ["", f"{spec.payload.__name__}:", "", "| path | scopes besides |", "|---|---|"]
        lines += [f"| `{path}` | {', '.join(f'`{scope}`' for scope in sorted(paths[path]))} |" for path in paths]
    if example:
        lines += ["", "```text", *(line for line in f">>>{example}".splitlines()), "```"]
    return lines


def sandbox() -> str:
    """Everything that a sandbox does on a word: codes, amounts, buyers, faults, scenarios and their format."""
    acquirer = importlib.import_module("sandbox.simulators.acquirer.scenarios")
    played = importlib.import_module("sandbox.testbed.trigger_scenarios")
    lines = heading("Sandbox: magic values and scenarios", source="`sandbox/testbed` and `sandbox/simulators/acquirer`")
    lines += [
        "Amounts are minor units of CNY. What each scenario of the acquirer does:",
        "[simulated-acquirer.md](simulated-acquirer.md#scenarios).",
        "",
        "## Codes and amounts",
        "",
        "A code `sim:<scenario>[-<number>][:<anything>]` is good once for each `<anything>`.",
        "",
        "| scenario | payment code | amount |",
        "|---|---|---|",
    ]
    amounts = {name: amount for amount, name in acquirer.MAGIC_AMOUNTS.items()}
    lines += [f"| `{name}` | `sim:{name}:1` | {amounts.get(name, '')} |" for name in acquirer.SCENARIOS]
    lines += ["", "## Test buyers", "", "| buyer | behaves | balance at first |", "|---|---|---|"]
    for buyer in importlib.import_module("sandbox.simulators.acquirer.buyers").BUYERS:
        lines.append(f"| `{buyer.id}` | {buyer.temper} | {buyer.balance_minor} |")
    lines += ["", "## Scripted faults", "", "| effect | argument, by default | what happens |", "|---|---|---|"]
    for effect, (argument, words) in importlib.import_module("sandbox.testbed.faults").MEANING.items():
        lines.append(f"| `{effect}` | {argument} | {cell(words)} |")
    lines += ["", "## Scenarios of `arsenal trigger`", "", "| group | scenario | form | ends as | what happens |"]
    lines.append("|---|---|---|---|---|")
    for row in sorted(played.SCENARIOS.values(), key=lambda row: (row.group, row.name)):
        lines.append(f"| {row.group} | `{row.name}` | `{row.form}` | `{row.expect.state}` | {cell(row.summary)} |")
    lines += ["", "## Format of a scenario", ""]
    lines += ["One TOML file in `sandbox/testbed/scenarios`; its name is the scenario's. Unknown keys are refused.", ""]
    for title, model in (("scenario", played.Scenario), ("`[[before]]`, `[[steps]]`", played.Step),
                         ("`[expect]`", played.Expect), ("`[[expect.reads]]`", played.Read)):  # fmt: skip
        lines += [f"### {title}", "", " ".join((model.__doc__ or "").split()), "", "| key | meaning | default |"]
        lines.append("|---|---|---|")
        for name, field in model.model_fields.items():
            default = "needed" if field.is_required() else "" if field.default in ("", None, (), {}) else field.default
            shown = "" if isinstance(default, played.Expect) else f"`{default}`" if default != "" else ""
            lines.append(f"| `{name}` | {cell(field.description or '')} | {shown} |")
        lines.append("")
    return joined(lines)


PAGES: Final = (
    Page("errors.md", "platform_core.kernel.errors", error_codes),
    Page("settings.md", "platform_core.kernel.settings", settings),
    Page("cli.md", "platform_core.bootstrap.cli", command_line),
    Page("openapi.json", "platform_core.bootstrap.openapi", openapi_document),
    Page("api.md", "platform_core.bootstrap.openapi", http_api),
    Page("scopes.md", "platform_core.contracts.scopes", scopes),
    Page("headers.md", "platform_core.kernel.http.openapi_document", headers),
    Page("hooks.md", "platform_core.contracts.catalogue", hooks),
    Page("sandbox.md", "sandbox.testbed.trigger_scenarios", sandbox),
    Page("authorization-details.md", "platform_core.contracts.rar", authorization_details),
    Page("alipay-gateway.md", "sandbox.simulators.alipay_gateway.methods", alipay_gateway),
)


def served_openapi() -> dict[str, Any]:  # Any: JSON
    """The document that the application serves, without starting it."""
    document: dict[str, Any] = importlib.import_module("platform_core.bootstrap.openapi").document()
    return document


def import_everything() -> None:
    """Import every module of ours, so that whatever declares itself on import has done so."""
    for root in ROOT_PACKAGES:
        package = importlib.import_module(root)
        for name in modules_below(package.__path__, prefix=f"{root}."):
            importlib.import_module(name)


def modules_below(path: Iterable[str], *, prefix: str) -> Iterator[str]:
    """Names of all modules below a package; tests and migrations declare nothing."""
    for found in pkgutil.iter_modules(path, prefix):
        last = found.name.rpartition(".")[2]
        if last in ("tests", "migrations", "versions", "__main__", "conftest"):
            continue
        yield found.name
        if found.ispkg:
            yield from modules_below(importlib.import_module(found.name).__path__, prefix=f"{found.name}.")


def values_of(field: Mapping[str, Any]) -> str:  # Any: a JSON schema
    """A setting's JSON schema in words: type, choices, bounds."""
    shapes = [shape for shape in field.get("anyOf", [field]) if shape.get("type") != "null"]
    words = []
    for shape in shapes:
        if "enum" in shape:
            words.append(" or ".join(str(value) for value in shape["enum"]))
            continue
        word = {"password": "secret text", "path": "path"}.get(shape.get("format", ""), shape.get("type", "any"))
        least, most = shape.get("minimum"), shape.get("maximum")
        if least is not None and most is not None:
            word += f" from {least} to {most}"
        if "minLength" in shape:
            word += f", {shape['minLength']} characters at least"
        if "pattern" in shape:
            word += f" like `{shape['pattern']}`"
        words.append(word)
    return " or ".join(words)


def heading(title: str, *, source: str) -> list[str]:
    """The first lines of a page."""
    return [f"# {title}", "", NOTICE.format(source=source), ""]


def cell(text: str) -> str:
    """Text that fits into one table cell."""
    return text.replace("|", "\\|").replace("\n", " ")


def form_cell(pattern: str | None) -> str:
    """A regular expression in a table cell."""
    return f"`{cell(pattern)}`" if pattern else ""


def joined(lines: Iterable[str]) -> str:
    """Lines as a file that ends in one line break."""
    return "\n".join(lines).rstrip("\n") + "\n"


def is_producible(page: Page) -> bool:
    """Whether the module that the page describes is part of this tree."""
    try:
        return importlib.util.find_spec(page.producer) is not None
    except ModuleNotFoundError:
        return False


def stale_pages() -> list[str]:
    """What is wrong with the pages as they stand, one sentence a page."""
    faults = []
    for page in PAGES:
        if not is_producible(page):
            if page.path.exists():
                faults.append(f"{page.name} describes {page.producer}, which is gone. Remove the page and its row.")
        elif not page.path.exists():
            faults.append(f"{page.name} is missing. Run: make docs")
        elif page.path.read_text(encoding="utf-8") != page.render():
            faults.append(f"{page.name} is stale. Run: make docs")
    return faults


def broken_callers() -> list[str]:
    """What the served interface breaks for callers of the committed one, and no change covers."""
    committed = REFERENCE / "openapi.json"
    try:
        old = json.loads(committed.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):  # none yet, or one in the middle of a merge
        return []
    difference = importlib.import_module("platform_core.bootstrap.openapi_difference")
    changes = importlib.import_module("platform_core.contracts.versions").changes()
    covered = [words for change in changes for words in change.covers]
    found: list[str] = difference.uncovered_differences(old, served_openapi(), covered)
    return found


def main(arguments: list[str]) -> int:
    """Write or check; a page whose producer is not part of this tree is named, never passed over in silence."""
    for page in PAGES:
        if not is_producible(page):
            sys.stdout.write(f"docs/reference/{page.name}: not yet, {page.producer} is not part of this tree\n")
    if arguments == ["--check"]:
        faults = [f"openapi.json breaks callers: {words}" for words in broken_callers()] + stale_pages()
        for fault in faults:
            sys.stdout.write(f"docs/reference/{fault}\n")
        return 1 if faults else 0
    if arguments not in ([], ["--accept-breaking"]):
        sys.stderr.write("usage: docs/generate.py [--check | --accept-breaking]\n")
        return 2
    broken = [] if arguments else broken_callers()
    for words in broken:
        sys.stdout.write(f"docs/reference/openapi.json would break callers: {words}\n")
    if broken:
        sys.stdout.write(
            "Nothing is written. Add a file to platform_core/contracts/versions that covers each of them.\n"
        )
        return 1
    for page in PAGES:
        if is_producible(page):
            page.path.write_text(page.render(), encoding="utf-8")
            sys.stdout.write(f"docs/reference/{page.name} written\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
