"""What is wrong with a manifest, or worth a look: one finding for each place, with its rule and the next step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

Severity = Literal["error", "warning"]

RULES: Final = MappingProxyType(
    {
        "MAN-001": "The file is TOML 1.0, UTF-8, at most 64 KiB.",
        "MAN-002": "Every required field is there.",
        "MAN-003": "No field is there that this format does not know.",
        "MAN-004": "Every value has its type, form and bounds.",
        "MAN-005": "Every text is there in Chinese and in English.",
        "MAN-010": "`plugin.contract` is a PEP 440 range that ends below the next major.",
        "MAN-011": "`plugin.contract` covers this contract.",
        "MAN-012": "`plugin.license` names SPDX identifiers.",
        "MAN-020": "Every hook exists, in that major version.",
        "MAN-021": "No hook is listed twice.",
        "MAN-022": "Every path of `fields` is one of the hook's payload, listed once.",
        "MAN-023": "Every path of `fields` is covered by declared scopes.",
        "MAN-024": "`deadline_ms` is not above the kind's.",
        "MAN-025": "No hook is on its way out.",
        "MAN-026": "A hook with a payload asks for the fields that it reads.",
        "MAN-030": "A `register_` hook and its `[[providers]]` go together.",
        "MAN-031": "Every method is one of the provider's Protocol; `describe` is among them.",
        "MAN-032": "No provider is listed twice.",
        "MAN-040": "Every scope exists, and is one that an app may hold for a merchant.",
        "MAN-041": "No scope is listed twice.",
        "MAN-042": "Every scope is used.",
        "MAN-043": "A personal scope comes with `[[personal_data]]`.",
        "MAN-050": "Every authorization type exists, once, and its scope is declared.",
        "MAN-051": "Limits count what the type counts, per request, day, week, month or grant.",
        "MAN-052": "A metered scope comes with the limits that the plugin needs.",
        "MAN-060": "Every host is a public name, listed once for each port.",
        "MAN-061": "Hosts are declared by plugins whose hooks may reach them.",
        "MAN-062": "Answers above 1 MiB are reviewed by a person.",
        "MAN-070": "A token names its hosts, and no other kind does.",
        "MAN-071": "The hosts of a token are declared in `[[egress]]`.",
        "MAN-072": "No secret is listed twice, and a hook of the plugin may use it.",
        "MAN-080": "A remote plugin has `[remote]`, and no other does.",
        "MAN-081": "The endpoint's host is declared in `[[egress]]`.",
        "MAN-090": "The configuration's schema is a JSON file inside the package.",
        "MAN-091": "More state, memory or workers than usual is reviewed by a person.",
    }
)
"""Each rule in one sentence, for pages and for `--explain`. An id keeps its meaning for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One place of the manifest."""

    rule: str
    severity: Severity
    line: int
    """Counted from 1; of the nearest thing that stands in the file."""
    path: str
    """Such as `hooks[0].fields[2]`; empty for the whole file."""
    found: str
    """What happened, and what was expected."""
    next_step: str

    def __str__(self) -> str:
        where = f"plugin.toml:{self.line}" + (f" {self.path}" if self.path else "")
        return f"{where}: {self.rule} {self.severity}: {self.found} Next: {self.next_step}"


class ManifestRefused(ValueError):
    """A manifest that breaks rules; nothing of it may be used."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        """All errors, in the order of the file; warnings may be among them."""
        super().__init__("\n".join(str(finding) for finding in findings))
        self.findings = tuple(findings)


def errors(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Those that refuse the manifest."""
    return tuple(finding for finding in findings if finding.severity == "error")
