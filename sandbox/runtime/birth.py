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
import random
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from sandbox.runtime import selftest
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
_ANNOUNCEMENTS: Final = {name: b'{"at":"%b"}\n' % name.encode() for name in STEPS}
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
    folders: tuple[str, ...]
    files: tuple[str, ...]
    """The same as Landlock takes them."""
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
    """Tells the zygote which step is under way and how it failed.

    No context managers, and no JSON but for an error: this runs in every birth, and each function that a worker runs
    for the first time copies the pages it stands on.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._name = STEPS[0]

    def at(self, name: str) -> None:
        """Announce a step; what is raised from here on is told as its failure."""
        self._name = name
        self.tell(_ANNOUNCEMENTS[name])

    def tell(self, line: bytes) -> None:
        """Write one line. A zygote that is gone needs no telling."""
        try:
            os.write(self.descriptor, line)
        except OSError:
            os._exit(1)

    def fail(self, error: BaseException) -> NoReturn:
        """Tell what was raised and where, and end the process."""
        path = getattr(error, "filename", None)
        words = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        place = traceback.extract_tb(error.__traceback__)[-1]
        told = f"{words} ({place.name}, {os.path.basename(place.filename)}:{place.lineno})"
        line = {"failed": self._name, "path": os.fsdecode(path) if path else "", "words": told[:_WORDS_MAX]}
        self.tell(json.dumps(line).encode() + b"\n")
        os._exit(1)


def rehearse(birth: Birth, *, times: int) -> None:
    """Do in the zygote, often, what a birth does and what changes nothing there (`rehearsal` says why)."""
    libc.look_up()
    if birth.program is not None:
        libc.filter_buffer(len(birth.program.code))
    for _ in range(times if _MACHINE.sysname == "Linux" else 0):
        privileges.capability_count.cache_clear()
        privileges.capability_count()
        libc.capabilities()
        namespaces.identities()
        selftest.rehearse()
        LockFacts(
            level=birth.target,
            landlock_abi=birth.landlock_abi,
            has_seccomp=False,
            namespaces=tuple(sorted(birth.namespaces)),
            uid=os.geteuid(),
            holes=(),
            lock_ms=0.0,
        ).model_dump_json()


def intermediate(birth: Birth, wires: Wires, *, began: float) -> NoReturn:
    """Steps 1 to 5, in the zygote's child. `began`: monotonic seconds at the zygote's fork."""
    steps = Steps(wires.reply)
    try:
        left = _leave_the_host(birth, wires, steps)
        steps.at("fork")
        child = libc.fork()
        if child == 0:
            _worker(birth, steps, left=left, began=began)
    except BaseException as error:  # noqa: BLE001 - the process ends here, and the zygote must learn why
        steps.fail(error)
    steps.tell(b'{"pid":%d}\n' % child)
    os._exit(0)


def _leave_the_host(birth: Birth, wires: Wires, steps: Steps) -> tuple[str, ...]:
    """Steps 1 to 4; the namespaces that were left."""
    is_root = os.geteuid() == 0
    left: tuple[str, ...] = ()
    steps.at("descriptors")
    _place_descriptors(wires, steps)
    os.umask(0o077)
    if birth.group is not None:
        steps.at("cgroup")
        cgroups.join(birth.group)
    if birth.target >= Level.L3:
        steps.at("namespaces")
        namespaces.enter(is_root=is_root)
        left = namespaces.left(birth.namespaces)
        steps.at("root")
        namespaces.build_root(birth.root)
    if is_root and birth.target >= Level.L2:
        steps.at("uid")
        take_uid = privileges.become if birth.target >= Level.L4 else privileges.be_counted_as
        take_uid(birth.uid)
    return left


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
    try:
        facts = _locked(birth, steps, left=left, began=began)
    except BaseException as error:  # noqa: BLE001 - as above
        steps.fail(error)
    steps.tell(b'{"locked":%b}\n' % facts.model_dump_json().encode())
    os.close(GO)
    os.close(REPLY)
    if birth.target >= Level.L2:
        _hide_host_name()
    _run(birth, facts)


def _locked(birth: Birth, steps: Steps, *, left: tuple[str, ...], began: float) -> LockFacts:
    """Steps 6 to 11; what the worker measured."""
    steps.at("go")
    _wait_for_go()
    if birth.target >= Level.L2:
        steps.at("privileges")
        privileges.drop_capabilities()
    steps.at("limits")
    is_counted_alone = os.getuid() == birth.uid or ("user" in left and birth.has_counts_by_namespace)
    privileges.limit(birth.limits, memory_mb=birth.memory_mb, is_counted_alone=is_counted_alone)
    if birth.target >= Level.L2:
        steps.at("landlock")
        landlock.restrict(birth.folders, files=birth.files, version=birth.landlock_abi)
        steps.at("seccomp")
        assert birth.program is not None, f"there is no table of kernel calls for {_MACHINE.machine}"
        libc.install_filter(birth.program.bound_to(os.getpid()))
    steps.at("selftest")
    return _measure(birth, left=left, began=began)


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


def _be_another() -> None:
    """What a fork leaves equal in all workers and must not be: random numbers, and the number of the first thread."""
    random.seed()
    threading.main_thread()._set_native_id()  # type: ignore[attr-defined]  # `Thread.native_id` has no public setter


def _run(birth: Birth, facts: LockFacts) -> NoReturn:
    """Run the entry; its end is the worker's end."""
    status = 0
    try:
        _be_another()
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
