"""The rules of the automated review, as an author runs them at home."""

from __future__ import annotations

import ast
import json
import re
import stat
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

from packaging.version import InvalidVersion, Version

from platform_core.bootstrap.commands.plugin_author_pack import pack
from platform_core.bootstrap.commands.plugin_author_project import Project
from platform_core.bootstrap.commands.plugin_author_tests import import_name, measured_p95_ms, run_tests
from platform_core.bootstrap.terminal import CliFailure
from platform_core.contracts import catalogue
from platform_core.contracts.manifest_findings import Finding
from platform_core.contracts.manifest_rules import Reading, inspect
from sandbox.runtime.wheels import is_taken

Outcome = Literal["pass", "fail", "human", "not_run"]

RULES: Final = MappingProxyType(
    {
        "REV-001": "The manifest keeps every rule of its own (MAN-nnn).",
        "REV-002": "The contract range covers this contract and ends below the next major.",
        "REV-003": "The package imports `platform_core.contracts` and nothing else of ours.",
        "REV-004": "No file is there that a bundle may not hold.",
        "REV-005": "The wheel has the manifest's version and one entry point, which names the package.",
        "REV-006": "Every field is covered by a scope.",
        "REV-007": "Every scope and every host is used.",
        "REV-008": "No secret stands in the tree.",
        "REV-009": "Every text is there in Chinese and in English.",
        "REV-010": "The licence is named, its text is there, and it is one that we know.",
        "REV-011": "The plugin has tests of its own, and they pass.",
        "REV-012": "The contract kit passes.",
        "REV-013": "The 95th percentile on the fixtures is at most half the deadline.",
        "REV-014": "The bundle is complete, and packing it twice gives the same bytes.",
        "REV-015": "The contract kit passes in a confined worker, without a forbidden kernel call.",
        "REV-016": "What a person must see is seen by one: native code, money, personal data, raised resources.",
    }
)
"""Each rule in one sentence. An id keeps its meaning for ever."""
LICENSES: Final = frozenset(
    {"Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MPL-2.0", "PSF-2.0", "Unlicense", "0BSD", "CC0-1.0"}
)
_OURS: Final = frozenset({"platform_core", "sandbox", "plugins", "capability_packs"})
_REFUSED_SUFFIXES: Final = frozenset({".pth", ".egg-link", ".pyc", ".pyo", ".exe", ".sh", ".bat"})
_NATIVE_SUFFIXES: Final = frozenset({".so", ".pyd", ".dll", ".dylib", ".a", ".o"})
_SECRETS: Final = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"), "a private key"),
    (re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b"), "a cloud provider's access key"),
    (re.compile(r"\b(sk|rk)_live_[0-9A-Za-z]{16,}"), "a live key"),
    (re.compile(r"\bgh[pousr]_[0-9A-Za-z]{36,}"), "a source host's token"),
    (
        re.compile(r"""(?i)(secret|token|password|api_?key)\w*\s*[:=]\s*["'][0-9A-Za-z+/_\-]{24,}={0,2}["']"""),
        "something that reads like a secret",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One rule's outcome."""

    rule: str
    outcome: Outcome
    found: str = ""
    next_step: str = ""


@dataclass(frozen=True, slots=True)
class _Facts:
    """What several rules look at."""

    project: Project
    reading: Reading

    def of(self, *rules: str) -> list[Finding]:
        return [finding for finding in self.reading.findings if finding.rule in rules]


def check(project: Project, *, rules: Collection[str] = RULES) -> list[Checked]:
    """These rules, in order. REV-011 to REV-013 run the plugin's tests and hooks, in processes of their own."""
    facts = _Facts(project, inspect(project.manifest.read_text(encoding="utf-8", errors="replace")))
    found: list[Checked] = []
    for rule, judge in _JUDGES.items():
        if rule not in rules:
            continue
        wrong = list(judge(facts))
        found.extend(wrong if wrong else [Checked(rule=rule, outcome="pass")])
    return found


def _fail(rule: str, found: str, next_step: str) -> Checked:
    return Checked(rule=rule, outcome="fail", found=found, next_step=next_step)


def _not_run(rule: str) -> Checked:
    return Checked(rule=rule, outcome="not_run", found="The manifest is refused.", next_step="Mend REV-001 first.")


def _manifest(facts: _Facts) -> Iterator[Checked]:
    apart = {"MAN-010", "MAN-011", "MAN-022", "MAN-023", "MAN-042", "MAN-005"}
    for finding in facts.reading.findings:
        if finding.severity == "error" and finding.rule not in apart:
            yield _told("REV-001", finding)


def _told(rule: str, finding: Finding, outcome: Outcome = "fail") -> Checked:
    where = f"plugin.toml:{finding.line} {finding.path}".rstrip()
    return Checked(
        rule=rule, outcome=outcome, found=f"{where}: {finding.rule} {finding.found}", next_step=finding.next_step
    )


def _range(facts: _Facts) -> Iterator[Checked]:
    yield from (_told("REV-002", finding) for finding in facts.of("MAN-010", "MAN-011"))


def _imports(facts: _Facts) -> Iterator[Checked]:
    for path, text in facts.project.sources().items():
        where = path.relative_to(facts.project.folder)
        try:
            tree = ast.parse(text)
        except SyntaxError as error:
            yield _fail("REV-003", f"{where}:{error.lineno} is no Python: {error.msg}.", "Mend it.")
            continue
        for line, module in _imported(tree):
            is_contracts = f"{module}.".startswith("platform_core.contracts.")
            if module.partition(".")[0] in _OURS and (not is_contracts or module.startswith(_TESTING)):
                said = f"{where}:{line} imports {module}."
                yield _fail("REV-003", said, "Import platform_core.contracts alone; ask for the rest through ctx.")


_TESTING: Final = "platform_core.contracts.testing"


def _imported(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that is imported absolutely."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            if node.module == "platform_core":
                yield from ((node.lineno, f"platform_core.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, node.module


def _files(facts: _Facts) -> Iterator[Checked]:
    is_native = facts.reading.manifest is not None and facts.reading.manifest.plugin.has_native_code
    for path in facts.project.files():
        where, mode = path.relative_to(facts.project.folder), path.lstat().st_mode
        if stat.S_ISLNK(mode) or mode & (stat.S_ISUID | stat.S_ISGID):
            yield _fail("REV-004", f"{where} is a link or has setuid bits.", "Put a plain file there.")
        elif path.suffix in _REFUSED_SUFFIXES or path.stem in {"sitecustomize", "usercustomize"}:
            yield _fail("REV-004", f"{where} may not come into a bundle.", "Take it out of the package.")
        elif path.suffix in _NATIVE_SUFFIXES and not is_native:
            step = "Set plugin.has_native_code, which a person then reviews, or do without."
            yield _fail("REV-004", f"{where} is compiled.", step)
    if is_taken(facts.project.name):
        said = f"The name {facts.project.name} is taken by Python, by us or by a library that every worker has."
        yield _fail("REV-004", said, "Give the package another name.")


def _wheel(facts: _Facts) -> Iterator[Checked]:
    project = facts.project.pyproject().get("project", {})
    if facts.reading.manifest is not None:
        yield from _version(facts, project, facts.reading.manifest.plugin.version)
    points = facts.project.entry_points()
    if list(points.values()) != [facts.project.name]:
        step = f'Write: [project.entry-points."arsenal.plugins"] {facts.project.name} = "{facts.project.name}"'
        yield _fail("REV-005", f"pyproject.toml names {points or 'no entry point'} in our group.", step)


def _version(facts: _Facts, project: dict[str, Any], version: str) -> Iterator[Checked]:  # Any: what TOML holds
    try:
        wanted = Version(version)
    except InvalidVersion:
        yield _fail("REV-005", f"{version} is no version of a wheel (PEP 440).", "Use 1.4.0, or 1.4.0-rc.1.")
        return
    given = project.get("version")
    if given is None and "version" not in project.get("dynamic", []):
        yield _fail("REV-005", "pyproject.toml has no version.", 'Write dynamic = ["version"], read from plugin.toml.')
    if isinstance(given, str) and Version(given) != wanted:
        said = f"pyproject.toml says {given}, plugin.toml {version}."
        yield _fail("REV-005", said, "Make them equal, or let pyproject.toml read the manifest's.")


def _fields(facts: _Facts) -> Iterator[Checked]:
    yield from (_told("REV-006", finding) for finding in facts.of("MAN-022", "MAN-023"))


def _unused(facts: _Facts) -> Iterator[Checked]:
    text = "\n".join(facts.project.sources().values())
    if not re.search(r"\.call\(", text):
        yield from (_told("REV-007", finding) for finding in facts.of("MAN-042"))
    for place, use in enumerate(facts.reading.manifest.egress if facts.reading.manifest else ()):
        if use.host not in text:
            said = f"egress[{place}]: {use.host} stands nowhere in the code."
            yield _fail("REV-007", said, "Remove it from [[egress]]: merchants see every host.")


def _secrets(facts: _Facts) -> Iterator[Checked]:
    beside = [facts.project.folder / name for name in ("pyproject.toml", "README.md")]
    for path in [*facts.project.files(), *(path for path in beside if path.is_file())]:
        if path.is_symlink() or path.suffix in _NATIVE_SUFFIXES:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            for pattern, what in _SECRETS:
                if pattern.search(line):
                    said = f"{path.relative_to(facts.project.folder)}:{number} holds {what}."
                    yield _fail(
                        "REV-008", said, "Remove it and change it where it is valid; declare it in [[secrets]]."
                    )
                    break


def _texts(facts: _Facts) -> Iterator[Checked]:
    yield from (_told("REV-009", finding) for finding in facts.of("MAN-005"))
    manifest = facts.reading.manifest
    if manifest is None or manifest.config is None:
        return
    path = facts.project.package / manifest.config.schema_
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))
        properties = dict(schema["properties"])
    except (OSError, ValueError, KeyError, TypeError):
        said = f"{manifest.config.schema_} is missing, or no JSON Schema of an object with properties."
        yield _fail("REV-009", said, "Write it, or remove [config].")
        return
    for name, one in properties.items():
        title = one.get("title") if isinstance(one, dict) else None
        if not isinstance(title, dict) or not all(title.get(language) for language in ("zh", "en")):
            said = f"{manifest.config.schema_}: {name} has no title in both languages."
            yield _fail("REV-009", said, 'Write "title": {"zh": "...", "en": "..."}.')


def _license(facts: _Facts) -> Iterator[Checked]:
    if not (facts.project.folder / "LICENSE").is_file():
        yield _fail("REV-010", "There is no LICENSE.", "Put the licence's text, or its notice, into LICENSE.")
    manifest = facts.reading.manifest
    words = re.findall(r"[A-Za-z0-9.+-]+", manifest.plugin.license) if manifest else []
    unknown = [word for word in words if word not in LICENSES | {"AND", "OR", "WITH"}]
    if unknown:
        said = f"{', '.join(unknown)} is none of the licences that need no look."
        yield Checked(rule="REV-010", outcome="human", found=said, next_step="A reviewer reads it.")


def _tests(facts: _Facts) -> Iterator[Checked]:
    """REV-011 and REV-012 by one run of the tests."""
    if facts.reading.manifest is None:
        for rule in ("REV-011", "REV-012"):
            yield Checked(
                rule=rule, outcome="not_run", found="The manifest is refused.", next_step="Mend REV-001 first."
            )
        return
    try:
        ran = run_tests(facts.project)
    except CliFailure as failure:
        yield _fail("REV-011", failure.message, failure.next_step)
        return
    own = [name for name in ran.failed if not any(test in name for test in ran.kit_missing)]
    for name in own:
        yield _fail("REV-011", name, "Run: arsenal plugin test")
    if not ran.is_own_tested:
        yield _fail("REV-011", "There are no tests beside the contract kit.", "Write tests/test_plugin.py.")
    elif not own:
        yield Checked(rule="REV-011", outcome="pass")
    for test in sorted(ran.kit_missing):
        said = next((name for name in ran.failed if test in name), f"{test} did not run.")
        yield _fail("REV-012", said, "Subclass platform_core.contracts.testing.PluginSuite in tests/test_contract.py.")
    if not ran.kit_missing:
        yield Checked(rule="REV-012", outcome="pass")


def _speed(facts: _Facts) -> Iterator[Checked]:
    if facts.reading.manifest is None:
        yield Checked(
            rule="REV-013", outcome="not_run", found="The manifest is refused.", next_step="Mend REV-001 first."
        )
        return
    try:
        taken = measured_p95_ms(facts.project, import_name(facts.project))
    except CliFailure as failure:
        yield _fail("REV-013", failure.message, failure.next_step)
        return
    for use in facts.reading.manifest.hooks:
        deadline = use.deadline_ms or catalogue.hooks()[use.name].rule.each_ms
        if taken.get(use.name, 0.0) > deadline / 2:
            said = f"{use.name} takes {taken[use.name]:.1f} ms at the 95th percentile; its deadline is {deadline} ms."
            yield _fail("REV-013", said, "Do less in the hook, or leave deadline_ms to the kind's.")


def _bundle(facts: _Facts) -> Iterator[Checked]:
    if facts.reading.manifest is None:
        yield Checked(
            rule="REV-014", outcome="not_run", found="The manifest is refused.", next_step="Mend REV-001 first."
        )
        return
    try:
        first, second = pack(facts.project), pack(facts.project)
    except CliFailure as failure:
        yield _fail("REV-014", failure.message, failure.next_step)
        return
    if first.content != second.content:
        yield _fail("REV-014", "Packing twice gave two bundles.", "Look for files that change while they are read.")


def _confined(facts: _Facts) -> Iterator[Checked]:
    said = "The kit runs in a confined worker when the release is submitted."
    yield Checked(rule="REV-015", outcome="not_run", found=said, next_step="Run: arsenal doctor")


def _people(facts: _Facts) -> Iterator[Checked]:
    manifest = facts.reading.manifest
    if manifest is None:
        return
    for finding in facts.of("MAN-062", "MAN-091"):
        yield _told("REV-016", finding, "human")
    asked = (
        (manifest.plugin.has_native_code, "It has native code."),
        (bool(manifest.authorizations), "It asks for money or other metered acts."),
        (bool(manifest.personal_data), "It sees personal data."),
    )
    for is_so, said in asked:
        if is_so:
            yield Checked(rule="REV-016", outcome="human", found=said, next_step="A reviewer looks at it.")


_JUDGES: Final[dict[str, Callable[[_Facts], Iterator[Checked]]]] = {
    "REV-001": _manifest,
    "REV-002": _range,
    "REV-003": _imports,
    "REV-004": _files,
    "REV-005": _wheel,
    "REV-006": _fields,
    "REV-007": _unused,
    "REV-008": _secrets,
    "REV-009": _texts,
    "REV-010": _license,
    "REV-011": _tests,
    "REV-013": _speed,
    "REV-014": _bundle,
    "REV-015": _confined,
    "REV-016": _people,
}
