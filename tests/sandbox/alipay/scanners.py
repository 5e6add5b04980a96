"""How the two outside clients find the signed part of an answer, in words of our own: oracles for what we send.

python-alipay-sdk 3.4.0, `_get_string_to_be_signed`; alipay-sdk-python 3.7.1411, `PATTERN_RESPONSE_BEGIN`,
`PATTERN_RESPONSE_SIGN_BEGIN` and `__parse_response`; both read 2026-11-22.
"""

from __future__ import annotations

import json
import re
from typing import Any

_ASP_BEGIN = re.compile(r'"[a-zA-z_]+_response"[ \t\n]*:[ \t\n]*\{')
_ASP_SIGN = re.compile(r'\}[ \t\n]*,[ \t\n]*"sign"[ \t\n]*:[ \t\n]*"')


def pas_finds(body: str, node_name: str) -> tuple[str, str]:
    """What python-alipay-sdk verifies, and the signature: braces counted without regard to strings."""
    document: dict[str, Any] = json.loads(body)
    start = body.find("{", body.find(node_name))
    depth = 0
    for place in range(start, len(body)):
        depth += {"{": 1, "}": -1}.get(body[place], 0)
        if depth == 0:
            return body[start : place + 1], document["sign"]
    raise AssertionError("no end of the node")


def asp_finds(body: str) -> tuple[str, str]:
    """What alipay-sdk-python verifies, and the signature: from the node's name to the last `},"sign":"`."""
    begin = _ASP_BEGIN.search(body)
    ends = list(_ASP_SIGN.finditer(body))
    assert begin is not None, "response shape maybe illegal"
    assert ends, "response shape maybe illegal"
    last = ends[-1]
    return body[begin.end() - 1 : last.start() + 1], body[last.end() : body.find('"', last.end())]
