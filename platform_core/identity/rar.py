"""Authorization details (RFC 9396) as requests carry them and as grants keep them: read, compared, merged, bounded.

A detail on a grant has an id (`det_...`), which its metering hangs on: a detail of the same shape keeps its id through
merge and replace, so that consenting again never gives back what a window has used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from platform_core.contracts.rar import DETAILS_MAX, PERIODS, Detail, Limit
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.http.strict_json import strict_json

DETAILS_BYTES_MAX: Final = 8192
Details = tuple[Detail, ...]
_REQUESTED: Final = TypeAdapter(Details)


class DetailsRefused(ValueError):
    """The details cannot be taken: RFC 9396's `invalid_authorization_details`. The texts are constants of ours."""

    def __init__(self, en: str, *, zh: str = "授权明细不被接受") -> None:
        super().__init__(en)
        self.zh = zh


@dataclass(frozen=True, slots=True)
class GrantedDetail:
    """A detail as a grant holds it."""

    id: str
    detail: Detail

    def fits(self, *, action: str, store_id: str | None) -> bool:
        """Whether an act of its type falls under it. An act at no store falls under no detail that names stores."""
        wanted = self.detail
        if wanted.actions is not None and action not in wanted.actions:
            return False
        return wanted.stores is None or store_id in wanted.stores

    def record(self) -> dict[str, Any]:  # Any: JSON
        """As the grant's row keeps it."""
        return {"id": self.id, **self.detail.model_dump(mode="json", exclude_none=True)}


Granted = tuple[GrantedDetail, ...]


def read_details(text: str) -> Details:
    """The parameter `authorization_details`. Raises `DetailsRefused`, also for deep JSON, doubled keys, NaN (F21)."""
    if len(text.encode("utf-8", "surrogatepass")) > DETAILS_BYTES_MAX:
        raise DetailsRefused("authorization_details is too long.")
    try:
        raw = text.encode()
        found = strict_json(raw)
    except (UnicodeEncodeError, PlatformError) as error:
        raise DetailsRefused("authorization_details is no JSON of the strict kind.") from error
    if not isinstance(found, list) or not 1 <= len(found) <= DETAILS_MAX:
        raise DetailsRefused(f"authorization_details is a list of 1 to {DETAILS_MAX} objects.")
    try:
        return _REQUESTED.validate_json(raw)
    except ValidationError as error:
        raise DetailsRefused(
            "authorization_details holds an unknown type or a field that its type does not have."
        ) from error


def granted_of(record: Sequence[Mapping[str, Any]] | None) -> Granted:
    """The details in a grant's row."""
    return tuple(
        GrantedDetail(found["id"], Detail.model_validate({n: v for n, v in found.items() if n != "id"}))
        for found in record or ()
    )


def is_detail_within(inner: Detail, outer: Detail) -> bool:
    """Whether everything that `inner` allows, `outer` allows: same type, no more acts, places or stores, no limit of
    the outer one left out or passed.
    """
    if inner.type != outer.type:
        return False
    pairs = ((inner.actions, outer.actions), (inner.locations, outer.locations), (inner.stores, outer.stores))
    for mine, theirs in pairs:
        if theirs is not None and (mine is None or not set(mine) <= set(theirs)):
            return False
    mine_by_key = {limit.key: limit.value for limit in inner.limits}
    return all(limit.key in mine_by_key and mine_by_key[limit.key] <= limit.value for limit in outer.limits)


def are_within(inner: Sequence[Detail], outer: Sequence[Detail]) -> bool:
    """Whether each inner detail lies within an outer one of its own: two within the same would double its limits."""
    return matched(inner, outer) is not None


def matched(inner: Sequence[Detail], outer: Sequence[Detail]) -> list[int] | None:
    """For each inner detail the number of the outer one that it lies within, each taken once; None if that cannot be.

    A matching by augmenting paths; there are 20 of either at most.
    """
    taken: dict[int, int] = {}

    def place(mine: int, seen: set[int]) -> bool:
        for theirs, candidate in enumerate(outer):
            if theirs in seen or not is_detail_within(inner[mine], candidate):
                continue
            seen.add(theirs)
            if theirs not in taken or place(taken[theirs], seen):
                taken[theirs] = mine
                return True
        return False

    if not all(place(mine, set()) for mine in range(len(inner))):
        return None
    found = {mine: theirs for theirs, mine in taken.items()}
    return [found[mine] for mine in range(len(inner))]


def narrowed(present: Granted, wanted: Sequence[Detail]) -> Granted:
    """The wanted details, each under the id of the present one that it lies within. Raises `DetailsRefused` (A17)."""
    found = matched(wanted, [granted.detail for granted in present])
    if found is None:
        raise DetailsRefused("A grant can be narrowed here, not widened.")
    return tuple(GrantedDetail(present[theirs].id, detail) for detail, theirs in zip(wanted, found, strict=True))


def replaced(present: Granted, wanted: Sequence[Detail], *, new_id: Callable[[], str]) -> Granted:
    """The wanted details alone. One of a shape that was there, or that lies within one that was, keeps its id, and
    with it what its windows have used.
    """
    free = {granted.detail.shape: granted for granted in present}
    kept = {shape: free.pop(shape).id for shape in _by_shape(wanted) if shape in free}
    found = []
    for detail in wanted:
        if detail.shape not in kept:
            outer = next((shape for shape, g in free.items() if is_detail_within(detail, g.detail)), None)
            kept[detail.shape] = free.pop(outer).id if outer is not None else new_id()
        found.append(GrantedDetail(kept[detail.shape], detail))
    return _bounded(tuple(found))


def merged(present: Granted, wanted: Sequence[Detail], *, new_id: Callable[[], str]) -> Granted:
    """What was there and what is wanted. Of two limits of one kind the higher stands; one that only one side names
    stays, so that merging never lifts a bound; what lies within a present detail changes nothing.
    """
    found = {granted.detail.shape: granted for granted in present}
    for detail in _by_shape(wanted).values():
        before = found.get(detail.shape)
        if before is not None:
            both = detail.model_copy(update={"limits": _higher(before.detail.limits, detail.limits)})
            found[detail.shape] = GrantedDetail(before.id, both)
        elif not any(is_detail_within(detail, granted.detail) for granted in found.values()):
            found[detail.shape] = GrantedDetail(new_id(), detail)
    return _bounded(tuple(found.values()))


def lowered(present: Sequence[Detail], values: Mapping[tuple[int, int], int]) -> Details:
    """The details with some limits lowered: `values` by the numbers of detail and limit.

    Raises `DetailsRefused` for a value that raises a limit, or that is none (A17).
    """
    found = []
    for number, detail in enumerate(present):
        limits = []
        for place, limit in enumerate(detail.limits):
            value = values.get((number, place), limit.value)
            if not 1 <= value <= limit.value:
                raise DetailsRefused("A limit can be lowered here, not raised, and not below 1.")
            limits.append(limit.with_value(value))
        found.append(detail.model_copy(update={"limits": tuple(limits)}))
    return tuple(found)


def _higher(before: Iterable[Limit], after: Iterable[Limit]) -> tuple[Limit, ...]:
    found = {limit.key: limit for limit in before}
    for limit in after:
        known = found.get(limit.key)
        if known is None or known.value < limit.value:
            found[limit.key] = limit
    return by_period(found.values())


def by_period(limits: Iterable[Limit]) -> tuple[Limit, ...]:
    """Limits in the order in which people read them: of a request, a day ... the whole grant."""
    return tuple(sorted(limits, key=lambda limit: PERIODS.index(limit.per)))


def _by_shape(wanted: Sequence[Detail]) -> dict[tuple[object, ...], Detail]:
    """One detail a shape: two of one shape would be two windows for the same acts. Raises `DetailsRefused`."""
    found = {detail.shape: detail for detail in wanted}
    if len(found) != len(wanted):
        raise DetailsRefused("Two details differ in nothing but their limits.")
    return found


def _bounded(details: Granted) -> Granted:
    if len(details) > DETAILS_MAX:
        raise DetailsRefused(f"A grant holds at most {DETAILS_MAX} details.")
    return details
