"""The mistakes that clients are known to make, each as the strings, keys and signatures that it leads to.

Every function rebuilds what a client with that one mistake would have signed or sent; the first that fits is the cause.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import quote, quote_plus, unquote_plus

from sandbox.simulators.alipay_gateway.evidence import Evidence, Role, Trial
from sandbox.simulators.alipay_gateway.signing import SIGN, SIGN_TYPE, SIGN_TYPES, request_text

_BIZ: Final = b"biz_content"
_CHARSETS: Final = ("utf-8", "gbk")
PLATFORMS: Final[tuple[Role, ...]] = ("platform", "platform_before", "other_platform")


def as_it_should_be(evidence: Evidence) -> Iterator[Trial]:
    if evidence.held is None or evidence.held == evidence.right_key:
        yield Trial()


def other_key(evidence: Evidence) -> Iterator[Trial]:
    """Signed with, or verified by, another key of the side that signs: before or after a rotation, or a test's."""
    if evidence.kind == "request" and _role_held(evidence) in PLATFORMS:
        return  # a worse mistake, with its own row
    before: Role = "app_before" if evidence.kind == "request" else "platform_before"
    for known in evidence.keys:
        if known.role in (before, "app") and evidence.kind == "request" and known.key != evidence.held:
            yield Trial(key=known.key, key_name=known.name)
        if known.role == before and evidence.kind != "request":
            yield Trial(key=known.key, key_name=known.name)
    if evidence.kind != "request" and _role_held(evidence) in (None, before):
        yield Trial()


def sides_mixed_up(evidence: Evidence) -> Iterator[Trial]:
    """The app's and the platform's public key stand in each other's place."""
    role = _role_held(evidence)
    if evidence.kind == "request":
        if role in PLATFORMS:
            yield Trial(is_certain=True)  # what the app signs with cannot be known from the platform's key
    elif role in ("app", "app_before"):
        yield Trial()


def other_app(evidence: Evidence) -> Iterator[Trial]:
    for known in evidence.keys:
        if known.role in ("other_app", "other_platform") and known.key != evidence.held:
            yield Trial(key=known.key, key_name=known.name)
    if evidence.kind != "request" and _role_held(evidence) in ("other_app", "other_platform"):
        yield Trial()


def _role_held(evidence: Evidence) -> Role | None:
    """Whose key the verifying side holds, if the sandbox knows it."""
    return next((known.role for known in evidence.keys if known.key == evidence.held), None)


def other_hash(evidence: Evidence) -> Iterator[Trial]:
    for sign_type in sorted(SIGN_TYPES - {evidence.sign_type}):
        yield Trial(sign_type=sign_type)


def sign_type_wrong(evidence: Evidence) -> Iterator[Trial]:
    """A request that leaves `sign_type` out, a notice that keeps it."""
    if evidence.kind == "request":
        yield Trial(text=request_text([pair for pair in evidence.pairs if pair[0] != SIGN_TYPE]))
    elif evidence.kind == "notice":
        yield Trial(text=request_text(evidence.pairs, keeps_blanks=False))
        yield Trial(text=request_text(evidence.pairs))


def without_blanks(evidence: Evidence) -> Iterator[Trial]:
    if evidence.kind == "request":
        yield Trial(text=request_text(evidence.pairs, keeps_blanks=False))
    elif evidence.kind == "notice":
        yield Trial(text=request_text([pair for pair in evidence.pairs if pair[0] != SIGN_TYPE]))


def _values(evidence: Evidence, *changes: Callable[[bytes], bytes | None]) -> Iterator[Trial]:
    """The string with every value changed alike; a change that cannot be made gives none."""
    for change in changes:
        if evidence.kind == "answer":
            changed = change(evidence.body)
            texts = [changed] if changed is not None else []
        else:
            pairs = [(name, change(value)) for name, value in evidence.pairs]
            whole = [(name, value) for name, value in pairs if value is not None]
            texts = [evidence.written(whole)] if len(whole) == len(pairs) else []
        for text in texts:
            if text != evidence.text:
                yield Trial(text=text)


def url_encoded(evidence: Evidence) -> Iterator[Trial]:
    yield from _values(
        evidence,
        lambda value: quote_plus(value).encode(),
        lambda value: quote(value, safe="").encode(),
        lambda value: quote(value).encode(),
        lambda value: re.sub(rb"%[0-9A-F]{2}", lambda found: found[0].lower(), quote_plus(value).encode()),
        lambda value: unquote_plus(value.decode("latin-1"), "latin-1").encode("latin-1", "ignore"),
    )


def charset(evidence: Evidence) -> Iterator[Trial]:
    for one in _CHARSETS:
        for other in _CHARSETS:
            if one != other:
                yield from _values(evidence, lambda value, a=one, b=other: _recoded(value, a, b))  # type: ignore[misc]


def _recoded(value: bytes, one: str, other: str) -> bytes | None:
    try:
        return value.decode(one).encode(other)
    except (UnicodeDecodeError, UnicodeEncodeError):
        return None


def reserialised(evidence: Evidence) -> Iterator[Trial]:
    """JSON that was parsed and written again between signing and sending, or the other way round."""
    source = evidence.body if evidence.kind == "answer" else dict(evidence.pairs).get(_BIZ)
    if source is None:
        return
    try:
        parsed = json.loads(source)
    except ValueError:
        return
    for separators in ((",", ":"), (", ", ": ")):
        for is_ascii in (True, False):
            for is_sorted in (False, True):
                text = json.dumps(parsed, separators=separators, ensure_ascii=is_ascii, sort_keys=is_sorted)
                for written in (text, text.replace("/", "\\/")):
                    encoded = written.encode("utf-8", "surrogatepass")
                    if encoded != source:
                        yield Trial(text=_with_biz(evidence, encoded))


def _with_biz(evidence: Evidence, content: bytes) -> bytes:
    if evidence.kind == "answer":
        return content
    return evidence.written([(name, content if name == _BIZ else value) for name, value in evidence.pairs])


_EATEN: Final = {"×": "&times", "¬": "&not", "®": "&reg", "§": "&sect", "¶": "&para", "¤": "&curren", "©": "&copy"}
"""What browsers make of `&timestamp`, `&notify_url`, `&region` and the like in HTML whose `&` was not escaped."""


def html_changed(evidence: Evidence) -> Iterator[Trial]:
    def text_of(change: Callable[[str], str]) -> Callable[[bytes], bytes | None]:
        def changed(value: bytes) -> bytes | None:
            try:
                return change(value.decode("utf-8")).encode()
            except UnicodeDecodeError:
                return None

        return changed

    def uneaten(value: str) -> str:
        return "".join(_EATEN.get(c, c) for c in value)

    yield from _values(
        evidence,
        text_of(lambda value: html.escape(value, quote=True)),
        text_of(lambda value: html.escape(value, quote=False)),
        text_of(lambda value: value.replace('"', "&quot;")),
        text_of(html.unescape),
        text_of(uneaten),
    )


def spelling(evidence: Evidence) -> Iterator[Trial]:
    """The right signature, damaged on its way: `+` as a blank, base64 of addresses, wrapped lines, encoded twice."""
    given = evidence.signature
    for spelt in (
        given.strip().replace(" ", "+"),
        given.replace("-", "+").replace("_", "/"),
        "".join(given.split()),
        unquote_plus(given).replace(" ", "+"),
        given + "=" * (-len(given) % 4),
    ):
        if spelt != given:
            yield Trial(signature=spelt)


def order(evidence: Evidence) -> Iterator[Trial]:
    if evidence.kind == "answer":
        return
    left_out = (SIGN,) if evidence.kind == "request" else (SIGN, SIGN_TYPE)
    pairs = [pair for pair in evidence.pairs if pair[0] not in left_out]
    for ordered in (pairs, sorted(pairs, key=lambda pair: pair[0].lower())):
        yield Trial(text=b"&".join(name + b"=" + value for name, value in ordered))
    yield Trial(text=b"".join(name + b"=" + value for name, value in sorted(pairs)))


def whole_answer(evidence: Evidence) -> Iterator[Trial]:
    """The body where the node alone is signed, or the node with blanks around it."""
    if evidence.kind == "answer":
        node = _node_of(evidence.body)
        if node is not None:
            yield Trial(text=node)
        yield Trial(text=evidence.body.strip())


def _node_of(body: bytes) -> bytes | None:
    """The bytes between the node's colon and the comma before `sign`."""
    found = re.fullmatch(
        rb'\s*\{"[a-z_]+_response":(.*),"sign":"[^"]*"(?:,"alipay_cert_sn":"[^"]*")?\}\s*', body, re.DOTALL
    )
    return found[1] if found is not None else None


def client_says(evidence: Evidence) -> Iterator[Trial]:
    if evidence.client_text is not None and evidence.client_text != evidence.text:
        yield Trial(text=evidence.client_text)
