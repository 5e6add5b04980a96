"""Plugins that say what a test wants, in place of the plugin host: what payments do with it is tried here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from platform_core.capabilities.payments.refund_screening import CHECK_REFUND
from platform_core.capabilities.payments.screening import (
    AMEND,
    CHECK,
    CHOOSE,
    RENDER,
    Amended,
    Drawn,
    Judged,
    Ranked,
    Standing,
    Taken,
)
from platform_core.contracts.fields import Money, Payload
from platform_core.contracts.payments import Basket
from platform_core.contracts.results import Ranking, Rendered, Verdict

Degraded = Sequence[Mapping[str, str]]


@dataclass
class Script:
    """One merchant's plugins. What is None is not asked."""

    judge: Callable[[Any], Verdict] | None = None
    judge_refund: Callable[[Any], Verdict] | None = None
    take: Callable[[Basket], Sequence[Taken]] | None = None
    rank: Callable[[Any], Sequence[str] | None] | None = None
    draw: Callable[[Any], Rendered | None] | None = None
    """None: it failed, as `degraded` says."""
    degraded: Degraded = ()
    parts: Callable[[], Sequence[object]] = tuple
    asked: list[Payload] = field(default_factory=list)

    def asks(self, hook: str) -> bool:
        said = {CHECK: self.judge, AMEND: self.take, CHOOSE: self.rank, RENDER: self.draw}
        return {**said, CHECK_REFUND: self.judge_refund}[hook] is not None

    async def check(self, hook: str, payload: Payload, *, amount_minor: int) -> Judged:
        judge = self.judge_refund if hook == CHECK_REFUND else self.judge
        assert judge is not None
        self.asked.append(payload)
        return Judged(judge(payload), self.degraded, self.parts())

    async def amend(self, basket: Basket) -> Amended:
        assert self.take is not None
        self.asked.append(basket)
        return Amended(self.take(basket), self.degraded, self.parts())

    async def choose(self, hook: str, payload: Payload, offered: Sequence[str]) -> Ranked:
        assert self.rank is not None
        self.asked.append(payload)
        ids = self.rank(payload)
        ranking = Ranking.of(offered if ids is None else ids)
        return Ranked(ranking, None if ids is None else "example.ranks", self.degraded, self.parts())

    async def render(self, hook: str, payload: Payload, *, media_type: str, total: Money, bytes_max: int) -> Drawn:
        assert self.draw is not None
        self.asked.append(payload)
        await asyncio.sleep(0)
        rendered = self.draw(payload)
        if rendered is None:
            return Drawn(None, None, None, self.degraded, self.parts())
        return Drawn(rendered, "example.draws", "1.2.3", self.degraded, self.parts())


class ScriptedPlugins:
    """By merchant; nobody has any unless a test says so."""

    def __init__(self) -> None:
        self.scripts: dict[str, Script] = {}
        self.standings: dict[str, Standing] = {}
        self.forsaken: list[object] = []

    async def standing(self, merchant_id: str) -> Standing:
        return self.standings.get(merchant_id, Standing())

    def forsake(self, parts: Sequence[object]) -> None:
        self.forsaken.extend(parts)

    async def of(self, merchant_id: str, *, store_id: str | None, idempotency_key: str) -> Script | None:
        return self.scripts.get(merchant_id)
