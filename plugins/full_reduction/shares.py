"""Dividing an amount in proportion, to the last minor unit."""

from __future__ import annotations

from collections.abc import Mapping


def shares(amount_minor: int, weights: Mapping[str, int]) -> dict[str, int]:
    """Parts that add up to the amount; none exceeds its weight while the amount does not exceed all weights together.

    By largest remainder, ties in the order given: the same basket is always divided alike, so that a refund of one
    line returns what that line was really charged.
    """
    whole = sum(weights.values())
    if not 0 <= amount_minor <= whole:
        raise ValueError(f"{amount_minor} cannot be taken off {whole}")
    if whole == 0:
        return {}
    parts = {name: amount_minor * weight // whole for name, weight in weights.items()}
    left = amount_minor - sum(parts.values())
    order = sorted(weights, key=lambda name: -(amount_minor * weights[name] % whole))
    for name in order[:left]:
        parts[name] += 1
    return parts
