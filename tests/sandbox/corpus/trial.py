"""One behaviour at one level: what came of it, and what the witnesses saw."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

from platform_core.contracts.runtime import SECURITY_FAULTS, FaultKind
from sandbox.runtime.levels import Level
from tests.sandbox.corpus.bundles import HOSTILE, NEIGHBOUR, VERSION
from tests.sandbox.corpus.scene import MERCHANTS, Scene
from tests.sandbox.corpus.stage import Gone, Json, Stage, Victim, cpu_ticks, state_of
from tests.sandbox.corpus.table import Behaviour
from tests.support.patience import HEARD_S

PROCESSES_MAX: Final = 18
"""Zygote, workers and spares of two plugins, and some that are just being born."""
RESIDENT_MIB_MAX: Final = 300
THREADS_MORE_MAX: Final = 100
DESCRIPTORS_MORE_MAX: Final = 100
LOG_BYTES_MAX: Final = 1 << 20
ASKED_MAX: Final = 51
TICKS_MAX: Final = 8
"""Of 10 ms, in `LINGER_S` after the answer; a spare that is just being born takes some too."""
LINGER_S: Final = 0.4
PATIENT_S: Final = 30.0
"""Deadline of calls that are not about deadlines."""
_UNPRINTABLE: Final = re.compile(r"[^\t\n -~\u00a0-\u2027\u2030-\uffff]|[\u200b-\u200f\u202a-\u202e]")
_decisions = count(1)


@dataclass(slots=True)
class Found:
    """What one trial found."""

    outcome: str
    harms: set[str] = field(default_factory=set)
    details: list[str] = field(default_factory=list)
    """For whoever reads a failure."""


class Trial:
    """One behaviour under way."""

    def __init__(self, stage: Stage, victim: Victim, behaviour: Behaviour) -> None:
        self._stage = stage
        self._scene: Scene = stage.scene
        self._victim = victim
        self._behaviour = behaviour
        self._found = Found("gone")
        self._texts: list[str] = []
        self._standing = victim.standing()
        self._port = 0
        self._siblings: list[int] = []

    async def run(self) -> Found:
        """Attack, look, and see whether the victim still does its work."""
        victim = self._victim
        victim.output.raw.clear()
        victim.output.size = 0
        victim.watched = type(victim.watched)()
        victim.watch(port=0)
        with suppress(Gone):
            await self._benign(NEIGHBOUR, "mer_a")
            self._siblings = (await victim.ask("pids", plugin=NEIGHBOUR))["pids"]
        before = (victim.watched.threads, victim.watched.descriptors)
        victim.watched = type(victim.watched)()
        sampling = asyncio.create_task(self._sample())
        try:
            await self._attack()
        except Gone:
            self._found.harms.add("host")
        finally:
            sampling.cancel()
            await asyncio.gather(sampling, return_exceptions=True)
        with suppress(Gone):
            await self._aftermath()
        self._look(threads=before[0], descriptors=before[1])
        return self._found

    async def _sample(self) -> None:
        while True:
            self._victim.watch(port=self._port)
            await asyncio.sleep(0.02)

    # The attack.

    async def _known(self, step: int) -> Json:
        behaviour, victim = self._behaviour, self._victim
        facts = {name: value for name, value in victim.facts.items() if name != "id"}
        return self._scene.known() | facts | {
            "host": victim.pid,
            "host_name": os.uname().nodename,
            "siblings": self._siblings,
            "zygote": victim.zygote() or victim.pid,
            "level": int(self._stage.level),
            "step": step,
            "seconds": behaviour.seconds,
            "log_mib": 4 if self._stage.level == Level.L0 else 250,
            "free_port": self._port,
        }  # fmt: skip

    def _decide(self, *, plugin: str, merchant: str, mode: str, amount: int, **changed: Any) -> asyncio.Future[Json]:
        told: Json = {
            "plugin": plugin,
            "version": VERSION,
            "merchant": merchant,
            "hook": "check_payment",
            "mode": mode,
            "amount": amount,
            "deadline_s": PATIENT_S,
            "known": {},
            "config": {"sealed": self._scene.tokens["sealed"]} if plugin == NEIGHBOUR else {},
            "decision": str(next(_decisions)),
        }
        return self._victim.send("decide", **told | changed)

    async def _attack(self) -> None:
        behaviour = self._behaviour
        if behaviour.mode == "listen":
            self._port = _free_port()
        if behaviour.boots:
            version = behaviour.version
            await self._told(await self._load(version))
            if behaviour.calls_after and self._found.outcome == "ready":
                called = self._decide(plugin=HOSTILE, merchant="mer_a", mode="benign", amount=7, version=version,
                                      deadline_s=behaviour.deadline_s)  # fmt: skip
                await self._told(await self._victim.answer_to(called))
        else:
            for step in range(1, behaviour.steps + 1):
                await self._step(step)
                if behaviour.rests and self._stage.level > Level.L0:
                    await self._rest()
        if behaviour.lingers:
            await self._linger()
        if behaviour.leaves and self._stage.level == Level.L0:
            with suppress(Gone):
                await self._victim.ask("leave")

    async def _load(self, version: str) -> Json:
        """Where the release is quarantined at once, the fault that did it."""
        told = await self._victim.ask("load", plugin=HOSTILE, version=version)
        if told["outcome"] == FaultKind.QUARANTINED:
            heard: list[Json] = (await self._victim.ask("logs"))["heard"]
            told = heard[0]
        return told

    async def _step(self, step: int) -> None:
        behaviour, amount = self._behaviour, 1000 + step
        decision = str(next(_decisions))
        merchant = "mer_b" if behaviour.is_for_another and step == 2 else "mer_a"
        deadline_s = behaviour.deadline_s if step == behaviour.steps else PATIENT_S
        shared: Json = {
            "mode": behaviour.mode,
            "amount": amount,
            "known": await self._known(step),
            "decision": decision,
        }
        attacked = self._decide(
            plugin=HOSTILE, merchant=merchant, **shared | {"hook": behaviour.hook, "deadline_s": deadline_s}
        )
        if behaviour.hook != "check_payment":
            shared["decision"] = str(next(_decisions))
        beside = self._decide(plugin=NEIGHBOUR, merchant="mer_a", **shared)
        order: list[str] = []
        attacked.add_done_callback(lambda _: order.append("attacked"))
        beside.add_done_callback(lambda _: order.append("beside"))
        for answer in (attacked, beside):
            with suppress(Gone):
                told = await self._victim.answer_to(answer)
                if answer is attacked:
                    await self._told(told)
                else:
                    self._judge_neighbour(told, amount=amount, merchant="mer_a")
        if behaviour.is_late and order[:1] != ["beside"]:
            self._harm("blocked", "the neighbour was answered only after the attacker")
        if not self._victim.is_well():
            raise Gone

    async def _told(self, told: Json) -> None:
        self._found.outcome = told["outcome"]
        self._found.details.append(str({name: value for name, value in told.items() if name != "id"})[:400])
        self._texts.append(str(told.get("detail", "")))
        if told.get("extra") or not 0 <= told.get("score", 0) <= 100 or told["outcome"] == "approve":
            self._harm("decision", f"the victim decided by {told}")

    async def _rest(self) -> None:
        """Wait until every worker of the attacker that is still there is stopped."""
        async with asyncio.timeout(HEARD_S):
            while True:
                pids = (await self._victim.ask("pids", plugin=HOSTILE))["pids"]
                if all(state_of(pid) in "TZX" for pid in pids):
                    return
                await asyncio.sleep(0.005)

    async def _linger(self) -> None:
        """See what comes after the answer: for long where it must come, else for `LINGER_S`."""
        asked = await self._victim.ask("pids", plugin=HOSTILE)
        pids = asked["pids"] or [self._victim.pid]
        before = {pid: cpu_ticks(pid) for pid in pids}
        loop = asyncio.get_running_loop()
        is_due = self._behaviour.harms[self._stage.level] in ("cpu", "neighbour")
        until = loop.time() + (HEARD_S if is_due else LINGER_S)
        burnt, killed = 0, list[int]()
        while burnt <= TICKS_MAX and not killed and loop.time() < until:
            await asyncio.sleep(0.05)
            burnt = max(cpu_ticks(pid) - before[pid] for pid in pids)
            killed = [pid for pid in self._siblings if state_of(pid) in "ZX"]
        if burnt > TICKS_MAX:
            self._harm("cpu", f"{burnt} ticks after the answer")
        if killed:
            self._harm("neighbour", f"its workers {killed} were killed")

    # Afterwards.

    async def _aftermath(self) -> None:
        """Everybody else is served rightly, quarantine holds, and a fresh worker of the attacker behaves."""
        if not self._victim.is_well():
            return
        await self._books()
        outcome = self._found.outcome
        if outcome in {*SECURITY_FAULTS, FaultKind.QUARANTINED} and self._stage.level > Level.L0:
            await self._quarantined()
        await asyncio.gather(*(self._benign(NEIGHBOUR, merchant) for merchant in MERCHANTS))
        if not self._behaviour.boots:
            await self._benign(HOSTILE, "mer_b")
        if self._stage.level > Level.L0:
            await self._victim.ask("end", plugin=HOSTILE, merchant=None if self._is_about_all else "mer_a")
            told = await self._victim.ask("logs")
            self._texts += [*told["lines"], *(each["detail"] for each in told["heard"])]
        if not self._victim.is_well():
            self._harm("host", "it is gone after the attack")

    @property
    def _is_about_all(self) -> bool:
        """Whether workers of more than one merchant are suspect."""
        return bool(self._behaviour.is_for_another or self._behaviour.boots)

    async def _quarantined(self) -> None:
        version = self._behaviour.version
        answer = self._decide(plugin=HOSTILE, merchant="mer_b", mode="benign", amount=3, version=version)
        told = await self._victim.answer_to(answer)
        if told["outcome"] != FaultKind.QUARANTINED:
            self._harm("quarantine", f"after {self._found.outcome} the next call is answered: {told}")
        await self._victim.ask("lift", plugin=HOSTILE, version=version)

    async def _books(self) -> None:
        told = await self._victim.ask("books")
        if told["refunds"] or told["balance"] != 100:
            self._harm("money", f"the books say {told}")
        if told["asked"] > ASKED_MAX:
            self._harm("flood", f"the gate answered {told['asked']} asks")

    async def _benign(self, plugin: str, merchant: str) -> None:
        amount = 4000 + len(self._texts)
        mode = "benign"
        told = await self._victim.answer_to(self._decide(plugin=plugin, merchant=merchant, mode=mode, amount=amount))
        if plugin == NEIGHBOUR:
            self._judge_neighbour(told, amount=amount, merchant=merchant)
        elif (told["outcome"], told.get("score")) != ("allow", (amount + MERCHANTS[merchant]) % 101):
            self._harm("aftermath", f"a benign call of {merchant} is answered {told}")

    def _judge_neighbour(self, told: Json, *, amount: int, merchant: str) -> None:
        if (told["outcome"], told.get("score")) != ("allow", (amount * 3 + MERCHANTS[merchant]) % 101):
            self._harm("neighbour", f"the neighbour's answer for {merchant} is {told}")

    # What outsiders see.

    def _harm(self, name: str, words: str) -> None:
        self._found.harms.add(name)
        self._found.details.append(f"{name}: {words}"[:400])

    def _look(self, *, threads: int, descriptors: int) -> None:
        victim, scene, seen = self._victim, self._scene, self._victim.watched
        victim.watch(port=0)
        if not scene.is_untouched():
            self._harm("file", "files changed")
        if scene.listeners.hits:
            self._harm("network", f"hits: {scene.listeners.hits[:3]}")
        if seen.is_listening:
            self._harm("network", f"somebody listens on {self._port}")
        if seen.processes > PROCESSES_MAX:
            self._harm("processes", f"{seen.processes} processes")
        if seen.resident_mib > RESIDENT_MIB_MAX:
            self._harm("memory", f"{seen.resident_mib} MiB in one process")
        if seen.threads - threads > THREADS_MORE_MAX:
            self._harm("threads", f"{seen.threads} threads in the victim")
        if seen.descriptors - descriptors > DESCRIPTORS_MORE_MAX:
            self._harm("descriptors", f"{seen.descriptors} descriptors in the victim")
        if seen.is_traced:
            self._harm("traced", "the victim has a tracer")
        if victim.is_well() and victim.standing() != self._standing:
            self._harm("standing", f"{self._standing} became {victim.standing()}")
        self._look_at_output()

    def _look_at_output(self) -> None:
        output = self._victim.output
        for line in self._texts:
            output.take(line.encode() + b"\n")
        if output.size > LOG_BYTES_MAX:
            self._harm("log", f"{output.size} bytes of log")
        raw = output.raw.decode("utf-8", "replace") if self._stage.level == Level.L0 else ""
        if any(_UNPRINTABLE.search(text) for text in (raw, *self._texts)):
            self._harm("log", "control characters where people read")
        if any("\n" in text for text in self._texts):
            self._harm("log", "a line that looks like two")
        loot = output.loot()
        own = self._scene.tokens["mer_b" if self._behaviour.is_for_another else "mer_a"].encode()
        stolen = [
            name for name, token in self._scene.tokens.items() if token.encode() in loot and token.encode() != own
        ]
        lines = loot.splitlines()
        if Path("/etc/passwd").read_bytes()[-200:] in loot:
            stolen.append("passwd")
        if b"doors " + self._scene.truth.encode() in lines:
            stolen.append("existence of files")
        if os.uname().nodename.encode() in lines:
            stolen.append("the host's name")
        if stolen:
            self._harm("secret", f"carried out: {', '.join(stolen)}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


async def try_out(stage: Stage, behaviour: Behaviour) -> Found:
    """Run one behaviour, and leave scene and stage fit for the next."""
    victim = await stage.victim()
    found = await Trial(stage, victim, behaviour).run()
    stage.scene.restore()
    is_fit = victim.is_well() and not found.harms - {"file", "network", "secret", "log"}
    if stage.level == Level.L0 or not is_fit:
        await stage.discard()
    return found
