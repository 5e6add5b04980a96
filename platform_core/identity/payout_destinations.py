"""Where a merchant is paid out to: proposed by one person, confirmed by another, in force a day later.

Both need a second factor not older than 600 s; the old destination stays in force until the new one is confirmed, and a
confirmed one is used for payouts only after 24 hours, in which every owner can still object (governance section 2).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from platform_core.identity import repository_people as repository
from platform_core.identity.apps import nothing_else
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.errors import CHANGED_MEANWHILE
from platform_core.identity.errors_people import PAYOUT_DESTINATION_NOT_FOUND, SECOND_PERSON_NEEDED
from platform_core.identity.models_people import PAYOUT_DESTINATIONS
from platform_core.identity.principal import Principal
from platform_core.identity.schemas_people import DestinationPropose, DestinationRead
from platform_core.identity.sessions import require_step_up
from platform_core.kernel.commit import Audit, Change, Event, Insert, Plan, PlanRefused, Replayed

WAIT: Final = timedelta(hours=24)
AlsoDecided = Callable[[DestinationRead], Iterable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """An account in the clear, for whoever sends the payout."""

    id: str
    currency: str
    holder: str
    bank: str
    account: str

    def __repr__(self) -> str:
        return f"Destination({self.id})"


@dataclass(frozen=True, slots=True)
class PayoutDestinations:
    """Proposes, decides, lists, and opens the one in force."""

    deps: IdentityDeps

    async def list(self, who: Principal) -> list[DestinationRead]:
        """The merchant's destinations, the newest first; at most 200."""
        merchant_id = _merchant(who)
        async with self.deps.database.read(merchant_id) as connection:
            rows = await repository.list_destinations(connection, merchant_id=merchant_id)
        return [DestinationRead.model_validate(row) for row in rows]

    def drafted(self, who: Principal, wanted: DestinationPropose) -> DestinationRead:
        """A proposal to be; nothing is written yet. 401 `identity.step_up_required`."""
        require_step_up(who, self.deps.clock.now())
        return DestinationRead(
            id=self.deps.ids.mint("pod"),
            currency=wanted.currency,
            hint=wanted.account[-4:],
            state="proposed",
            proposed_by=who.client_id,
            decided_by=None,
            version=1,
            created_at=self.deps.clock.now(),
            decided_at=None,
            usable_from=None,
        )

    async def propose(
        self, who: Principal, draft: DestinationRead, wanted: DestinationPropose, *, extra: Iterable[object] = ()
    ) -> DestinationRead:
        """Write a proposal; what is in force stays. Emits `payout_destination.proposed`."""
        merchant_id = _merchant(who)
        plain = wanted.model_dump_json(include={"holder", "bank", "account"}).encode()
        row = {
            **draft.model_dump(),
            "merchant_id": merchant_id,
            "sealed": self.deps.vault.seal(draft.id, plain),
        }
        plan = Plan(merchant_id).add(
            Insert(PAYOUT_DESTINATIONS, row), self._event("payout_destination.proposed", draft), *extra
        )
        facts = {"currency": draft.currency}
        plan.add(Audit("payout_destination.proposed", who.client_id, draft.id, merchant_id, facts))
        await self.deps.committer.commit(plan)
        return draft

    async def decide(
        self, who: Principal, destination_id: str, *, is_confirmed: bool, also: AlsoDecided = nothing_else
    ) -> DestinationRead:
        """Another person's word, `also` in its plan: the destination is in force, or refused.

        Emits `payout_destination.confirmed` or `.refused`.

        401 `identity.step_up_required`, 403 `identity.second_person_needed`, 404
        `identity.payout_destination_not_found`, 409 `identity.changed_meanwhile`.
        """
        now, merchant_id = self.deps.clock.now(), _merchant(who)
        require_step_up(who, now)
        async with self.deps.database.read(merchant_id) as connection:
            row = await repository.read_destination(connection, destination_id, merchant_id=merchant_id)
            if row is None or row.state != "proposed":
                raise PAYOUT_DESTINATION_NOT_FOUND.error({"destination_id": destination_id})
            active = await repository.read_active_destination(
                connection, merchant_id=merchant_id, currency=row.currency
            )
        if row.proposed_by == who.client_id:
            raise SECOND_PERSON_NEEDED.error()
        plan = Plan(merchant_id)
        if is_confirmed and active is not None:
            plan.add(Change(PAYOUT_DESTINATIONS, active.id, {"state": "replaced"}, expected=active.version))
        values: dict[str, Any] = {
            "state": "active" if is_confirmed else "refused",
            "decided_by": who.client_id,
            "decided_at": now,
            "usable_from": now + WAIT if is_confirmed else None,
        }
        before = DestinationRead.model_validate(row)
        after = before.model_copy(update={**values, "version": before.version + 1})
        kind = "payout_destination.confirmed" if is_confirmed else "payout_destination.refused"
        plan.add(
            Change(PAYOUT_DESTINATIONS, destination_id, values, expected=before.version),
            self._event(kind, after),
            Audit(kind, who.client_id, destination_id, merchant_id, {"proposed_by": row.proposed_by}),
            *also(after),
        )
        try:
            await self.deps.committer.commit(plan)
        except PlanRefused as refused:
            if isinstance(refused.refusal, Replayed):
                raise
            raise CHANGED_MEANWHILE.error({"id": destination_id}) from refused
        return after

    async def in_force(self, merchant_id: str, currency: str, *, now: datetime) -> Destination | None:
        """The account that payouts go to now; None while there is none, or it waits for its 24 hours."""
        async with self.deps.database.read(merchant_id) as connection:
            row = await repository.read_active_destination(connection, merchant_id=merchant_id, currency=currency)
        if row is None or now < row.usable_from:
            return None
        plain = json.loads(self.deps.vault.open(row.id, row.sealed))
        return Destination(id=row.id, currency=currency, **plain)

    async def confirmed(self, merchant_id: str, destination_id: str) -> Destination | None:
        """A destination that is in force, or was: for a payout that began while it was."""
        async with self.deps.database.read(merchant_id) as connection:
            row = await repository.read_destination(connection, destination_id, merchant_id=merchant_id)
        if row is None or row.state not in ("active", "replaced"):
            return None
        plain = json.loads(self.deps.vault.open(row.id, row.sealed))
        return Destination(id=row.id, currency=row.currency, **plain)

    def _event(self, kind: str, destination: DestinationRead) -> Event:
        return Event(
            id=self.deps.ids.mint("evt"),
            type=kind,
            object_id=destination.id,
            sequence=destination.version,
            occurred_at=self.deps.clock.now(),
            body=destination.model_dump_json(),
        )


def _merchant(who: Principal) -> str:
    assert who.merchant_id is not None, "the route needs a merchant's scope"
    return who.merchant_id
