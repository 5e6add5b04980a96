"""Sealing, keyed hashes, the form of client secrets, and the scope catalogue."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest

from platform_core.contracts.scopes import Scope, catalogue
from platform_core.identity.app_secrets import is_well_formed, make_secret
from platform_core.identity.vault import SealBroken, Vault, read_or_create_key
from platform_core.kernel.i18n import Text

pytestmark = pytest.mark.unit
VAULT = Vault(b"k" * 32)


def test_a_secret_has_the_published_form() -> None:
    secret = make_secret("live", os.urandom)
    assert re.fullmatch(r"ask_live_[0-9A-Za-z]{49}", secret)
    assert make_secret("test", bytes) == "ask_test_" + "0" * 43 + "15MHIq"
    assert is_well_formed(make_secret("test", lambda size: b"\xff" * size))


@pytest.mark.parametrize("place", range(9, 58))
def test_any_mistyped_character_breaks_the_check_sum(place: int) -> None:
    secret = make_secret("test", lambda size: bytes(range(size)))
    assert is_well_formed(secret)
    wrong = "a" if secret[place] != "a" else "b"
    assert not is_well_formed(secret[:place] + wrong + secret[place + 1 :])


@pytest.mark.parametrize("text", ["", "ask_test_", "ask_prod_" + "0" * 49, "ask_test_" + "0" * 48 + "支"])
def test_other_texts_are_no_secrets(text: str) -> None:
    assert not is_well_formed(text)


def test_a_box_opens_only_for_its_row_key_and_bytes() -> None:
    box = VAULT.seal("key_1", b"private")
    assert VAULT.open("key_1", box) == b"private"
    assert VAULT.seal("key_1", b"private") != box
    altered = box[:-1] + bytes([box[-1] ^ 1])
    for vault, row_id, found in [
        (VAULT, "key_2", box),
        (VAULT, "key_1", altered),
        (VAULT, "key_1", b"\x02" + box[1:]),
        (VAULT, "key_1", box[:5]),
        (Vault(b"j" * 32), "key_1", box),
    ]:
        with pytest.raises(SealBroken):
            vault.open(row_id, found)


def test_a_digest_is_bound_to_row_and_key() -> None:
    digest = VAULT.digest("sec_1", "secret")
    assert VAULT.matches("sec_1", "secret", digest)
    assert not VAULT.matches("sec_2", "secret", digest)
    assert not VAULT.matches("sec_1", "Secret", digest)
    assert not Vault(b"j" * 32).matches("sec_1", "secret", digest)


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Vault(b"short")


def test_the_key_file_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "home" / "secrets.key"
    key = read_or_create_key(path)
    assert len(key) == 32
    assert read_or_create_key(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in path.parent.iterdir()] == ["secrets.key"]


def test_the_catalogue_finds_every_file() -> None:
    found = catalogue()
    assert {"payments:write", "ledger:read", "webhooks:write", "stores:read"} <= found.keys()
    assert list(found) == sorted(found)
    refunds = found["refunds:write"]
    assert (refunds.is_metered, refunds.needs_step_up, refunds.is_personal) == (True, True, False)
    assert not found["grants:approve"].is_for_apps
    assert [name for name, scope in found.items() if scope.is_for_app_alone] == [
        "operations:read",
        "request_log:read",
        "webhooks:read",
        "webhooks:resend",
        "webhooks:write",
    ]


@pytest.mark.parametrize(("name", "marks"), [("Payments:write", ""), ("payments:", ""), ("payments:write", "X")])
def test_a_malformed_scope_is_refused(name: str, marks: str) -> None:
    with pytest.raises(ValueError, match=r"scope|marks"):
        Scope(name, Text(en="x", zh="x"), marks=marks)
