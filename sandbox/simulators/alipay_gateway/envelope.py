"""Answers of the Alipay OpenAPI protocol, in the one shape that both outside clients can verify.

python-alipay-sdk 3.4.0 finds the end of the node by counting braces, strings included; alipay-sdk-python 3.7.1411 finds
it by the last `},"sign":"` and reads the node's name as letters and underscores. So the node comes first, its strings
hold no brace, and nothing stands between the node and `sign` (both read in their source, 2026-11-22).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from sandbox.simulators.alipay_gateway.protocol import MESSAGES

NODE_NAME: Final = re.compile(r"[a-z]+(?:_[a-z]+)*_response", re.ASCII)
_STRING: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')


def answered(code: str = "10000", **fields: Any) -> dict[str, Any]:
    """A node that says yes, or not yet; fields that are None or blank are left out."""
    return {"code": code, "msg": MESSAGES[code], **fields}


def node_bytes(node: Mapping[str, Any]) -> bytes:
    """The node as it is signed and sent: ASCII without spaces, no brace within a string, no null, no blank.

    Raises TypeError for a number: the protocol's values are strings, lists and objects.
    """
    text = json.dumps(_plain(node), ensure_ascii=True, separators=(",", ":"))
    return _STRING.sub(_without_braces, text).encode("ascii")


def body_bytes(
    node_name: str, node: Mapping[str, Any], *, sign: Callable[[bytes], str], certificate_sn: str = ""
) -> bytes:
    """The whole body. `sign` gives the signature of the node's bytes, in base64.

    `certificate_sn`: of the platform's certificate, in certificate mode. It follows the signature; production puts it
    before, where alipay-sdk-python cannot read the answer.
    """
    assert NODE_NAME.fullmatch(node_name), node_name
    content = node_bytes(node)
    certificate = f',"alipay_cert_sn":"{certificate_sn}"' if certificate_sn else ""
    return b'{"%s":%s,"sign":"%s"%s}' % (
        node_name.encode(),
        content,
        sign(content).encode("ascii"),
        certificate.encode("ascii"),
    )


def _plain(value: Any) -> Any:  # JSON in, JSON out
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items() if inner not in (None, "", [])}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value if inner is not None]
    if not isinstance(value, str):
        raise TypeError(f"an answer holds strings, lists and objects, not {type(value).__name__}")
    return value


def _without_braces(found: re.Match[str]) -> str:
    return found[0].replace("{", "\\u007b").replace("}", "\\u007d")
