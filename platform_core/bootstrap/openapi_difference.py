"""What would break a caller, between two OpenAPI documents of ours, in words that a `BreakingChange` can cover.

Requests may only be asked less of, answers may only grow. Compared are operations, addresses, scopes, parameters,
bodies and answers of success, property by property; not the words, nor refusals, whose codes may come and go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

Document = Mapping[str, Any]  # JSON
_DEPTH_MAX: Final = 12
_METHODS: Final = ("get", "put", "post", "patch", "delete")
_LEAST: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems")
_MOST: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")


def uncovered_differences(old: Document, new: Document, covered: Iterable[str]) -> list[str]:
    """Breaking differences that no change explains, sorted."""
    return sorted(set(breaking_differences(old, new)) - set(covered))


def breaking_differences(old: Document, new: Document) -> list[str]:
    """Every breaking difference, as `operation: what`."""
    found: list[str] = []
    before, after = _operations(old), _operations(new)
    for name, (address, operation) in before.items():
        if name not in after:
            found.append(f"{name}: removed")
            continue
        there, changed = after[name]
        if there != address:
            found.append(f"{name}: moved from {address} to {there}")
        found += [f"{name}: {words}" for words in _of_operation(_Side(old, operation), _Side(new, changed))]
    return found


class _Side:
    """One operation with the document that its references point into."""

    def __init__(self, document: Document, operation: Mapping[str, Any]) -> None:
        self.document = document
        self.operation = operation

    def resolve(self, part: Mapping[str, Any]) -> Mapping[str, Any]:
        """The part itself, behind any references."""
        while "$ref" in part:
            here: Any = self.document
            for name in part["$ref"].removeprefix("#/").split("/"):
                here = here[name]
            part = here
        return part

    def parameters(self) -> dict[tuple[str, str], Mapping[str, Any]]:
        """By place and name."""
        found = (self.resolve(parameter) for parameter in self.operation.get("parameters", ()))
        return {(parameter["in"], parameter["name"]): parameter for parameter in found}

    def scopes(self) -> set[str]:
        """What a token must hold."""
        return {
            scope for wanted in self.operation.get("security", ()) for scopes in wanted.values() for scope in scopes
        }

    def body(self) -> tuple[bool, Mapping[str, Any]] | None:
        """Whether the body must be there, and its schema."""
        body = self.operation.get("requestBody")
        return None if body is None else (bool(body.get("required")), _json(body))

    def answers(self) -> dict[str, Mapping[str, Any]]:
        """Schemas of success by status."""
        return {
            status: _json(answer) for status, answer in self.operation["responses"].items() if str(status)[0] in "23"
        }


def _json(part: Mapping[str, Any]) -> Mapping[str, Any]:
    for content in part.get("content", {}).values():
        schema: Mapping[str, Any] = content.get("schema", {})
        return schema
    return {}


def _operations(document: Document) -> dict[str, tuple[str, Mapping[str, Any]]]:
    return {
        operation["operationId"]: (f"{method.upper()} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method in _METHODS and path.startswith("/v1/")
    }


def _of_operation(old: _Side, new: _Side) -> Iterator[str]:
    for scope in sorted(new.scopes() - old.scopes()):
        yield f"needs the scope {scope}"
    yield from _of_parameters(old, new)
    before, after = old.body(), new.body()
    if after is not None and after[0] and (before is None or not before[0]):
        yield "needs a body"
    if before is not None and after is not None:
        yield from _narrowed("body", (old, before[1]), (new, after[1]), depth=0)
    answers = new.answers()
    for status, schema in old.answers().items():
        if status not in answers:
            yield f"no longer answers {status}"
        else:
            yield from _shrunk(f"{status}", (old, schema), (new, answers[status]), depth=0)


def _of_parameters(old: _Side, new: _Side) -> Iterator[str]:
    before, after = old.parameters(), new.parameters()
    for (place, name), parameter in after.items():
        if parameter.get("required") and not before.get((place, name), {}).get("required"):
            yield f"needs {place} {name}"
    for (place, name), parameter in before.items():
        if (place, name) not in after:
            yield f"no longer takes {place} {name}"
        else:
            now = after[place, name]
            yield from _narrowed(
                f"{place} {name}", (old, parameter.get("schema", {})), (new, now.get("schema", {})), depth=0
            )


_Schema = tuple[_Side, Mapping[str, Any]]


def _narrowed(place: str, old: _Schema, new: _Schema, *, depth: int) -> Iterator[str]:
    """How a request's value is taken less than before."""
    if depth > _DEPTH_MAX:
        return
    before, after = _flat(*old), _flat(*new)
    lost = _types(before) - _types(after)
    if lost:
        yield f"{place} no longer takes {', '.join(sorted(lost))}"
    choices, left = _choices(before), _choices(after)
    if left is not None and (choices is None or choices - left):
        gone = "any value" if choices is None else ", ".join(sorted(map(str, choices - left)))
        yield f"{place} no longer takes {gone}"
    yield from _tightened(place, before, after)
    properties, kept = _properties(before), _properties(after)
    for name in sorted(_required(after) - _required(before)):
        yield f"{place}/{name} is needed"
    for name, (side, schema) in properties.items():
        if name not in kept:
            yield f"{place}/{name} is no longer taken"
        else:
            yield from _narrowed(f"{place}/{name}", (side, schema), kept[name], depth=depth + 1)
    for one, other in zip(_items(before), _items(after), strict=False):
        yield from _narrowed(f"{place}/*", one, other, depth=depth + 1)


def _shrunk(place: str, old: _Schema, new: _Schema, *, depth: int) -> Iterator[str]:
    """How an answer holds less than before, or something that a reader does not expect."""
    if depth > _DEPTH_MAX:
        return
    before, after = _flat(*old), _flat(*new)
    strange = _types(after) - _types(before)
    if strange and _types(before):
        yield f"{place} may be {', '.join(sorted(strange))}"
    properties, kept = _properties(before), _properties(after)
    for name, (side, schema) in properties.items():
        if name not in kept:
            yield f"{place}/{name} is gone"
            continue
        if name in _required(before) and name not in _required(after):
            yield f"{place}/{name} may be left out"
        yield from _shrunk(f"{place}/{name}", (side, schema), kept[name], depth=depth + 1)
    for one, other in zip(_items(before), _items(after), strict=False):
        yield from _shrunk(f"{place}/*", one, other, depth=depth + 1)


def _flat(side: _Side, schema: Mapping[str, Any]) -> list[_Schema]:
    """A schema's branches side by side, references followed."""
    found = side.resolve(schema)
    branches = [branch for name in ("anyOf", "oneOf", "allOf") for branch in found.get(name, ())]
    own: list[_Schema] = [(side, found)] if {"type", "enum", "const", "properties"} & found.keys() else []
    return own + [leaf for branch in branches for leaf in _flat(side, branch)]


def _types(flat: list[_Schema]) -> set[str]:
    return {schema["type"] for _, schema in flat if isinstance(schema.get("type"), str)}


def _choices(flat: list[_Schema]) -> set[Any] | None:
    """The values that may stand there; None where any may."""
    found: set[Any] = set()
    for _, schema in flat:
        if "enum" in schema or "const" in schema:
            found |= set(schema.get("enum", ())) | ({schema["const"]} if "const" in schema else set())
        elif schema.get("type") != "null":
            return None
    return found or None


def _tightened(place: str, before: list[_Schema], after: list[_Schema]) -> Iterator[str]:
    if len(before) != len(after):
        return
    for (_, old), (_, new) in zip(before, after, strict=True):
        for name in _LEAST:
            if name in new and new[name] > old.get(name, float("-inf")) and not (name[:3] == "min" and new[name] == 0):
                yield f"{place} has {name} {new[name]}"
        for name in _MOST:
            if name in new and new[name] < old.get(name, float("inf")):
                yield f"{place} has {name} {new[name]}"
        if "pattern" in new and new["pattern"] != old.get("pattern"):
            yield f"{place} has another pattern"


def _properties(flat: list[_Schema]) -> dict[str, _Schema]:
    return {name: (side, inner) for side, schema in flat for name, inner in schema.get("properties", {}).items()}


def _required(flat: list[_Schema]) -> set[str]:
    return {name for _, schema in flat for name in schema.get("required", ())}


def _items(flat: list[_Schema]) -> list[_Schema]:
    return [(side, schema["items"]) for side, schema in flat if isinstance(schema.get("items"), Mapping)]
