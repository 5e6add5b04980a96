"""Secrets are compared in constant time: read from the source, because a clock in a test would prove nothing."""

from __future__ import annotations

import ast
import hmac
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from platform_core.identity.vault import Vault

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("platform_core", "plugins", "sandbox")
SECRET = re.compile(
    r"(digest|hexdigest|mac|hmac|otp|secret|signature|proof|nonce|mark|csrf|csrf_token|password|pin|token|token_hash)s?$|_hash$"
)
PUBLIC = {
    # Member by member of a header that names the signature's parts: names and values that its sender wrote.
    "platform_core/identity/message_signatures.py": {"member[1] != signature[1]"},
    # The hash of a token that its sender holds (RFC 9449 section 4.3), signed by the sender itself; and whether the
    # nonce that was just found good is still the newest, which the answer says aloud.
    "platform_core/identity/oauth/dpop.py": {"claims.get('ath') != token_hash(token)", "fresh != nonce"},
    # A column of a statement: the database looks it up by its index.
    "platform_core/identity/customer_keys.py": {"_keys.c.digest == digest"},
    # The end of a column in a statement: the database looks it up by its index.
    "platform_core/capabilities/payments/repository.py": {"func.right(col(Payment.pay_url), 22) == token"},
    # Hashes of plugins' files, which their publisher and every reviewer see, and of a difference that was just shown.
    "platform_core/bootstrap/commands/plugin_operation.py": {"accept != preview.digest"},
    "platform_core/plugin_host/allow_list.py": {
        "hashes.setdefault((entry.id, entry.version), entry.tree_hash) != entry.tree_hash",
        "self.hashes.get((plugin_id, version)) == tree_hash",
    },
    "platform_core/plugin_host/host_releases.py": {"row.tree_hash != found.unpacked.tree_hash"},
    "platform_core/plugin_host/upgrades.py": {"wanted.accepted_difference != digest"},
    # The chain's digests are printed by every checkpoint: whoever verifies knows both sides.
    "platform_core/governance/audit/verify.py": {
        "seal.digest() != record['digest']",
        "record['digest'] != self._checkpoint.digest",
    },
    # Hashes of files that whoever made them knows as well; none lets anybody in.
    "sandbox/runtime/install.py": {
        "hashlib.sha256(found).hexdigest() != index.files[name]",
        "there.facts.bundle_hash == made.facts.bundle_hash",
    },
    "platform_core/plugin_host/bundle_uploads.py": {"hashed.hexdigest() != upload.digest"},
    "platform_core/plugin_host/releases.py": {"row.bundle_hash != wanted.unpacked.bundle_hash"},
    "sandbox/runtime/supervisor.py": {"found == installed.release.tree_hash"},
}
PLANTED = (
    "given == self.digest(row)",
    "vault.digest(row_id, secret) != row.digest",
    "form['csrf'] == csrf_token",
    "totp.generate_otp(step) == code",
)


def named(node: ast.expr) -> str:
    """The name at the end of an expression: of a call what is called, of a subscript its key."""
    if isinstance(node, ast.Call):
        return named(node.func)
    if isinstance(node, ast.Subscript):
        key = node.slice
        return key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else named(node.value)
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def plain_comparisons(source: str) -> Iterator[str]:
    """What compares something secret by its name with == or !=, but with no constant of the program."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Compare) or not any(isinstance(one, ast.Eq | ast.NotEq) for one in node.ops):
            continue
        sides = [node.left, *node.comparators]
        names = [named(side) for side in sides]
        is_fixed = any(
            isinstance(side, ast.Constant) or name.isupper() for side, name in zip(sides, names, strict=True)
        )
        if not is_fixed and any(SECRET.search(name) for name in names):
            yield ast.unparse(node)


def test_no_secret_is_compared_plainly() -> None:
    found: dict[str, set[str]] = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            if plain := set(plain_comparisons(path.read_text(encoding="utf-8"))):
                found[str(path.relative_to(ROOT))] = plain
    assert found == PUBLIC, "compare it with hmac.compare_digest, or say above why nobody learns anything"


@pytest.mark.parametrize("source", PLANTED)
def test_a_plain_comparison_would_be_found(source: str) -> None:
    assert list(plain_comparisons(source)) == [source]


def test_the_vault_compares_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    real, compared = hmac.compare_digest, []

    def recorded(left: bytes, right: bytes) -> bool:
        compared.append((left, right))
        return real(left, right)

    kept = Vault(b"a secrets key of thirty-two bytes or more")
    digest, other = kept.digest("sec_1", "secret"), kept.digest("sec_1", "guess")
    monkeypatch.setattr(hmac, "compare_digest", recorded)
    assert kept.matches("sec_1", "secret", digest)
    assert not kept.matches("sec_1", "guess", digest)
    assert compared == [(digest, digest), (other, digest)]
