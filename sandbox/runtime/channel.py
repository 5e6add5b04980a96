"""The host's end of a worker's channel: frames out, frames in, freeze, kill. Asyncio alone; nothing blocks.

The reader stays registered for the worker's whole life, so a byte on an idle channel is seen at once, and each call
costs one send and one receive. Whatever the worker does wrong ends here, as a `Fault` of the call or of the worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import time
from enum import IntEnum
from hmac import compare_digest
from typing import Any, Final, Protocol

from pydantic import TypeAdapter

from platform_core.contracts.runtime import Answered, Ask, Fault, FaultKind, OutsideCall, Told
from sandbox.runtime import frames
from sandbox.runtime.frames import FrameFault
from sandbox.runtime.pending import RunningCall
from sandbox.runtime.spawner import Spawned

HANDLE_INVALID: Final = "plugin.handle_invalid"
"""What the gate says to a handle that is not this call's."""
_READ_BYTES: Final = 64 * 1024
_FETCH: Final = "egress.fetch"
_ERROR_KINDS: Final = {
    frames.BAD_RESULT: FaultKind.BAD_RESULT,
    frames.MEMORY: FaultKind.MEMORY,
    frames.OVERSIZE: FaultKind.OVERSIZE,
}
_KEPT: Final = frozenset({FaultKind.EXCEPTION, FaultKind.BAD_RESULT})
"""Faults that leave the channel in step."""


class State(IntEnum):
    """Where the conversation stands."""

    BOOTING = 0
    LOCKED = 1
    IDLE = 2
    IN_CALL = 3
    TELLING = 4
    """In a call, and the worker waits for the answer to a capability."""
    DEAD = 5


class ChannelOwner(Protocol):
    """Hears what becomes of a worker."""

    def locked(self, frame: frames.Locked, /) -> Fault | None:
        """Judge the lockdown's report; a fault ends the worker before its plugin is imported."""
        ...

    def ready(self, frame: frames.Ready, /) -> None:
        """The plugin is loaded, and the worker frozen."""
        ...

    def answered(self, call: RunningCall, /) -> None:
        """A call has its outcome, and the worker is idle: it may be given another one at once, else see to it that
        it is frozen soon.
        """
        ...

    def ended(self, fault: Fault | None, call: RunningCall | None, /) -> None:
        """The worker is killed. With a fault the call, if any, has it as its outcome.

        Without one it ended by itself: why, its exit status tells, and the call still waits for its outcome.
        """
        ...

    def logged(self, output: bytes, call_id: str, /) -> None:
        """What was written to the log since the last time."""
        ...


class Channel:
    """One worker."""

    __slots__ = (
        "_awaited",
        "_blobs",
        "_body",
        "_call",
        "_inbox",
        "_is_seen_quiet",
        "_is_stopped",
        "_log",
        "_loop",
        "_outgoing",
        "_owner",
        "_pidfd",
        "_poller",
        "_previous_id",
        "_reader",
        "_sequence",
        "_socket",
        "_spawned",
        "_task",
        "last_call_id",
        "state",
    )

    def __init__(self, spawned: Spawned, *, owner: ChannelOwner, loop: asyncio.AbstractEventLoop) -> None:
        """Takes over what `spawned` holds: `end` and then `bury` give it back."""
        self.state = State.BOOTING
        self.last_call_id = self._previous_id = ""
        self._socket = spawned.channel
        self._spawned = spawned
        self._pidfd = spawned.pidfd
        self._log = spawned.log
        self._owner = owner
        self._loop = loop
        self._inbox = frames.Inbox()
        self._is_stopped = False
        self._is_seen_quiet = False
        self._call: RunningCall | None = None
        self._reader: TypeAdapter[Any] = frames.LOCKED
        self._sequence = 0
        self._task: asyncio.Task[None] | None = None
        self._outgoing: memoryview | None = None
        self._body: bytes | None = None
        self._awaited: tuple[int, ...] = ()
        self._blobs: list[bytes] = []
        self._poller = select.poll()
        self._poller.register(self._socket, select.POLLIN)
        self._poller.register(self._log, select.POLLIN)
        loop.add_reader(self._socket, self._receive)

    @property
    def is_alive(self) -> bool:
        """Whether it was not ended yet."""
        return self.state is not State.DEAD

    # What the pool does with it.

    def start(self, running: RunningCall, preface: bytes = b"") -> bool:
        """Send a call at once, `preface` (a `configure` frame) before it. False: the worker is gone, nothing was sent.

        Raises FrameFault, before anything is sent, for a call over a limit.
        """
        assert self.state is State.IDLE, self.state
        call = running.call
        message = preface + _call_frames(call, deadline_ms=max(1, int((call.deadline - time.monotonic()) * 1000)))
        if not self._is_seen_quiet and self._poller.poll(0) and not self._is_quiet():
            return False
        self._call = running
        running.holder = self
        self._sequence = 0
        self._reader = frames.LOOSE if call.blobs or _may_have_blobs(call.target) else frames.reader_of(call.result)
        self._previous_id, self.last_call_id = self.last_call_id, call.id
        self.state = State.IN_CALL
        if not self._send(message):
            self._call, running.holder = None, None
            self.end(None)
            return False
        if self._is_stopped:
            self._is_stopped = False
            self._signal(signal.SIGCONT)
        return True

    def look(self) -> None:
        """Take what has come for the call under way, before the loop comes to it."""
        running = self._call
        while running is not None and self._call is running and self._receive():
            pass

    def expire(self) -> None:
        """The call's deadline has passed: one last look, then the worker ends."""
        running = self._call
        self.look()
        if running is not None and self._call is running:
            self.end(Fault(FaultKind.TIMEOUT, "no answer by the deadline"))

    def end(self, fault: Fault | None) -> None:
        """Kill the worker. Idempotent. Its log stays open until `bury`, for its last words."""
        if self.state is State.DEAD:
            return
        self.state = State.DEAD
        running, self._call = self._call, None
        self._loop.remove_reader(self._socket)
        if self._outgoing is not None:
            self._loop.remove_writer(self._socket)
        if self._task is not None:
            self._task.cancel()
        self._signal(signal.SIGKILL)
        self._socket.close()
        if running is not None and fault is not None:
            running.finish(fault)
        self._owner.ended(fault, running)

    def bury(self) -> None:
        """Take the last words, and close what is left. After `end`, when the process is gone."""
        assert self.state is State.DEAD, self.state
        self._drain()
        self._spawned.close()

    # What comes from the worker.

    def _receive(self) -> bool:
        """Take what is there now. False when there was nothing, or the worker is dead by now.

        At the end of file the exit status will say what it was.
        """
        try:
            received = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            received = b""
        if not received:
            self.end(None)
            return False
        try:
            self._inbox.feed(received)
            self._advance()
        except FrameFault as wrong:
            self._misspoken(wrong)
        return self.state is not State.DEAD

    def _misspoken(self, wrong: FrameFault) -> None:
        """What came is not what may come. A value that only its model refuses leaves the worker as it is."""
        fault = Fault(wrong.kind, str(wrong))
        if wrong.kind is FaultKind.BAD_RESULT and self._call is not None and self._body is not None:
            try:
                frame = frames.read(frames.LOOSE, self._body)
                self._finish(frame.id, fault)
                return
            except FrameFault as worse:
                fault = Fault(worse.kind, str(worse))
        self.end(fault)

    def _advance(self) -> None:
        """Take every whole frame of what has come."""
        while self._inbox and self.state is not State.DEAD:
            if self.state is State.IN_CALL:
                if not self._advance_call():
                    return
            elif self.state is State.BOOTING or self.state is State.LOCKED:
                body = self._inbox.take(frames.JSON, frames.BOOT_BYTES_MAX)
                if body is None:
                    return
                self._boot(body)
            else:
                raise FrameFault(FaultKind.UNSOLICITED, "bytes came while nothing was asked of the worker")

    def _boot(self, body: bytes) -> None:
        if self.state is State.BOOTING:
            fault = self._owner.locked(frames.read(frames.LOCKED, body))
            if fault is not None:
                self.end(fault)
                return
            self.state = State.LOCKED
            self._send(frames.GO)
            return
        frame = frames.read(frames.BOOTED, body)
        if self._inbox:
            raise FrameFault(FaultKind.UNSOLICITED, "more came with the report that the plugin is loaded")
        if isinstance(frame, frames.Failed):
            told = frames.shown(f"{frame.error_type}: {frame.detail}")
            self.end(Fault(FaultKind.LOAD, told[: frames.DETAIL_MAX]))
            return
        self.state = State.IDLE
        self._owner.ready(frame)
        self.freeze()

    def _advance_call(self) -> bool:
        """Take one frame of a call; False when none is whole yet."""
        if self._awaited:
            length = self._awaited[len(self._blobs)]
            blob = self._inbox.take(frames.BLOB, length)
            if blob is None:
                return False
            if len(blob) != length:
                raise FrameFault(FaultKind.MALFORMED, "a blob is shorter than announced")
            self._blobs.append(blob)
            if len(self._blobs) < len(self._awaited):
                return True
            blobs, self._blobs, self._awaited = tuple(self._blobs), [], ()
            assert self._body is not None
            self._said(frames.read(frames.LOOSE, self._body), blobs)
            return True
        body = self._inbox.take(frames.JSON, frames.ASK_BYTES_MAX)
        if body is None:
            return False
        self._body = body
        frame = frames.read(self._reader, body)
        if frame.blobs:
            frames.check_blobs(frame.blobs)
            self._awaited = frame.blobs
            return True
        self._said(frame, ())
        return True

    def _said(self, frame: frames.Result | frames.Capability, blobs: tuple[bytes, ...]) -> None:
        assert self._call is not None
        if isinstance(frame, frames.Capability):
            self._asked(frame, blobs)
            return
        call = self._call.call
        if frame.error_type is not None:
            kind = _ERROR_KINDS.get(frame.error_type, FaultKind.EXCEPTION)
            detail = frame.detail if kind is not FaultKind.EXCEPTION else f"{frame.error_type}: {frame.detail}"
            self._finish(frame.id, Fault(kind, frames.shown(detail)[: frames.DETAIL_MAX]))
            return
        if "value" not in frame.model_fields_set:
            raise FrameFault(FaultKind.MALFORMED, "a result without value and error")
        if self._reader is not frames.LOOSE:
            if blobs:
                raise FrameFault(FaultKind.MALFORMED, "blobs came where none may")
            self._finish(frame.id, Answered(frame.value))
            return
        assert self._body is not None
        typed = frames.read(frames.reader_of(call.result), self._body, blobs)
        self._finish(frame.id, Answered(typed.value, blobs))

    def _finish(self, said_id: str, outcome: Answered | Fault) -> None:
        """The end of a call."""
        running = self._call
        assert running is not None
        if self._inbox:
            raise FrameFault(FaultKind.UNSOLICITED, "more came with the answer")
        if not compare_digest(said_id.encode(), running.call.id.encode()):
            if said_id == self._previous_id:
                raise FrameFault(FaultKind.UNSOLICITED, "an earlier call was answered a second time")
            raise FrameFault(FaultKind.FORGED_ID, "the answer names another call")
        if isinstance(outcome, Fault) and outcome.kind not in _KEPT:
            self.end(outcome)
            return
        self.state = State.IDLE
        if self._poller.poll(0) and not self._is_quiet():
            return
        self._call = None
        self._body = None
        running.finish(outcome)
        self._is_seen_quiet = True  # for a call that waits: it is sent at once
        self._owner.answered(running)
        self._is_seen_quiet = False

    # Capabilities.

    def _asked(self, frame: frames.Capability, blobs: tuple[bytes, ...]) -> None:
        running = self._call
        assert running is not None
        call = running.call
        if not compare_digest(frame.id.encode(), call.id.encode()):
            raise FrameFault(FaultKind.FORGED_ID, "a capability was asked for another call")
        if not compare_digest(frame.handle.encode(), call.handle.encode()):
            raise FrameFault(FaultKind.FOREIGN_HANDLE, "a capability was asked with another handle")
        self._sequence += 1
        if self._sequence > frames.ASKS_MAX:
            raise FrameFault(FaultKind.CAPABILITY_FLOOD, f"more than {frames.ASKS_MAX} capabilities in one call")
        if frame.sequence != self._sequence or (blobs and frame.operation != _FETCH):
            raise FrameFault(FaultKind.MALFORMED, "a capability out of sequence, or with blobs it may not have")
        if not frames.is_finite(frame.arguments):
            raise FrameFault(FaultKind.MALFORMED, "a capability with a number that is not finite")
        self.state = State.TELLING
        ask = Ask(
            call_id=call.id,
            sequence=frame.sequence,
            handle=frame.handle,
            operation=frame.operation,
            arguments=frame.arguments,
            blobs=blobs,
        )
        self._task = self._loop.create_task(self._tell(running, ask))

    async def _tell(self, running: RunningCall, ask: Ask) -> None:
        try:
            told = await running.call.gate.tell(ask)
        except Exception:  # noqa: BLE001 - the gate never raises; if it does, the plugin must not wait for its deadline
            told = Told(code="plugin.gate_failed", hint="The platform could not carry this out. Try again later.")
        if self.state is not State.TELLING or self._call is not running:
            return
        self._task = None
        if told.code == HANDLE_INVALID:
            self.end(Fault(FaultKind.FOREIGN_HANDLE, told.hint[: frames.DETAIL_MAX]))
            return
        self.state = State.IN_CALL
        self._send(_told_frames(ask, told))  # A worker that is gone shows as end of file, in order.

    # Sending, freezing, logs.

    def _send(self, message: bytes) -> bool:
        """Send, the rest later if need be. False when the worker is gone and nothing was sent."""
        try:
            sent = self._socket.send(message)
        except BlockingIOError:
            sent = 0
        except OSError:
            return False
        if sent < len(message):
            self._outgoing = memoryview(message)[sent:]
            self._loop.add_writer(self._socket, self._writable)
        return True

    def _writable(self) -> None:
        assert self._outgoing is not None
        try:
            sent = self._socket.send(self._outgoing)
        except BlockingIOError:
            return
        except OSError:
            sent = len(self._outgoing)
        self._outgoing = self._outgoing[sent:] if sent < len(self._outgoing) else None
        if self._outgoing is None:
            self._loop.remove_writer(self._socket)

    def freeze(self) -> None:
        """Stop the worker until its next call, unless it has that already. Idempotent."""
        if self.state is State.IDLE and not self._is_stopped:
            self._is_stopped = True
            self._signal(signal.SIGSTOP)

    def _signal(self, number: signal.Signals) -> None:
        try:  # noqa: SIM105 - `suppress` costs as much as the signal, and every call sends two
            signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            pass

    def _is_quiet(self) -> bool:
        """Whether it was only the log that had something. Anything on the channel itself ends the worker."""
        self._drain()
        try:
            received = self._socket.recv(1)
        except BlockingIOError:
            return True
        except OSError:
            received = b""
        if received:
            self.end(Fault(FaultKind.UNSOLICITED, "bytes came after the answer"))
        elif self._call is None:
            self.end(None)
        else:
            return True  # It answered and left; the reader will learn of the end next.
        return False

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            output = os.read(self._log, _READ_BYTES)
            if output:
                self._owner.logged(output, self.last_call_id)


def _may_have_blobs(target: str) -> bool:
    return "/" in target or target.startswith("render_")


def _call_frames(call: OutsideCall, *, deadline_ms: int) -> bytes:
    """A `call` frame with its blobs. Raises FrameFault when it is over a limit."""
    body = b'%b%b","handle":"%b","deadline_ms":%d,"ctx":%b,"args":%b%b}' % (
        frames.call_prefix(call.target, call.major),
        call.id.encode(),
        call.handle.encode(),
        deadline_ms,
        call.context,
        call.arguments,
        frames.lengths_json(call.blobs),
    )
    if len(body) > frames.CALL_BYTES_MAX:
        raise FrameFault(FaultKind.OVERSIZE, f"a call of {len(body)} bytes; {frames.CALL_BYTES_MAX} may go out")
    if not call.blobs:
        return frames.frame(body)
    frames.check_blobs([len(blob) for blob in call.blobs])
    return frames.with_blobs(body, call.blobs)


def _told_frames(ask: Ask, told: Told) -> bytes:
    """A `capability_result`; an answer over a limit becomes a refusal, since the plugin may ask for less."""
    try:
        return frames.told_frame(
            call_id=ask.call_id,
            sequence=ask.sequence,
            value=told.value,
            code=told.code,
            hint=told.hint,
            blobs=told.blobs,
        )
    except FrameFault as wrong:
        hint = f"The answer is too large for a worker: {wrong}. Ask for less."
        return frames.told_frame(
            call_id=ask.call_id,
            sequence=ask.sequence,
            value=b"null",
            code="plugin.answer_too_large",
            hint=hint,
            blobs=(),
        )
