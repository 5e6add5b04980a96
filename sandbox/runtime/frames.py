"""What travels between host and worker, and its limits.

A frame is a header (kind, 1 byte; length, 4 bytes, big-endian) and a body: JSON of one of the models below, or a blob.
A length is judged before its body is waited for or kept. Frames of the host are put together from JSON that models of
the host wrote; frames of a worker are read by strict models, unknown keys and NaN refused.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Annotated, Any, Final, Literal
from weakref import WeakKeyDictionary

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    NonNegativeInt,
    TypeAdapter,
    ValidationError,
    create_model,
)
from pydantic_core import CoreSchema, from_json

from platform_core.contracts.runtime import FaultKind

JSON: Final = 1
BLOB: Final = 2
HEADER: Final = struct.Struct(">BI")

BOOT_BYTES_MAX: Final = 16 * 1024
"""`locked`, `ready`, `failed` and `configure`."""
ASK_BYTES_MAX: Final = 64 * 1024
"""`capability` and `result`."""
CALL_BYTES_MAX: Final = 256 * 1024
"""`call` and `capability_result`."""
ASKS_MAX: Final = 50
"""Capabilities that one call may ask for."""
BLOBS_MAX: Final = 8
BLOB_BYTES_MAX: Final = 256 * 1024
BLOBS_BYTES_MAX: Final = 2 * 1024 * 1024
ERROR_TYPE_MAX: Final = 80
DETAIL_MAX: Final = 300

BAD_RESULT: Final = "!bad_result"
"""`error_type` of a value that the result's model refused in the worker."""
MEMORY: Final = "!memory"
OVERSIZE: Final = "!oversize"
"""`error_type` of an answer that the worker did not send because it is over a limit."""

Id = Annotated[str, Field(min_length=32, max_length=32)]
Name = Annotated[str, Field(min_length=1, max_length=200)]


_CALL: Final = b'{"t":"call","target":"'
_TO_HOST: Final = frozenset({"locked", "ready", "failed", "capability", "result"})


class FrameFault(Exception):
    """What came is no frame that may come; `kind` says how it counts."""

    def __init__(self, kind: FaultKind, detail: str) -> None:
        """`detail` quotes nothing of what came."""
        super().__init__(detail)
        self.kind = kind


class Frame(BaseModel):
    """One JSON frame."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class Locked(Frame):
    """First frame of a worker, before any line of the plugin: what confines it, as tried out."""

    t: Literal["locked"] = "locked"
    level: int = Field(ge=0, le=4)
    landlock_abi: NonNegativeInt
    has_seccomp: bool
    namespaces: tuple[Name, ...]
    uid: NonNegativeInt
    holes: tuple[Name, ...]
    lock_ms: float = Field(ge=0)


class Ready(Frame):
    """The plugin is imported and registered."""

    t: Literal["ready"] = "ready"
    hooks: tuple[Name, ...]
    providers: tuple[Name, ...]
    import_ms: float = Field(ge=0)


class Failed(Frame):
    """In place of `ready`: the plugin cannot be loaded."""

    t: Literal["failed"] = "failed"
    error_type: str = Field(max_length=ERROR_TYPE_MAX)
    detail: str = Field(max_length=DETAIL_MAX)


class Capability(Frame):
    """The plugin asks for something."""

    t: Literal["capability"]
    id: Id
    sequence: int = Field(ge=1, le=1_000_000)
    handle: Id
    operation: Name
    arguments: dict[str, Any]  # Any: JSON; the gate reads it by the operation's own model
    blobs: tuple[int, ...] = ()


class Result(Frame):
    """The end of a call: a value, or an error's type and detail."""

    t: Literal["result"]
    id: Id
    value: Any = None  # Any: JSON; of the hook's result type in the models that `reader_of` makes
    error_type: str | None = Field(default=None, min_length=1, max_length=ERROR_TYPE_MAX)
    detail: str = Field(default="", max_length=DETAIL_MAX)
    blobs: tuple[int, ...] = ()


class Configure(Frame):
    """What a worker is bound to (first time), and what the merchant set."""

    model_config = ConfigDict(cache_strings="none")

    t: Literal["configure"]
    merchant_id: Name
    mode: Literal["live", "test"]
    locale: Name
    revision: int
    config: dict[str, Any]  # Any: JSON by the plugin's own schema


class Told(Frame):
    """The host's answer to a capability, as a worker reads it; why no strings are cached, `CallBegun` says."""

    model_config = ConfigDict(cache_strings="none")

    t: Literal["capability_result"]
    id: Id
    sequence: int
    value: Any = None  # Any: JSON of the operation's answer
    code: str | None = None
    hint: str = ""
    blobs: tuple[int, ...] = ()


GO: Final = HEADER.pack(JSON, 10) + b'{"t":"go"}'
"""The host's answer to `locked`: the worker may import the plugin. Until then nothing of it runs."""

LOCKED: Final[TypeAdapter[Any]] = TypeAdapter(Locked)
BOOTED: Final[TypeAdapter[Any]] = TypeAdapter(Annotated[Ready | Failed, Field(discriminator="t")])
LOOSE: Final[TypeAdapter[Any]] = TypeAdapter(Annotated[Result | Capability, Field(discriminator="t")])
"""Frames of a call with the value unread: for calls whose value is complete only with its blobs."""


class _Typed:
    """An annotation that stands for another adapter's type."""

    def __init__(self, adapter: TypeAdapter[Any]) -> None:
        self._adapter = adapter

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return self._adapter.core_schema


_readers: WeakKeyDictionary[TypeAdapter[Any], TypeAdapter[Any]] = WeakKeyDictionary()


def reader_of(result: TypeAdapter[Any]) -> TypeAdapter[Any]:
    """What reads frames of a call whose value is of `result`'s type, in one pass."""
    reader = _readers.get(result)
    if reader is None:
        typed = create_model("TypedResult", __base__=Result, value=(Annotated[Any, _Typed(result)], None))
        reader = TypeAdapter(Annotated[typed | Capability, Field(discriminator="t")])
        _readers[result] = reader
    return reader


def read(reader: TypeAdapter[Any], body: bytes, blobs: Sequence[bytes] = ()) -> Any:  # Any: a frame of the reader's
    """A frame of a worker. Raises FrameFault: malformed, oversize, or bad_result when only the value is wrong."""
    try:
        if b"NaN" in body or b"Infinity" in body:
            from_json(body, allow_inf_nan=False)
        if blobs:
            return reader.validate_json(body, strict=True, extra="forbid", context={"blobs": blobs})
        return reader.validate_json(body, strict=True, extra="forbid")
    except ValidationError as error:
        raise _fault_of(error) from None
    except ValueError:
        raise FrameFault(FaultKind.MALFORMED, "the frame holds NaN or Infinity, or is no JSON") from None


def is_finite(value: object) -> bool:
    """Whether JSON holds no number too large for a float, such as 1e999, which reads as infinite."""
    if isinstance(value, dict):
        return all(map(is_finite, value.values()))
    if isinstance(value, list):
        return all(map(is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def shown(text: str) -> str:
    """A worker's text as people may see it: what is no printable character is escaped, so that one line stays one."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def _fault_of(error: ValidationError) -> FrameFault:
    errors = error.errors(include_url=False, include_input=False)
    if errors[0]["type"] == "union_tag_invalid" and errors[0]["ctx"].get("tag") in _TO_HOST:
        return FrameFault(FaultKind.UNSOLICITED, f"a frame {errors[0]['ctx']['tag']} came where none may")
    where = [shown("/".join(str(part) for part in one["loc"][1:])[:80]) for one in errors[:3]]
    what = "; ".join(f"{place or 'frame'}: {one['type']}" for place, one in zip(where, errors, strict=False))
    if all(one["loc"][:2] == ("result", "value") for one in errors):
        return FrameFault(FaultKind.BAD_RESULT, f"the result's model refuses it: {what}"[:DETAIL_MAX])
    if all(one["type"] in ("string_too_long", "less_than_equal") for one in errors):
        return FrameFault(FaultKind.OVERSIZE, f"over a limit: {what}"[:DETAIL_MAX])
    return FrameFault(FaultKind.MALFORMED, f"no frame that may come now: {what}"[:DETAIL_MAX])


class Inbox:
    """Cuts what was received into frames. It holds one frame at most, and what the last read brought beyond it."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: bytes | bytearray = b""

    def __bool__(self) -> bool:
        """Whether anything has come that was not taken."""
        return bool(self._held)

    def feed(self, received: bytes) -> None:
        """Take note of what was received."""
        if not self._held:
            self._held = received
        elif isinstance(self._held, bytearray):
            self._held += received
        else:
            self._held = bytearray(self._held) + received

    def take(self, kind: int, bytes_max: int) -> bytes | None:
        """The next frame's body, or None until all of it is there. Raises FrameFault at the header already."""
        held = self._held
        if len(held) < HEADER.size:
            if held and held[0] != kind:
                raise FrameFault(FaultKind.MALFORMED, f"a frame of kind {held[0]} came, {kind} was due")
            return None
        found, length = HEADER.unpack_from(held)
        if found != kind:
            raise FrameFault(FaultKind.MALFORMED, f"a frame of kind {found} came, {kind} was due")
        if length > bytes_max:
            raise FrameFault(FaultKind.OVERSIZE, f"a frame of {length} bytes was announced, {bytes_max} may come")
        end = HEADER.size + length
        if len(held) < end:
            return None
        body = bytes(held[HEADER.size : end])
        self._held = b"" if len(held) == end else held[end:]
        return body


def check_blobs(lengths: Sequence[int]) -> None:
    """Judge the blobs that a frame announces before any is waited for. Raises FrameFault."""
    if len(lengths) > BLOBS_MAX or max(lengths, default=0) > BLOB_BYTES_MAX or sum(lengths) > BLOBS_BYTES_MAX:
        raise FrameFault(FaultKind.OVERSIZE, f"{len(lengths)} blobs of {sum(lengths)} bytes were announced")
    if min(lengths, default=1) < 1:
        raise FrameFault(FaultKind.MALFORMED, "a blob without bytes was announced")


def frame(body: bytes) -> bytes:
    """A JSON frame."""
    return HEADER.pack(JSON, len(body)) + body


def with_blobs(body: bytes, blobs: Iterable[bytes]) -> bytes:
    """A JSON frame and the blobs that it announces."""
    return frame(body) + b"".join(HEADER.pack(BLOB, len(blob)) + blob for blob in blobs)


def lengths_json(blobs: Sequence[bytes]) -> bytes:
    """The member `blobs` of a frame, with its comma; nothing where there are none."""
    return b',"blobs":[%b]' % b",".join(b"%d" % len(blob) for blob in blobs) if blobs else b""


@lru_cache(maxsize=1024)
def call_prefix(target: str, major: int) -> bytes:
    """The first part of a `call` frame, up to its id. `target`: a name without quotes and backslashes."""
    return b'%b%b","version":%d,"id":"' % (_CALL, target.encode("ascii"), major)


def target_of(body: bytes) -> str | None:
    """The target of a `call` frame as the host writes it; None for any other frame."""
    if not body.startswith(_CALL):
        return None
    return body[len(_CALL) : body.index(b'"', len(_CALL))].decode("ascii")


def configure_frame(*, merchant_id: str, mode: str, locale: str, revision: int, config: bytes) -> bytes:
    """A `configure` frame; `config` is a JSON object. Raises FrameFault when it is over its limit."""
    head = json.dumps({"t": "configure", "merchant_id": merchant_id, "mode": mode, "locale": locale})
    body = b'%b,"revision":%d,"config":%b}' % (head[:-1].encode(), revision, config)
    if len(body) > BOOT_BYTES_MAX:
        raise FrameFault(FaultKind.OVERSIZE, f"a configuration of {len(config)} bytes; {BOOT_BYTES_MAX} may go out")
    return frame(body)


def told_frame(
    *, call_id: str, sequence: int, value: bytes, code: str | None, hint: str, blobs: Sequence[bytes]
) -> bytes:
    """A `capability_result` frame with its blobs; `value` is JSON. Raises FrameFault when it is over a limit."""
    check_blobs([len(blob) for blob in blobs])
    said = b'"value":%b' % value if code is None else json.dumps({"code": code, "hint": hint}).encode()[1:-1]
    head = b'{"t":"capability_result","id":"%b","sequence":%d,' % (call_id.encode(), sequence)
    body = b"%b%b%b}" % (head, said, lengths_json(blobs))
    if len(body) > CALL_BYTES_MAX:
        raise FrameFault(FaultKind.OVERSIZE, f"an answer of {len(body)} bytes; {CALL_BYTES_MAX} may go out")
    return with_blobs(body, blobs)
