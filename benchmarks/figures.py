"""Figures as they are reported: medians of paired rounds, with the goal that each is held to."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound of specs: `first` must hold, `then` is what we aim at."""

    sense: Literal[">=", "<="]
    first: float
    then: float

    def holds(self, value: float) -> bool:
        """Whether the first goal is met."""
        return self._met(value, self.first)

    def is_aimed(self, value: float) -> bool:
        """Whether the second is met too."""
        return self._met(value, self.then)

    def _met(self, value: float, bound: float) -> bool:
        return value >= bound if self.sense == ">=" else value <= bound


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure: `values` of the rounds; its value is their median."""

    benchmark: str
    name: str
    values: Sequence[float]
    unit: str
    goal: Goal | None = None

    @property
    def value(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.values)

    @property
    def holds(self) -> bool | None:
        """Whether the first goal holds; None where there is none."""
        return None if self.goal is None else self.goal.holds(self.value)

    def line(self) -> str:
        """The figure as one line of JSON."""
        goal = self.goal
        return json.dumps(
            {
                "benchmark": self.benchmark,
                "figure": self.name,
                "value": _rounded(self.value),
                "unit": self.unit,
                "goal": None if goal is None else f"{goal.sense} {goal.first:g}",
                "holds": self.holds,
                "min": _rounded(min(self.values)),
                "max": _rounded(max(self.values)),
                "rounds": len(self.values),
            }
        )


class Rounds:
    """Values by name, round after round; ratios are taken within a round."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}

    def add(self, values: Mapping[str, float]) -> None:
        """One round's, or a part of one round's, values."""
        for name, value in values.items():
            self._values.setdefault(name, []).append(value)

    def of(self, name: str) -> list[float]:
        """All rounds' values."""
        return self._values[name]

    def ratios(self, name: str, against: str | Sequence[str]) -> list[float]:
        """Round by round: the value over another one, or over the best of several."""
        names = [against] if isinstance(against, str) else list(against)
        best = [max(values) for values in zip(*(self._values[other] for other in names), strict=True)]
        return [value / other for value, other in zip(self._values[name], best, strict=True)]


def _rounded(value: float) -> float:
    """Four digits: more would be noise."""
    return float(f"{value:.4g}")
