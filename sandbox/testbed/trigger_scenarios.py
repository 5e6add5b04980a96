"""Paid orders that go a certain way, as data: one TOML file each in `scenarios/`, read strictly.

docs/reference/trigger-scenarios.md describes the format and lists them all. The acquirer's part is a code
`sim:<scenario>` of docs/reference/simulated-acquirer.md.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

PLACE: Final = re.compile(r"\{([a-z_]+(?:\.[a-z_0-9]+)*)\}")
Json = Any  # whatever JSON holds
Form = Literal["merchant_scan", "customer_scan", "local", "preauth"]
StepKind = Literal["capture", "void", "refund", "cancel", "close", "scan", "control", "request", "until", "advance"]


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Step(_Row):
    """What is done next. Of the amounts `amount_minor` comes before `percent`, which rounds down."""

    do: StepKind
    percent: int = Field(default=100, description="Of the order's amount: capture, refund.")
    amount_minor: int | None = Field(default=None, description="Instead of `percent`.")
    scenario: str = Field(default="success", description="`scan`: how it goes.")
    method: Literal["GET", "POST"] = Field(default="POST", description="`request`.")
    path: str = Field(default="", description="Under /v1, or /sandbox/...; of `control` at the simulated acquirer.")
    body: Mapping[str, Json] = Field(default={}, description="`request`, `control`: the JSON body.")
    save: str = Field(default="", description="`request`: the name that later steps know the answer by.")
    code: str = Field(default="", description="The refusal that must be the answer.")
    field: str = Field(default="", description="`until`: a dotted path in the answer.")
    equals: Json = Field(default=None, description="`until`: what it must become.")
    span_s: int = Field(default=0, description="`advance`: how far the sandbox's clock goes.")


class Read(_Row):
    """Something that must be so at the end: `field` equals a value, or some row of `data` holds all of `contains`."""

    path: str
    field: str = ""
    equals: Json = None
    contains: Mapping[str, Json] = Field(default={})


class Expect(_Row):
    """How the payment must have ended. Amounts in percent of the order's, unless given in minor units."""

    state: str = "captured"
    captured_percent: int = 100
    captured_minor: int | None = None
    refunded_percent: int = 0
    refunded_minor: int | None = None
    is_doubted: bool = Field(default=False, description="The outcome is unknown for a while.")
    reads: tuple[Read, ...] = ()


class Scenario(_Row):
    """One way an order can go. In texts `{number}`, `{amount_minor}`, `{payment.id}`, `{acquirer_merchant}` and
    `{<save>.<field>}` are replaced; a text that is one such place and nothing else becomes the value itself.
    """

    name: str = Field(description="The file's name.")
    summary: str = Field(description="One sentence.")
    group: str = Field(description="Where the list shows it.")
    form: Form = "merchant_scan"
    acquirer: str = Field(default="", description="Scenario of the simulated acquirer, put into the payment code.")
    is_capture: bool = True
    amount_minor: int | None = Field(default=None, description="The order's amount, unless --set names one.")
    fields: Mapping[str, Json] = Field(default={}, description="Further fields of POST /v1/payments.")
    needs: tuple[str, ...] = Field(
        default=(), description="Operations that the platform must have, else it is skipped."
    )
    before: tuple[Step, ...] = Field(default=(), description="Requests made before the payment.")
    steps: tuple[Step, ...] = Field(default=(), description="What is done with it, in order.")
    expect: Expect = Expect()

    @property
    def is_doubted(self) -> bool:
        """Whether the outcome is unknown for a while."""
        return self.expect.is_doubted

    @property
    def turns_clock(self) -> bool:
        """Whether it turns the clock for everybody, so that others must not run beside it."""
        return any(step.do == "advance" for step in (*self.before, *self.steps))


def filled(template: Json, known: Mapping[str, Json]) -> Json:
    """A template with its places filled. KeyError names a place that nothing fills."""
    if isinstance(template, str):
        whole = PLACE.fullmatch(template)
        if whole is not None:
            return value_at(known, whole[1])
        return PLACE.sub(lambda match: str(value_at(known, match[1])), template)
    if isinstance(template, Mapping):
        return {name: filled(value, known) for name, value in template.items()}
    if isinstance(template, list | tuple):
        return [filled(value, known) for value in template]
    return template


def value_at(document: Json, path: str) -> Json:
    """What stands at a dotted path; numbers index lists. KeyError with the whole path."""
    found = document
    for name in path.split("."):
        try:
            found = found[int(name)] if isinstance(found, list) else found[name]
        except (KeyError, IndexError, ValueError, TypeError):
            raise KeyError(path) from None
    return found


def read_scenarios(folder: Traversable) -> dict[str, Scenario]:
    """Every `*.toml` of a folder, by name. ValueError for one that cannot be read, naming the file."""
    return {scenario.name: scenario for scenario in _read(folder)}


def _read(folder: Traversable) -> Iterator[Scenario]:
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".toml"):
            try:
                written = tomllib.loads(file.read_text(encoding="utf-8"))
                yield Scenario.model_validate({"name": file.name.removesuffix(".toml"), **written})
            except ValueError as error:
                raise ValueError(f"{file.name}: {error}") from error


SCENARIOS: Final[Mapping[str, Scenario]] = MappingProxyType(read_scenarios(files("sandbox.testbed.scenarios")))
