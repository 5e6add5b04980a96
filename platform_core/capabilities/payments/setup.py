"""How a merchant comes to take payments: contracts with acquirers, routing, fees.

Versioned rows, effective within a second: each plan carries the news.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from platform_core.capabilities.payments.answers import encoded
from platform_core.capabilities.payments.fees import FeeTerms
from platform_core.capabilities.payments.models import CHANNEL_ACCOUNTS, FEE_PLANS, ROUTING_RULES
from platform_core.identity.revocation import news
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Audit, Committer, Insert, Plan
from platform_core.kernel.commit.audit import PLATFORM
from platform_core.kernel.ids import Ids

Seal = Callable[[str, str, bytes], Sequence[str]]  # merchant, name, key > what is stored of it


@dataclass(frozen=True, slots=True)
class PaymentSetup:
    """Writes the configuration that routing and fees read."""

    committer: Committer
    clock: Clock
    ids: Ids
    seal: Seal

    async def add_channel_account(
        self,
        merchant_id: str,
        *,
        provider_id: str,
        name: str,
        settings: Mapping[str, Any],  # as the provider's settings schema says
        secrets: Mapping[str, bytes],
        by: str = PLATFORM,
    ) -> str:
        """A contract with an acquirer; returns its id `cha_...`. Secrets are sealed before they are written."""
        row = {
            "id": self.ids.mint("cha"),
            "merchant_id": merchant_id,
            "provider_id": provider_id,
            "name": name,
            "settings": settings,
            "secrets": {key: list(self.seal(merchant_id, key, value)) for key, value in secrets.items()},
            "is_active": True,
            "version": 1,
            "created_at": self.clock.now(),
        }
        facts = {"provider": provider_id, "settings": sorted(settings), "secrets": sorted(secrets)}
        told = Audit("channel_account.added", by, str(row["id"]), merchant_id, facts)
        await self._write(merchant_id, Insert(CHANNEL_ACCOUNTS, encoded(row)), told)
        return str(row["id"])

    async def add_routing_rule(
        self,
        merchant_id: str,
        *,
        position: int,
        channel_account_ids: Sequence[str],
        form: str | None = None,
        store_id: str | None = None,
        amount_minor_min: int | None = None,
        amount_minor_max: int | None = None,
        weights: Sequence[int] | None = None,
        hours: tuple[int, int] | None = None,
        valid_from: datetime | None = None,
        valid_until: datetime | None = None,
        by: str = PLATFORM,
    ) -> str:
        """A rule; the first that fits, by position, decides. Amounts inclusive; valid from now unless said otherwise,
        up to and without `valid_until` (aware). `weights`: one for each account, for an order drawn by the payment's
        id. `hours`: from, and up to but without, in the merchant's zone.
        """
        row = {
            "id": self.ids.mint("rrl"),
            "merchant_id": merchant_id,
            "position": position,
            "form": form,
            "store_id": store_id,
            "amount_minor_min": amount_minor_min,
            "amount_minor_max": amount_minor_max,
            "channel_account_ids": list(channel_account_ids),
            "weights": None if weights is None else list(weights),
            "hour_from": None if hours is None else hours[0],
            "hour_until": None if hours is None else hours[1],
            "version": 1,
            "valid_from": valid_from or self.clock.now(),
            "valid_until": valid_until,
        }
        facts = {"position": position, "channel_accounts": list(channel_account_ids)}
        told = Audit("routing_rule.added", by, str(row["id"]), merchant_id, facts)
        await self._write(merchant_id, Insert(ROUTING_RULES, encoded(row)), told)
        return str(row["id"])

    async def set_fee_plan(
        self, merchant_id: str, *, currency: str, terms: FeeTerms, form: str | None = None, by: str = PLATFORM
    ) -> str:
        """What the platform charges from now on; payments captured before keep their own."""
        row = {
            "id": self.ids.mint("fee"),
            "merchant_id": merchant_id,
            "currency": currency,
            "form": form,
            "rate_bp": terms.rate_bp,
            "fixed_minor": terms.fixed_minor,
            "fee_minor_min": terms.fee_minor_min,
            "fee_minor_max": terms.fee_minor_max,
            "is_kept_on_refund": terms.is_kept_on_refund,
            "valid_from": self.clock.now(),
            "valid_until": None,
        }
        facts = {"currency": currency, "rate_bp": terms.rate_bp, "fixed_minor": terms.fixed_minor}
        told = Audit("fee_plan.set", by, str(row["id"]), merchant_id, facts)
        await self._write(merchant_id, Insert(FEE_PLANS, row), told)
        return str(row["id"])

    async def _write(self, merchant_id: str, part: Insert, told: Audit) -> None:
        now = self.clock.now()
        heard = news(self.ids, kind="terms", subject_id=merchant_id, merchant_id=merchant_id, now=now)
        await self.committer.commit(Plan(merchant_id, [part, heard, told]))
