"""`?expand=refunds,store`: other objects inside an answer, at most two levels deep, loaded in batches.

A router declares what may be expanded as a tree of `Branch`; each says which scope shows it and loads one value for
every document at once, however many there are: one query a branch and page, never one a row.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from platform_core.kernel.errors import declare, validation_failed
from platform_core.kernel.i18n import Text

DEPTH_MAX: Final = 2
NAMES_MAX: Final = 10
LENGTH_MAX: Final = 256

EXPAND_UNKNOWN: Final = declare(
    "kernel.expand_unknown",
    status=422,
    title=Text(en="Nothing to expand by this name", zh="无法展开该名称"),
    detail=Text(
        en="expand takes at most {limit} names, {depth} levels deep, out of: {names}.",
        zh="expand 最多 {limit} 个名称、{depth} 层，可选：{names}。",
    ),
)

Document = dict[str, Any]  # one JSON object
Load = Callable[[Any, Sequence[Document]], Awaitable[Sequence[Any]]]  # the caller is whoever the router authenticated


@dataclass(frozen=True, slots=True)
class Branch:
    """One name that `expand` may list.

    `load(caller, documents)` gives one value for each document, in their order: an object, a list of objects, or None.
    """

    scope: str
    load: Load
    inner: Mapping[str, Branch] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Expansion:
    """What one request wants expanded."""

    tree: Mapping[str, Branch]
    wanted: Mapping[str, Expansion]

    def scopes(self) -> frozenset[str]:
        """The scopes that show all of it; the router asks the caller for each."""
        own = {self.tree[name].scope for name in self.wanted}
        return frozenset(own).union(*(inner.scopes() for inner in self.wanted.values()))

    async def fill(self, caller: object, documents: Sequence[Document]) -> None:
        """Put what is wanted into the documents, by its names."""
        for name, inner in self.wanted.items():
            values = await self.tree[name].load(caller, documents)
            assert len(values) == len(documents), f"{name}: one value for each document"
            for document, value in zip(documents, values, strict=True):
                document[name] = value
            if inner.wanted:
                await inner.fill(caller, _objects(values))


def names_of(tree: Mapping[str, Branch], *, before: str = "", depth: int = 1) -> list[str]:
    """Everything that `expand` may list, sorted, with a point between the levels."""
    found = []
    for name, branch in tree.items():
        found.append(before + name)
        if depth < DEPTH_MAX:
            found += names_of(branch.inner, before=f"{before}{name}.", depth=depth + 1)
    return sorted(found)


def parse_expand(value: str | None, tree: Mapping[str, Branch]) -> Expansion:
    """What the parameter asks for: names with commas between. Raises 422 with `kernel.expand_unknown`."""
    wanted: dict[str, Any] = {}
    names = [] if value is None else value.split(",")
    known = names_of(tree)
    if len(names) > NAMES_MAX or any(name not in known for name in names):
        words = {"limit": NAMES_MAX, "depth": DEPTH_MAX, "names": ", ".join(known)}
        raise validation_failed([EXPAND_UNKNOWN.fault("/query/expand", words)])
    for name in names:
        level = wanted
        for part in name.split("."):
            level = level.setdefault(part, {})
    return _expansion(tree, wanted)


def _expansion(tree: Mapping[str, Branch], wanted: Mapping[str, Any]) -> Expansion:
    return Expansion(tree, {name: _expansion(tree[name].inner, inner) for name, inner in wanted.items()})


def _objects(values: Sequence[Any]) -> list[Document]:
    found: list[Document] = []
    for value in values:
        found += value if isinstance(value, list) else [] if value is None else [value]
    return found
