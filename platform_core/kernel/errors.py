"""The one family of errors, and the catalogue of all that are declared.

An error is declared once, beside the code that raises it, in both languages:

    REFUND_EXCEEDS = declare(
        "payments.refund_exceeds_refundable",
        status=409,
        title=Text(en="Refund exceeds what is refundable", zh="退款超过可退金额"),
        detail=Text(
            en="Refund {asked} exceeds {left} still refundable on {payment_id}.",
            zh="退款 {asked} 超过 {payment_id} 的可退金额 {left}。",
        ),
        hint=Text(
            en="Lower the amount or see GET /v1/payments/{payment_id}.",
            zh="请减少金额，或查看 GET /v1/payments/{payment_id}。",
        ),
    )

and raised with its values: `raise REFUND_EXCEEDS.error({"asked": asked, "left": left, "payment_id": id},
param="/amount_minor")`. Nothing secret or personal goes into the values: they are shown to the caller and written to
logs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from platform_core.kernel.i18n import Language, Text

_CODE: Final = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")
_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
_catalogue: dict[str, ErrorCode] = {}


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """What is fixed about an error: its stable code, HTTP status and words. Made by `declare`."""

    code: str
    status: int
    title: Text
    detail: Text
    hint: Text | None = None
    is_retryable: bool = False

    @property
    def places(self) -> frozenset[str]:
        """The names of the values that detail and hint want."""
        return self.detail.places | (self.hint.places if self.hint is not None else frozenset())

    def error(
        self,
        values: Mapping[str, object] = _NOTHING,
        *,
        param: str | None = None,
        faults: Sequence[Fault] = (),
        retry_after_s: int | None = None,
        plugin: str | None = None,
        headers: Mapping[str, str] = _NO_HEADERS,
        members: Mapping[str, object] = _NOTHING,
    ) -> PlatformError:
        """The error to raise. `values` must be exactly those that the texts name; ValueError otherwise.

        `members`: what programs read beside the words, as JSON (RFC 9457 section 3.2).
        """
        return PlatformError(
            self,
            values,
            param=param,
            faults=tuple(faults),
            retry_after_s=retry_after_s,
            plugin=plugin,
            headers=headers,
            members=members,
        )

    def fault(self, param: str, values: Mapping[str, object] = _NOTHING) -> Fault:
        """One of several faults of a request. `param` is a JSON Pointer (RFC 6901) into the request."""
        return Fault(self, param, values)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a request; a `PlatformError` carries them all at once."""

    declared: ErrorCode
    param: str
    values: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise ValueError when the values are not those that the texts name."""
        _check_values(self.declared, self.values)

    @property
    def code(self) -> str:
        """The stable code of this fault."""
        return self.declared.code

    def detail(self, language: Language) -> str:
        """The fault in words."""
        return self.declared.detail.say(language, self.values)


class PlatformError(Exception):
    """A refusal or failure with a stable code. Every error that may reach a caller is one of these."""

    def __init__(
        self,
        declared: ErrorCode,
        values: Mapping[str, object] = _NOTHING,
        *,
        param: str | None = None,
        faults: tuple[Fault, ...] = (),
        retry_after_s: int | None = None,
        plugin: str | None = None,
        headers: Mapping[str, str] = _NO_HEADERS,
        members: Mapping[str, object] = _NOTHING,
    ) -> None:
        """`param`: JSON Pointer of the field to blame, by default that of the first fault.

        `headers`: further answer headers; `members`: further members of the problem.
        """
        _check_values(declared, values)
        self.values = dict(values)
        super().__init__(declared, self.values)
        self.declared = declared
        self.param = param if param is not None or not faults else faults[0].param
        self.faults = faults
        self.retry_after_s = retry_after_s
        self.plugin = plugin
        self.headers = dict(headers)
        self.members = dict(members)

    @property
    def code(self) -> str:
        """The stable code, `capability.reason`."""
        return self.declared.code

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.declared.status

    @property
    def is_retryable(self) -> bool:
        """Whether the same request may succeed later, unchanged."""
        return self.declared.is_retryable

    def title(self, language: Language) -> str:
        """What kind of error this is; the same words on every occurrence."""
        return self.declared.title.say(language)

    def detail(self, language: Language) -> str:
        """What happened and what was expected, with this occurrence's values."""
        return self.declared.detail.say(language, self.values)

    def hint(self, language: Language) -> str | None:
        """The next step."""
        return None if self.declared.hint is None else self.declared.hint.say(language, self.values)

    def __str__(self) -> str:
        hint = self.hint("en")
        return f"{self.code}: {self.detail('en')}" + (f" {hint}" if hint else "")


def declare(
    code: str,
    *,
    status: int,
    title: Text,
    detail: Text,
    hint: Text | None = None,
    is_retryable: bool = False,
) -> ErrorCode:
    """Declare an error and enter it in the catalogue.

    Raises ValueError for a code that is not `capability.reason`, a status outside 400 to 599, a title with values, or
    a code that something else has declared differently.
    """
    if _CODE.fullmatch(code) is None:
        raise ValueError(f"an error code reads capability.reason, not {code!r}")
    if not 400 <= status <= 599:
        raise ValueError(f"{code}: an error's status is 4xx or 5xx, not {status}")
    if title.places:
        raise ValueError(f"{code}: a title is the same on every occurrence and takes no values")
    made = ErrorCode(code, status, title, detail, hint, is_retryable)
    if _catalogue.setdefault(code, made) != made:
        raise ValueError(f"{code} is declared twice, and differently")
    return made


def catalogue() -> Mapping[str, ErrorCode]:
    """All declared errors by code, sorted: the source of the reference page and of the start-up check."""
    return MappingProxyType(dict(sorted(_catalogue.items())))


def declaration_of(code: str) -> ErrorCode | None:
    """The declaration of a code, if some module that was imported has it."""
    return _catalogue.get(code)


def _check_values(declared: ErrorCode, values: Mapping[str, object]) -> None:
    if values.keys() != declared.places:
        raise ValueError(f"{declared.code} wants the values {sorted(declared.places)}, got {sorted(values)}")


VALIDATION_FAILED: Final = declare(
    "kernel.validation_failed",
    status=422,
    title=Text(en="The request is not valid", zh="请求内容无效"),
    detail=Text(
        en="{count} field(s) of the request are not valid; see errors.", zh="请求中有 {count} 个字段无效，详见 errors。"
    ),
    hint=Text(en="Correct the fields that errors names and send it again.", zh="请按 errors 所列修改后重新发送。"),
)
INTERNAL: Final = declare(
    "kernel.internal",
    status=500,
    title=Text(en="Something failed on our side", zh="服务内部错误"),
    detail=Text(
        en="The request could not be completed because of a fault in the platform.",
        zh="由于平台内部故障，请求未能完成。",
    ),
    hint=Text(
        en="Send it again with the same Idempotency-Key; if it fails again, report the request_id.",
        zh="请使用相同的 Idempotency-Key 重试；如仍失败，请提供 request_id 联系平台。",
    ),
    is_retryable=True,
)


def validation_failed(faults: Sequence[Fault]) -> PlatformError:
    """The 422 that names every fault at once; ValueError without any. `param` is the first fault's."""
    if not faults:
        raise ValueError("a validation failure names at least one fault")
    return VALIDATION_FAILED.error({"count": len(faults)}, faults=faults)
