"""The worker's end of the channel: blocking, one frame at a time."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import Final, TypeVar

from pydantic import BaseModel, TypeAdapter

from sandbox.runtime import frames

_READ_BYTES: Final = 64 * 1024
T = TypeVar("T")


class _Announced(BaseModel):
    """Which blobs follow a frame; the rest of it is read when they are there."""

    blobs: tuple[int, ...] = ()


_ANNOUNCED: Final = TypeAdapter(_Announced)


class HostGone(BaseException):
    """The host hung up. No Exception: a plugin's `except Exception` must not keep a worker alive."""


class Line:
    """Frames to and from the host. Reads and writes by plain `read` and `write`, which every level allows."""

    __slots__ = ("_descriptor", "_inbox", "_socket")

    def __init__(self, channel: socket.socket) -> None:
        """`channel` becomes blocking and stays open as long as this object."""
        channel.setblocking(True)
        self._socket = channel
        self._descriptor = channel.fileno()
        self._inbox = frames.Inbox()

    def send(self, body: bytes) -> None:
        """One JSON frame."""
        self._write(frames.frame(body))

    def send_all(self, body: bytes, blobs: Sequence[bytes]) -> None:
        """One JSON frame and its blobs."""
        self._write(frames.with_blobs(body, blobs) if blobs else frames.frame(body))

    def next_frame(self) -> bytes:
        """The next JSON frame, unread."""
        return self._take(frames.JSON, frames.CALL_BYTES_MAX)

    def read(self, reader: TypeAdapter[T], body: bytes) -> tuple[T, tuple[bytes, ...]]:
        """A JSON frame as `reader` reads it, and the blobs that follow it."""
        if b',"blobs":[' not in body:
            return reader.validate_json(body), ()
        lengths = _ANNOUNCED.validate_json(body).blobs
        frames.check_blobs(lengths)
        blobs = tuple(self._take(frames.BLOB, length) for length in lengths)
        return reader.validate_json(body, context={"blobs": blobs}), blobs

    def _take(self, kind: int, bytes_max: int) -> bytes:
        while (body := self._inbox.take(kind, bytes_max)) is None:
            received = os.read(self._descriptor, _READ_BYTES)
            if not received:
                raise HostGone
            self._inbox.feed(received)
        return body

    def _write(self, frame: bytes) -> None:
        written = os.write(self._descriptor, frame)
        while written < len(frame):
            written += os.write(self._descriptor, memoryview(frame)[written:])
