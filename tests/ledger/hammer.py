"""Random plans of one writer over accounts that others use too; also a program: `python -m tests.ledger.hammer`."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime

from platform_core.bootstrap.appliers import make_appliers
from platform_core.kernel.clock import SystemClock
from platform_core.kernel.commit import Committer, Plan, PlanRefused
from platform_core.kernel.database.pools import Database, DatabaseUrls
from platform_core.kernel.ids import Ids
from platform_core.ledger.accounts import Account, Guard, GuardRefused, Post, Transfer, TransferExists, Void

MERCHANT = "mer_hot"
AT_ONCE = 40
FREE = [Account(MERCHANT, "CNY", MERCHANT, "channel_receivable", f"c{n}") for n in range(3)]
GUARDED = [Account(MERCHANT, "CNY", MERCHANT, "merchant_pending", f"p{n}", Guard.GE0) for n in range(6)]
SHARED_NAMES = 50
Sums = dict[str, list[int]]  # bucket: posted balance, pending debits, pending credits


@dataclass
class Outcome:
    """What one writer was told: the ids that are in, and what they moved."""

    accepted: list[str] = field(default_factory=list)
    names_won: list[str] = field(default_factory=list)
    refused: int = 0
    sums: Sums = field(default_factory=lambda: {a.bucket: [0, 0, 0] for a in FREE + GUARDED})


@dataclass
class _Drawn:
    plan: Plan
    effects: list[tuple[str, int, int, int]]


def draw(rng: random.Random, ids: Ids) -> _Drawn:
    """A plan of one to four linked movements over any accounts in any order."""
    parts: list[object] = []
    effects: list[tuple[str, int, int, int]] = []
    for _ in range(rng.randint(1, 4)):
        debit, credit = rng.sample(FREE + GUARDED, 2)
        amount = rng.randint(1, 60)
        id_ = f"{MERCHANT}:{rng.randrange(SHARED_NAMES)}" if rng.random() < 0.1 else ids.mint("tra")
        fate = rng.choice(["move", "move", "move", "hold", "post", "void"])
        parts.append(Transfer(id_, debit, credit, amount, "move", "obj_1", is_pending=fate != "move"))
        moved = amount if fate == "move" else 0
        if fate == "post":
            moved = rng.randint(1, amount)
            parts.append(Post(ids.mint("tra"), id_, moved))
        elif fate == "void":
            parts.append(Void(ids.mint("tra"), id_))
        held = amount if fate == "hold" else 0
        effects += [(debit.bucket, -moved, held, 0), (credit.bucket, moved, 0, held)]
    return _Drawn(Plan(MERCHANT, parts), effects)


async def hammer(url: str, *, seed: int, plans: int) -> Outcome:
    """Commit `plans` random plans, `AT_ONCE` at a time, over a connection of this writer's own."""
    rng, clock = random.Random(seed), SystemClock()
    ids = Ids(clock)
    database = Database(DatabaseUrls(owner=url), application_name="hammer")
    committer = Committer(database.connect_writer, make_appliers(clock), clock=clock, ids=ids, batch_plans_max=16)
    await committer.start()
    outcome = Outcome()
    try:
        for start in range(0, plans, AT_ONCE):
            drawn = [draw(rng, ids) for _ in range(min(AT_ONCE, plans - start))]
            answers = await asyncio.gather(*(committer.commit(one.plan) for one in drawn), return_exceptions=True)
            for one, answer in zip(drawn, answers, strict=True):
                _note(outcome, one, answer)
    finally:
        await committer.stop()
        await database.close()
    return outcome


def _note(outcome: Outcome, one: _Drawn, answer: object) -> None:
    if isinstance(answer, PlanRefused):
        assert isinstance(answer.refusal, GuardRefused | TransferExists), answer.refusal
        outcome.refused += 1
        return
    assert answer is None, answer
    ids = [part.id for part in one.plan.parts if isinstance(part, Transfer | Post | Void)]
    outcome.accepted += ids
    outcome.names_won += [id_ for id_ in ids if id_.startswith(MERCHANT)]
    for bucket, *amounts in one.effects:
        outcome.sums[bucket] = [a + b for a, b in zip(outcome.sums[bucket], amounts, strict=True)]


def main() -> None:
    """Arguments: URL, seed, plans, moment to begin (Unix seconds). Prints the outcome as JSON."""
    url, seed, plans, begin_at = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])

    async def run() -> Outcome:
        await asyncio.sleep(max(0.0, begin_at - datetime.now(UTC).timestamp()))
        return await hammer(url, seed=seed, plans=plans)

    sys.stdout.write(json.dumps(vars(asyncio.run(run()))))


if __name__ == "__main__":
    main()
