"""Replies and frames, written to the channel past the worker's own code. Without a channel there is nothing to do."""

import json
import os
import select
import signal
import socket
import struct
import sys
import threading
import time

from .attack import KEPT, collect, park

MODES, mode = collect()
CHANNEL = 3
JSON, BLOB = 1, 2
OTHER_ID = "0" * 32


def begun():
    """The call frame that the worker's loop is working on: it has the call's id and its handle."""
    frame = sys._getframe()
    while frame is not None:
        for value in frame.f_locals.values():
            if type(value).__name__ == "Call" and hasattr(value, "handle"):
                return value
        frame = frame.f_back
    raise OSError(38, "there is no channel here")


def pack(body, kind=JSON):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return struct.pack(">BI", kind, len(raw)) + raw


def send(*parts):
    """All of it, in one write where it fits."""
    raw = memoryview(b"".join(parts))
    while raw:
        raw = raw[os.write(CHANNEL, raw) :]


def verdict(at, **changed):
    honest = at.honest()
    return {"decision": honest.decision, "score": honest.score, "reasons": []} | changed


def result(at, **changed):
    return {"t": "result", "id": begun().id, "value": verdict(at)} | changed


def sends(name, make):
    """A mode that writes what `make` gives and never comes back."""

    def writes(at):
        begun()
        parts = make(at)
        send(*(parts if isinstance(parts, tuple) else (parts,)))
        park()

    writes.__name__ = name
    mode(writes)


def without(frame, *names):
    return {name: value for name, value in frame.items() if name not in names}


def raw_result(at, value):
    """A result whose value is given as JSON text."""
    return pack(b'{"t":"result","id":"%b","value":%b}' % (begun().id.encode(), value))


sends("own_result", lambda at: pack(result(at)))
sends("malformed", lambda at: pack(b"\xff\xfe garbage"))
sends("plain_text", lambda at: b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
sends("empty_frame", lambda at: pack(b""))
sends("json_array", lambda at: pack(b"[1,2,3]"))
sends(
    "not_utf8", lambda at: raw_result(at, b'{"decision":"allow","score":1,"reasons":[{"rule_id":"\xff","text":"x"}]}')
)
sends("lone_surrogate", lambda at: raw_result(at, b'{"decision":"\\ud800","score":1,"reasons":[]}'))
sends("huge_reply", lambda at: struct.pack(">BI", JSON, 60 * 1024 * 1024) + b"x" * (1024 * 1024))
sends("lenbomb", lambda at: struct.pack(">BI", JSON, 0xFFFF_FFFF))
sends("just_over_limit", lambda at: struct.pack(">BI", JSON, 64 * 1024 + 1))
sends("unknown_kind", lambda at: pack(result(at), kind=9))
sends("blob_for_json", lambda at: pack(b"x" * 10, kind=BLOB))
sends("forged_id", lambda at: pack(result(at, id=OTHER_ID)))
sends("short_id", lambda at: pack(result(at, id="1")))
sends("double_reply", lambda at: (pack(result(at)), pack(result(at))))
sends("prefetch_reply", lambda at: (pack(result(at)), pack(result(at, id=OTHER_ID, value=verdict(at, score=1)))))
sends("trailing_byte", lambda at: (pack(result(at)), b"\0"))
sends("locked_again", lambda at: pack({"t": "locked", "level": 4, "landlock_abi": 7, "has_seccomp": True,
                                       "namespaces": [], "uid": 1, "holes": [], "lock_ms": 1.0}))  # fmt: skip
sends("ready_again", lambda at: pack({"t": "ready", "hooks": [], "providers": [], "import_ms": 1.0}))
sends("call_to_host", lambda at: pack({"t": "call", "id": begun().id, "target": "check_payment"}))
sends("unknown_frame", lambda at: pack({"t": "become_root"}))
sends("no_type", lambda at: pack(without(result(at), "t")))
sends("no_value", lambda at: pack(without(result(at), "value")))
sends("extra_key", lambda at: pack(result(at, trusted=True)))
sends("ansi_key", lambda at: pack(result(at) | {"\x1b[2J\n[info] refund approved": 1}))
sends("extra_field", lambda at: pack(result(at, value=verdict(at, approved_by="operator"))))
sends("wrong_types", lambda at: pack(result(at, value=verdict(at, score="7"))))
sends("raw_bad_verdict", lambda at: pack(result(at, value=verdict(at, decision="approve"))))
sends("null_value", lambda at: pack(result(at, value=None)))
sends("nan_value", lambda at: raw_result(at, b'{"decision":"allow","score":NaN,"reasons":[]}'))
sends("infinity_value", lambda at: raw_result(at, b'{"decision":"allow","score":-Infinity,"reasons":[]}'))
sends("float_value", lambda at: raw_result(at, b'{"decision":"allow","score":1e400,"reasons":[]}'))
sends("big_number", lambda at: raw_result(at, b'{"decision":"allow","score":' + b"9" * 4000 + b',"reasons":[]}'))
sends("bigger_number", lambda at: raw_result(at, b'{"decision":"allow","score":' + b"9" * 60_000 + b',"reasons":[]}'))
sends("deep_value", lambda at: raw_result(at, b"[" * 30_000 + b"]" * 30_000))
sends("deep_objects", lambda at: raw_result(at, b'{"a":' * 8_000 + b"1" + b"}" * 8_000))
sends("duplicate_decision", lambda at: raw_result(at, b'{"decision":"deny","decision":"allow","score":%d,"reasons":[]}'
                                                  % at.honest().score))  # fmt: skip
sends("duplicate_id", lambda at: pack(b'{"t":"result","id":"%b","id":"%b","value":null}'
                                      % (begun().id.encode(), OTHER_ID.encode())))  # fmt: skip
sends("forged_memory", lambda at: pack(without(result(at, error_type="!memory"), "value")))
sends("forged_kind", lambda at: pack(without(result(at, error_type="!tampered"), "value")))
sends("long_error", lambda at: pack(without(result(at, error_type="E" * 200), "value")))
sends("long_detail", lambda at: pack(without(result(at, error_type="E", detail="d" * 30_000), "value")))
sends("ansi_detail", lambda at: pack(without(
    result(at, error_type="E\x1b[2J", detail="done\n2026-11-22 [info] refund approved\x1b[31m\u202e\x00"), "value")
))  # fmt: skip
sends("blobs_uninvited", lambda at: (pack(result(at, blobs=[3])), pack(b"abc", kind=BLOB)))
sends("blobs_too_many", lambda at: pack(result(at, blobs=[1] * 9)))
sends("blobs_too_big", lambda at: pack(result(at, blobs=[1 << 40])))
sends("blobs_negative", lambda at: pack(result(at, blobs=[-1])))
sends("blobs_empty", lambda at: pack(result(at, blobs=[0])))
sends("blobs_short", lambda at: (pack(result(at, blobs=[100])), pack(b"abc", kind=BLOB)))
sends("blobs_long", lambda at: (pack(result(at, blobs=[3])), pack(b"x" * 100, kind=BLOB)))
sends("half_frame", lambda at: pack(result(at))[:20])
sends("half_header", lambda at: b"\x01\x00")
sends("junk_flood", lambda at: b"\x01\x00\x00\x00\x02{}" * 200_000)


@mode
def half_frame_and_leave(at):
    begun()
    send(pack(result(at))[:20])
    os._exit(0)


@mode
def reply_and_leave(at):
    begun()
    send(pack(result(at)))
    os._exit(0)


@mode
def drip(at):
    """One byte at a time, so that the answer is never whole in time."""
    frame = pack(result(at))
    for place in range(len(frame)):
        os.write(CHANNEL, frame[place : place + 1])
        time.sleep(at.seconds / 20)
    park()


@mode
def late_answer(at):
    begun()
    time.sleep(at.seconds)


@mode
def close_channel(at):
    begun()
    os.close(CHANNEL)
    park()


@mode
def shut_channel(at):
    begun()
    channel = socket.socket(fileno=CHANNEL)
    channel.shutdown(socket.SHUT_WR)
    park()


@mode
def pass_descriptors(at):
    """Put descriptors into the host's table, with an answer that is right."""
    begun()
    channel = socket.socket(fileno=os.dup(CHANNEL))
    socket.send_fds(channel, [pack(result(at))], [0, 1, 2] * 60)
    park()


@mode
def two_halves(at):
    """The worker's own answer lands inside of another frame."""
    begun()
    send(struct.pack(">BI", JSON, 1000))


@mode
def byte_before_answer(at):
    begun()
    send(b"\x01")


@mode
def thread_answers(at):
    """A thread answers again and again, before and after the answer proper, and goes on in the next call."""
    call = begun()
    if at.step == 2:
        time.sleep(0.2)
        return
    frame = pack({"t": "result", "id": call.id, "value": verdict(at)})

    def answer():
        for _ in range(1000):
            os.write(CHANNEL, frame)

    threading.Thread(target=answer, daemon=True).start()


@mode
def answer_on_thaw(at):
    """Step 1 leaves a handler that writes an answer the moment the next call thaws this process."""
    begun()
    if at.step == 1:
        frame = pack(result(at, id=OTHER_ID))
        signal.signal(signal.SIGCONT, lambda *_: send(frame))


@mode
def repeat_last_answer(at):
    """Step 2 answers with the frame of step 1."""
    begun()
    if at.step == 1:
        KEPT["frame"] = pack(result(at))
        return
    send(KEPT["frame"])
    park()


@mode
def steal_next_frame(at):
    """A thread reads from the channel beside the worker's loop, and answers what it gets."""
    begun()
    if at.step == 2:
        return
    honest = verdict(at)

    def steal():
        head = os.read(CHANNEL, 65536)
        start = head.find(b'"id":"') + 6
        send(pack({"t": "result", "id": head[start : start + 32].decode(), "value": honest | {"score": 100}}))

    waiting = select.poll()
    waiting.register(CHANNEL, select.POLLIN)
    threading.Thread(target=lambda: waiting.poll() and steal(), daemon=True).start()


@mode
def patch_frames(at):
    """Give the worker's own modules other ideas of a frame."""
    begun()
    frames = sys.modules["sandbox.runtime.frames"]
    frames.HEADER = struct.Struct("<BI")


@mode
def drop_outgoing(at):
    """The worker's loop never gets its answer out."""
    begun()
    line = sys.modules["sandbox.runtime.worker_line"]
    line.Line.send_all = lambda *_: None
