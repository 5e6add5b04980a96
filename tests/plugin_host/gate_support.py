"""Calls of a plugin for tests of the gate: a release with a manifest, what a merchant enabled, the facts of a call."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

import msgspec

from platform_core.contracts.hooks import HookSpec
from platform_core.contracts.manifest import Manifest
from platform_core.contracts.runtime import Ask, Told
from platform_core.kernel.clock import Clock
from platform_core.plugin_host.calls import CallFacts, OpenCall
from platform_core.plugin_host.discovery import catalogue
from platform_core.plugin_host.gate import GateCall
from platform_core.plugin_host.installed import Enabled, Release, Tier

PLUGIN = "example.acme.risk"
WORDS = {"zh": "测试", "en": "For a test"}
_calls = itertools.count(1)
_HOOKS = catalogue()


def manifest(**parts: Any) -> Manifest:
    """A manifest with one hook; `parts` replace or add tables, as JSON."""
    whole = {
        "manifest": 1,
        "plugin": {
            "id": PLUGIN,
            "version": "1.0.0",
            "name": {"zh": "风控", "en": "Risk"},
            "summary": WORDS,
            "publisher": "isv_7Kq2",
            "license": "Apache-2.0",
            "support": "help@acme.example",
            "contract": ">=1.0,<2",
        },
        "hooks": [{"name": "check_payment"}],
        **parts,
    }
    return Manifest.model_validate_json(json.dumps(whole))


def scopes(*names: str) -> list[dict[str, Any]]:
    """`[[scopes]]` of a manifest."""
    return [{"name": name, "purpose": WORDS} for name in names]


def enabled(
    made: Manifest | None = None,
    *,
    grant_id: str | None = None,
    granted: frozenset[str] | None = None,
    tier: Tier = "confined",
) -> Enabled:
    """What a merchant enabled; by default all scopes of the manifest are granted."""
    made = made or manifest()
    release = Release(plugin_id=made.plugin.id, version=made.plugin.version, tier=tier, manifest=made)
    return Enabled(
        release=release,
        installation_id="ins_1",
        grant_id=grant_id,
        scopes=made.scope_names if granted is None else granted,
        revision=1,
        config=b"{}",
    )


def hook(name: str) -> HookSpec:
    """A hookspec of the catalogue."""
    return _HOOKS[name]


def facts(
    what: Enabled | None = None,
    *,
    clock: Clock,
    merchant_id: str = "mer_a",
    hook_name: str = "check_payment",
    operation: str | None = None,
    seconds: float = 30.0,
    **more: Any,
) -> CallFacts:
    """A call of `hook_name` that may take so many seconds."""
    return CallFacts(
        call_id=f"{next(_calls):032x}",
        enabled=what or enabled(),
        merchant_id=merchant_id,
        hook=hook(hook_name),
        operation=operation or hook_name,
        store_id=None,
        now=clock.now(),
        deadline=time.monotonic() + seconds,
        idempotency_key="evt_1",
        **more,
    )


class Asker:
    """A plugin outside, as its channel sees it: asks one after another under one handle."""

    def __init__(self, opened: OpenCall) -> None:
        assert isinstance(opened.gate, GateCall)
        self.gate = opened.gate
        self.handle = opened.handle
        self._sequence = itertools.count(1)

    async def ask(self, operation: str, *, blobs: tuple[bytes, ...] = (), **arguments: Any) -> Told:
        """One ask."""
        return await self.gate.tell(
            Ask(
                call_id=self.gate.facts.call_id,
                sequence=next(self._sequence),
                handle=self.handle,
                operation=operation,
                arguments=arguments,
                blobs=blobs,
            )
        )

    async def value(self, operation: str, **arguments: Any) -> Any:
        """The answer, which must not be a refusal."""
        told = await self.ask(operation, **arguments)
        assert told.code is None, (told.code, told.hint)
        return msgspec.json.decode(told.value)

    async def code(self, operation: str, **arguments: Any) -> str | None:
        """The refusal's code."""
        return (await self.ask(operation, **arguments)).code
