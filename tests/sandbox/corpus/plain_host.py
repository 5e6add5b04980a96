"""The victim with its plugins in its own process: level L0, a plain pluggy host that catches exceptions."""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pluggy
from pydantic import ValidationError

from platform_core.contracts.hooks import CATALOGUE, PROJECT
from platform_core.contracts.plugin import HookContext, Refused
from sandbox.runtime.installed import folder_of
from tests.sandbox.corpus.books import PAYLOADS, RESULTS, Books, Json, context_json, payload_json, score_of
from tests.sandbox.corpus.bundles import HOSTILE, NEIGHBOUR, VERSION

MODULES = {HOSTILE: "corpus_hostile", NEIGHBOUR: "corpus_neighbour"}


class PlainClients:
    """`ctx` in the host's own process."""

    def __init__(self, books: Books, merchant_id: str) -> None:
        self._books = books
        self._merchant_id = merchant_id

    def call(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        """Ask the gate."""
        told = self._books.ask(self._merchant_id, operation, arguments)
        if told.code is not None:
            raise Refused(told.code, told.hint)
        return json.loads(told.value)

    @property
    def egress(self) -> PlainClients:
        """Refused like everything else that was not granted."""
        return self

    def fetch(self, method: str, url: str) -> Any:
        """Not in a deciding hook."""
        return self.call("egress.fetch", {"method": method, "url": url})


class PlainHost:
    """Both plugins in one manager."""

    def __init__(self, told: Json, books: Books) -> None:
        self._told = told
        self._books = books
        self._manager = pluggy.PluginManager(PROJECT)
        self._payloads: dict[str, Any] = {}

    async def start(self) -> None:
        """Load what behaves; the other comes when it is called for."""
        hooks = {hook.name: staticmethod(hook.function) for hook in CATALOGUE.values()}
        self._manager.add_hookspecs(type("Hookspecs", (), hooks))
        self._register(NEIGHBOUR, VERSION)

    def _register(self, plugin_id: str, version: str) -> None:
        sys.path.append(str(folder_of(Path(self._told["plugins"]), plugin_id, version) / "tree"))
        self._manager.register(importlib.import_module(MODULES[plugin_id]), name=plugin_id)

    async def load(self, told: Json) -> Json:
        """Import the hostile plugin."""
        try:
            self._register(told["plugin"], told["version"])
            self._manager.check_pending()
        except Exception as error:  # noqa: BLE001 - what L0 promises is that exceptions are contained
            return {"outcome": "load", "detail": repr(error)[:300]}
        return {"outcome": "ready"}

    async def decide(self, told: Json) -> Json:
        """One call of one plugin; all plugins of a decision are shown the same payload."""
        if told["plugin"] == HOSTILE and not self._manager.has_plugin(HOSTILE):
            self._register(told["plugin"], told["version"])
        if told["decision"] not in self._payloads:
            payload = PAYLOADS[told["hook"]].model_validate_json(payload_json(told))
            self._payloads = {told["decision"]: payload}
        facts = context_json(told["hook"], told["deadline_s"])
        ctx = HookContext(
            **facts | {"now": datetime.fromisoformat(facts["now"])},
            merchant_id=told["merchant"],
            mode="live",
            locale="en",
            config=self._told["merchants"][told["merchant"]] | told["config"],
            clients=PlainClients(self._books, told["merchant"]),  # type: ignore[arg-type]  # as much as the corpus uses
        )
        others = [each for each in self._manager.get_plugins() if self._manager.get_name(each) != told["plugin"]]
        caller = self._manager.subset_hook_caller(told["hook"], others)
        payload_name = CATALOGUE[told["hook"]].payload_name
        began = time.monotonic()
        try:
            answers = caller(**{"ctx": ctx, payload_name: self._payloads[told["decision"]]})
            value = RESULTS[told["hook"]].validate_python(answers[0], strict=True)
        except ValidationError:
            return {"outcome": "bad_result"}
        except Exception as error:  # noqa: BLE001 - what L0 promises is that exceptions are contained
            return {"outcome": "exception", "detail": type.__getattribute__(type(error), "__mro__")[1].__name__}
        if time.monotonic() - began > told["deadline_s"]:
            return {"outcome": "timeout"}
        return score_of(value)

    async def other(self, told: Json) -> Json:
        """There are no workers, and nothing is quarantined."""
        if told["do"] == "pids":
            return {"pids": [], "level": "L0"}
        return {"lines": [], "heard": []}
