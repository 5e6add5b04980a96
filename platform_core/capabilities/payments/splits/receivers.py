"""Who may get shares: binding and unbinding, one by one or several under one number of the merchant's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from platform_core.capabilities.payments.answers import json_text
from platform_core.capabilities.payments.desk import DECISIONS_MAX, Desk
from platform_core.capabilities.payments.errors import BUSY, NOT_FOUND, OUT_REQUEST_NO_TAKEN
from platform_core.capabilities.payments.service import Reply, quoted
from platform_core.capabilities.payments.splits.amounts import cap_of
from platform_core.capabilities.payments.splits.answers import receiver_answer
from platform_core.capabilities.payments.splits.errors import (
    RECEIVER_LIMIT_EXCEEDED,
    RECEIVER_NOT_BOUND,
    RECEIVER_REFERENCE_TAKEN,
    RECEIVER_UNKNOWN_MERCHANT,
)
from platform_core.capabilities.payments.splits.models import (
    BINDINGS,
    POLICIES,
    RECEIVERS,
    SplitBinding,
    SplitPolicy,
    SplitReceiver,
)
from platform_core.capabilities.payments.splits.repository import SplitRepository
from platform_core.capabilities.payments.splits.schemas import ReceiverCreate
from platform_core.identity.errors import MERCHANT_NOT_FOUND
from platform_core.identity.principal import Principal
from platform_core.kernel.commit import Change, Duplicate, Insert, Plan, PlanRefused, VersionConflict
from platform_core.kernel.commit.idempotency import Replayed
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.http.idempotency import IdempotentRequest
from platform_core.kernel.pagination import Cursors, Position

RECEIVERS_MAX: Final = 20_000
AT_ONCE_MAX: Final = 20
RECEIVER_ID: Final = re.compile(r"rcv_[0-9a-z]{26}")
_OWN: Final = (RECEIVERS.name, POLICIES.name, BINDINGS.name)


class Receivers:
    """The service."""

    def __init__(self, desk: Desk, repository: SplitRepository, cursors: Cursors) -> None:
        self._desk = desk
        self._repository = repository
        self._cursors = cursors

    async def bind(self, principal: Principal, request: ReceiverCreate, idempotent: IdempotentRequest) -> Reply:
        """Bind one receiver. The same words under its reference again: 200 with the receiver that is bound.

        Raises 409 receiver_reference_taken, receiver_limit_exceeded; 422 receiver_unknown_merchant; 503 busy.
        """
        merchant_id = str(principal.merchant_id)
        await self._check_accounts(merchant_id, [request])
        for _ in range(DECISIONS_MAX):
            rows, parts = await self._bound(merchant_id, [request])
            reply = Reply(201 if parts else 200, json_text(receiver_answer(rows[0])))
            claim = idempotent.claim(
                object_id=rows[0]["id"], created_at=self._desk.now, status=reply.status, body=reply.body
            )
            if await self._is_written(Plan(merchant_id, [claim, *parts])):
                return reply
        raise BUSY.error({"payment_id": "split receivers"}, retry_after_s=1)

    async def bind_all(
        self, merchant_id: str, requests: Sequence[ReceiverCreate], *, out_request_no: str, fingerprint: bytes
    ) -> list[SplitReceiver]:
        """Bind several, all or none, under a number of the merchant's: the number again is answered with the same
        receivers, and nothing is done. Those that are bound with the same words already are among them as they are.

        `fingerprint`: of what was asked for, so that the number used for something else is refused. At most 20. Raises
        409 out_request_no_taken, receiver_reference_taken, receiver_limit_exceeded; 422 receiver_unknown_merchant.
        """
        assert 1 <= len(requests) <= AT_ONCE_MAX, "bounded by who reads the request"
        await self._check_accounts(merchant_id, requests)
        for _ in range(DECISIONS_MAX):
            earlier = await self._earlier(merchant_id, "bind", out_request_no, fingerprint)
            if earlier is not None:
                return earlier
            rows, parts = await self._bound(merchant_id, requests)
            binding = self._binding(
                merchant_id, "bind", [row["id"] for row in rows], number=out_request_no, fingerprint=fingerprint
            )
            if await self._is_written(Plan(merchant_id, [binding, *parts])):
                return [SplitReceiver(**row) for row in rows]
        raise BUSY.error({"payment_id": "split receivers"}, retry_after_s=1)

    async def unbind(self, principal: Principal, receiver_id: str) -> Reply:
        """Unbind one: it gets nothing new. What it has, and what is frozen for it, stays. Twice is as once.

        Raises 404 not_found; 503 busy.
        """
        merchant_id = str(principal.merchant_id)
        for _ in range(DECISIONS_MAX):
            receiver = await self.read(principal, receiver_id)
            row, parts = await self._unbound(merchant_id, [receiver])
            if await self._is_written(Plan(merchant_id, list(parts))):
                return Reply(200, json_text(receiver_answer(row[0])))
        raise BUSY.error({"payment_id": "split receivers"}, retry_after_s=1)

    async def unbind_all(
        self, merchant_id: str, references: Sequence[str], *, out_request_no: str, fingerprint: bytes
    ) -> list[SplitReceiver]:
        """Unbind several by their references, all or none, under a number of the merchant's, as `bind_all` binds.

        Raises 409 out_request_no_taken; receiver_not_bound for a reference that nobody is bound under.
        """
        assert 1 <= len(references) <= AT_ONCE_MAX, "bounded by who reads the request"
        for _ in range(DECISIONS_MAX):
            earlier = await self._earlier(merchant_id, "unbind", out_request_no, fingerprint)
            if earlier is not None:
                return earlier
            found = await self._repository.bound_as(merchant_id, references)
            missing = next((reference for reference in references if reference not in found), None)
            if missing is not None:
                raise RECEIVER_NOT_BOUND.error({"receiver_id": quoted(missing)})
            rows, parts = await self._unbound(merchant_id, list(found.values()))
            binding = self._binding(
                merchant_id, "unbind", [row["id"] for row in rows], number=out_request_no, fingerprint=fingerprint
            )
            if await self._is_written(Plan(merchant_id, [binding, *parts])):
                return [SplitReceiver(**row) for row in rows]
        raise BUSY.error({"payment_id": "split receivers"}, retry_after_s=1)

    async def bound_as(self, merchant_id: str, references: Sequence[str]) -> dict[str, SplitReceiver]:
        """The receivers that are bound under these references now, by reference; for whoever knows no ids of ours."""
        return await self._repository.bound_as(merchant_id, references)

    async def read(self, principal: Principal, receiver_id: str) -> SplitReceiver:
        """One receiver, bound or not. Raises 404 `payments.not_found`."""
        found = {}
        if RECEIVER_ID.fullmatch(receiver_id):
            found = await self._repository.receivers(str(principal.merchant_id), [receiver_id])
        if receiver_id not in found:
            raise NOT_FOUND.error({"kind": "split receiver", "id": quoted(receiver_id)})
        return found[receiver_id]

    async def page(
        self, principal: Principal, *, is_bound: bool | None, limit: int, cursor: str | None
    ) -> dict[str, Any]:
        """Receivers, the newest first."""
        merchant_id = str(principal.merchant_id)
        bound_to = {"list": "split_receivers", "merchant": merchant_id, "is_bound": is_bound}
        after = None if cursor is None else self._cursors.read(cursor, bound_to=bound_to)
        column = RECEIVERS.table.c.bound_as
        filters = [] if is_bound is None else [column.is_not(None) if is_bound else column.is_(None)]
        rows = await self._desk.tools.repository.page(
            SplitReceiver,
            merchant_id,
            filters=filters,
            after=None if after is None else (after.created_at, after.id),
            is_ascending=False,
            limit=limit,
        )
        page = self._cursors.page(
            rows,
            limit=limit,
            bound_to=bound_to,
            position_of=lambda row: Position(row.created_at, row.id),
            show=lambda row: receiver_answer(row.model_dump()),
        )
        return {"data": page.data, "next_cursor": page.next_cursor}

    async def share_cap_bp(self, merchant_id: str) -> int:
        """How much of what was captured all shares of one payment may be together."""
        return cap_of(await self._repository.policy(merchant_id))

    async def set_share_cap(self, merchant_id: str, share_cap_bp: int | None) -> None:
        """Raise or lower a merchant's cap; None: the platform's own. Splits that stand are left alone.

        For whoever governs; it has authorised and audited this.
        """
        for _ in range(DECISIONS_MAX):
            policy = await self._repository.policy(merchant_id)
            part = _policy(merchant_id, policy, share_cap_bp=share_cap_bp)
            if await self._is_written(Plan(merchant_id, [part])):
                return
        raise BUSY.error({"payment_id": "split policy"}, retry_after_s=1)

    async def replay(self, principal: Principal, idempotent: IdempotentRequest) -> Replayed | None:
        """What stands under the request's key, if it was used."""
        return await self._desk.tools.repository.idempotency_record(str(principal.merchant_id), idempotent)

    async def _check_accounts(self, merchant_id: str, requests: Sequence[ReceiverCreate]) -> None:
        """Another merchant of the platform is one that exists, and not the merchant itself."""
        for request in requests:
            if request.type != "platform_merchant":
                continue
            if request.account == merchant_id:
                raise RECEIVER_UNKNOWN_MERCHANT.error(param="/account")
            try:
                await self._desk.facts(request.account)
            except PlatformError as error:
                if error.declared is not MERCHANT_NOT_FOUND:
                    raise
                raise RECEIVER_UNKNOWN_MERCHANT.error(param="/account") from None

    async def _earlier(
        self, merchant_id: str, kind: str, number: str, fingerprint: bytes
    ) -> list[SplitReceiver] | None:
        binding = await self._repository.binding(merchant_id, kind, number)
        if binding is None:
            return None
        if binding.fingerprint != fingerprint:
            raise OUT_REQUEST_NO_TAKEN.error({"out_request_no": number, "payment_id": "split receivers"})
        found = await self._repository.receivers(merchant_id, binding.receiver_ids)
        return [found[id_] for id_ in binding.receiver_ids]

    async def _bound(
        self, merchant_id: str, requests: Sequence[ReceiverCreate]
    ) -> tuple[list[dict[str, Any]], list[object]]:
        """Their rows in order, and the parts that bind those that are not bound yet."""
        there = await self._repository.bound_as(merchant_id, [request.reference for request in requests])
        policy = await self._repository.policy(merchant_id)
        rows: dict[str, dict[str, Any]] = {}
        new: list[dict[str, Any]] = []
        for request in requests:
            standing = rows.get(request.reference) or (
                there[request.reference].model_dump() if request.reference in there else None
            )
            if standing is None:
                standing = self._receiver(merchant_id, request)
                new.append(standing)
            elif (standing["name"], standing["type"], standing["account"]) != (
                request.name,
                request.type,
                request.account,
            ):
                raise RECEIVER_REFERENCE_TAKEN.error({"receiver_id": standing["id"]}, param="/reference")
            rows[request.reference] = standing
        bound = 0 if policy is None else policy.receivers_bound
        if bound + len(new) > RECEIVERS_MAX:
            raise RECEIVER_LIMIT_EXCEEDED.error({"bound": bound, "asked": len(new), "most": RECEIVERS_MAX})
        parts: list[object] = [Insert(RECEIVERS, row) for row in new]
        if new:
            parts.append(_policy(merchant_id, policy, receivers_bound=bound + len(new)))
        return [rows[request.reference] for request in requests], parts

    async def _unbound(
        self, merchant_id: str, receivers: Sequence[SplitReceiver]
    ) -> tuple[list[dict[str, Any]], list[object]]:
        """Their rows as they will stand, and the parts that unbind those that are bound."""
        policy = await self._repository.policy(merchant_id)
        gone = {"bound_as": None, "unbound_at": self._desk.now}
        bound = [receiver for receiver in receivers if receiver.bound_as is not None]
        parts: list[object] = [Change(RECEIVERS, each.id, gone, expected=each.version) for each in bound]
        if bound:
            assert policy is not None, "whoever bound one has a policy"
            parts.append(_policy(merchant_id, policy, receivers_bound=policy.receivers_bound - len(bound)))
        ids = {each.id for each in bound}
        return [each.model_dump() | (gone if each.id in ids else {}) for each in receivers], parts

    def _receiver(self, merchant_id: str, request: ReceiverCreate) -> dict[str, Any]:
        return {
            "id": self._desk.tools.ids.mint("rcv"),
            "merchant_id": merchant_id,
            "reference": request.reference,
            "bound_as": request.reference,
            "name": request.name,
            "type": request.type,
            "account": request.account,
            "version": 1,
            "created_at": self._desk.now,
            "unbound_at": None,
        }

    def _binding(
        self, merchant_id: str, kind: str, receiver_ids: list[str], *, number: str, fingerprint: bytes
    ) -> Insert:
        row = SplitBinding(
            id=self._desk.tools.ids.mint("spb"),
            merchant_id=merchant_id,
            kind=kind,
            out_request_no=number,
            fingerprint=fingerprint,
            receiver_ids=msgspec.json.encode(receiver_ids).decode(),
            created_at=self._desk.now,
        )
        return Insert(BINDINGS, row.model_dump())

    async def _is_written(self, plan: Plan) -> bool:
        """False when another request was quicker, so that the decision is made anew."""
        try:
            await self._desk.tools.committer.commit(plan)
        except PlanRefused as refused:
            refusal = refused.refusal
            if isinstance(refusal, Duplicate | VersionConflict) and refusal.table in _OWN:
                return False
            raise
        return True


def _policy(merchant_id: str, policy: SplitPolicy | None, **values: int | None) -> Insert | Change:
    if policy is not None:
        return Change(POLICIES, merchant_id, values, expected=policy.version)
    blank = {"id": merchant_id, "merchant_id": merchant_id, "share_cap_bp": None, "receivers_bound": 0, "version": 1}
    return Insert(POLICIES, blank | values)
