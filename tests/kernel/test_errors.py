"""The error family, its catalogue, and the choice of language."""

from __future__ import annotations

import importlib
import pickle
import pkgutil

import pytest

from platform_core import kernel
from platform_core.kernel.errors import PlatformError, catalogue, declaration_of, declare, validation_failed
from platform_core.kernel.i18n import Text, negotiate
from platform_core.kernel.money import Money

pytestmark = pytest.mark.unit
REFUND_EXCEEDS = declare(
    "testing.refund_exceeds_refundable",
    status=409,
    title=Text(en="Refund exceeds what is refundable", zh="退款超过可退金额"),
    detail=Text(
        en="Refund {asked} exceeds {left} still refundable on {payment}.",
        zh="退款 {asked} 超过 {payment} 的可退金额 {left}。",
    ),
    hint=Text(
        en="Lower the amount or see GET /v1/payments/{payment}.", zh="请减少金额，或查看 GET /v1/payments/{payment}。"
    ),
)
VALUES = {"asked": Money(12000, "CNY"), "left": Money(8000, "CNY"), "payment": "pay_9f2"}
TEXT = Text(en="x", zh="某")


def test_an_error_says_what_happened_what_was_expected_and_the_next_step() -> None:
    error = REFUND_EXCEEDS.error(VALUES, param="/amount_minor", retry_after_s=3, plugin="plg_1")
    assert str(error) == (
        "testing.refund_exceeds_refundable: Refund 120.00 CNY exceeds 80.00 CNY still refundable on pay_9f2. "
        "Lower the amount or see GET /v1/payments/pay_9f2."
    )
    assert error.detail("zh") == "退款 120.00 CNY 超过 pay_9f2 的可退金额 80.00 CNY。"
    assert error.hint("zh") == "请减少金额，或查看 GET /v1/payments/pay_9f2。"
    assert (error.status, error.param, error.is_retryable, error.retry_after_s, error.plugin) == (
        409,
        "/amount_minor",
        False,
        3,
        "plg_1",
    )


def test_values_are_exactly_those_that_the_texts_name() -> None:
    for values in ({}, {"asked": 1}, {**VALUES, "more": 1}):
        with pytest.raises(ValueError, match=r"wants the values \['asked', 'left', 'payment'\]"):
            REFUND_EXCEEDS.error(values)
        with pytest.raises(ValueError, match="wants the values"):
            REFUND_EXCEEDS.fault("/a", values)


def test_a_value_cannot_smuggle_a_place_into_the_words() -> None:
    error = REFUND_EXCEEDS.error({**VALUES, "payment": "{asked.__class__}"})
    assert error.detail("en").endswith("refundable on {asked.__class__}.")


def test_an_error_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(REFUND_EXCEEDS.error(VALUES, param="/a", retry_after_s=2)))  # noqa: S301  # our own bytes
    assert isinstance(error, PlatformError)
    assert (error.code, error.param, error.retry_after_s, error.detail("en")) == (
        "testing.refund_exceeds_refundable",
        "/a",
        2,
        "Refund 120.00 CNY exceeds 80.00 CNY still refundable on pay_9f2.",
    )


def test_a_validation_failure_carries_all_faults_and_blames_the_first() -> None:
    error = validation_failed([REFUND_EXCEEDS.fault("/a", VALUES), REFUND_EXCEEDS.fault("/b", VALUES)])
    assert (error.code, error.status, error.param, len(error.faults)) == ("kernel.validation_failed", 422, "/a", 2)
    assert error.detail("zh") == "请求中有 2 个字段无效，详见 errors。"
    with pytest.raises(ValueError, match="at least one fault"):
        validation_failed([])


@pytest.mark.parametrize(
    ("code", "status", "title", "match"),
    [
        ("nodots", 409, TEXT, "capability.reason"),
        ("Testing.upper", 409, TEXT, "capability.reason"),
        ("testing.a", 200, TEXT, "4xx or 5xx"),
        ("testing.b", 409, Text(en="{x}", zh="{x}"), "takes no values"),
        ("testing.refund_exceeds_refundable", 409, TEXT, "declared twice"),
    ],
)
def test_a_bad_declaration_is_refused(code: str, status: int, title: Text, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        declare(code, status=status, title=title, detail=TEXT)


@pytest.mark.parametrize(("english", "chinese"), [("", "某"), ("x", " "), ("{a}", "{b}"), ("{a}", "某")])
def test_a_text_has_both_languages_with_the_same_places(english: str, chinese: str) -> None:
    with pytest.raises(ValueError, match="language"):
        Text(en=english, zh=chinese)


def test_the_same_declaration_twice_is_one() -> None:
    again = declare(
        REFUND_EXCEEDS.code,
        status=409,
        title=REFUND_EXCEEDS.title,
        detail=REFUND_EXCEEDS.detail,
        hint=REFUND_EXCEEDS.hint,
    )
    assert again == REFUND_EXCEEDS == declaration_of(REFUND_EXCEEDS.code) == catalogue()[REFUND_EXCEEDS.code]
    assert declaration_of("testing.nowhere") is None


def test_every_code_of_the_kernel_is_in_the_catalogue_in_chinese_too() -> None:
    for module in pkgutil.walk_packages(kernel.__path__, "platform_core.kernel."):
        if ".commit" not in module.name and ".database" not in module.name:
            importlib.import_module(module.name)
    codes = catalogue()
    assert list(codes) == sorted(codes)
    assert {"kernel.json_invalid", "kernel.cursor_invalid", "kernel.version_unknown", "kernel.internal"} <= codes.keys()
    for declared in (declared for code, declared in codes.items() if code.startswith("kernel.")):
        texts = [text for text in (declared.title, declared.detail, declared.hint) if text is not None]
        assert all(any("\u4e00" <= letter <= "\u9fff" for letter in text.zh) for text in texts), declared.code
        assert not any("\u4e00" <= letter <= "\u9fff" for text in texts for letter in text.en), declared.code


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, "en"),
        ("", "en"),
        ("zh", "zh"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("zh-Hant-TW", "zh"),
        ("en-GB,zh;q=0.9", "en"),
        ("en;q=0.2, zh;q=0.7", "zh"),
        ("fr-FR,de;q=0.5", "en"),
        ("fr, zh;q=0.1", "zh"),
        ("*", "en"),
        ("en;q=0, *", "zh"),
        ("zh;q=0", "en"),
        ("zh;q=nonsense, en;q=0.1", "en"),
        ("zh;q=nan", "en"),
        (";;;,,,=", "en"),
        ("_-_, zh", "zh"),
    ],
)
def test_the_language_is_the_one_most_wanted(header: str | None, language: str) -> None:
    assert negotiate(header) == language
    assert negotiate("fr", "zh") == "zh"
