"""The catalogue: what a hookspec must be, and majors side by side."""

from __future__ import annotations

from collections.abc import Iterator

import pluggy
import pytest

from platform_core.contracts import hooks
from platform_core.contracts.fields import Money, Payload
from platform_core.contracts.hooks import CATALOGUE, KINDS, PROJECT, hook, hookimpl
from platform_core.contracts.plugin import HookContext
from platform_core.contracts.results import Verdict

pytestmark = pytest.mark.unit


class Parcel(Payload):
    """A payload of these tests, first major."""

    weight_g: int


class ParcelV2(Payload):
    """Second major."""

    weight: Money


@pytest.fixture(autouse=True)
def catalogue() -> Iterator[None]:
    """Leave the catalogue as it was found."""
    before = dict(CATALOGUE)
    yield
    hooks._catalogue.clear()
    hooks._catalogue.update(before)


def declare_both() -> None:
    """Two majors of one hook, the older on its way out."""

    @hook(
        "check",
        version=1,
        scope="payments:read",
        since="1.0",
        deprecated_since="1.4",
        removed_in="2.0",
        replaced_by="check_parcel_v2",
    )
    def check_parcel(ctx: HookContext, parcel: Parcel) -> Verdict:
        """Judge a parcel."""
        raise AssertionError

    @hook("check", version=2, scope="payments:read", since="1.4")
    def check_parcel_v2(ctx: HookContext, parcel: ParcelV2) -> Verdict:
        """Judge a parcel."""
        raise AssertionError


def test_the_catalogue_knows_all_of_a_hookspec() -> None:
    declare_both()
    entry = CATALOGUE["check_parcel_v2"]
    assert (entry.kind, entry.version, entry.scope, entry.since) == ("check", 2, "payments:read", "1.4")
    assert (entry.arguments, entry.payload_name) == (("ctx", "parcel"), "parcel")
    assert (entry.payload, entry.result, entry.reference) == (ParcelV2, Verdict, "Judge a parcel.")
    assert entry.rule is KINDS["check"]
    old = CATALOGUE["check_parcel"]
    assert (old.deprecated_since, old.removed_in, old.replaced_by) == ("1.4", "2.0", "check_parcel_v2")


def test_a_plugin_with_both_majors_registers_at_an_older_host() -> None:
    declare_both()

    class Both:
        @hookimpl
        def check_parcel(self, parcel: Parcel) -> Verdict:
            return Verdict.allow()

        @hookimpl(optionalhook=True)
        def check_parcel_v2(self, parcel: ParcelV2) -> Verdict:
            return Verdict.allow(score=2)

    older = pluggy.PluginManager(PROJECT)
    older.add_hookspecs(type("Older", (), {"check_parcel": staticmethod(CATALOGUE["check_parcel"].function)}))
    with pytest.warns(DeprecationWarning, match="check_parcel is deprecated since 1.4; use check_parcel_v2"):
        older.register(Both())
    older.check_pending()
    assert older.hook.check_parcel(ctx=None, parcel=Parcel(weight_g=3)) == [Verdict.allow()]


@pytest.mark.parametrize(
    ("name", "version"), [("check_parcel_v2", 1), ("check_parcel_v1", 1), ("check_parcel", 2), ("check_parcel_v3", 2)]
)
def test_the_name_states_the_major(name: str, version: int) -> None:
    def spec(ctx: HookContext, parcel: Parcel) -> Verdict:
        """Judge."""
        raise AssertionError

    spec.__name__ = name
    with pytest.raises(ValueError, match="1 is the bare name, 2 ends in _v2"):
        hook("check", version=version, scope=None, since="1.0")(spec)
    assert name not in CATALOGUE


def no_docstring(ctx: HookContext, parcel: Parcel) -> Verdict:
    raise AssertionError


def no_context(parcel: Parcel) -> Verdict:
    """Judge."""
    raise AssertionError


def no_payload(ctx: HookContext, parcel: "int | Parcel") -> Verdict:  # noqa: UP037 - another annotation than a class
    """Judge."""
    raise AssertionError


def no_result(ctx: HookContext, parcel: Parcel):  # type: ignore[no-untyped-def]  # that is the point
    """Judge."""
    raise AssertionError


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (no_docstring, "has no docstring"),
        (no_context, r"the arguments \(ctx, <payload>\)"),
        (no_payload, r"the arguments \(ctx, <payload>\)"),
        (no_result, "does not say what it returns"),
    ],
)
def test_a_hookspec_without_all_it_needs_is_refused(spec: object, said: str) -> None:
    assert callable(spec)
    spec.__name__ = "check_parcel"  # type: ignore[attr-defined]  # a function has one
    with pytest.raises(ValueError, match=said):
        hook("check", version=1, since="1.0")(spec)
    assert "check_parcel" not in CATALOGUE


def test_a_name_belongs_to_one_module_and_one_kind() -> None:
    declare_both()

    def check_parcel(ctx: HookContext, parcel: ParcelV2) -> Verdict:
        """Another."""
        raise AssertionError

    with pytest.raises(ValueError, match="declared twice, and differently"):
        hook("check", version=1, since="1.0")(check_parcel)
    with pytest.raises(ValueError, match="must be named amend_<noun>"):
        hook("amend", version=1, since="1.0")(check_parcel)
    assert CATALOGUE["check_parcel"].payload is Parcel
