"""What the registry refuses, and that one plugin's fault leaves the others whole."""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest

from platform_core.contracts.hooks import CATALOGUE, hook, hookimpl
from platform_core.contracts.payments import ProviderDescription, register_payment_provider
from platform_core.plugin_host.discovery import Plugin, catalogue, discover, load
from platform_core.plugin_host.problems import ProblemKind
from platform_core.plugin_host.registry import build, load_installed
from plugins.cash import CashProvider

pytestmark = pytest.mark.unit


class Named(CashProvider):
    """The cash provider under another id."""

    def __init__(self, name: str) -> None:
        self._name = name

    def describe(self) -> ProviderDescription:
        return ProviderDescription(id=self._name, forms=frozenset({"local"}), limits=())


def plugin(name: str, implementation: Callable[..., object], *, hook_name: str = "register_payment_provider") -> Plugin:
    return Plugin(name, SimpleNamespace(**{hook_name: implementation}))


def good(name: str) -> Plugin:
    return plugin(name, hookimpl(lambda: Named(name)))


def raising() -> object:
    raise RuntimeError("no database of mine")


async def coroutine() -> object:
    return Named("late")


def generator() -> object:
    yield Named("late")


@functools.wraps(coroutine)
def behind_wrapped() -> object:
    return coroutine()


def forgotten_await() -> object:
    return coroutine()


class AsyncCallable:
    __name__ = "register_payment_provider"

    async def __call__(self) -> object:
        return Named("late")


@pytest.mark.parametrize(
    "implementation",
    [coroutine, generator, behind_wrapped, functools.partial(coroutine), AsyncCallable()],
    ids=["coroutine", "generator", "wrapped", "partial", "callable"],
)
def test_an_implementation_that_is_never_awaited_is_refused(implementation: Callable[..., object]) -> None:
    marked = SimpleNamespace(register_payment_provider=implementation)
    implementation.arsenal_impl = hookimpl(lambda: None).arsenal_impl  # type: ignore[attr-defined]  # pluggy's own mark
    registry = build([good("first"), Plugin("culprit", marked), good("last")])
    assert list(registry.payment_providers()) == ["first", "last"]
    assert registry.plugin_ids == ("first", "last")
    assert [(p.plugin_id, p.kind) for p in registry.problems] == [("culprit", ProblemKind.COROUTINE)]


def test_the_refusal_of_a_coroutine_names_file_and_line() -> None:
    registry = build([plugin("culprit", hookimpl(coroutine))])
    line = coroutine.__code__.co_firstlineno
    assert registry.problems[0].where == f"{__file__}:{line}"


def test_an_unknown_hook_is_refused_and_names_the_known_ones() -> None:
    registry = build([plugin("culprit", hookimpl(lambda: None), hook_name="register_teapot"), good("other")])
    assert list(registry.payment_providers()) == ["other"]
    (problem,) = registry.problems
    assert (problem.kind, problem.hook) == (ProblemKind.UNKNOWN_HOOK, "register_teapot")
    assert "register_payment_provider" in problem.message


def test_an_unknown_hook_marked_optional_is_left_out_without_a_problem() -> None:
    both = SimpleNamespace(
        register_teapot=hookimpl(optionalhook=True)(lambda: None),
        register_payment_provider=hookimpl(lambda: Named("both")),
    )
    registry = build([Plugin("both", both)])
    assert list(registry.payment_providers()) == ["both"]
    assert registry.problems == ()


@pytest.mark.parametrize("implementation", [lambda order: None, lambda *a: None, lambda **k: None, lambda *, ctx: None])
def test_argument_names_that_the_hook_lacks_are_refused(implementation: Callable[..., object]) -> None:
    registry = build([plugin("culprit", hookimpl(implementation))])
    assert [p.kind for p in registry.problems] == [ProblemKind.ARGUMENTS]


@pytest.mark.parametrize("option", ["wrapper", "hookwrapper", "tryfirst", "trylast"])
def test_options_that_change_the_order_are_refused(option: str) -> None:
    registry = build([plugin("culprit", hookimpl(**{option: True})(lambda: Named("pushy")))])
    assert [p.kind for p in registry.problems] == [ProblemKind.HOOK_OPTION]
    assert registry.payment_providers() == {}


def test_one_raising_implementation_does_not_lose_the_others() -> None:
    registry = build([good("first"), plugin("culprit", hookimpl(raising)), good("last")])
    assert list(registry.payment_providers()) == ["first", "last"]
    (problem,) = registry.problems
    assert (problem.plugin_id, problem.kind) == ("culprit", ProblemKind.RAISED)
    assert "RuntimeError" in problem.message
    assert "no database of mine" not in problem.message
    assert problem.where == f"{__file__}:{raising.__code__.co_firstlineno + 1}"


def test_an_awaitable_that_comes_back_all_the_same_is_closed_and_refused() -> None:
    registry = build([plugin("culprit", hookimpl(forgotten_await)), good("other")])
    assert list(registry.payment_providers()) == ["other"]
    assert [p.kind for p in registry.problems] == [ProblemKind.BAD_RESULT]


class WithoutRefund:
    """Every method but one."""

    def __getattr__(self, name: str) -> object:
        if name == "refund":
            raise AttributeError(name)
        return getattr(Named("partial"), name)


class BlockingPay(Named):
    def pay(self, call: object) -> object:  # type: ignore[override]  # the fault under test
        return call


class ShortQuery(Named):
    async def query(self) -> object:  # type: ignore[override]  # the fault under test
        return None


@pytest.mark.parametrize(
    ("made", "fault"),
    [
        (None, "NoneType.authorize is missing"),
        (WithoutRefund(), "WithoutRefund.refund is missing"),
        (BlockingPay("blocking"), "BlockingPay.pay must be async."),
        (ShortQuery("short"), "ShortQuery.query must take 1 argument(s)."),
        (Named("Not An Id"), "the id is 2 to 40"),
    ],
)
def test_an_object_that_is_no_provider_is_refused(made: object, fault: str) -> None:
    registry = build([plugin("culprit", hookimpl(lambda: made)), good("other")])
    assert list(registry.payment_providers()) == ["other"]
    (problem,) = registry.problems
    assert problem.kind is ProblemKind.BAD_RESULT
    assert problem.message.startswith(fault)


def test_an_id_stays_with_the_first_plugin_in_order() -> None:
    registry = build([plugin("one", hookimpl(lambda: Named("till"))), plugin("two", hookimpl(lambda: Named("till")))])
    assert registry.owner_of(register_payment_provider, "till") == "one"
    assert [(p.plugin_id, p.kind) for p in registry.problems] == [("two", ProblemKind.ID_TAKEN)]


def test_order_is_the_operators_not_the_alphabets() -> None:
    assert list(build([good("zulu"), good("alpha")]).payment_providers()) == ["zulu", "alpha"]


def test_discovery_finds_the_plugins_of_the_environment() -> None:
    assert {point.name for point in discover()} >= {"cash", "simulated_acquirer"}
    registry = load_installed()
    assert registry.problems == ()
    assert {"cash", "simulated_acquirer"} <= registry.payment_providers().keys()


def test_a_plugin_that_cannot_be_imported_loses_no_other() -> None:
    broken = EntryPoint("broken", "plugins.there_is_none", "arsenal.plugins")
    cash = EntryPoint("cash", "plugins.cash", "arsenal.plugins")
    plugins, problems = load([broken, cash])
    assert [p.id for p in plugins] == ["cash"]
    assert [(p.plugin_id, p.kind) for p in problems] == [("broken", ProblemKind.NOT_IMPORTABLE)]


def test_one_name_for_two_plugins_loads_neither() -> None:
    twice = [EntryPoint("cash", f"plugins.{name}", "arsenal.plugins") for name in ("cash", "simulated_acquirer")]
    plugins, problems = load(twice)
    assert plugins == ()
    assert [p.kind for p in problems] == [ProblemKind.NAMED_TWICE, ProblemKind.NAMED_TWICE]


def test_every_hookspec_has_its_kinds_name_and_a_reference_with_an_example() -> None:
    for spec in catalogue().values():
        assert spec.name.startswith(f"{spec.kind}_")
        assert ">>> " in spec.reference


def test_a_hookspec_without_its_prefix_or_docstring_is_refused() -> None:
    def payment_provider() -> None:
        """A name without its kind."""

    def register_silence() -> None: ...

    known = set(CATALOGUE)
    for function in (payment_provider, register_silence):
        with pytest.raises(ValueError, match="the hookspec"):
            hook("register", version=1, since="1.0")(function)
    assert set(CATALOGUE) == known
