"""Channel accounts and routing rules as merchants read and change them. Each change holds within a second."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from platform_core.capabilities.payments.answers import encoded
from platform_core.capabilities.payments.channels.errors import (
    ACCOUNT_UNKNOWN,
    PROVIDER_UNKNOWN,
    RULE_CONTRADICTS,
    SECRET_UNREADABLE,
)
from platform_core.capabilities.payments.channels.schemas import (
    ChannelAccountCreate,
    ChannelAccountUpdate,
    RoutingRuleCreate,
    SecretValue,
)
from platform_core.capabilities.payments.desk import Desk
from platform_core.capabilities.payments.errors import NOT_FOUND, STORE_UNKNOWN
from platform_core.capabilities.payments.models import CHANNEL_ACCOUNTS, ROUTING_RULES, ChannelAccount, RoutingRule
from platform_core.capabilities.payments.service import quoted
from platform_core.capabilities.payments.setup import PaymentSetup
from platform_core.identity.principal import Principal
from platform_core.identity.revocation import news
from platform_core.kernel.commit import Audit, Change, Insert, Plan, PlanRefused, VersionConflict
from platform_core.kernel.errors import Fault, validation_failed
from platform_core.kernel.http.preconditions import changed_meanwhile, check_version
from platform_core.plugin_host.config_schema import NO_SCHEMA, ConfigSchema, SchemaRefused, schema_of

ACCOUNT_ID: Final = re.compile(r"cha_[0-9a-z]{26}")
RULE_ID: Final = re.compile(r"rrl_[0-9a-z]{26}")
ACCOUNTS_MAX: Final = 200
Also = Callable[[dict[str, Any]], Iterable[object]]


def nothing_else(_: Mapping[str, Any]) -> Iterable[object]:
    """Of a change that carries no Idempotency-Key."""
    return ()


@dataclass(frozen=True, slots=True)
class Channels:
    """The service."""

    desk: Desk
    setup: PaymentSetup

    async def accounts(self, principal: Principal) -> list[dict[str, Any]]:
        """All of the merchant's, the oldest first."""
        rows = await self.desk.tools.repository.channel_accounts(str(principal.merchant_id))
        return [account_answer(row) for row in rows]

    async def account(self, principal: Principal, account_id: str) -> ChannelAccount:
        """One of the merchant's. Raises 404 `payments.not_found`."""
        rows = await self.desk.tools.repository.channel_accounts(str(principal.merchant_id))
        found = next((row for row in rows if row.id == account_id), None)
        if found is None:
            raise NOT_FOUND.error({"kind": "channel account", "id": quoted(account_id)})
        return found

    async def add_account(self, principal: Principal, request: ChannelAccountCreate, *, also: Also) -> dict[str, Any]:
        """A new contract. Raises 422 provider_unknown, channel_secret_unreadable, and what the provider's schema
        refuses.
        """
        merchant_id, setup = str(principal.merchant_id), self.setup
        self._check_settings(request.provider_id, request.settings)
        row = ChannelAccount(
            id=setup.ids.mint("cha"),
            merchant_id=merchant_id,
            provider_id=request.provider_id,
            name=request.name,
            settings=request.settings,
            secrets={
                name: list(setup.seal(merchant_id, name, _plain(name, one))) for name, one in request.secrets.items()
            },
            is_active=True,
            version=1,
            created_at=setup.clock.now(),
        )
        facts = {"provider": row.provider_id, "settings": sorted(row.settings), "secrets": sorted(row.secrets)}
        told = Audit("channel_account.added", principal.client_id, row.id, merchant_id, facts)
        answer = account_answer(row)
        insert = Insert(CHANNEL_ACCOUNTS, encoded(row.model_dump()))
        await self._write(merchant_id, [insert, told, *also(answer)])
        return answer

    async def change_account(
        self, principal: Principal, account_id: str, request: ChannelAccountUpdate, *, expected: int
    ) -> ChannelAccount:
        """Change a contract. One that is not active takes no new payment; what was begun goes on.

        Raises 404 not_found; 412 for another version; 422 as `add_account` does.
        """
        merchant_id, setup = str(principal.merchant_id), self.setup
        row = await self.account(principal, account_id)
        check_version(row.version, expected, object_id=row.id)
        changed: dict[str, Any] = request.model_dump(include={"name", "is_active", "settings"}, exclude_none=True)
        if request.settings is not None:
            self._check_settings(row.provider_id, request.settings)
        if request.secrets:
            sealed = {
                name: [*setup.seal(merchant_id, name, _plain(name, one)), *row.secrets.get(name, ())[:1]]
                for name, one in request.secrets.items()
            }
            changed["secrets"] = {**row.secrets, **sealed}
        if not changed:
            return row
        facts = {"changed": sorted(changed), "secrets": sorted(request.secrets)}
        told = Audit("channel_account.changed", principal.client_id, row.id, merchant_id, facts)
        change = Change(CHANNEL_ACCOUNTS, row.id, encoded(changed), expected=expected)
        await self._write(merchant_id, [change, told], object_id=row.id)
        return row.model_copy(update={**changed, "version": expected + 1})

    async def rules(self, principal: Principal) -> list[dict[str, Any]]:
        """Those that hold now, in order."""
        rows = await self.desk.tools.repository.routing_rules(str(principal.merchant_id), self.desk.now)
        return [rule_answer(row) for row in rows]

    async def rule(self, principal: Principal, rule_id: str) -> RoutingRule:
        """One that holds now. Raises 404 `payments.not_found`."""
        rows = await self.desk.tools.repository.routing_rules(str(principal.merchant_id), self.desk.now)
        found = next((row for row in rows if row.id == rule_id), None)
        if found is None:
            raise NOT_FOUND.error({"kind": "routing rule", "id": quoted(rule_id)})
        return found

    async def add_rule(self, principal: Principal, request: RoutingRuleCreate, *, also: Also) -> dict[str, Any]:
        """A new rule, and in the same plan the end of the one that it replaces.

        Raises 404 not_found for the replaced one; 422 channel_account_unknown, store_unknown, routing_rule_contradicts.
        """
        merchant_id = str(principal.merchant_id)
        await self._check_rule(principal, request)
        now = self.setup.clock.now()
        hours = request.hours
        row = RoutingRule(
            id=self.setup.ids.mint("rrl"),
            merchant_id=merchant_id,
            **request.model_dump(exclude={"hours", "replaces"}),
            hour_from=None if hours is None else hours.since,
            hour_until=None if hours is None else hours.until,
            version=1,
            valid_from=now,
        )
        parts: list[object] = [Insert(ROUTING_RULES, encoded(row.model_dump()))]
        facts: dict[str, Any] = {"position": row.position, "channel_accounts": list(row.channel_account_ids)}
        if request.replaces is not None:
            replaced = await self.rule(principal, request.replaces)
            parts.append(Change(ROUTING_RULES, replaced.id, {"valid_until": now}, expected=replaced.version))
            facts["replaces"] = replaced.id
        answer = rule_answer(row)
        told = Audit("routing_rule.added", principal.client_id, row.id, merchant_id, facts)
        await self._write(merchant_id, [*parts, told, *also(answer)], object_id=str(request.replaces))
        return answer

    async def end_rule(self, principal: Principal, rule_id: str, *, expected: int) -> None:
        """A rule holds no longer. Raises 404 not_found; 412 for another version."""
        merchant_id = str(principal.merchant_id)
        row = await self.rule(principal, rule_id)
        check_version(row.version, expected, object_id=row.id)
        change = Change(ROUTING_RULES, row.id, {"valid_until": self.setup.clock.now()}, expected=expected)
        told = Audit("routing_rule.ended", principal.client_id, row.id, merchant_id)
        await self._write(merchant_id, [change, told], object_id=row.id)

    def _check_settings(self, provider_id: str, settings: Mapping[str, Any]) -> None:
        described = self.desk.tools.providers.describe(provider_id)
        if described is None:
            raise PROVIDER_UNKNOWN.error({"provider_id": provider_id}, param="/provider_id")
        faults = _schema(described.settings_schema).check(msgspec.json.encode(settings))
        if faults:
            moved = [(fault, fault.param.replace("/config", "/settings", 1)) for fault in faults]
            raise validation_failed([Fault(fault.declared, param, fault.values) for fault, param in moved])

    async def _check_rule(self, principal: Principal, request: RoutingRuleCreate) -> None:
        facts = await self.desk.facts(str(principal.merchant_id))
        known = {row.id for row in await self.desk.tools.repository.channel_accounts(facts.merchant_id)}
        for at, account_id in enumerate(request.channel_account_ids):
            if account_id not in known:
                raise ACCOUNT_UNKNOWN.error({"channel_account_id": account_id}, param=f"/channel_account_ids/{at}")
        if request.store_id is not None and request.store_id not in facts.store_ids:
            raise STORE_UNKNOWN.error({"store_id": request.store_id}, param="/store_id")
        for field, why in _contradictions(request):
            raise RULE_CONTRADICTS.error({"field": field, "why": why}, param=f"/{field}")

    async def _write(self, merchant_id: str, parts: Iterable[object], *, object_id: str = "") -> None:
        setup = self.setup
        now = setup.clock.now()
        heard = news(setup.ids, kind="terms", subject_id=merchant_id, merchant_id=merchant_id, now=now)
        try:
            await setup.committer.commit(Plan(merchant_id, [*parts, heard]))
        except PlanRefused as refused:
            if isinstance(refused.refusal, VersionConflict):
                raise changed_meanwhile(object_id) from refused
            raise
        self.desk.tools.terms.forget(merchant_id)  # here at once, in other processes within a second


def account_answer(row: ChannelAccount) -> dict[str, Any]:
    """`ChannelAccountRead`."""
    shown = row.model_dump(exclude={"secrets", "version"})
    return {**shown, "object": "channel_account", "secret_names": sorted(row.secrets)}


def rule_answer(row: RoutingRule) -> dict[str, Any]:
    """`RoutingRuleRead`."""
    shown = row.model_dump(exclude={"version", "hour_from", "hour_until"})
    hours = None if row.hour_from is None else {"from": row.hour_from, "until": row.hour_until}
    return {**shown, "object": "routing_rule", "hours": hours}


def _contradictions(request: RoutingRuleCreate) -> Iterable[tuple[str, str]]:
    least, most = request.amount_minor_min, request.amount_minor_max
    if least is not None and most is not None and least > most:
        yield "amount_minor_max", "amount_minor_max < amount_minor_min"
    if request.hours is not None and request.hours.since == request.hours.until:
        yield "hours", "from = until"
    if len(set(request.channel_account_ids)) < len(request.channel_account_ids):
        yield "channel_account_ids", "repeated"
    weights = request.weights
    if weights is not None and (len(weights) != len(request.channel_account_ids) or not any(weights)):
        yield "weights", "len(weights) != len(channel_account_ids), or only 0"


def _plain(name: str, given: SecretValue) -> bytes:
    if given.encoding == "utf8":
        return given.value.encode()
    try:
        return b64decode(given.value, validate=True)
    except (Base64Error, ValueError):
        raise SECRET_UNREADABLE.error({"name": name}, param=f"/secrets/{name}/value") from None


def _schema(document: Mapping[str, object]) -> ConfigSchema:
    """The provider's schema of settings. One that we cannot read lets nothing but the empty object through."""
    try:
        return schema_of(dict(document)) if document else NO_SCHEMA
    except SchemaRefused:
        return NO_SCHEMA
