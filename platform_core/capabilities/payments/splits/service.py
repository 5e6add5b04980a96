"""Splitting what was captured: at once, frozen and released, or as an order wished (payments.md section 4, Splits)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from sqlmodel import col

from platform_core.capabilities.payments.admission import check_standing
from platform_core.capabilities.payments.answers import json_text
from platform_core.capabilities.payments.books import Books
from platform_core.capabilities.payments.desk import DECISIONS_MAX, Desk
from platform_core.capabilities.payments.draft import SETTLE, Draft
from platform_core.capabilities.payments.errors import BUSY, NOT_FOUND, OUT_REQUEST_NO_TAKEN, OUTCOME_UNKNOWN
from platform_core.capabilities.payments.models import Payment, Transaction
from platform_core.capabilities.payments.outcomes import ask_delay, books_of
from platform_core.capabilities.payments.questions import Questions
from platform_core.capabilities.payments.refusals import conflict, lacks_money
from platform_core.capabilities.payments.repository import PaymentFile
from platform_core.capabilities.payments.rows import new_transaction
from platform_core.capabilities.payments.service import Reply, may_see, quoted
from platform_core.capabilities.payments.splits.amounts import (
    SPLITS_MAX,
    Judged,
    Wanted,
    bounds_of,
    cap_of,
    exceeded,
    judge,
)
from platform_core.capabilities.payments.splits.answers import split_answer
from platform_core.capabilities.payments.splits.errors import (
    RECEIVER_NOT_BOUND,
    RELEASE_EXCEEDS,
    SPLIT_LIMIT_EXCEEDED,
    SPLIT_MODE_MIXED,
    SPLIT_NEEDS_CHANNEL,
    SPLIT_STATE,
)
from platform_core.capabilities.payments.splits.models import RECEIVERS, Split, SplitReceiver
from platform_core.capabilities.payments.splits.outcomes import ORDER_MODE, has_open_wish, wished
from platform_core.capabilities.payments.splits.repository import SplitRepository
from platform_core.capabilities.payments.splits.returns import open_splits
from platform_core.capabilities.payments.splits.schemas import SplitCreate, SplitRelease
from platform_core.capabilities.payments.splits.wishes import SPLIT
from platform_core.capabilities.payments.splits.work import GIVE_BACK, ORDER, ORDER_NUMBER, SETTLE_AGAIN, Row, SplitWork
from platform_core.identity.limits import Meter
from platform_core.identity.principal import Principal
from platform_core.kernel.commit import Due, DueDone, Plan, PlanRefused, Unchanged, VersionConflict
from platform_core.kernel.commit.due import DueWork
from platform_core.kernel.commit.idempotency import Replayed
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.http.idempotency import IdempotentRequest
from platform_core.kernel.money import Money
from platform_core.kernel.pagination import Cursors, Position
from platform_core.ledger.accounts import Account, GuardRefused

SPLIT_ID: Final = re.compile(r"spl_[0-9a-z]{26}")
NEXT_LOOK: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Asked:
    """A split that somebody asks for: a client by a request, or an order by its wish."""

    out_request_no: str
    fingerprint: bytes
    mode: str
    is_frozen: bool
    wanted: Sequence[Wanted]
    idempotent: IdempotentRequest | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What was read for a decision besides the payment's own file."""

    receivers: Mapping[str, SplitReceiver]
    cap_bp: int
    settled_days: frozenset[date]
    is_from_available: bool = False
    """Out of what is available, also while the day is not settled: its other money is gone."""
    time_zone: str = "UTC"


@dataclass(slots=True)
class Begun:
    """What the first commit decided: the split, and the transaction that the provider is to be asked about."""

    split_id: str = ""
    transaction_id: str | None = None
    reply: Reply | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where the money of a payment is taken from, and with which day's it goes on."""

    original: Transaction
    source: Account
    day: date | None
    tells: bool


class SplitService:
    """The service."""

    def __init__(self, desk: Desk, questions: Questions, repository: SplitRepository, cursors: Cursors) -> None:
        self._desk = desk
        self._questions = questions
        self._repository = repository
        self._cursors = cursors

    async def create(
        self, principal: Principal, payment_id: str, request: SplitCreate, idempotent: IdempotentRequest
    ) -> Reply:
        """Split a captured payment. The same number and body again: 200 with the split as it stands.

        Where the provider declares the feature `split` it is told and has its say: the split is pending meanwhile and
        unknown while its word is missing. Writes the split, its shares and transfers, `split.settled` or
        `split.frozen`. Raises 403 merchant_suspended, `identity.limit_exceeded`; 404 not_found; 409
        split_limit_exceeded, split_mode_mixed, split_share_empty, receiver_not_bound, split_needs_channel,
        state_conflict, outcome_unknown, out_request_no_taken; 503 busy.
        """
        desk, merchant_id = self._desk, str(principal.merchant_id)
        facts = await desk.facts(merchant_id)
        check_standing(facts)
        await self._questions.heal(merchant_id, payment_id)
        wanted = [Wanted(each.receiver_id, each.amount_minor, each.percent_bp, each.note) for each in request.shares]
        asked = Asked(
            request.out_request_no, idempotent.fingerprint, request.mode, request.is_frozen, wanted, idempotent
        )

        async def act(meter: Meter | None) -> Reply:
            return await self._from_either(merchant_id, payment_id, asked, meter=meter)

        return await desk.tools.limits.spend(principal, kind=SPLIT, action="create", zone=facts.time_zone, act=act)

    async def _from_either(self, merchant_id: str, payment_id: str, asked: Asked, *, meter: Meter | None) -> Reply:
        """From the day's money while it is not settled, else from what is available."""
        for is_from_available in (False, True):
            try:
                return await self._split(
                    merchant_id, payment_id, asked, meter=meter, is_from_available=is_from_available
                )
            except PlanRefused as refused:
                if not lacks_money(refused):
                    raise
                refusal = refused.refusal
        assert isinstance(refusal, GuardRefused), "what lacks money is an account"
        payment = (await self._desk.file(merchant_id, payment_id)).payment
        left = max(0, refusal.available)
        raise exceeded(payment.id, payment.currency, asked=refusal.asked, left=left, limit="balance")

    async def _split(
        self, merchant_id: str, payment_id: str, asked: Asked, *, meter: Meter | None, is_from_available: bool
    ) -> Reply:
        """Decide and commit, anew where a receiver was changed meanwhile; then the provider, if it has its say."""
        begun = Begun()
        for _ in range(DECISIONS_MAX):
            known = await self._known(merchant_id, payment_id, asked, is_from_available=is_from_available)

            def decide(file: PaymentFile, draft: Draft, known: Known = known) -> Plan:
                return self._decide(file, draft, asked, known, meter=meter, begun=begun)

            try:
                await self._desk.decide(merchant_id, payment_id, decide)
            except PlanRefused as refused:
                if isinstance(refused.refusal, VersionConflict) and refused.refusal.table == RECEIVERS.name:
                    continue
                raise
            return await self._told(merchant_id, payment_id, begun, asked.idempotent, status=201)
        raise BUSY.error({"payment_id": payment_id}, retry_after_s=1)

    async def _known(self, merchant_id: str, payment_id: str, asked: Asked, *, is_from_available: bool) -> Known:
        file = await self._desk.file(merchant_id, payment_id)
        receivers = await self._repository.receivers(merchant_id, [each.receiver_id for each in asked.wanted])
        policy = await self._repository.policy(merchant_id)
        days = {t.booking_day for t in _paid(file) if t.booking_day is not None}
        settled = await self._repository.settled_days(merchant_id, days, currency=file.payment.currency)
        zone = (await self._desk.facts(merchant_id)).time_zone
        return Known(receivers, cap_of(policy), settled, is_from_available, zone)

    def _decide(
        self, file: PaymentFile, draft: Draft, asked: Asked, known: Known, *, meter: Meter | None, begun: Begun
    ) -> Plan:
        payment = file.payment
        begun.transaction_id = begun.reply = None
        earlier = next((split for split in file.splits if split.out_request_no == asked.out_request_no), None)
        if earlier is not None:
            return self._repeated(file, earlier, asked, draft, begun=begun)
        _check_may_split(payment, asked)
        judged = _judged(file, draft, asked, known)
        total = sum(each.amount_minor for each in judged if each.error is None)
        place = self._place(file, draft, known, total=total)
        work = SplitWork(draft, file.splits, file.shares)
        split = work.begin(judged, out_request_no=asked.out_request_no, fingerprint=asked.fingerprint, mode=asked.mode)
        charge = None
        is_told = place.tells and not asked.is_frozen
        if meter is not None:
            uses = {"amount": total, "receivers": sum(each.error is None for each in judged)}
            charge = meter.charge(
                reference=split["id"],
                store_id=payment.store_id,
                currency=payment.currency,
                uses=uses,  # type: ignore[arg-type]  # keys are measures
            )
            draft.add(*(charge.held() if is_told else charge.spent()))
        if is_told:
            parts = work.hold(split, place.source, day=place.day)
            record = None if charge is None else charge.record()
            number = f"{split['id']}.0"
            begun.transaction_id = _ask_provider(draft, place.original, parts, number=number, charge=record)
            split["transaction_id"] = begun.transaction_id
        elif asked.is_frozen:
            work.freeze(split, place.source)
        else:
            work.settle(split, place.source, day=place.day)
        work.finish()
        begun.split_id = split["id"]
        plan = draft.plan()
        plan.add(
            *(
                Unchanged(RECEIVERS, each.wanted.receiver_id, known.receivers[each.wanted.receiver_id].version)
                for each in judged
                if each.error is None
            )
        )
        return self._claimed(plan, asked, draft, begun=begun, status=201)

    def _repeated(self, file: PaymentFile, earlier: Split, asked: Asked, draft: Draft, *, begun: Begun) -> Plan:
        if earlier.fingerprint != asked.fingerprint:
            raise OUT_REQUEST_NO_TAKEN.error({"out_request_no": asked.out_request_no, "payment_id": file.payment.id})
        begun.split_id = earlier.id
        begun.reply = Reply(200, json_text(_answer(file, earlier.id)))
        plan = Plan(file.payment.merchant_id)
        return self._claimed(plan, asked, draft, begun=begun, status=200)

    def _claimed(self, plan: Plan, asked: Asked, draft: Draft, *, begun: Begun, status: int) -> Plan:
        """The plan with the client's key, or of an order with the end of its due row."""
        if begun.transaction_id is None and begun.reply is None:
            begun.reply = Reply(status, json_text(draft.splits[begun.split_id]))
        done = begun.reply
        if asked.idempotent is None:
            return plan.add(DueDone(ORDER, draft["id"]))
        claim = asked.idempotent.claim(
            object_id=begun.split_id,
            created_at=draft.now,
            status=None if done is None else done.status,
            body=None if done is None else done.body,
        )
        return plan.add(claim)

    def _place(self, file: PaymentFile, draft: Draft, known: Known, *, total: int) -> Place:
        original = _paid_from(file, total)
        if original.booking_day is None:
            raise SPLIT_NEEDS_CHANNEL.error()
        books: Books = books_of(draft, original.channel_account_id, original.id)
        description = self._desk.tools.providers.describe(original.provider_id)
        tells = description is not None and "split" in description.features
        if known.is_from_available or original.booking_day in known.settled_days:
            return Place(original, books.available, None, tells)
        return Place(original, books.pending(original.booking_day), original.booking_day, tells)

    async def _told(
        self,
        merchant_id: str,
        payment_id: str,
        begun: Begun,
        idempotent: IdempotentRequest | None,
        *,
        status: int,
    ) -> Reply:
        """Ask the provider where it has its say, and put its word to the books; the answer goes under the key."""
        if begun.transaction_id is None:
            assert begun.reply is not None, "an intent is a transaction or an answer"
            return begun.reply
        desk = self._desk
        file = await desk.file(merchant_id, payment_id)
        result = await desk.ask(file, file.transaction(begun.transaction_id), "settle")
        reply: list[Reply] = []

        def finish(file: PaymentFile, draft: Draft, plan: Plan) -> None:
            shown = draft.splits.get(begun.split_id) or _answer(file, begun.split_id)
            reply[:] = [Reply(status, json_text(shown))]
            if idempotent is not None:
                plan.add(idempotent.answer(status=status, body=reply[0].body))

        await desk.conclude(merchant_id, payment_id, begun.transaction_id, result, finish=finish)
        return reply[0]

    async def release(
        self, principal: Principal, split_id: str, request: SplitRelease, idempotent: IdempotentRequest
    ) -> Reply:
        """Give frozen shares to their receivers, all of them unless some are named; what is left goes back to the
        merchant if the release is final. The provider is told as in `create`.

        Raises 403 merchant_suspended; 404 not_found; 409 split_state_conflict, split_release_exceeds,
        receiver_not_bound, outcome_unknown; 503 busy.
        """
        desk, merchant_id = self._desk, str(principal.merchant_id)
        facts = await desk.facts(merchant_id)
        check_standing(facts)
        split, payment = await self._seen(principal, split_id)
        await self._questions.heal(merchant_id, payment.id)
        days = {t.booking_day for t in _paid(await desk.file(merchant_id, payment.id)) if t.booking_day is not None}
        settled = await self._repository.settled_days(merchant_id, days, currency=payment.currency)
        known = Known({}, 0, settled, time_zone=facts.time_zone)
        begun = Begun(split.id)

        def decide(file: PaymentFile, draft: Draft) -> Plan:
            begun.transaction_id = begun.reply = None
            work = SplitWork(draft, file.splits, file.shares)
            self._release(file, work, split.id, request=request, known=known, begun=begun)
            work.finish()
            plan = draft.plan()
            if begun.transaction_id is None:
                shown = draft.splits.get(split.id) or _answer(file, split.id)
                begun.reply = Reply(200, json_text(shown))
            done = begun.reply
            claim = idempotent.claim(
                object_id=split.id,
                created_at=draft.now,
                status=None if done is None else done.status,
                body=None if done is None else done.body,
            )
            return plan.add(claim)

        await desk.decide(merchant_id, payment.id, decide)
        return await self._told(merchant_id, payment.id, begun, idempotent, status=200)

    def _release(
        self, file: PaymentFile, work: SplitWork, split_id: str, *, request: SplitRelease, known: Known, begun: Begun
    ) -> None:
        split = work.splits[split_id]
        _check_certain(file, split_id)
        if split["state"] != "frozen":
            raise SPLIT_STATE.error({"split_id": split["id"], "state": split["state"]})
        amounts = _released(file, work.shares_of(split["id"]), split, request)
        total = sum(amounts.values())
        place = self._place(file, work.draft, known, total=total)
        if total and place.tells:
            parts = work.hold_release(split, amounts, day=place.day)
            count = sum(t.kind == "settle" for t in file.transactions)
            number = f"{split['id']}.{count + 1}"
            begun.transaction_id = _ask_provider(work.draft, place.original, parts, number=number)
            split["transaction_id"] = begun.transaction_id
        elif total:
            work.release(split, amounts, day=place.day)
        if request.is_final:
            work.give_back(split, place.source, kept=amounts if begun.transaction_id else {})
        if total or request.is_final:
            work.settle_again(place.day, known.time_zone)

    async def read(self, principal: Principal, split_id: str) -> tuple[dict[str, Any], int]:
        """One split and its version; an open one is asked for as a payment is. Raises 404 `payments.not_found`."""
        split, payment = await self._seen(principal, split_id)
        known = payment if split.transaction_id is None else None  # its word may be open, also of a release
        if await self._questions.heal(payment.merchant_id, payment.id, known):
            split, _ = await self._seen(principal, split_id)
        shares = await self._repository.shares(payment.merchant_id, [split.id])
        return split_answer(split.model_dump(), [share.model_dump() for share in shares[split.id]]), split.version

    async def page(self, principal: Principal, payment_id: str, *, limit: int, cursor: str | None) -> dict[str, Any]:
        """A payment's splits, the newest first; `payment_id` is one that the caller may see."""
        merchant_id = str(principal.merchant_id)
        bound_to = {"list": "splits", "merchant": merchant_id, "payment_id": payment_id}
        after = None if cursor is None else self._cursors.read(cursor, bound_to=bound_to)
        rows = await self._desk.tools.repository.page(
            Split,
            merchant_id,
            filters=[col(Split.payment_id) == payment_id],
            after=None if after is None else (after.created_at, after.id),
            is_ascending=False,
            limit=limit,
        )
        shares = await self._repository.shares(merchant_id, [row.id for row in rows])
        page = self._cursors.page(
            rows,
            limit=limit,
            bound_to=bound_to,
            position_of=lambda row: Position(row.created_at, row.id),
            show=lambda row: split_answer(row.model_dump(), [share.model_dump() for share in shares[row.id]]),
        )
        return {"data": page.data, "next_cursor": page.next_cursor}

    async def replay(self, principal: Principal, idempotent: IdempotentRequest) -> Replayed | None:
        """What stands under the request's key, if it was used."""
        return await self._desk.tools.repository.idempotency_record(str(principal.merchant_id), idempotent)

    async def present(self, principal: Principal, object_id: str | None) -> str:
        """The split that an act in flight is about, as it is now."""
        answer, _ = await self.read(principal, str(object_id))
        return json_text(answer)

    async def _seen(self, principal: Principal, split_id: str) -> tuple[Split, Payment]:
        merchant_id = str(principal.merchant_id)
        split = await self._repository.split(merchant_id, split_id) if SPLIT_ID.fullmatch(split_id) else None
        payment = None
        if split is not None:
            payment = await self._desk.tools.repository.payment(merchant_id, split.payment_id)
        if split is None or payment is None or not may_see(principal, payment):
            raise NOT_FOUND.error({"kind": "split", "id": quoted(split_id)})
        return split, payment

    async def make_ordered(self, work: DueWork) -> Plan | None:
        """Due `payments.split_order`: the splits that an order wished for and its capture's plan could not make. One
        that is refused is kept as failed.
        """
        merchant_id, payment_id = str(work.merchant_id), work.subject_id
        payment = (await self._desk.file(merchant_id, payment_id)).payment
        done = Plan(merchant_id, [DueDone(ORDER, payment_id)])
        if payment.split_wish is None or payment.state != "captured":
            return done  # whoever brings it to captured writes the row again
        asked = Asked(ORDER_NUMBER, b"", ORDER_MODE, False, wished(payment.model_dump()))
        try:
            await self._from_either(merchant_id, payment_id, asked, meter=None)
        except PlatformError as error:
            if error.is_retryable:
                raise
            await self._desk.decide(merchant_id, payment_id, _failing(asked, error))
        return None

    async def give_back(self, work: DueWork) -> Plan | None:
        """Due `payments.split_give_back`: what was not released in 30 days is the merchant's again."""
        merchant_id = str(work.merchant_id)
        owner = await self._repository.owner_of_split(work.subject_id)
        if owner is None:
            return Plan(merchant_id, [DueDone(GIVE_BACK, work.subject_id)])

        def decide(file: PaymentFile, draft: Draft) -> Plan:
            if work.subject_id in open_splits(file):
                return Plan(merchant_id, [Due(GIVE_BACK, work.subject_id, draft.now + NEXT_LOOK, work.tries + 1)])
            splits = SplitWork(draft, file.splits, file.shares)
            books = books_of(draft, "", work.subject_id)
            if not splits.give_back(splits.splits[work.subject_id], books.available):
                return Plan(merchant_id, [DueDone(GIVE_BACK, work.subject_id)])
            splits.finish()
            return draft.plan()

        await self._desk.decide(merchant_id, owner[1], decide)
        return None

    async def settle_again(self, work: DueWork) -> Plan | None:
        """Due `payments.split_settle`: have the booking day settled anew; what is settled already stays as it is."""
        again = Due(SETTLE, work.subject_id, self._desk.now)
        return Plan(work.merchant_id, [again, DueDone(SETTLE_AGAIN, work.subject_id)])


def _paid(file: PaymentFile) -> list[Transaction]:
    return [
        t
        for t in file.transactions
        if t.kind in ("sale", "capture") and t.state == "succeeded" and file.attempt(t.attempt_id).state == "succeeded"
    ]


def _paid_from(file: PaymentFile, total: int) -> Transaction:
    """The sale, or the capture that a provider can take the whole split from; else the largest one."""
    paid = _paid(file)
    told = {t.id: 0 for t in paid}
    for t in file.transactions:
        if t.kind == "settle" and t.state != "failed" and t.original_id is not None:
            told[t.original_id] += t.amount_minor
    fitting = [t for t in paid if t.amount_minor - told[t.id] >= total]
    return fitting[-1] if fitting else max(paid, key=lambda t: t.amount_minor)


def _check_certain(file: PaymentFile, split_id: str) -> None:
    if split_id in open_splits(file):
        raise OUTCOME_UNKNOWN.error({"payment_id": file.payment.id}, retry_after_s=5)


def _check_may_split(payment: Payment, asked: Asked) -> None:
    if payment.state == "unknown":
        raise OUTCOME_UNKNOWN.error({"payment_id": payment.id}, retry_after_s=5)
    if payment.state != "captured" or not payment.captured_minor:
        raise conflict(payment, "split", "captured")
    if payment.split_mode not in (None, asked.mode):
        raise SPLIT_MODE_MIXED.error({"payment_id": payment.id, "mode": payment.split_mode})
    most = SPLITS_MAX[asked.mode]
    if payment.split_count >= most and asked.idempotent is not None:
        values = {"asked": f"{payment.split_count + 1}", "left": f"{most}", "payment_id": payment.id}
        raise SPLIT_LIMIT_EXCEEDED.error({**values, "limit": "splits"})


def _judged(file: PaymentFile, draft: Draft, asked: Asked, known: Known) -> list[Judged]:
    """What becomes of each share; raises the first refusal where it refuses the split."""

    def is_bound(receiver_id: str) -> bool:
        receiver = known.receivers.get(receiver_id)
        return receiver is not None and receiver.bound_as is not None

    cap_bp = known.cap_bp if asked.idempotent is not None else draft["split_wish"]["cap_bp"]
    bounds = bounds_of(draft.row, file.shares, cap_bp=cap_bp)
    if asked.mode == "all_or_nothing":
        total = sum(each.minor(bounds.captured_minor) for each in asked.wanted)
        if all(is_bound(each.receiver_id) for each in asked.wanted):
            bounds.check(total)
    judged = judge(asked.wanted, bounds, is_bound=is_bound)
    errors = [each.error for each in judged if each.error is not None]
    if errors and (asked.mode == "all_or_nothing" or len(errors) == len(judged)):
        raise errors[0]
    return judged


def _released(file: PaymentFile, shares: Sequence[Row], split: Row, request: SplitRelease) -> dict[str, int]:
    """How much of which share is released."""
    named = None if request.shares is None else {each.receiver_id: each.amount_minor for each in request.shares}
    of = {share["receiver_id"]: share for share in shares}
    for receiver_id, amount in (named or {}).items():
        share = of.get(receiver_id)
        left = 0 if share is None else share["frozen_minor"]
        if not left or (amount or 0) > left:
            values = {"asked": Money(amount or left, split["currency"]), "left": Money(left, split["currency"])}
            raise RELEASE_EXCEEDS.error({**values, "receiver_id": receiver_id, "split_id": split["id"]})
    amounts = {}
    for receiver_id, share in of.items():
        if share["frozen_minor"] and (named is None or receiver_id in named):
            if file.receivers[receiver_id].bound_as is None:
                raise RECEIVER_NOT_BOUND.error({"receiver_id": receiver_id})
            amounts[share["id"]] = (named or {}).get(receiver_id) or share["frozen_minor"]
    return amounts


def _ask_provider(
    draft: Draft, original: Transaction, parts: list[Row], *, number: str, charge: dict[str, Any] | None = None
) -> str:
    """The transaction that the provider is asked about, with the question that follows if no answer comes."""
    total = sum(part["amount"] for part in parts)
    row = new_transaction(draft, original, kind="settle", amount_minor=total, request_key=number)
    row |= {"split_parts": parts, "charge": charge}
    draft.insert_transaction(row)
    draft.ask_at(row["id"], draft.now + ask_delay(0))
    return str(row["id"])


def _failing(asked: Asked, error: PlatformError) -> Callable[[PaymentFile, Draft], Plan]:
    """Keep an order's split as failed, with the reason on each share."""

    def decide(file: PaymentFile, draft: Draft) -> Plan:
        done = DueDone(ORDER, file.payment.id)
        if not has_open_wish(draft.row, [split.model_dump() for split in file.splits]):
            return Plan(file.payment.merchant_id, [done])
        work = SplitWork(draft, file.splits, file.shares)
        judged = [Judged(each, 0, error) for each in asked.wanted]
        split = work.begin(judged, out_request_no=ORDER_NUMBER, fingerprint=b"", mode=asked.mode)
        work.announce(split, "split.failed")
        work.finish()
        return draft.plan().add(done)

    return decide


def _answer(file: PaymentFile, split_id: str) -> dict[str, Any]:
    split = next(split for split in file.splits if split.id == split_id)
    shares = sorted((share for share in file.shares if share.split_id == split_id), key=lambda share: share.number)
    return split_answer(split.model_dump(), [share.model_dump() for share in shares])
