"""Structured logs: one event a line, with the request and trace it belongs to and without anything secret or personal.

A line below the configured level costs one call to an empty function: nothing is bound, rendered or redacted for it.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from typing import Final, Literal, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from platform_core.kernel.clock import Clock
from platform_core.kernel.telemetry import current_correlation

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["json", "console"]

REDACTED: Final = "[redacted]"
_LEVELS: Final[Mapping[LogLevel, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_DEPTH_MAX: Final = 6
# The default shows the local variables of every frame, secrets and all.
_plain: Final = structlog.dev.plain_traceback
_SECRET_OR_PERSONAL: Final = re.compile(
    r"(?:^|_)(?:authorization|cookie|password|passwd|secret|token|signature|assertion|auth_code|private_key|api_key|"
    r"secrets_key|cursor_key|phone|mobile|email|id_number|id_card|card_number|bank_account|full_name|real_name|address|"
    r"openid|payer|birthday)s?$",
    re.IGNORECASE,
)


def configure_logs(*, level: LogLevel, form: LogFormat, clock: Clock, stream: TextIO | None = None) -> None:
    """Set up logging of this process: ours through structlog, the libraries' through the standard module, one shape
    for both.

    Writes to `stream`, by default standard error. Call once, at the edge.
    """
    shared = _shared_processors(clock)
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=_plain) if form == "console" else _render_json
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    handler.addFilter(_is_news)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[level])
    structlog.configure(
        processors=[structlog.processors.add_log_level, *shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(stream or sys.stderr),
        cache_logger_on_first_use=False,
    )


def _shared_processors(clock: Clock) -> list[Processor]:
    def stamp(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event["at"] = clock.now().isoformat(timespec="milliseconds")
        return event

    return [structlog.contextvars.merge_contextvars, _correlate, stamp, structlog.processors.format_exc_info, _redact]


def _is_news(record: logging.LogRecord) -> bool:
    """

    Drop the server's copy of a traceback that the handler of unexpected errors has already logged with its
    request.
    """
    return not (record.name == "uvicorn.error" and record.getMessage().startswith("Exception in ASGI application"))


def _correlate(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    correlation = current_correlation()
    if correlation is not None:
        event.setdefault("trace_id", correlation.trace_id)
        if correlation.request_id is not None:
            event.setdefault("request_id", correlation.request_id)
    return event


def _redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {name: _without_secrets(name, value, depth=0) for name, value in event.items()}


def _without_secrets(name: str, value: object, *, depth: int) -> object:
    if _SECRET_OR_PERSONAL.search(name) is not None:
        return REDACTED
    if isinstance(value, Mapping):
        if depth >= _DEPTH_MAX:
            return REDACTED
        return {key: _without_secrets(str(key), inner, depth=depth + 1) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_secrets("", inner, depth=depth + 1) for inner in value] if depth < _DEPTH_MAX else REDACTED
    return value


def _render_json(_: WrappedLogger, __: str, event: EventDict) -> str:
    return msgspec.json.encode(event, enc_hook=str).decode()
