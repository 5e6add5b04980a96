"""Signatures, against the published verifiers of Standard Webhooks, unmodified."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from platform_core.kernel.http.webhook_signing import make_secret, secret_bytes, secret_text, signed_headers

SECRET = bytes(range(32))
BODY = '{"type":"payment.captured","data":{"subject":"牛肉面"}}'.encode()
NPM = Path(__file__).parent / "npm"


def now() -> datetime:
    """The libraries compare with the operating system's clock."""
    return datetime.now(UTC)


@pytest.mark.unit
def test_the_signature_is_that_of_the_specification() -> None:
    headers = signed_headers(
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        body=b'{"test": 2432232314}',
        at=datetime.fromtimestamp(1614265330, UTC),
        # The specification's own example secret; ours are 32 bytes long.
        secrets=[bytes.fromhex("31f290f6bf06298aab4f08d43c3f082cf648a362da2da4b0")],
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.unit
@pytest.mark.parametrize("zone", [UTC, ZoneInfo("Asia/Shanghai"), timezone(timedelta(hours=-11, minutes=-30))])
def test_the_python_library_accepts_a_signature_made_in_any_zone(zone: timezone) -> None:
    headers = signed_headers(message_id="evt_1", body=BODY, at=now().astimezone(zone), secrets=[SECRET])
    assert Webhook(secret_text(SECRET)).verify(BODY, headers) == json.loads(BODY)


@pytest.mark.unit
def test_both_secrets_verify_while_the_old_one_lives() -> None:
    old, new = SECRET, bytes(reversed(SECRET))
    headers = signed_headers(message_id="evt_1", body=BODY, at=now(), secrets=[new, old])
    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in (old, new):
        assert Webhook(secret_text(secret)).verify(BODY, headers) == json.loads(BODY)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret_text(b"\x00" * 32)).verify(BODY, headers)


@pytest.mark.unit
@pytest.mark.parametrize("change", ["body", "webhook-id", "webhook-timestamp"])
def test_what_was_altered_does_not_verify(change: str) -> None:
    headers, body = signed_headers(message_id="evt_1", body=BODY, at=now(), secrets=[SECRET]), BODY
    if change == "body":
        body = BODY.replace(b"captured", b"refunded")
    elif change == "webhook-id":
        headers[change] = "evt_2"
    else:
        headers[change] = str(int(headers[change]) + 1)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret_text(SECRET)).verify(body, headers)


@pytest.mark.unit
@given(st.binary(min_size=32, max_size=32))
def test_a_secret_survives_being_written_down(secret: bytes) -> None:
    assert secret_bytes(secret_text(secret)) == secret


@pytest.mark.unit
@pytest.mark.parametrize("text", ["", "whsec_", "whsec_AAAA", "whsec_!" + "A" * 43, "AAAA" * 11, "whsec_" + "A" * 88])
def test_what_is_no_secret_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="webhook secret"):
        secret_bytes(text)


@pytest.mark.unit
def test_a_secret_is_all_entropy() -> None:
    assert make_secret(lambda count: b"e" * count) == b"e" * 32


@pytest.fixture(scope="session")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The npm library, installed by its lock; a run that demands everything fails without npm."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        if os.environ.get("ARSENAL_REQUIRE_ALL") == "1":
            pytest.fail("node and npm are needed: apt-get install nodejs npm")
        pytest.skip("NOT CHECKED: signatures against npm standardwebhooks, for node or npm is missing here")
    folder = tmp_path_factory.mktemp("npm")
    for name in ("package.json", "package-lock.json", "verify.cjs"):
        shutil.copy(NPM / name, folder)
    subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, check=True, timeout=120)
    return folder / "verify.cjs"


def verify_by_npm(verifier: Path, headers: dict[str, str], *, body: bytes = BODY) -> subprocess.CompletedProcess[str]:
    """What the npm library says."""
    given = json.dumps({"secret": secret_text(SECRET), "headers": headers, "body": body.decode()})
    return subprocess.run(["node", verifier], input=given, capture_output=True, text=True, check=False, timeout=60)


def test_the_npm_library_accepts_our_signature_and_no_other(verifier: Path) -> None:
    headers = signed_headers(message_id="evt_1", body=BODY, at=now(), secrets=[bytes(32), SECRET])
    accepted = verify_by_npm(verifier, headers)
    assert (accepted.returncode, json.loads(accepted.stdout)) == (0, json.loads(BODY))
    refused = verify_by_npm(verifier, headers, body=BODY + b" ")
    assert refused.returncode == 1
    assert "No matching signature found" in refused.stderr
