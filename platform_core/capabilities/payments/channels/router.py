"""Channel accounts and routing rules over HTTP."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Request, Response

from platform_core.capabilities.payments import errors
from platform_core.capabilities.payments.answers import json_text
from platform_core.capabilities.payments.channels.errors import (
    ACCOUNT_UNKNOWN,
    PROVIDER_UNKNOWN,
    RULE_CONTRADICTS,
    SECRET_UNREADABLE,
)
from platform_core.capabilities.payments.channels.schemas import (
    ChannelAccountCreate,
    ChannelAccountList,
    ChannelAccountRead,
    ChannelAccountUpdate,
    RoutingRuleCreate,
    RoutingRuleList,
    RoutingRuleRead,
)
from platform_core.capabilities.payments.channels.service import Also, account_answer, rule_answer
from platform_core.capabilities.payments.router import COMMITTING, payments_of
from platform_core.identity.principal import Principal
from platform_core.identity.requires import requires
from platform_core.kernel.clock import Clock
from platform_core.kernel.http.acts import act_once
from platform_core.kernel.http.body import parse_body
from platform_core.kernel.http.idempotency import IdempotentRequest
from platform_core.kernel.http.openapi import documented
from platform_core.kernel.http.preconditions import expected_version, shown

router = APIRouter(prefix="/v1", tags=["channels"])
JSON: Final = "application/json"
MayRead = Annotated[Principal, requires("channels:read")]
MayWrite = Annotated[Principal, requires("channels:write")]
_ACCOUNT_REFUSALS: Final = (PROVIDER_UNKNOWN, SECRET_UNREADABLE)


@router.get(
    "/channel-accounts",
    operation_id="channel_accounts.list",
    summary="List channel accounts",
    **documented(answer=ChannelAccountList),
)
async def list_accounts(request: Request, principal: MayRead) -> Response:
    """All of them, the oldest first: the order in which they are offered where no rule says otherwise."""
    found = await payments_of(request).channels.accounts(principal)
    return Response(json_text({"data": found, "next_cursor": None}), media_type=JSON)


@router.get(
    "/channel-accounts/{account_id}",
    operation_id="channel_accounts.get",
    summary="Read a channel account",
    **documented(answer=ChannelAccountRead, errors=(errors.NOT_FOUND,), has_etag=True),
)
async def read_account(request: Request, account_id: str, principal: MayRead) -> Response:
    """Provider, settings, and the names of its secrets."""
    row = await payments_of(request).channels.account(principal, account_id)
    return shown(request, json_text(account_answer(row)), version=row.version)


@router.post(
    "/channel-accounts",
    operation_id="channel_accounts.create",
    summary="Add a channel account",
    **documented(
        answer=ChannelAccountRead,
        body=ChannelAccountCreate,
        status=201,
        is_idempotent=True,
        errors=(*COMMITTING, *_ACCOUNT_REFUSALS),
    ),
)
async def create_account(request: Request, principal: MayWrite) -> Response:
    """A contract with an acquirer. It is offered to payments within a second."""
    channels = payments_of(request).channels

    async def answer(body: ChannelAccountCreate, key: IdempotentRequest) -> Response:
        made = await channels.add_account(principal, body, also=_claim(key, channels.setup.clock))
        return Response(json_text(made), 201, media_type=JSON)

    return await _once(request, principal, ChannelAccountCreate, answer)


@router.patch(
    "/channel-accounts/{account_id}",
    operation_id="channel_accounts.update",
    summary="Change a channel account",
    **documented(
        answer=ChannelAccountRead,
        body=ChannelAccountUpdate,
        errors=(*COMMITTING, errors.NOT_FOUND, *_ACCOUNT_REFUSALS),
        has_etag=True,
        needs_match=True,
    ),
)
async def change_account(request: Request, account_id: str, principal: MayWrite) -> Response:
    """Name, settings, secrets, or whether it takes new payments; those that were begun go on."""
    wanted = await parse_body(request, ChannelAccountUpdate)
    expected = expected_version(request, object_id=account_id)
    row = await payments_of(request).channels.change_account(principal, account_id, wanted, expected=expected)
    return shown(request, json_text(account_answer(row)), version=row.version)


@router.get(
    "/routing-rules",
    operation_id="routing_rules.list",
    summary="List routing rules",
    **documented(answer=RoutingRuleList),
)
async def list_rules(request: Request, principal: MayRead) -> Response:
    """Those that hold now, in the order in which they are tried."""
    found = await payments_of(request).channels.rules(principal)
    return Response(json_text({"data": found, "next_cursor": None}), media_type=JSON)


@router.get(
    "/routing-rules/{rule_id}",
    operation_id="routing_rules.get",
    summary="Read a routing rule",
    **documented(answer=RoutingRuleRead, errors=(errors.NOT_FOUND,), has_etag=True),
)
async def read_rule(request: Request, rule_id: str, principal: MayRead) -> Response:
    """One that holds now. Attempts keep the id of the rule that decided about them."""
    row = await payments_of(request).channels.rule(principal, rule_id)
    return shown(request, json_text(rule_answer(row)), version=row.version)


@router.post(
    "/routing-rules",
    operation_id="routing_rules.create",
    summary="Add or replace a routing rule",
    **documented(
        answer=RoutingRuleRead,
        body=RoutingRuleCreate,
        status=201,
        is_idempotent=True,
        errors=(*COMMITTING, errors.NOT_FOUND, ACCOUNT_UNKNOWN, errors.STORE_UNKNOWN, RULE_CONTRADICTS),
    ),
)
async def create_rule(request: Request, principal: MayWrite) -> Response:
    """It decides from within a second on; `replaces` ends another one in the same moment."""
    channels = payments_of(request).channels

    async def answer(body: RoutingRuleCreate, key: IdempotentRequest) -> Response:
        made = await channels.add_rule(principal, body, also=_claim(key, channels.setup.clock))
        return Response(json_text(made), 201, media_type=JSON)

    return await _once(request, principal, RoutingRuleCreate, answer)


@router.delete(
    "/routing-rules/{rule_id}",
    operation_id="routing_rules.remove",
    summary="End a routing rule",
    **documented(answer=None, status=204, errors=(*COMMITTING, errors.NOT_FOUND), needs_match=True),
)
async def end_rule(request: Request, rule_id: str, principal: MayWrite) -> Response:
    """It decides no longer; what it decided stays on the attempts."""
    expected = expected_version(request, object_id=rule_id)
    await payments_of(request).channels.end_rule(principal, rule_id, expected=expected)
    return Response(status_code=204)


def _claim(key: IdempotentRequest, clock: Clock) -> Also:
    def parts(answer: dict[str, Any]) -> Iterable[object]:
        body = json_text(answer)
        return (key.claim(object_id=answer["id"], created_at=clock.now(), status=201, body=body),)

    return parts


async def _once(request: Request, principal: Principal, model: Any, answer: Any) -> Response:  # as act_once takes them
    service = payments_of(request).service
    return await act_once(
        request,
        model,
        answer,
        client_id=principal.client_id,
        look=partial(service.replay, principal),
        clock=service.clock,
    )
