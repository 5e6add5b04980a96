"""The golden fixtures: what each hook is told, and answers that are valid or break a rule.

They stand in `contracts/fixtures/<hook>/v<major>/*.json` and are the contract test of host, worker and plugins alike.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from typing import Annotated, Any, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from platform_core.contracts import catalogue
from platform_core.contracts.fields import Payload
from platform_core.contracts.hooks import HookSpec
from platform_core.contracts.plugin import Mode

_FOLDER: Final = files("platform_core.contracts").joinpath("fixtures")


class FixtureContext(BaseModel):
    """The facts of the call; deadline and hook are the catalogue's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    merchant_id: str
    store_id: str | None
    mode: Mode
    now: AwareDatetime
    locale: str
    idempotency_key: str


class FixtureResult(BaseModel):
    """An answer, with the rule that it breaks; none: it is valid."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    result: Any  # Any: JSON, right or wrong
    blobs: tuple[str, ...] = ()
    """Text of the blobs that belong to it (`contracts.blobs`)."""
    breaks: Annotated[str, Field(min_length=1)] | None = None


class FixtureFile(BaseModel):
    """One file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: Annotated[str, Field(min_length=1)]
    context: FixtureContext
    payload: dict[str, Any] | None  # Any: JSON of the hook's payload
    calls: tuple[dict[str, Any], ...] = ()  # Any: JSON of a provider's method and its argument
    results: Annotated[tuple[FixtureResult, ...], Field(min_length=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixture:
    """One call of one hook."""

    name: str
    """Such as `check_payment/v1/first_payment`."""
    about: str
    context: FixtureContext
    payload: Payload | None
    """Whole, before it is cut for a plugin; None for `register_` hooks."""
    raw: dict[str, Any] | None  # Any: the same as JSON
    calls: tuple[dict[str, Any], ...]  # Any: JSON
    results: tuple[FixtureResult, ...]

    @property
    def now(self) -> datetime:
        """When it happens."""
        return self.context.now


def fixtures_of(hook: HookSpec) -> tuple[Fixture, ...]:
    """A hook's fixtures in that major, ordered by name; none when the folder is missing."""
    folder = _FOLDER.joinpath(hook.name.removesuffix(f"_v{hook.version}"), f"v{hook.version}")
    if not folder.is_dir():
        return ()
    found = sorted((each for each in folder.iterdir() if each.name.endswith(".json")), key=lambda each: each.name)
    return tuple(_read(hook, each.name.removesuffix(".json"), each.read_text(encoding="utf-8")) for each in found)


def payload_of(hook: str, name: str) -> Any:  # Any: of the hook's payload type
    """The whole payload of one fixture, such as `("check_payment", "first_payment")`. KeyError when there is none."""
    spec = catalogue.hooks()[hook]
    return {each.name.rpartition("/")[2]: each.payload for each in fixtures_of(spec)}[name]


def _read(hook: HookSpec, name: str, text: str) -> Fixture:
    read = FixtureFile.model_validate_json(text)
    payload = None
    if hook.payload is not None:
        payload = hook.payload.model_validate_json(json.dumps(read.payload))
    return Fixture(
        name=f"{hook.name.removesuffix(f'_v{hook.version}')}/v{hook.version}/{name}",
        about=read.about,
        context=read.context,
        payload=payload,
        raw=read.payload,
        calls=read.calls,
        results=read.results,
    )
