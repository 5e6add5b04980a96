"""From the zygote's fork to the first line of a worker's entry: isolation.md section 5, steps 1 to 11.

The zygote's child, the intermediate, does what needs the host's view (descriptors, namespaces, root, uid), forks the
worker and exits; the worker does the rest. Both tell the zygote through one pipe which step they are at and what went
wrong, as JSON lines. That pipe stays open until the self-test is over, longer than the step that closes the go-pipe:
otherwise an error of steps 7 to 11 would have no way home.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from sandbox.runtime.levels import Level
from sandbox.runtime.lockdown import cgroups, landlock, libc, namespaces, privileges
from sandbox.runtime.lockdown.filters import Program
from sandbox.runtime.lockdown.namespaces import HOST_NAME, Root, Source
from sandbox.runtime.lockdown.privileges import WorkerLimits
from sandbox.runtime.selftest import Host, LockFacts, attained, find_holes

STEPS: Final = (
    "descriptors",
    "cgroup",
    "namespaces",
    "root",
    "uid",
    "fork",
    "go",
    "privileges",
    "limits",
    "landlock",
    "seccomp",
    "selftest",
)
CHANNEL: Final = 3
GO: Final = 4
REPLY: Final = 5
_ABOVE_ALL: Final = 64
"""Descriptors are moved up here before they are put in place, so that none is overwritten while it is still needed."""
_WORDS_MAX: Final = 500
_SECCOMP_MODE_FILTER: Final = 2
_MACHINE: Final = os.uname()
_SHOWN_MACHINE: Final = os.uname_result((_MACHINE.sysname, HOST_NAME, _MACHINE.release, "", _MACHINE.machine))


@dataclass(frozen=True, slots=True, kw_only=True)
class Birth:
    """All that a worker's lockdown needs; everything that can be prepared before the fork is."""

    target: Level
    sources: tuple[Source, ...]
    """What it may read."""
    root: Root
    """The same as a root of its own."""
    host: Host
    namespaces: Mapping[str, str]
    """The zygote's own, by name."""
    landlock_abi: int
    program: Program | None
    """None on a machine without a table of kernel calls."""
    limits: WorkerLimits
    memory_mb: int
    uid: int
    """Its own at L4; below, what a root zygote's workers are counted by."""
    has_counts_by_namespace: bool
    """Whether the kernel counts processes for each user namespace apart (Linux 5.14, user_namespaces(7))."""
    group: Path | None
    """The plugin's cgroup, prepared."""
    run: Callable[[socket.socket, LockFacts], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wires:
    """Descriptors that the zygote hands to a birth."""

    channel: int
    log: int
    go: int
    reply: int


class Steps:
    """Tells the zygote which step is under way and how it failed."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Announce a step; any error in it is told and ends the process."""
        self.tell(at=name)
        try:
            yield
        except BaseException as error:  # noqa: BLE001 - the process ends here, and the zygote must learn why
            path = getattr(error, "filename", None)
            words = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            place = traceback.extract_tb(error.__traceback__)[-1]
            told = f"{words} ({place.name}, {os.path.basename(place.filename)}:{place.lineno})"
            self.tell(failed=name, path=os.fsdecode(path) if path else "", words=told[:_WORDS_MAX])
            os._exit(1)

    def tell(self, **message: object) -> None:
        """Write one line. A zygote that is gone needs no telling."""
        try:
            os.write(self.descriptor, json.dumps(message).encode() + b"\n")
        except OSError:
            os._exit(1)


def intermediate(birth: Birth, wires: Wires, *, began: float) -> NoReturn:
    """Steps 1 to 5, in the zygote's child. `began`: monotonic seconds at the zygote's fork."""
    steps = Steps(wires.reply)
    is_root = os.geteuid() == 0
    left: tuple[str, ...] = ()
    with steps("descriptors"):
        _place_descriptors(wires, steps)
        os.umask(0o077)
    if birth.group is not None:
        with steps("cgroup"):
            cgroups.join(birth.group)
    if birth.target >= Level.L3:
        with steps("namespaces"):
            namespaces.enter(is_root=is_root)
            left = namespaces.left(birth.namespaces)
        with steps("root"):
            namespaces.build_root(birth.root)
    if is_root and birth.target >= Level.L2:
        with steps("uid"):
            take_uid = privileges.become if birth.target >= Level.L4 else privileges.be_counted_as
            take_uid(birth.uid)
    with steps("fork"):
        child = os.fork()
        if child == 0:
            _worker(birth, steps, left=left, began=began)
    steps.tell(pid=child)
    os._exit(0)


def _place_descriptors(wires: Wires, steps: Steps) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    places = {0: null, 1: wires.log, 2: wires.log, CHANNEL: wires.channel, GO: wires.go, REPLY: wires.reply}
    high = {place: fcntl.fcntl(source, fcntl.F_DUPFD, _ABOVE_ALL) for place, source in places.items()}
    steps.descriptor = high[REPLY]
    for place, source in high.items():
        os.dup2(source, place, inheritable=False)
    steps.descriptor = REPLY
    os.closerange(REPLY + 1, os.sysconf("SC_OPEN_MAX"))


def _worker(birth: Birth, steps: Steps, *, left: tuple[str, ...], began: float) -> NoReturn:
    """Steps 6 to 11, in the worker; then its entry."""
    with steps("go"):
        _wait_for_go()
    if birth.target >= Level.L2:
        with steps("privileges"):
            privileges.drop_capabilities()
    with steps("limits"):
        is_counted_alone = os.getuid() == birth.uid or ("user" in left and birth.has_counts_by_namespace)
        privileges.limit(birth.limits, memory_mb=birth.memory_mb, is_counted_alone=is_counted_alone)
    if birth.target >= Level.L2:
        with steps("landlock"):
            _landlock(birth)
        with steps("seccomp"):
            assert birth.program is not None, f"there is no table of kernel calls for {os.uname().machine}"
            libc.install_filter(birth.program.bound_to(os.getpid()))
    with steps("selftest"):
        facts = _measure(birth, left=left, began=began)
    steps.tell(locked=facts.model_dump(mode="json"))
    os.close(GO)
    os.close(REPLY)
    if birth.target >= Level.L2:
        _hide_host_name()
    _run(birth, facts)


def _hide_host_name() -> None:
    """Give Python a name where the kernel's call is refused, since a name of its own takes a namespace (L3).

    This is for honest libraries, which ask `platform` for the system and the machine. What keeps the host's name away
    is the filter.
    """
    os.uname = lambda: _SHOWN_MACHINE
    socket.gethostname = lambda: HOST_NAME


def _wait_for_go() -> None:
    """Go on when the zygote says so, and die with it from then on.

    Not earlier: the parent-death signal would come when the intermediate exits. The zygote keeps its end open until the
    worker is locked, so an end that is closed now means that it died before the signal was armed.
    """
    if os.read(GO, 1) != b"g":
        os._exit(1)
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
    poll = select.poll()
    poll.register(GO, 0)
    if poll.poll(0):
        os._exit(1)


def _landlock(birth: Birth) -> None:
    folders = [source.path for source in birth.sources if source.is_folder]
    files = [source.path for source in birth.sources if not source.is_folder]
    landlock.restrict(folders, files=files, version=birth.landlock_abi)


def _measure(birth: Birth, *, left: tuple[str, ...], began: float) -> LockFacts:
    holes = find_holes(birth.host)
    namespaces_left = tuple(sorted({*left, "pid"})) if os.getpid() == 1 else left
    is_confined = birth.target >= Level.L2
    return LockFacts(
        level=attained(holes, left=namespaces_left, target=birth.target),
        landlock_abi=birth.landlock_abi if is_confined else 0,
        has_seccomp=libc.prctl(libc.PR_GET_SECCOMP) == _SECCOMP_MODE_FILTER,
        namespaces=namespaces_left,
        uid=os.geteuid(),
        holes=holes,
        lock_ms=round((time.monotonic() - began) * 1000, 3),
    )


def _run(birth: Birth, facts: LockFacts) -> NoReturn:
    """Run the entry; its end is the worker's end."""
    status = 0
    try:
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a TextIOWrapper: the zygote made it
        birth.run(socket.socket(fileno=CHANNEL), facts)
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:  # noqa: BLE001 - whatever it was, it belongs into the log and ends the worker
        traceback.print_exc()
        status = 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    os._exit(status & 0xFF)
