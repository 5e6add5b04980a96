"""Frames: what is refused, before anything is read or kept."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from platform_core.contracts import blobs as beside
from platform_core.contracts.results import Rendered, Verdict
from platform_core.contracts.runtime import FaultKind
from sandbox.runtime import frames
from sandbox.runtime.frames import BLOB, HEADER, JSON, FrameFault, Inbox

pytestmark = pytest.mark.unit
ID = "0123456789abcdef" * 2
READER = frames.reader_of(TypeAdapter(Verdict))


def fault_of(body: bytes, reader: TypeAdapter[Any] = READER) -> FaultKind:
    with pytest.raises(FrameFault) as caught:
        frames.read(reader, body)
    return caught.value.kind


def result(**parts: Any) -> bytes:
    return json.dumps({"t": "result", "id": ID} | parts).encode()


def capability(**parts: Any) -> bytes:
    whole = {"t": "capability", "id": ID, "sequence": 1, "handle": ID, "operation": "state.get", "arguments": {}}
    return json.dumps(whole | parts).encode()


@given(st.lists(st.binary(max_size=300), max_size=6), st.lists(st.integers(1, 50), min_size=1))
def test_frames_are_cut_alike_however_they_arrive(bodies: list[bytes], sizes: list[int]) -> None:
    stream = b"".join(frames.frame(body) for body in bodies)
    inbox, found, at = Inbox(), [], 0
    for size in sizes * (len(stream) + 1):
        if at >= len(stream):
            break
        inbox.feed(stream[at : at + size])
        at += size
        while (body := inbox.take(JSON, 300)) is not None:
            found.append(body)
    assert found == bodies
    assert not inbox


def test_a_length_over_the_limit_is_refused_at_the_header() -> None:
    inbox = Inbox()
    inbox.feed(HEADER.pack(JSON, 2**32 - 1))
    with pytest.raises(FrameFault) as caught:
        inbox.take(JSON, frames.ASK_BYTES_MAX)
    assert caught.value.kind is FaultKind.OVERSIZE
    inbox = Inbox()
    inbox.feed(HEADER.pack(JSON, frames.ASK_BYTES_MAX))
    assert inbox.take(JSON, frames.ASK_BYTES_MAX) is None


@pytest.mark.parametrize("first", [0, BLOB, 3, ord("{")])
def test_another_kind_is_refused_at_its_first_byte(first: int) -> None:
    inbox = Inbox()
    inbox.feed(bytes([first]))
    with pytest.raises(FrameFault) as caught:
        inbox.take(JSON, 100)
    assert caught.value.kind is FaultKind.MALFORMED


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"t":"hello"}',
        result(extra=1),
        result(id=1),
        result(id="short"),
        result(value={"decision": "allow"}, detail=None),
        capability(sequence="1"),
        capability(sequence=0),
        capability(arguments=[]),
        capability(handle=None),
        capability(extra=True),
        capability().replace(b"{}", b'{"a":NaN}'),
        capability().replace(b"{}", b'{"a":[-Infinity]}'),
        capability().replace(b"state.get", b"\xff"),
        capability().replace(b"state.get", b"\\ud800"),
        capability().replace(b"{}", b'{"a":' + b"1" * 5000 + b"}"),
        capability().replace(b"{}", b'{"a":' + b"[" * 500 + b"]" * 500 + b"}"),
    ],
)
def test_what_no_model_knows_is_malformed(body: bytes) -> None:
    assert fault_of(body) is FaultKind.MALFORMED


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"decision": "maybe"},
        {"decision": "deny"},
        {"decision": "allow", "score": "1"},
        {"decision": "allow", "score": 101},
        {"decision": "allow", "extra": 1},
    ],
)
def test_a_value_that_its_model_refuses_is_a_bad_result(value: object) -> None:
    assert fault_of(result(value=value)) is FaultKind.BAD_RESULT


def test_other_limits_are_oversize_and_other_frames_unsolicited() -> None:
    assert fault_of(result(error_type="E" * 81)) is FaultKind.OVERSIZE
    assert fault_of(result(error_type="E", detail="d" * 301)) is FaultKind.OVERSIZE
    assert fault_of(b'{"t":"ready","hooks":[],"providers":[],"import_ms":1}') is FaultKind.UNSOLICITED
    assert fault_of(result(value=None), frames.BOOTED) is FaultKind.UNSOLICITED


def test_words_that_look_like_nan_are_no_nan() -> None:
    read = frames.read(READER, capability(arguments={"a": "NaN or Infinity"}))
    assert read.arguments == {"a": "NaN or Infinity"}


def test_of_duplicate_keys_one_counts_and_only_what_was_read_goes_on() -> None:
    body = result(value={"decision": "allow"})
    twice = body.replace(b'"decision": "allow"', b'"decision": "deny", "decision": "allow"')
    assert twice != body
    assert frames.read(READER, twice).value == Verdict.allow()


@pytest.mark.parametrize(
    ("lengths", "kind"),
    [
        ([frames.BLOB_BYTES_MAX + 1], FaultKind.OVERSIZE),
        ([1] * 9, FaultKind.OVERSIZE),
        ([0], FaultKind.MALFORMED),
        ([5, -1], FaultKind.MALFORMED),
    ],
)
def test_blobs_are_judged_as_announced(lengths: list[int], kind: FaultKind) -> None:
    with pytest.raises(FrameFault) as caught:
        frames.check_blobs(lengths)
    assert caught.value.kind is kind


def test_eight_full_blobs_may_come() -> None:
    frames.check_blobs([frames.BLOB_BYTES_MAX] * 8)


@given(st.binary(max_size=2 * beside.BLOB_BYTES_MAX // 1024), st.integers(0, 600))
def test_bytes_travel_beside_the_json(start: bytes, repeats: int) -> None:
    adapter = TypeAdapter(Rendered)
    value = Rendered(media_type="text/html", blob=start * repeats)
    body, blobs = beside.dump(adapter, value)
    assert beside.load(adapter, body, blobs) == value
    assert b"".join(blobs) == value.blob


@pytest.mark.parametrize("place", [[1], [-1], [0, 1], [True], ["0"], [0.0]])
def test_a_place_that_names_no_blob_is_refused(place: object) -> None:
    body = json.dumps({"media_type": "text/html", "blob": place}).encode()
    with pytest.raises(ValueError, match=r"blob|bytes"):
        beside.load(TypeAdapter(Rendered), body, (b"only",))


def test_the_host_refuses_to_send_what_is_over_a_limit() -> None:
    with pytest.raises(FrameFault):
        frames.configure_frame(
            merchant_id="m", mode="test", locale="en", revision=1, config=b'"' + b"x" * 20_000 + b'"'
        )
    with pytest.raises(FrameFault):
        frames.told_frame(call_id=ID, sequence=1, value=b"1" * 300_000, code=None, hint="", blobs=())
    with pytest.raises(FrameFault):
        frames.told_frame(call_id=ID, sequence=1, value=b"1", code=None, hint="", blobs=(b"x",) * 9)


@given(st.text(), st.text(), st.integers(1, 50))
def test_a_refusal_arrives_as_it_was_said(code: str, hint: str, sequence: int) -> None:
    said = frames.told_frame(call_id=ID, sequence=sequence, value=b"null", code=code, hint=hint, blobs=())
    told = frames.Told.model_validate_json(said[HEADER.size :])
    assert (told.code, told.hint, told.sequence, told.value) == (code, hint, sequence, None)


def test_a_target_is_found_in_its_frame() -> None:
    assert frames.target_of(frames.call_prefix("register_channel/sms.send", 1)) == "register_channel/sms.send"
    assert frames.target_of(b'{"t":"configure"}') is None
