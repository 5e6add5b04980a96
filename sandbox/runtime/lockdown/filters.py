"""The seccomp filter: from the tables of `calls` to a program for the kernel.

Classic BPF over `struct seccomp_data` (seccomp(2), linux/filter.h, linux/audit.h; read 2026-11-22). Conditional jumps
are forward and at most 255 instructions far, so each call is a block that the next instruction jumps over.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sandbox.runtime.lockdown.calls import (
    ABSENT,
    ALL_BITS,
    ALLOWED,
    FATAL,
    OWN_PID,
    Architecture,
    Call,
    Condition,
    Null,
    OnlyReads,
)

_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_NOT_BELOW: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_AND: Final = 0x54  # BPF_ALU | BPF_AND | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_AT_NUMBER: Final = 0
_AT_ARCHITECTURE: Final = 4
_AT_ARGUMENTS: Final = 16

KILL: Final = 0x8000_0000
ALLOW: Final = 0x7FFF_0000
ERRNO: Final = 0x0005_0000
_EPERM: Final = 1
AUDIT_ARCHITECTURE: Final[dict[Architecture, int]] = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
X32_BIT: Final = 0x4000_0000
"""Numbers from here on are the x32 gate of x86_64: another table behind the same architecture."""

Instruction = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled filter that lacks only the worker's pid."""

    code: bytes
    pid_offsets: tuple[int, ...]

    def bound_to(self, pid: int) -> bytes:
        """The filter for one process."""
        code = bytearray(self.code)
        for offset in self.pid_offsets:
            struct.pack_into("=I", code, offset, pid)
        return bytes(code)


def compile_filter(architecture: Architecture) -> Program:
    """The worker's filter: architecture first, then fatal, absent and allowed calls; everything else is EPERM."""
    assert sys.byteorder == "little"
    program: list[Instruction] = [
        (_LOAD, 0, 0, _AT_ARCHITECTURE),
        (_EQUAL, 1, 0, AUDIT_ARCHITECTURE[architecture]),
        (_RETURN, 0, 0, KILL),
        (_LOAD, 0, 0, _AT_NUMBER),
    ]
    if architecture == "x86_64":
        program += [(_NOT_BELOW, 0, 1, X32_BIT), (_RETURN, 0, 0, KILL)]
    verdicts = [(call, ALLOW) for call in ALLOWED]
    verdicts += [(call, ERRNO | call.refusal) for call in ABSENT]
    verdicts += [(call, KILL) for call in FATAL]
    for call, verdict in verdicts:
        number = call.number(architecture)
        if number is not None:
            block = _block(call, verdict, architecture)
            program += [(_EQUAL, 0, len(block), number), *block]
    program.append((_RETURN, 0, 0, ERRNO | _EPERM))
    code = b"".join(struct.pack("=HBBI", *each) for each in program)
    pids = tuple(index * 8 + 4 for index, (_, _, _, value) in enumerate(program) if value == OWN_PID)
    return Program(code, pids)


def _block(call: Call, verdict: int, architecture: Architecture) -> list[Instruction]:
    """What follows once the number is known; always ends in a return."""
    block: list[Instruction] = []
    tests = [test for condition in call.conditions for test in _tests(condition, architecture)]
    left = sum(len(test) for test in tests) + 1
    for test in tests:
        left -= len(test)
        # The last instruction of a test jumps over all that is left, to the refusal, unless it holds.
        block += [(code, yes, left if no == _REFUSE else no, value) for code, yes, no, value in test]
    block.append((_RETURN, 0, 0, verdict))
    if tests:
        block.append((_RETURN, 0, 0, ERRNO | call.refusal))
    return block


_REFUSE: Final = 255


def _tests(condition: Condition, architecture: Architecture) -> Iterator[list[Instruction]]:
    if isinstance(condition, OnlyReads):
        condition = condition.on(architecture)
    low = _AT_ARGUMENTS + 8 * condition.argument
    if isinstance(condition, Null):
        yield [(_LOAD, 0, 0, low), (_EQUAL, 0, _REFUSE, 0)]
        yield [(_LOAD, 0, 0, low + 4), (_EQUAL, 0, _REFUSE, 0)]
        return
    start: list[Instruction] = [(_LOAD, 0, 0, low)]
    if condition.mask != ALL_BITS:
        start.append((_AND, 0, 0, condition.mask))
    *others, last = condition.values
    matches: list[Instruction] = [(_EQUAL, len(others) - index, 0, value) for index, value in enumerate(others)]
    yield [*start, *matches, (_EQUAL, 0, _REFUSE, last)]
