"""The rules of a manifest that need more than one value: catalogues, and what must go together."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import urlsplit

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version

from platform_core.contracts import catalogue, rar, scopes
from platform_core.contracts.fields import paths_of
from platform_core.contracts.hooks import CONTRACT, HookSpec, promised_methods
from platform_core.contracts.manifest import (
    About,
    Authorization,
    ConfigUse,
    EgressUse,
    HookUse,
    PersonalData,
    ProviderUse,
    RemoteUse,
    Resources,
    ScopeUse,
    SecretUse,
    StateQuota,
)
from platform_core.contracts.manifest_findings import Finding, Severity
from platform_core.contracts.manifest_lines import Path

_ANSWER_KIB: Final = 1024
"""Larger answers of hosts outside are reviewed by a person (plugins.md section 2)."""
_PRIVATE_SUFFIXES: Final = ("localhost", "local", "internal", "lan", "home", "corp", "onion")
_SPDX_WORDS: Final = frozenset({"AND", "OR", "WITH"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A manifest in parts; those that broke a rule of their own type are not among them."""

    raw: Mapping[str, Any]  # Any: what TOML holds
    plugin: About | None
    config: ConfigUse | None
    remote: RemoteUse | None
    state: StateQuota | None
    resources: Resources | None
    hooks: tuple[tuple[int, HookUse], ...]
    providers: tuple[tuple[int, ProviderUse], ...]
    scopes: tuple[tuple[int, ScopeUse], ...]
    authorizations: tuple[tuple[int, Authorization], ...]
    egress: tuple[tuple[int, EgressUse], ...]
    secrets: tuple[tuple[int, SecretUse], ...]
    personal_data: tuple[tuple[int, PersonalData], ...]

    def names(self, section: str, key: str = "name") -> frozenset[str]:
        """What a section names, broken parts included: a broken scope is still the one that was meant."""
        items = self.raw.get(section, [])
        parts = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
        return frozenset(part[key] for part in parts if isinstance(part.get(key), str))

    def kinds(self) -> frozenset[str]:
        """Prefixes of the hooks it names."""
        return frozenset(name.partition("_")[0] for name in self.names("hooks"))


@dataclass(slots=True)
class Report:
    """Collects findings and gives them their lines."""

    lines: Mapping[Path, int]
    _findings: list[Finding] = field(default_factory=list)

    def error(self, rule: str, path: Path, *, found: str, next_step: str) -> None:
        """The manifest is refused."""
        self._add(rule, path, severity="error", found=found, next_step=next_step)

    def warn(self, rule: str, path: Path, *, found: str, next_step: str) -> None:
        """Somebody should look."""
        self._add(rule, path, severity="warning", found=found, next_step=next_step)

    def in_order(self) -> tuple[Finding, ...]:
        """By line, then rule."""
        return tuple(sorted(self._findings, key=lambda each: (each.line, each.rule, each.path)))

    def _add(self, rule: str, path: Path, *, severity: Severity, found: str, next_step: str) -> None:
        near = path
        while near not in self.lines:
            near = near[:-1]
        said = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
        line = self.lines[near]
        self._findings.append(
            Finding(rule=rule, severity=severity, line=line, path=said, found=found, next_step=next_step)
        )


def _near(name: str, known: Iterable[str]) -> str:
    """A next step that names what was probably meant."""
    close = difflib.get_close_matches(name, sorted(known), n=1)
    return f"Did you mean {close[0]}?" if close else f"Known are {', '.join(sorted(known))}."


def check_contract(declared: Declared, report: Report) -> None:
    """The range of contract versions."""
    if declared.plugin is None:
        return
    at, written, here = ("plugin", "contract"), declared.plugin.contract, Version(CONTRACT)
    fitting = f'Write contract = ">={CONTRACT},<{here.major + 1}".'
    try:
        wanted = SpecifierSet(written)
    except InvalidSpecifier:
        report.error("MAN-010", at, found=f"{written!r} is no range of versions (PEP 440).", next_step=fitting)
        return
    majors = [major for major in range(here.major + 50) if wanted.contains(f"{major}.9999", prereleases=True)]
    nexts = [m for m in range(here.major + 50) if wanted.contains(f"{m}.0", prereleases=True)]
    if len(set(majors) | set(nexts)) > 1:
        report.error(
            "MAN-010", at, found=f"{written!r} goes beyond one major version, which may break it.", next_step=fitting
        )
    if not wanted.contains(here, prereleases=True):
        report.error("MAN-011", at, found=f"{written!r} does not cover this contract, {CONTRACT}.", next_step=fitting)


def check_license(declared: Declared, report: Report) -> None:
    """Only what every plugin may be told: words that are no identifiers."""
    if declared.plugin is None:
        return
    words = [word for word in declared.plugin.license.split() if word not in _SPDX_WORDS]
    if any(word.lower() in {"unknown", "none", "free", "proprietary", "see-license"} for word in words):
        said = f"{declared.plugin.license!r} is no SPDX licence expression."
        report.error(
            "MAN-012",
            ("plugin", "license"),
            found=said,
            next_step='Such as "Apache-2.0", or "LicenseRef-Acme" for your own.',
        )


def check_hooks(declared: Declared, report: Report) -> None:
    """Hooks, their fields and deadlines."""
    known = catalogue.hooks()
    seen: set[str] = set()
    for place, use in declared.hooks:
        at: Path = ("hooks", place)
        if use.name in seen:
            report.error(
                "MAN-021", (*at, "name"), found=f"{use.name} is listed twice.", next_step="Merge the two entries."
            )
            continue
        seen.add(use.name)
        spec = known.get(use.name)
        if spec is None:
            said = f"There is no hook {use.name} in contract {CONTRACT}."
            report.error("MAN-020", (*at, "name"), found=said, next_step=_near(use.name, known))
            continue
        if use.version != spec.version:
            said = f"{use.name} is major {spec.version}, not {use.version}."
            report.error(
                "MAN-020",
                (*at, "version"),
                found=said,
                next_step=f"Write version = {spec.version}, or name another hook.",
            )
        if use.deadline_ms is not None and use.deadline_ms > spec.rule.each_ms:
            said = f"{use.deadline_ms} ms is more than a {spec.kind}_ hook gets."
            report.error(
                "MAN-024",
                (*at, "deadline_ms"),
                found=said,
                next_step=f"Write at most {spec.rule.each_ms}, or leave it out.",
            )
        if spec.deprecated_since is not None:
            said = f"{use.name} is deprecated since {spec.deprecated_since} and leaves in {spec.removed_in}."
            report.warn("MAN-025", (*at, "name"), found=said, next_step=f"Move to {spec.replaced_by}.")
        _check_fields(use, spec, at=at, declared=declared, report=report)


def _check_fields(use: HookUse, spec: HookSpec, *, at: Path, declared: Declared, report: Report) -> None:
    if spec.payload is None:
        if use.fields:
            report.error("MAN-022", (*at, "fields"), found=f"{use.name} has no payload.", next_step="Remove fields.")
        return
    if not use.fields:
        said = f"{use.name} asks for no field, so it is told nothing but that it happened."
        report.warn("MAN-026", at, found=said, next_step="List the fields that it reads: fields = [...].")
    paths, have = paths_of(spec.payload), declared.names("scopes")
    missing: dict[str, list[str]] = {}
    for place, path in enumerate(use.fields):
        where = (*at, "fields", place)
        if path not in paths:
            report.error(
                "MAN-022", where, found=f"{spec.payload.__name__} has no {path}.", next_step=_near(path, paths)
            )
            continue
        if path in use.fields[:place]:
            report.error("MAN-022", where, found=f"{path} is listed twice.", next_step="Remove one of them.")
        base = frozenset() if spec.scope is None else frozenset({spec.scope})
        for scope in sorted((base | paths[path]) - have):
            missing.setdefault(scope, []).append(path)
    for scope, fields in missing.items():
        said = f"The scope {scope}, which covers {', '.join(fields)} of {use.name}, is not declared."
        step = f'Add {{ name = "{scope}", purpose = {{ zh = "...", en = "..." }} }} to scopes, or ask for less.'
        report.error("MAN-023", (*at, "fields"), found=said, next_step=step)


def check_providers(declared: Declared, report: Report) -> None:
    """What `register_` hooks hand over."""
    known, used = catalogue.hooks(), declared.names("hooks")
    seen: set[tuple[str, str]] = set()
    for place, use in declared.providers:
        at: Path = ("providers", place)
        if use.hook not in used:
            said = f"{use.hook} is not among the plugin's hooks."
            report.error("MAN-030", (*at, "hook"), found=said, next_step=f'Add [[hooks]] with name = "{use.hook}".')
        if (use.hook, use.id) in seen:
            report.error("MAN-032", (*at, "id"), found=f"{use.id} is listed twice.", next_step="Merge the two entries.")
        seen.add((use.hook, use.id))
        spec = known.get(use.hook)
        if spec is not None and spec.kind == "register":
            _check_methods(use, methods_of(spec), at=at, report=report)
    handed = declared.names("providers", "hook")
    for place, hook in declared.hooks:
        if hook.name.startswith("register_") and hook.name in known and hook.name not in handed:
            said = f"{hook.name} hands over an object that no [[providers]] declares."
            report.error(
                "MAN-030", ("hooks", place), found=said, next_step=f'Add [[providers]] with hook = "{hook.name}".'
            )


def methods_of(spec: HookSpec) -> frozenset[str]:
    """Public methods of what a `register_` hookspec promises, and of what its object may have besides."""
    return frozenset(promised_methods(spec))


def _check_methods(use: ProviderUse, known: frozenset[str], *, at: Path, report: Report) -> None:
    for place, method in enumerate(use.methods):
        if method not in known:
            said = f"{use.hook} hands over an object that has no {method}."
            report.error("MAN-031", (*at, "methods", place), found=said, next_step=_near(method, known))
        elif method in use.methods[:place]:
            report.error(
                "MAN-031", (*at, "methods", place), found=f"{method} is listed twice.", next_step="Remove one of them."
            )
    if "describe" in known and "describe" not in use.methods:
        report.error(
            "MAN-031",
            (*at, "methods"),
            found="`describe` is missing.",
            next_step='Add "describe": the host calls it first.',
        )


def check_scopes(declared: Declared, report: Report) -> None:
    """Scopes, and whether they are used."""
    known = scopes.catalogue()
    seen: set[str] = set()
    needed = _needed_scopes(declared)
    has_personal_data = bool(declared.raw.get("personal_data"))
    for place, use in declared.scopes:
        at: Path = ("scopes", place, "name")
        if use.name in seen:
            report.error("MAN-041", at, found=f"{use.name} is listed twice.", next_step="Merge the two entries.")
            continue
        seen.add(use.name)
        scope = known.get(use.name)
        if scope is None:
            report.error("MAN-040", at, found=f"There is no scope {use.name}.", next_step=_near(use.name, known))
            continue
        if not (scope.is_for_apps and scope.needs_merchant):
            said = f"{use.name} is held by people, or without a merchant; no plugin can have it."
            report.error(
                "MAN-040", at, found=said, next_step="Remove it; docs/reference/scopes.md marks those with O and I."
            )
        if scope.is_personal and not has_personal_data:
            said = f"{use.name} shows personal data, and the manifest does not say what becomes of it."
            report.error(
                "MAN-043", at, found=said, next_step="Add [[personal_data]] with category, purpose and retention_days."
            )
        if scope.is_metered and not _has_authorization(declared, use.name):
            step = f'Add [[authorizations]] with type = "{rar.type_of_scope()[use.name].name}" and limits.'
            report.warn(
                "MAN-052",
                at,
                found=f"{use.name} is metered, and the manifest names no limits of its own.",
                next_step=step,
            )
        if use.name.endswith(":read") and use.name not in needed:
            said = f"No declared field needs {use.name}."
            report.warn(
                "MAN-042", at, found=said, next_step="Remove it, unless ctx.call uses it: merchants see every scope."
            )


def _needed_scopes(declared: Declared) -> frozenset[str]:
    known = catalogue.hooks()
    needed: set[str] = set()
    for _, use in declared.hooks:
        spec = known.get(use.name)
        if spec is None or spec.payload is None or not use.fields:
            continue
        paths = paths_of(spec.payload)
        needed |= {spec.scope} if spec.scope is not None else set()
        needed.update(*(paths[path] for path in use.fields if path in paths))
    return frozenset(needed)


def _has_authorization(declared: Declared, scope: str) -> bool:
    return rar.type_of_scope()[scope].name in declared.names("authorizations", "type")


def check_authorizations(declared: Declared, report: Report) -> None:
    """Metered permissions."""
    known, have = rar.detail_types(), declared.names("scopes")
    seen: set[str] = set()
    for place, use in declared.authorizations:
        at: Path = ("authorizations", place)
        kind = known.get(use.type)
        if kind is None:
            report.error(
                "MAN-050", (*at, "type"), found=f"There is no type {use.type}.", next_step=_near(use.type, known)
            )
            continue
        if use.type in seen:
            report.error(
                "MAN-050",
                (*at, "type"),
                found=f"{use.type} is listed twice.",
                next_step="Merge the limits into one entry.",
            )
        seen.add(use.type)
        if not have & set(kind.scopes):
            said = f"{use.type} limits {', '.join(kind.scopes)}, which is not declared."
            report.error("MAN-050", (*at, "type"), found=said, next_step="Add the scope, or remove the authorization.")
        counted: set[tuple[str, str | None]] = set()
        for number, limit in enumerate(use.limits):
            where = (*at, "limits", number)
            if limit.per not in rar.PERIODS:
                said = f"A limit is per {', '.join(rar.PERIODS)}, not per {limit.per}."
                report.error("MAN-051", (*where, "per"), found=said, next_step=_near(limit.per, rar.PERIODS))
            measure = "quantity" if limit.quantity is not None else "amount"
            if measure not in kind.measures:
                said = f"{use.type} does not count by {measure}, but by {', '.join(kind.measures)}."
                report.error("MAN-051", where, found=said, next_step="See docs/reference/authorization-details.md.")
            if (limit.per, limit.currency) in counted:
                report.error("MAN-051", where, found="Two limits count the same.", next_step="Keep one of them.")
            counted.add((limit.per, limit.currency))


def check_egress(declared: Declared, report: Report) -> None:
    """Hosts outside."""
    seen: set[tuple[str, int]] = set()
    for place, use in declared.egress:
        at: Path = ("egress", place)
        if (use.host, use.port) in seen:
            said = f"{use.host}:{use.port} is listed twice."
            report.error("MAN-060", (*at, "host"), found=said, next_step="Merge the methods into one entry.")
        seen.add((use.host, use.port))
        last = use.host.rpartition(".")[2]
        if last in _PRIVATE_SUFFIXES or re.fullmatch(r"[0-9]+", last):
            said = f"{use.host} is an address or a private name; only public names are reached."
            report.error("MAN-060", (*at, "host"), found=said, next_step="Name the host by its public DNS name.")
        if use.response_kib_max > _ANSWER_KIB:
            said = f"Answers of up to {use.response_kib_max} KiB are reviewed by a person."
            report.warn(
                "MAN-062", (*at, "response_kib_max"), found=said, next_step=f"Stay within {_ANSWER_KIB} if you can."
            )
    is_remote = declared.plugin is not None and declared.plugin.runtime == "remote"
    if declared.egress and not is_remote and not declared.kinds() & {"on", "register"}:
        said = "Only on_ hooks and providers reach hosts outside; this plugin has neither."
        report.error(
            "MAN-061",
            ("egress",),
            found=said,
            next_step="Move the work into an on_ hook or a provider, or remove [[egress]].",
        )


def check_secrets(declared: Declared, report: Report) -> None:
    """Secrets and where they may go."""
    hosts = declared.names("egress", "host")
    seen: set[str] = set()
    for place, use in declared.secrets:
        at: Path = ("secrets", place)
        if use.name in seen:
            report.error(
                "MAN-072",
                (*at, "name"),
                found=f"{use.name} is listed twice.",
                next_step="Give each secret its own name.",
            )
        seen.add(use.name)
        if use.kind == "token" and not use.hosts:
            said = f"{use.name} is a token and names no host that it may be sent to."
            report.error("MAN-070", at, found=said, next_step="Add hosts = [...], out of [[egress]].")
        if use.kind != "token" and use.hosts:
            said = f"{use.name} is a {use.kind}: it never leaves the platform, so it has no hosts."
            report.error("MAN-070", (*at, "hosts"), found=said, next_step="Remove hosts, or make it a token.")
        for number, host in enumerate(use.hosts if use.kind == "token" else ()):
            if host not in hosts:
                step = f'Add [[egress]] with host = "{host}".'
                report.error(
                    "MAN-071", (*at, "hosts", number), found=f"{host} is not declared in [[egress]].", next_step=step
                )
    if declared.secrets and not declared.kinds() & {"on", "register"}:
        said = "Only on_ hooks and providers use secrets; this plugin has neither."
        report.error(
            "MAN-072",
            ("secrets",),
            found=said,
            next_step="Remove [[secrets]]; an ordinary setting belongs into [config].",
        )


def check_remote(declared: Declared, report: Report) -> None:
    """Plugins that run at their publisher's."""
    about = declared.plugin
    is_remote = about is not None and about.runtime == "remote"
    if about is not None and is_remote != ("remote" in declared.raw):
        said = 'runtime = "remote" and [remote] go together.'
        report.error(
            "MAN-080", ("plugin", "runtime"), found=said, next_step="Add what is missing, or remove the other."
        )
    if is_remote and about is not None and about.has_native_code:
        said = "A remote plugin brings no code, so none of it is native."
        report.error("MAN-080", ("plugin", "has_native_code"), found=said, next_step="Remove has_native_code.")
    if declared.remote is not None:
        host = urlsplit(declared.remote.endpoint).hostname or ""
        if host not in declared.names("egress", "host"):
            said = f"{host}, the endpoint's host, is not declared in [[egress]]."
            report.error(
                "MAN-081", ("remote", "endpoint"), found=said, next_step=f'Add [[egress]] with host = "{host}".'
            )


def check_files_and_size(declared: Declared, report: Report) -> None:
    """The schema's path, and what a person must look at."""
    if declared.config is not None:
        path = PurePosixPath(declared.config.schema_)
        if path.suffix != ".json" or ".." in path.parts or path.is_absolute():
            said = f"{path} is no JSON file inside the package."
            report.error(
                "MAN-090", ("config", "schema"), found=said, next_step='Such as schema = "config.schema.json".'
            )
    for section, given, usual in (
        ("state", declared.state, StateQuota()),
        ("resources", declared.resources, Resources()),
    ):
        for name in [] if given is None else sorted(given.model_fields_set):
            value, default = getattr(given, name), getattr(usual, name)
            if isinstance(value, int) and value > default:
                said = f"{name} = {value} is above the usual {default}, and reviewed by a person."
                report.warn("MAN-091", (section, name), found=said, next_step="Stay within the usual if you can.")


CHECKS: Final[tuple[Callable[[Declared, Report], None], ...]] = (
    check_contract,
    check_license,
    check_hooks,
    check_providers,
    check_scopes,
    check_authorizations,
    check_egress,
    check_secrets,
    check_remote,
    check_files_and_size,
)
