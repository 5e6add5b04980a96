"""What plugins say goes into the log up to a bound, and what is left out is counted there."""

from __future__ import annotations

import pytest
import structlog
from structlog.testing import capture_logs

from platform_core.bootstrap.confined import LogValve

pytestmark = pytest.mark.unit


def test_a_chatty_version_loses_lines_and_no_other_does() -> None:
    now = [10.0]
    valve = LogValve(lines_per_s=3, clock=lambda: now[0])
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as written:
        for number in range(5):
            valve("a.b.c", "1.0.0", "call", f"line {number}")
        valve("a.b.c", "1.0.1", "call", "another version")
        now[0] = 11.0
        valve("a.b.c", "1.0.0", "call", "a second later")
    assert [one["line"] for one in written if one["event"] == "plugin.said"] == [
        "line 0",
        "line 1",
        "line 2",
        "another version",
        "a second later",
    ]
    left_out = [one for one in written if one["event"] == "plugin.lines_left_out"]
    assert [(one["plugin"], one["version"], one["lines"]) for one in left_out] == [("a.b.c", "1.0.0", 2)]
