"""The embedded server ends with its last user, also when another user was killed and could not sign off."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.patience import HEARD_S

pytestmark = pytest.mark.crash
USES = """
import sys
from pathlib import Path
from platform_core.kernel.database.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
sys.stdin.read()
"""


def using(folder: Path) -> tuple[subprocess.Popen[str], psutil.Process]:
    """A process that uses the server until its input ends, and the postmaster."""
    user = subprocess.Popen(
        [sys.executable, "-c", USES, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert user.stdout is not None
    return user, psutil.Process(int(user.stdout.readline()))


def test_the_last_user_stops_a_server_that_a_killed_one_used(tmp_path: Path) -> None:
    first, postmaster = using(tmp_path / "pg")
    last, seen = using(tmp_path / "pg")
    try:
        assert seen.pid == postmaster.pid
        first.kill()
        first.communicate(timeout=HEARD_S)
        assert postmaster.is_running()
    finally:
        last.communicate(timeout=HEARD_S)
    postmaster.wait(HEARD_S)
    assert not (tmp_path / "pg" / "postmaster.pid").exists()


def test_a_user_that_leaves_stops_nothing_for_the_others(tmp_path: Path) -> None:
    first, postmaster = using(tmp_path / "pg")
    last, _ = using(tmp_path / "pg")
    try:
        first.communicate(timeout=HEARD_S)
        assert postmaster.is_running()
        assert (tmp_path / "pg" / "postmaster.pid").exists()
    finally:
        last.communicate(timeout=HEARD_S)
    postmaster.wait(HEARD_S)
