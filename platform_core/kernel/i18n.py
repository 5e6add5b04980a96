"""The two languages the platform speaks, and how a reader's is chosen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from string import Formatter
from typing import Final, Literal

from babel.core import negotiate_locale

Language = Literal["en", "zh"]
"""A language we speak; also the value of Content-Language."""

LANGUAGES: Final[tuple[Language, ...]] = ("en", "zh")
BABEL_LOCALES: Final[Mapping[str, str]] = {"en": "en", "zh": "zh_Hans_CN"}
"""Which CLDR locale formats numbers, dates and money for each language."""

_RANGES_MAX: Final = 20
_WEIGHT: Final = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Text:
    """One sentence in both languages, with `{named}` places for values. Both must name the same places."""

    en: str
    zh: str

    def __post_init__(self) -> None:
        """Raise ValueError when a language is missing or the two name other places."""
        if not self.en.strip() or not self.zh.strip():
            raise ValueError(f"a text needs both languages: en={self.en!r} zh={self.zh!r}")
        if _places(self.en) != _places(self.zh):
            raise ValueError(f"the languages name different values: {_places(self.en)} and {_places(self.zh)}")

    @property
    def places(self) -> frozenset[str]:
        """The names of the values that the sentence wants."""
        return _places(self.en)

    def say(self, language: Language, values: Mapping[str, object] | None = None) -> str:
        """The sentence in one language.

        Values are shown by `str`, and a value that is a `Text` in the same language.
        """
        template = self.zh if language == "zh" else self.en
        if not values:
            return template
        spoken = {name: value.say(language) if isinstance(value, Text) else value for name, value in values.items()}
        return template.format_map(spoken)


def _places(template: str) -> frozenset[str]:
    return frozenset(name for _, name, _, _ in Formatter().parse(template) if name is not None)


@lru_cache(maxsize=512)
def negotiate(accept_language: str | None, default: Language = "en") -> Language:
    """The language for an Accept-Language header (RFC 9110 section 12.5.4); `default` when none of ours is wanted.

    Regional and script variants count as their language: zh-TW and zh-Hant read zh. At most 20 ranges are looked at.
    """
    if not accept_language:
        return default
    wanted: list[tuple[float, int, str]] = []
    refused: set[str] = set()
    for order, part in enumerate(accept_language.split(",")[:_RANGES_MAX]):
        name, _, parameter = part.partition(";")
        weight = _quality(parameter)
        tag = name.strip().lower()
        if weight <= 0:
            refused.add(tag)
        elif tag:
            wanted.append((-weight, order, tag))
    spoken = [language for language in LANGUAGES if language not in refused]
    for _, _, tag in sorted(wanted):
        if tag == "*":
            return default if default in spoken or not spoken else spoken[0]
        match = negotiate_locale([tag], spoken, sep="-")
        if match is not None:
            return "zh" if match == "zh" else "en"
    return default


def _quality(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    if name.strip().lower() != "q":
        return 1.0
    return float(value) if _WEIGHT.fullmatch(value.strip()) else 0.0
