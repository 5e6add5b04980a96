"""Where the kit runs a plugin: in this process, or wherever a `Runner` says."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import TypeAdapter

from platform_core.contracts.fields import Payload, as_sent
from platform_core.contracts.hooks import HookSpec
from platform_core.contracts.plugin import HookContext
from platform_core.contracts.testing.loaded import LoadedPlugin


class BadResult(Exception):
    """The plugin returned what the hook's result type does not take."""


class Runner(Protocol):
    """Calls a plugin's hooks somewhere. The CLI passes one that starts confined workers."""

    @property
    def where(self) -> str:
        """For messages, such as `in process` or `in a worker at L2`."""
        ...

    def call(self, plugin: LoadedPlugin, hook: HookSpec, *, ctx: HookContext, json: bytes) -> Any:
        """The hook's result for a payload in JSON, as its type. Raises what the call ended with, BadResult too."""
        ...


@dataclass(frozen=True, slots=True)
class InProcess:
    """Calls the functions themselves, with payload and result through the same types as everywhere."""

    where: str = "in process"

    def call(self, plugin: LoadedPlugin, hook: HookSpec, *, ctx: HookContext, json: bytes) -> Any:
        """As `Runner.call`."""
        assert hook.payload is not None, f"{hook.name} hands over an object"
        payload: Payload = as_sent(hook.payload).model_validate_json(json)
        function = plugin.hooks[hook.name]
        given = {"ctx": ctx, hook.payload_name: payload}
        made = function(**{name: given[name] for name in inspect.signature(function).parameters})
        if inspect.isawaitable(made):
            close = getattr(made, "close", None)
            if close is not None:
                close()
            raise BadResult("an awaitable came back; a hook returns its answer at once.")
        try:
            return TypeAdapter(hook.result).validate_python(made, strict=True)
        except ValueError as error:
            raise BadResult(f"{type(made).__name__} came back: {error}") from None
