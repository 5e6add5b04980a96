"""Log lines: shape, correlation, redaction, level."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import structlog

from platform_core.kernel.clock import ManualClock
from platform_core.kernel.logs import REDACTED, LogFormat, LogLevel, configure_logs
from platform_core.kernel.telemetry import Correlation, correlated

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def _configured(*, level: LogLevel = "info", form: LogFormat = "json") -> io.StringIO:
    stream = io.StringIO()
    configure_logs(level=level, form=form, clock=ManualClock(datetime(2026, 11, 22, tzinfo=UTC)), stream=stream)
    return stream


def test_a_line_says_when_and_for_which_request() -> None:
    stream = _configured()
    with correlated(Correlation(trace_id="t" * 32, span_id="s" * 16, request_id="req_1")):
        structlog.get_logger().info("payment captured", payment_id="pay_1", amount_minor=1200)
    assert json.loads(stream.getvalue()) == {
        "event": "payment captured",
        "level": "info",
        "at": "2026-11-22T00:00:00.000+00:00",
        "payment_id": "pay_1",
        "amount_minor": 1200,
        "request_id": "req_1",
        "trace_id": "t" * 32,
    }


def test_secret_and_personal_values_never_reach_a_line() -> None:
    stream = _configured()
    secrets = {
        "Authorization": "hunter2", "client_secret": "hunter2", "access_token": "hunter2", "auth_code": "hunter2",
        "payer": {"openid": "hunter2"}, "nested": [{"headers": {"cookie": "hunter2"}}], "phones": ["hunter2"],
    }  # fmt: skip
    structlog.get_logger().warning("x", **secrets, code="payments.busy", token_count=3)
    line = json.loads(stream.getvalue())
    assert "hunter2" not in stream.getvalue()
    assert (line["client_secret"], line["code"], line["token_count"]) == (REDACTED, "payments.busy", 3)
    assert line["nested"] == [{"headers": {"cookie": REDACTED}}]


def test_a_line_below_the_level_costs_no_rendering() -> None:
    class Loud:
        def __str__(self) -> str:
            raise AssertionError("rendered")

    stream = _configured(level="warning")
    structlog.get_logger().info("x", value=Loud())
    logging.getLogger("library").info("%s", Loud())
    assert stream.getvalue() == ""


def test_libraries_log_in_the_same_shape_and_tracebacks_once() -> None:
    stream = _configured()
    logging.getLogger("library").warning("slow %s", "query")
    logging.getLogger("uvicorn.error").error("Exception in ASGI application\n")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert lines == [
        {"event": "slow query", "level": "warning", "logger": "library", "at": "2026-11-22T00:00:00.000+00:00"}
    ]


def test_a_traceback_is_part_of_its_line() -> None:
    stream = _configured()
    try:
        raise KeyError("gone")
    except KeyError as error:
        structlog.get_logger().error("failed", exc_info=error)
    assert stream.getvalue().count("\n") == 1
    assert "KeyError: 'gone'" in json.loads(stream.getvalue())["exception"]


def test_the_console_is_for_people() -> None:
    stream = _configured(form="console")
    structlog.get_logger().info("payment captured", payment_id="pay_1", password="hunter2")
    assert "payment captured" in stream.getvalue()
    assert "payment_id=pay_1" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()


def test_a_traceback_shows_no_local_variables() -> None:
    stream = _configured(form="console")
    password = "hunter" + "2"
    try:
        raise KeyError(len(password))
    except KeyError as error:
        structlog.get_logger().error("failed", exc_info=error)
    assert "KeyError: 7" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()
