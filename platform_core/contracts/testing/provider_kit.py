"""The kit's rules for objects that `register_` hooks hand over: every answer is success, failure or unknown, truly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import fields
from typing import Any, Final, get_type_hints

from pydantic import TypeAdapter

from platform_core.contracts.hooks import HookSpec, promised_methods
from platform_core.contracts.inspection import fault_of_object
from platform_core.contracts.messages import Delivery, MessageResult
from platform_core.contracts.payments import ChannelAccount, ErrorClass, Notice, NoticeRefused, Outcome, ProviderResult
from platform_core.contracts.plugin import EgressAnswer, HookContext, Refused
from platform_core.contracts.testing.egress import Outside, Request, answered
from platform_core.contracts.testing.fixtures import Fixture
from platform_core.contracts.testing.host import FakeHost
from platform_core.contracts.testing.loaded import LoadedPlugin

_ONLY_AT_TYPING: Final = {"HookContext": HookContext, "PluginContext": HookContext}
_READS: Final = frozenset({"query", "query_refund", "query_payout", "describe", "fetch_bill"})


def argument_of(method: Callable[..., object], told: Mapping[str, Any], *, ctx: HookContext) -> object:
    """The one argument of a provider's method, out of a fixture's JSON. TypeError for a field it does not have."""
    hints = get_type_hints(method)
    hints.pop("return", None)
    [shape] = hints.values()
    types = get_type_hints(shape, localns=_ONLY_AT_TYPING, include_extras=True)
    unknown = told.keys() - {each.name for each in fields(shape)}
    if unknown:
        raise TypeError(f"{shape.__name__} has no {', '.join(sorted(unknown))}")
    made: dict[str, Any] = {name: TypeAdapter(types[name]).validate_python(value) for name, value in told.items()}
    return shape(**made, ctx=ctx)


def provider_faults(
    plugin: LoadedPlugin, hook: HookSpec, *, fixture: Fixture, make_host: Callable[[], FakeHost]
) -> Iterator[str]:
    """What is wrong with the object that this hook hands over, one sentence each."""
    made: Any = plugin.hooks[hook.name]()  # Any: what it is, the next line finds out
    fault = fault_of_object(made, hook)
    if fault is not None:
        yield fault
        return
    declared = {use.id: use for use in plugin.manifest.providers if use.hook == hook.name}
    described = made.describe()
    if described != made.describe():
        yield "describe() says something else the second time."
    if described.id not in declared:
        yield f"the object is named {described.id}; plugin.toml declares {', '.join(sorted(declared))}."
        return
    methods = declared[described.id].methods
    calls = [one for one in fixture.calls if one["method"] in methods]
    yield from _with_the_world_as_given(made, hook, calls=calls, host=make_host())
    for one in calls:
        yield from _with_a_broken_world(made, hook, one=one, make_host=make_host)
    if "parse_notice" in methods:
        yield from _with_a_forged_notice(made, hook, host=make_host())


def ask(made: object, hook: HookSpec, *, one: Mapping[str, Any], host: FakeHost) -> object:
    """One call of one method. Raises what it raises."""
    method = getattr(made, one["method"])
    ctx = host.context(hook, idempotency_key=one["call"]["idempotency_key"])
    promised = promised_methods(hook)[one["method"]]
    told = dict(one["call"])
    if "settings" in told:
        told["settings"] = dict(host.config)
    if "channel_account" in told:
        names = {use.name: use.name for use in host.manifest.secrets}
        told["channel_account"] = told["channel_account"] | {"settings": dict(host.config), "secret_names": names}
    return _run(method(argument_of(promised, told, ctx=ctx)))


def _run(coroutine: Coroutine[Any, Any, object]) -> object:  # Any: what a coroutine yields to its loop
    """In a loop of its own, which leaves alone whatever loop the tests have."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.close()


def _with_the_world_as_given(
    made: object, hook: HookSpec, *, calls: list[dict[str, Any]], host: FakeHost
) -> Iterator[str]:
    first: dict[str, object] = {}
    for one in calls:
        name, key = one["method"], one["call"]["idempotency_key"]
        before = len(host.egress.sent)
        try:
            answer = ask(made, hook, one=one, host=host)
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything; it is told as its fault
            yield f"{name} raised {type(error).__name__}: {error}"
            continue
        if not isinstance(answer, ProviderResult | MessageResult):
            yield f"{name} gave {type(answer).__name__}."
            continue
        asked = one["call"].get("amount_minor")
        if isinstance(answer, ProviderResult) and answer.outcome is Outcome.SUCCESS and answer.amount_minor != asked:
            yield f"{name} says {answer.amount_minor}; {asked} were asked."
        if name not in _READS:
            if first.setdefault(f"{name} {key}", answer) != answer:
                yield f"{name} answers a repeat under {key} otherwise than the first time."
            if not all(_carries(request, key) for request in host.egress.sent[before:]):
                yield f"{name} sends a request without the key {key}."


def _carries(request: Request, key: str) -> bool:
    return key in request.url or key.encode() in request.body or any(key in each for each in request.headers.values())


def _not_sent(request: Request) -> EgressAnswer:
    raise Refused("plugin.egress_not_sent", "No byte of the request left: connection refused.")


def _lost(request: Request) -> EgressAnswer:
    raise Refused("plugin.egress_unknown", "Something of the request left and no whole answer came: timeout.")


BROKEN_WORLDS: Final[Mapping[str, Outside]] = {
    "nothing left": _not_sent,
    "the answer was lost": _lost,
    "500 with a page": lambda request: answered(500, "<html>Internal error</html>"),
    "200 with garbage": lambda request: answered(200, b"\x00\xff{"),
    "200 with an empty object": lambda request: answered(200, {}),
    "a redirect": lambda request: answered(302, "", location="https://elsewhere.example/"),
    "503": lambda request: answered(503, {"error": "busy"}),
}


def _with_a_broken_world(
    made: object, hook: HookSpec, *, one: dict[str, Any], make_host: Callable[[], FakeHost]
) -> Iterator[str]:
    for world, outside in BROKEN_WORLDS.items():
        host = make_host()
        host.egress.outside = outside
        try:
            answer = ask(made, hook, one=one, host=host)
        except Exception as error:  # noqa: BLE001 - as above
            yield f"{one['method']} raised {type(error).__name__} when {world}; answer unknown or failed."
            continue
        if not host.egress.sent:
            return  # it asks nobody outside
        fault = _untrue(one["method"], answer, world)
        if fault is not None:
            yield fault


def _untrue(method: str, answer: object, world: str) -> str | None:
    """Whether an answer claims more than is known: after a loss only unknown is true."""
    if isinstance(answer, ProviderResult):
        is_success, is_failure = answer.outcome is Outcome.SUCCESS, answer.outcome is Outcome.FAILED
        is_not_sent = is_failure and answer.error is not None and answer.error.error_class is ErrorClass.NOT_SENT
    elif isinstance(answer, MessageResult):
        is_success, is_failure = answer.delivery is Delivery.ACCEPTED, answer.delivery is Delivery.FAILED
        is_not_sent = is_failure and answer.is_repeatable
    else:
        return f"{method} gave {type(answer).__name__} when {world}."
    if world == "nothing left":
        is_fine = is_not_sent or (method in _READS and not is_success and not is_failure)
        return None if is_fine else f"{method} must say that nothing was sent when {world}; it said {answer!r}."
    if is_success or (is_failure and world != "503"):
        return f"{method} must be unknown when {world}; it said {answer!r}."
    return None


def _with_a_forged_notice(made: Any, hook: HookSpec, *, host: FakeHost) -> Iterator[str]:
    names = {use.name: use.name for use in host.manifest.secrets}
    notice = Notice(
        method="POST",
        path="/v1/notices/made/up",
        query="",
        headers={"content-type": "application/json"},
        raw_body=b'{"status":"SUCCESS"}',
        channel_account=ChannelAccount(id="cha_1", settings=dict(host.config), secret_names=names),
        now=host.now,
        ctx=host.context(hook),
    )
    try:
        said = _run(made.parse_notice(notice))
    except NoticeRefused:
        return
    except Exception as error:  # noqa: BLE001 - as above
        yield f"parse_notice raised {type(error).__name__} for a forged notice; raise NoticeRefused."
        return
    yield f"parse_notice believed a notice that nobody signed: {said!r}."
