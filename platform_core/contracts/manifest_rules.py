"""Reading `plugin.toml`: the manifest, or everything that is wrong with it in one pass.

What one value can tell is checked by the types of `manifest`; here, and in `manifest_checks`, it is held against the
catalogues of hooks, scopes and authorization types. The same rules hold at home, in review and at installation.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError

from platform_core.contracts.manifest import (
    HOST,
    HTTPS_URL,
    PLUGIN_ID,
    SEMVER,
    About,
    Authorization,
    ConfigUse,
    EgressUse,
    HookUse,
    Manifest,
    Name,
    PersonalData,
    ProviderUse,
    RemoteUse,
    Resources,
    ScopeUse,
    SecretUse,
    StateQuota,
    Words,
)
from platform_core.contracts.manifest_checks import CHECKS, Declared, Report
from platform_core.contracts.manifest_findings import Finding, ManifestRefused, errors
from platform_core.contracts.manifest_lines import Path, lines_of

M = TypeVar("M", bound=BaseModel)

BYTES_MAX: Final = 64 * 1024
_LISTS: Final = ("hooks", "providers", "scopes", "authorizations", "egress", "secrets", "personal_data")
_TABLES: Final = ("plugin", "config", "remote", "state", "resources")
_FORMS: Final[Mapping[str, str]] = {
    PLUGIN_ID: "An id is 3 to 5 lower-case labels, a domain in reverse, such as example.acme.risk",
    SEMVER: "A version is SemVer without build metadata, such as 1.4.0",
    HOST: "A host is a DNS name in lower case, without scheme, port or path, such as api.acme.example",
    HTTPS_URL: "An address is an https URL, such as https://acme.example/hooks",
}


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read."""

    manifest: Manifest | None
    """None when there is an error among the findings."""
    findings: tuple[Finding, ...]
    """In the order of the file."""


def read(text: str) -> Manifest:
    """The manifest. Raises ManifestRefused with all findings when one of them is an error."""
    reading = inspect(text)
    if reading.manifest is None:
        raise ManifestRefused(reading.findings)
    return reading.manifest


def inspect(text: str) -> Reading:
    """The manifest and all findings, warnings too. Never raises; runs none of the plugin's code."""
    if len(text.encode()) > BYTES_MAX:
        return _unreadable(1, f"The file has more than {BYTES_MAX // 1024} KiB.", "Shorten it.")
    try:
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        return _unreadable(_line_in(str(error)), f"This is no TOML: {error}.", "Mend the line; see toml.io.")
    report = Report(lines_of(text))
    declared = _declared(raw, report)
    for check in CHECKS:
        check(declared, report)
    findings = report.in_order()
    manifest = None if errors(findings) else Manifest.model_validate_json(_as_json(raw))
    return Reading(manifest, findings)


def _unreadable(line: int, found: str, next_step: str) -> Reading:
    finding = Finding(rule="MAN-001", severity="error", line=line, path="", found=found, next_step=next_step)
    return Reading(None, (finding,))


def _line_in(message: str) -> int:
    """The line that tomllib names at the end of its message, such as `(at line 3, column 5)`."""
    _, _, tail = message.partition("at line ")
    number = tail.partition(",")[0]
    return int(number) if number.isdigit() else 1


def _as_json(value: Any) -> bytes:  # Any: what TOML holds
    """TOML as JSON; dates and times, which no field has, become objects that no type takes."""
    return json.dumps(value, default=lambda other: {"toml": type(other).__name__}).encode()


def _declared(raw: Mapping[str, Any], report: Report) -> Declared:  # Any: what TOML holds
    """Each part by its own type, so that one broken part hides no finding about another."""
    for key in [name for name in raw if name not in {"manifest", *_LISTS, *_TABLES}]:
        known = ", ".join(("manifest", *_TABLES, *_LISTS))
        report.error(
            "MAN-003",
            (key,),
            found=f"There is no {key!r} in a manifest.",
            next_step=f"Use one of {known}, or remove it.",
        )
    if raw.get("manifest") != 1 or isinstance(raw.get("manifest"), bool):
        rule = "MAN-004" if "manifest" in raw else "MAN-002"
        said = "`manifest`, the format of this file, is to be 1."
        report.error(rule, ("manifest",), found=said, next_step="Write `manifest = 1` as the first line.")
    for key in ("plugin", "hooks"):
        if key not in raw:
            report.error(
                "MAN-002",
                (),
                found=f"`{key}` is missing.",
                next_step=f"Add {'[plugin]' if key == 'plugin' else '[[hooks]]'}.",
            )
    return Declared(
        raw=raw,
        plugin=_table(raw, "plugin", shape=About, report=report),
        config=_table(raw, "config", shape=ConfigUse, report=report),
        remote=_table(raw, "remote", shape=RemoteUse, report=report),
        state=_table(raw, "state", shape=StateQuota, report=report),
        resources=_table(raw, "resources", shape=Resources, report=report),
        hooks=_list(raw, "hooks", shape=HookUse, report=report),
        providers=_list(raw, "providers", shape=ProviderUse, report=report),
        scopes=_list(raw, "scopes", shape=ScopeUse, report=report),
        authorizations=_list(raw, "authorizations", shape=Authorization, report=report),
        egress=_list(raw, "egress", shape=EgressUse, report=report),
        secrets=_list(raw, "secrets", shape=SecretUse, report=report),
        personal_data=_list(raw, "personal_data", shape=PersonalData, report=report),
    )


def _table(raw: Mapping[str, Any], name: str, *, shape: type[M], report: Report) -> M | None:  # Any: what TOML holds
    if name not in raw:
        return shape.model_validate({}) if name in {"state", "resources"} else None
    return _part(raw[name], (name,), shape=shape, report=report)


def _list(
    raw: Mapping[str, Any],  # Any: what TOML holds
    name: str,
    *,
    shape: type[M],
    report: Report,
) -> tuple[tuple[int, M], ...]:
    items = raw.get(name, [])
    if not isinstance(items, list) or (name == "hooks" and name in raw and not items):
        report.error(
            "MAN-004",
            (name,),
            found=f"`{name}` is a list of tables, with one at least.",
            next_step=f"Write [[{name}]].",
        )
        return ()
    parts = [(place, _part(item, (name, place), shape=shape, report=report)) for place, item in enumerate(items)]
    return tuple((place, part) for place, part in parts if part is not None)


def _part(value: Any, path: Path, *, shape: type[M], report: Report) -> M | None:  # Any: what TOML holds
    try:
        return TypeAdapter(shape).validate_json(_as_json(value))
    except ValidationError as error:
        for each in error.errors(include_url=False, include_input=False):
            inner = tuple(each["loc"])
            said = _FORMS.get(str(each.get("ctx", {}).get("pattern")), each["msg"])
            _told(report, (*path, *inner), kind=each["type"], message=said, holder=_holder(shape, inner[:-1]))
        return None


def _told(report: Report, path: Path, *, kind: str, message: str, holder: type[BaseModel] | None) -> None:
    """One of pydantic's errors as a finding."""
    name = str(path[-1])
    if kind == "missing":
        if holder in {Words, Name}:
            language = {"zh": "Chinese", "en": "English"}[name]
            report.error("MAN-005", path, found=f"The {language} text is missing.", next_step=f'Add {name} = "...".')
            return
        report.error(
            "MAN-002",
            path,
            found=f"`{name}` is missing.",
            next_step=f"Add {name}; docs/how-to/write-a-plugin.md shows it.",
        )
        return
    if kind == "extra_forbidden":
        known = "" if holder is None else ", ".join(info.alias or key for key, info in holder.model_fields.items())
        report.error(
            "MAN-003",
            path,
            found=f"There is no `{name}` here.",
            next_step=f"Known are {known}. Remove it or mend its name.",
        )
        return
    said = message.removeprefix("Value error, ").rstrip(".")
    report.error(
        "MAN-004",
        path,
        found=f"{said[:1].upper()}{said[1:]}.",
        next_step="Mend the value; the field's rule says what fits.",
    )


def _holder(shape: type[BaseModel], path: Path) -> type[BaseModel] | None:
    """The model in which a path within a part ends."""
    found: type[BaseModel] | None = shape
    for key in path:
        if found is None:
            return None
        if isinstance(key, int):
            continue
        info = found.model_fields.get(key)
        found = None if info is None else _model_in(info.annotation)
    return found


def _model_in(annotation: Any) -> type[BaseModel] | None:  # Any: an annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part)) is not None), None)
