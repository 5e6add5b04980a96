"""The victim with its plugins in workers, at one level."""

from __future__ import annotations

import json
import secrets
import time
from pathlib import Path

from platform_core.contracts.runtime import Binding, Fault, OutsideCall
from sandbox.runtime.levels import Level
from sandbox.runtime.requests import ZygoteSettings
from sandbox.runtime.spawner import Spawner
from sandbox.runtime.supervisor import Supervisor
from tests.sandbox.corpus.books import RESULTS, Books, GateOf, Json, context_json, payload_json, score_of


class ConfinedHost:
    """Plugins in workers, at one level."""

    def __init__(self, told: Json, books: Books) -> None:
        self._told = told
        self._books = books
        self._level = Level(told["level"])
        self._faults: list[Json] = []
        self._lines: list[str] = []
        self._spawner: Spawner | None = None
        self._supervisor: Supervisor | None = None

    async def start(self) -> None:
        """Start zygote and supervisor."""
        plugins = Path(self._told["plugins"])
        required = Level(self._told["required"])
        settings = ZygoteSettings(
            required=min(required, self._level), plugins=plugins, level_max=self._level, spawn_within_s=8.0
        )
        self._spawner = Spawner(settings, start_within_s=60, answer_within_s=9.0)
        await self._spawner.start()
        self._supervisor = Supervisor(self._spawner, plugins=plugins, required=required, listener=self, log=self._log)

    @property
    def supervisor(self) -> Supervisor:
        """After the start."""
        assert self._supervisor is not None
        return self._supervisor

    def _log(self, plugin_id: str, version: str, call_id: str, line: str) -> None:
        self._lines.append(line)

    def heard(self, plugin_id: str, version: str, fault: Fault, /) -> None:
        """Faults outside of any call."""
        self._faults.append({"outcome": str(fault.kind), "detail": fault.detail})

    async def decide(self, told: Json) -> Json:
        """One call of one plugin."""
        call = OutsideCall(
            id=secrets.token_hex(16),
            handle=secrets.token_hex(16),
            binding=Binding(
                plugin_id=told["plugin"],
                version=told["version"],
                merchant_id=told["merchant"],
                mode="live",
                locale="en",
                revision=1,
                config=json.dumps(self._told["merchants"][told["merchant"]] | told["config"]).encode(),
            ),
            target=told["hook"],
            major=1,
            context=json.dumps(context_json(told["hook"], told["deadline_s"])).encode(),
            arguments=payload_json(told),
            deadline=time.monotonic() + told["deadline_s"],
            result=RESULTS[told["hook"]],
            gate=GateOf(self._books, told["merchant"]),
        )
        return score_of(await self.supervisor.begin(call).outcome())

    async def load(self, told: Json) -> Json:
        """Have a release imported in a worker."""
        for _ in range(50):
            warmed = await self.supervisor.warm(told["plugin"], told["version"])
            if not isinstance(warmed, Fault) or warmed.kind != "saturated":
                break
        return score_of(warmed) if isinstance(warmed, Fault) else {"outcome": "ready"}

    async def other(self, told: Json) -> Json:
        """What the witnesses arrange between attacks."""
        match told["do"]:
            case "lift":
                self.supervisor.lift(told["plugin"], told["version"])
            case "end":
                await self.supervisor.end(told["plugin"], merchant_id=told["merchant"])
            case "pids":
                return {"pids": list(self.supervisor.pids(told["plugin"])), "level": self.supervisor.level}
            case "logs":
                lines, self._lines = self._lines, []
                faults, self._faults = self._faults, []
                return {"lines": lines, "heard": faults}
        return {}
