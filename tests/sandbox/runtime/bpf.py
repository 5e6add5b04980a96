"""A reader of classic BPF, so that filters of other architectures can be judged on this machine."""

from __future__ import annotations

import struct
from collections.abc import Sequence


def verdict(program: bytes, *, architecture: int, number: int, arguments: Sequence[int] = ()) -> int:
    """What the kernel would answer to one call: the value that the filter returns."""
    padded = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("=iIQ6Q", number, architecture, 0, *(each & (1 << 64) - 1 for each in padded))
    code = [struct.unpack_from("=HBBI", program, offset) for offset in range(0, len(program), 8)]
    register = 0
    at = 0
    while True:
        operation, yes, no, value = code[at]
        at += 1
        if operation == 0x20:
            register = struct.unpack_from("=I", data, value)[0]
        elif operation == 0x54:
            register &= value
        elif operation == 0x15:
            at += yes if register == value else no
        elif operation == 0x35:
            at += yes if register >= value else no
        elif operation == 0x06:
            return int(value)
        else:
            raise AssertionError(f"unknown instruction {operation:#x}")
