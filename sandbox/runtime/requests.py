"""What passes between a host and its zygote: settings once, then one request and one answer at a time, JSON lines.

A spawn request names a release and a slot, never paths, flags, configuration, merchants or secrets: what enters the
zygote is in every worker that it forks later.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, field_validator

from sandbox.runtime.levels import Level
from sandbox.runtime.lockdown.cgroups import GroupLimits
from sandbox.runtime.lockdown.privileges import WorkerLimits
from sandbox.runtime.release import PluginId, Version
from sandbox.runtime.selftest import LockFacts

LINE_BYTES_MAX: Final = 64 * 1024
WORKER_ENTRY: Final = "sandbox.runtime.worker:run"


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def line(self) -> bytes:
        """This message for the wire."""
        return self.model_dump_json().encode() + b"\n"


class ZygoteSettings(_Message):
    """All that a zygote is told by its host, once."""

    required: Level
    """Below it no worker is started."""
    plugins: Path
    """Folder of the installed releases: `<plugin id>/<version>/release.json`. Absolute: a zygote's own is `/`."""
    entry: Annotated[str, StringConstraints(pattern=r"^[\w.]+:\w+$")] | None = WORKER_ENTRY
    """What runs in a worker, `module:function`, imported before the first fork. None: the level is proven, no more."""
    level_max: Level = Level.L4
    """No higher level is tried: for tests, and machines where namespaces are not wanted."""
    limits: WorkerLimits = WorkerLimits()
    uid_first: int = Field(default=1_900_000_000, ge=1, le=4_294_000_000)
    """Worker of slot n has this uid and gid + n at L4. The default is above the uids of people, services and systemd's
    containers (systemd, UIDS-GIDS, read 2026-11-22)."""
    uid_count: int = Field(default=4096, ge=2, le=65_536)
    """How many there are; the last one is the zygote's own, for its proofs."""
    group: Path | None = None
    """The cgroup below which each plugin gets one at L4 (`levels.look_at_machine().group`); None: no cgroups."""
    group_limits: GroupLimits = GroupLimits()
    spawn_within_s: float = Field(default=0.9, gt=0, le=60)
    """When a worker that is not locked down yet is given up; less than what the host waits."""

    @field_validator("plugins")
    @classmethod
    def _is_absolute(cls, plugins: Path) -> Path:
        if not plugins.is_absolute():
            raise ValueError(f"{plugins} is not absolute")
        return plugins


class SpawnRequest(_Message):
    """A worker, please. Two descriptors come with it: channel and log."""

    op: Literal["spawn"] = "spawn"
    plugin_id: PluginId
    version: Version
    slot: int = Field(ge=0)


class ReapRequest(_Message):
    """How a worker ended that has ended."""

    op: Literal["reap"] = "reap"
    pid: int = Field(gt=0)


class Unproven(_Message):
    """Why a level does not hold."""

    level: Level
    step: str
    path: str
    words: str


class Started(_Message):
    """The zygote stands. `facts` is the report of the worker that proved the level."""

    t: Literal["started"] = "started"
    level: Level
    facts: LockFacts
    unproven: tuple[Unproven, ...]
    """Levels that were tried in vain, highest first."""


class Born(_Message):
    """A worker is locked down and about to run its entry. Its pidfd comes with it."""

    t: Literal["born"] = "born"
    pid: int
    facts: LockFacts


class Reaped(_Message):
    """Its wait status, as of waitpid(2)."""

    t: Literal["reaped"] = "reaped"
    status: int


class Refused(_Message):
    """Nothing was done, or what was begun is undone."""

    t: Literal["refused"] = "refused"
    step: str
    """The step of isolation.md section 5 (`birth.STEPS`), or `start`, `request`, `release`, `level`, `reap`."""
    path: str = ""
    """The file it is about."""
    words: str


Request = Annotated[SpawnRequest | ReapRequest, Field(discriminator="op")]
Answer = Annotated[Started | Born | Reaped | Refused, Field(discriminator="t")]
REQUEST: Final[TypeAdapter[SpawnRequest | ReapRequest]] = TypeAdapter(Request)
ANSWER: Final[TypeAdapter[Started | Born | Reaped | Refused]] = TypeAdapter(Answer)
