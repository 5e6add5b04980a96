"""Whoever watches hooks being asked: traces, the developer's console, health of plugins, canaries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from platform_core.plugin_host.answers import Answer, HookSeen
from platform_core.plugin_host.problems import location_of

log = structlog.get_logger(__name__)


class HookListener(Protocol):
    """Hears of each asking once its decision is made."""

    def saw(self, seen: HookSeen, /) -> None:
        """Take note. Must not block; what it raises is logged and harms nobody."""
        ...


class AnswerListener(Protocol):
    """Hears of the answers alone: whoever counts on every order, where describing the asking would cost more."""

    def answered(self, answers: Sequence[Answer], merchant_id: str, /) -> None:
        """Take note. Must not block; what it raises is logged and harms nobody."""
        ...


class Listeners:
    """All listeners of a process. No asking is described while nobody wants to see it."""

    def __init__(self) -> None:
        self._listeners: tuple[HookListener, ...] = ()
        self._counting: tuple[AnswerListener, ...] = ()

    def __bool__(self) -> bool:
        """Whether anybody wants to see askings."""
        return bool(self._listeners)

    def count(self, listener: AnswerListener) -> None:
        """Let somebody hear of answers, for as long as the process lives."""
        self._counting = (*self._counting, listener)

    def answered(self, answers: Sequence[Answer], merchant_id: str) -> None:
        """Tell those who count."""
        for listener in self._counting:
            try:
                listener.answered(answers, merchant_id)
            except Exception as error:  # noqa: BLE001 - an order does not fail because somebody counts
                log.error(
                    "plugin.listener_failed",
                    hook=answers[0].hook,
                    listener=type(listener).__name__,
                    error=type(error).__name__,
                    where=location_of(error.__traceback__),
                )

    def add(self, listener: HookListener) -> Callable[[], None]:
        """Let somebody listen; returns what ends it."""
        self._listeners = (*self._listeners, listener)

        def remove() -> None:
            self._listeners = tuple(one for one in self._listeners if one is not listener)

        return remove

    def saw(self, seen: HookSeen) -> None:
        """Tell all."""
        for listener in self._listeners:
            try:
                listener.saw(seen)
            except Exception as error:  # noqa: BLE001 - an order does not fail because somebody watches
                log.error(
                    "plugin.listener_failed",
                    hook=seen.hook,
                    listener=type(listener).__name__,
                    error=type(error).__name__,
                    where=location_of(error.__traceback__),
                )


class LogTrace:
    """Writes each asking to the log: for ARSENAL_TRACE_HOOKS=1. Names of fields and values of answers, no payload."""

    def saw(self, seen: HookSeen, /) -> None:
        """One line for each asking."""
        log.info(
            "plugin.hook_asked",
            hook=seen.hook,
            merchant_id=seen.merchant_id,
            store_id=seen.store_id,
            idempotency_key=seen.idempotency_key,
            answers=[_line(answer) for answer in seen.answers],
            degraded=[list(one) for one in seen.degraded],
            result=_brief(seen.result),
        )


def _line(answer: Answer) -> dict[str, object]:
    return {
        "plugin": answer.plugin_id,
        "version": answer.version,
        "tier": answer.tier,
        "hook": answer.hook,
        "call_id": answer.call_id,
        "fields": list(answer.fields),
        "withheld": list(answer.withheld),
        "ms": round(answer.ms, 3),
        "deadline_ms": answer.deadline_ms,
        "outcome": answer.outcome,
        "detail": "" if answer.fault is None else answer.fault.detail,
        "answer": None if answer.fault is not None else _brief(answer.value),
        "is_dry_run": answer.is_dry_run,
        "is_used": answer.is_used,
    }


def _brief(value: object) -> str:
    """What was answered, in at most 500 characters; a document's bytes are left out."""
    blob = getattr(value, "blob", None)
    if isinstance(blob, bytes):
        return f"{getattr(value, 'media_type', '')}, {len(blob)} bytes"
    return repr(value)[:500]
