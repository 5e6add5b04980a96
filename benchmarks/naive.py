"""The naive path, for contrast: FastAPI, pydantic in and out, an ORM session, one commit an order; the same rows.

It is kinder to itself than the real thing: it checks no token and replays no idempotency key.
`python -m benchmarks.naive URL MERCHANT` listens on a free port of the loopback and says so as `arsenal serve --json`.
"""

from __future__ import annotations

import argparse
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import uvicorn
from fastapi import FastAPI, Header
from sqlalchemy import BigInteger, Column, DateTime, Identity, LargeBinary, MetaData, Text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from platform_core.capabilities.payments.answers import payment_answer
from platform_core.capabilities.payments.models import Attempt, ChannelAccount, FeePlan, Payment, Transaction
from platform_core.capabilities.payments.schemas import PaymentCreate, PaymentRead
from platform_core.kernel.clock import SystemClock
from platform_core.kernel.database.pools import sqlalchemy_url
from platform_core.kernel.http.collector import settle_collector
from platform_core.kernel.ids import Ids
from platform_core.ledger.models import LedgerAccount, LedgerTransfer

FINGERPRINT = b"f" * 32


class Own(SQLModel, registry=registry(metadata=MetaData())):
    """Two tables of the kernel that the house itself never maps."""


class Key(Own, table=True):
    """A row of `idempotency`."""

    __tablename__ = "idempotency"
    client_id: str = Field(sa_type=Text, primary_key=True)
    merchant_id: str = Field(sa_type=Text, primary_key=True)
    key: str = Field(sa_type=Text, primary_key=True)
    fingerprint: bytes = Field(sa_type=LargeBinary)
    object_id: str = Field(sa_type=Text)
    created_at: datetime = Field(sa_column=Column(DateTime(timezone=True)))
    status: int
    body: str = Field(sa_type=Text)


class Outbox(Own, table=True):
    """A row of `outbox`."""

    __tablename__ = "outbox"
    position: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(always=True)))
    id: str = Field(sa_type=Text, primary_key=True)
    merchant_id: str = Field(sa_type=Text)
    type: str = Field(sa_type=Text)
    object_id: str = Field(sa_type=Text)
    sequence: int = Field(sa_type=BigInteger)
    occurred_at: datetime = Field(sa_column=Column(DateTime(timezone=True)))
    body: str = Field(sa_type=Text)


class ReadyServer(uvicorn.Server):
    """uvicorn that says where it listens, as `arsenal serve --json` does."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then tell."""
        await super().startup(sockets)
        if self.started and sockets:
            settle_collector()
            print(json.dumps({"url": f"http://127.0.0.1:{sockets[0].getsockname()[1]}"}), flush=True)


def naive_app(url: str, merchant_id: str) -> FastAPI:
    """One route, written as tutorials write it."""
    engine = create_async_engine(sqlalchemy_url(url), pool_size=20, max_overflow=0)
    ids = Ids(SystemClock())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await engine.dispose()

    app = FastAPI(lifespan=lifespan)

    @app.post("/v1/payments", status_code=201, response_model=PaymentRead)
    async def create_payment(order: PaymentCreate, idempotency_key: str = Header()) -> Any:  # shaped by response_model
        async with AsyncSession(engine, expire_on_commit=False) as session:
            answer = await _take(session, ids, merchant_id, order=order, idempotency_key=idempotency_key)
            await session.commit()
        return answer

    return app


async def _take(
    session: AsyncSession, ids: Ids, merchant_id: str, *, order: PaymentCreate, idempotency_key: str
) -> dict[str, Any]:
    now = datetime.now(UTC)
    channel = (await session.exec(select(ChannelAccount).where(ChannelAccount.merchant_id == merchant_id))).one()
    plan = (await session.exec(select(FeePlan).where(FeePlan.merchant_id == merchant_id))).one()
    amount = order.order_total_minor
    fee = (amount * plan.rate_bp + 5_000) // 10_000
    payment = Payment(
        id=ids.mint("pay"),
        merchant_id=merchant_id,
        out_trade_no=order.out_trade_no,
        fingerprint=FINGERPRINT,
        subject=order.subject,
        form=order.form,
        is_capture=True,
        state="captured",
        version=1,
        sequence=2,
        currency=order.currency,
        order_minor=amount,
        payable_minor=amount,
        captured_minor=amount,
        fee_minor=fee,
        fee_plan={"rate_bp": plan.rate_bp, "fixed_minor": plan.fixed_minor},
        attempts=1,
        created_at=now,
        updated_at=now,
        expires_at=now + timedelta(minutes=5),
        captured_at=now,
    )
    session.add(payment)
    transaction = _tried(session, ids, payment, channel.id)
    await _book(session, ids, payment, transaction, fee=fee)
    answer = payment_answer(dict.fromkeys(Payment.model_fields) | payment.model_dump())
    body = PaymentRead(**answer).model_dump_json()
    _announce(session, ids, payment, idempotency_key=idempotency_key, body=body)
    return answer


def _tried(session: AsyncSession, ids: Ids, payment: Payment, channel_account_id: str) -> Transaction:
    attempt = Attempt(
        id=ids.mint("att"),
        merchant_id=payment.merchant_id,
        payment_id=payment.id,
        number=1,
        provider_id="cash",
        channel_account_id=channel_account_id,
        form=payment.form,
        state="succeeded",
        created_at=payment.created_at,
        ended_at=payment.created_at,
    )
    transaction = Transaction(
        id=ids.mint("txn"),
        merchant_id=payment.merchant_id,
        payment_id=payment.id,
        attempt_id=attempt.id,
        kind="sale",
        request_key=attempt.id,
        state="succeeded",
        amount_minor=payment.payable_minor,
        is_final=True,
        provider_id="cash",
        channel_account_id=channel_account_id,
        provider_reference=attempt.id,
        holds=[],
        reason="",
        created_at=payment.created_at,
        finished_at=payment.created_at,
    )
    session.add(attempt)
    session.add(transaction)
    return transaction


async def _book(session: AsyncSession, ids: Ids, payment: Payment, transaction: Transaction, *, fee: int) -> None:
    """Three transfers over four accounts, which are locked in one order."""
    query = (
        select(LedgerAccount)
        .where(col(LedgerAccount.merchant_id) == payment.merchant_id)
        .order_by(col(LedgerAccount.id))
        .with_for_update()
    )
    accounts = {account.role: account for account in (await session.exec(query)).all()}
    sides = (("channel_receivable", "customer_clearing"), ("customer_clearing", "merchant_till"))
    amount = payment.payable_minor
    for debit, credit, moved, code in (
        (*sides[0], amount, "capture"),
        (*sides[1], amount, "capture"),
        ("merchant_till", "platform_fee", fee, "fee"),
    ):
        accounts[debit].debits_posted += moved
        accounts[credit].credits_posted += moved
        session.add(
            LedgerTransfer(
                id=ids.mint("tra"),
                merchant_id=payment.merchant_id,
                kind="transfer",
                debit_account=accounts[debit].id,
                credit_account=accounts[credit].id,
                unit=payment.currency,
                amount=moved,
                code=code,
                reference=transaction.id,
                created_at=payment.created_at,
                debit_after=accounts[debit].credits_posted - accounts[debit].debits_posted,
                credit_after=accounts[credit].credits_posted - accounts[credit].debits_posted,
            )
        )


def _announce(session: AsyncSession, ids: Ids, payment: Payment, *, idempotency_key: str, body: str) -> None:
    for sequence, name in enumerate(("payment.created", "payment.captured"), start=1):
        session.add(
            Outbox(
                id=ids.mint("evt"),
                merchant_id=payment.merchant_id,
                type=name,
                object_id=payment.id,
                sequence=sequence,
                occurred_at=payment.created_at,
                body=body,
            )
        )
    session.add(
        Key(
            client_id="naive",
            merchant_id=payment.merchant_id,
            key=idempotency_key,
            fingerprint=FINGERPRINT,
            object_id=payment.id,
            created_at=payment.created_at,
            status=201,
            body=body,
        )
    )


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("merchant_id")
    chosen = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    config = uvicorn.Config(
        naive_app(chosen.url, chosen.merchant_id),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
    ReadyServer(config).run([listener])


if __name__ == "__main__":
    main()
