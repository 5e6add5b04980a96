"""Forms with documents, read: what is taken, and what of the hostile kind is refused."""

from __future__ import annotations

import pytest

from platform_core.capabilities.payments.disputes.documents import documents_of
from platform_core.kernel.errors import PlatformError

FORM = 'multipart/form-data; boundary="x y"'


def form(*parts: bytes, boundary: bytes = b"x y") -> bytes:
    return b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"


def part(content: bytes, name: bytes = b'name="file"; filename="a.pdf"') -> bytes:
    return b"Content-Disposition: form-data; " + name + b"\r\nContent-Type: text/html\r\n\r\n" + content


def test_bytes_are_taken_as_they_are_and_types_by_their_beginning() -> None:
    whole = b"%PDF-1.4\n\r\r\n\x00\xff\r\n--xy\r\n"
    [document] = documents_of(FORM, form(part(whole)))
    assert (document.name, document.media_type, document.content) == ("a.pdf", "application/pdf", whole)


@pytest.mark.parametrize(
    ("said", "name"),
    [
        (b'name="file"; filename="../../etc/passwd"', ".._.._etc_passwd"),
        (b'name="file"; filename=""', "_"),
        (b"name=\"file\"; filename*=UTF-8''%e5%8f%91%e7%a5%a8.pdf", "发票.pdf"),
        (b'name="file"; filename="' + b"n" * 300 + b'"', "n" * 120),
        (b'name="file"; filename="a\tb.pdf"', "a_b.pdf"),
    ],
)
def test_names_are_shown_without_what_could_harm(said: bytes, name: str) -> None:
    [document] = documents_of(FORM, form(part(b"%PDF-", said)))
    assert document.name == name


@pytest.mark.parametrize(
    ("content_type", "body", "code"),
    [
        ("application/json", b"{}", "payments.evidence_media_type"),
        ("multipart/form-data", form(part(b"%PDF-")), "payments.evidence_malformed"),
        ('multipart/form-data; boundary=""', form(part(b"%PDF-")), "payments.evidence_malformed"),
        (f"multipart/form-data; boundary={'b' * 71}", form(part(b"%PDF-")), "payments.evidence_malformed"),
        (FORM, b"", "payments.evidence_malformed"),
        (FORM, form(part(b"%PDF-"))[:-6], "payments.evidence_malformed"),
        (FORM, form(), "payments.evidence_malformed"),
        (FORM, b"preamble" + form(part(b"%PDF-")), "payments.evidence_malformed"),
        (FORM, form(b"Content-Disposition: form-data"), "payments.evidence_malformed"),
        (FORM, form(part(b"%PDF-", b'name="file"')), "payments.evidence_malformed"),
        (FORM, form(part(b"%PDF-", b'name="note"; filename="a"')), "payments.evidence_malformed"),
        (FORM, form(b"X: " + b"y" * 5_000 + b"\r\n" + part(b"%PDF-")), "payments.evidence_malformed"),
        (FORM, form(*(part(b"%PDF-" + bytes([n])) for n in range(11))), "payments.evidence_malformed"),
        (FORM, form(part(b"\x00%PDF-")), "payments.evidence_type"),
        (FORM, form(part(b"%PDF-" + bytes(5 * 1024 * 1024))), "payments.evidence_too_large"),
    ],
)
def test_what_cannot_be_read_is_refused(content_type: str, body: bytes, code: str) -> None:
    with pytest.raises(PlatformError) as refused:
        documents_of(content_type, body)
    assert refused.value.code == code
