"""Replaying a recording against another sandbox: ids are mapped, natural keys renewed, status and shape compared."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

Json = Any  # whatever JSON holds
ID: Final = re.compile(r"[a-z]{2,4}_[0-9a-hjkmnp-tv-z]{26}")
NATURAL: Final = frozenset({"out_trade_no", "out_request_no", "auth_code", "reference"})
_WORD: Final = re.compile(r"[A-Za-z0-9_.:-]+")


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a replayed answer is not as the recorded one. `number` counts exchanges from 1."""

    number: int
    request: str
    what: str


@dataclass(slots=True)
class Renaming:
    """What stands for what: recorded values on the left. `suffix` makes natural keys new."""

    suffix: str
    known: dict[str, str] = field(default_factory=dict)

    def learn(self, recorded: Json, replayed: Json) -> None:
        """Pair the ids of two answers that have the same shape."""
        for left, right in _pairs(recorded, replayed):
            if ID.fullmatch(left) and ID.fullmatch(right) and left.partition("_")[0] == right.partition("_")[0]:
                self.known.setdefault(left, right)

    def mint(self, body: Json) -> None:
        """Give the natural keys of a request a new value each."""
        if isinstance(body, dict):
            for name, value in body.items():
                if name in NATURAL and isinstance(value, str):
                    self.known.setdefault(value, _renewed(value, self.suffix))
                self.mint(value)
        elif isinstance(body, list):
            for each in body:
                self.mint(each)

    def apply(self, value: Json) -> Json:
        """The same with everything known replaced."""
        if isinstance(value, str):
            return self.known.get(value) or self.in_text(value)
        if isinstance(value, dict):
            return {name: self.apply(each) for name, each in value.items()}
        return [self.apply(each) for each in value] if isinstance(value, list) else value

    def in_text(self, text: str) -> str:
        """A path, query or sentence with the words of it that are known replaced."""
        return _WORD.sub(lambda match: self._word(match[0]), text)

    def _word(self, word: str) -> str:
        head, colon, tail = word.partition(":")  # out_trade_no:<value> in a path
        return self.known.get(word) or (f"{head}:{self.known[tail]}" if colon and tail in self.known else word)


def _renewed(value: str, suffix: str) -> str:
    """Natural keys have at most 64 characters; the end of the old value makes room."""
    return value[: 64 - len(suffix) - 1] + "_" + suffix


def _pairs(left: Json, right: Json) -> Iterator[tuple[str, str]]:
    if isinstance(left, str) and isinstance(right, str):
        yield left, right
    elif isinstance(left, dict) and isinstance(right, dict):
        for name in left.keys() & right.keys():
            yield from _pairs(left[name], right[name])
    elif isinstance(left, list) and isinstance(right, list):
        for one, other in zip(left, right, strict=False):
            yield from _pairs(one, other)


def shape_difference(recorded: Json, replayed: Json, path: str = "") -> str:
    """Where two answers differ in members or kinds of values; empty if nowhere. Null stands for anything, and of lists
    the first row is compared: how long they are depends on what else happened.
    """
    if recorded is None or replayed is None:
        return ""
    if _kind(recorded) != _kind(replayed):
        return f"{path or '/'} is {_kind(replayed)}, was {_kind(recorded)}"
    if isinstance(recorded, dict):
        missing, more = sorted(recorded.keys() - replayed.keys()), sorted(replayed.keys() - recorded.keys())
        if (missing or more) and not path.endswith("/metadata"):
            return f"{path or '/'} lacks {missing}, has {more} besides"
        found = (
            shape_difference(recorded[name], replayed[name], f"{path}/{name}") for name in recorded if name in replayed
        )
        return next((each for each in found if each), "")
    if isinstance(recorded, list) and recorded and replayed:
        return shape_difference(recorded[0], replayed[0], f"{path}/0")
    return ""


def _kind(value: Json) -> str:
    if isinstance(value, bool):
        return "boolean"
    kinds = {str: "text", int: "number", float: "number", dict: "object", list: "list"}
    return kinds[type(value)]


@dataclass(slots=True)
class Replayer:
    """Sends recorded requests with an app's token, and compares."""

    client: httpx.AsyncClient
    url: str
    token: str
    renaming: Renaming

    async def play(self, number: int, exchange: Mapping[str, Json]) -> Difference | None:
        """One exchange; what differs, if anything. Raises what the HTTP client raises."""
        body = exchange["body"]
        self.renaming.mint(body)
        path = self.renaming.in_text(exchange["path"])
        query = self.renaming.in_text(exchange["query"])
        headers = dict(exchange["headers"])
        if "idempotency-key" in headers:
            headers["idempotency-key"] = _renewed(headers["idempotency-key"], self.renaming.suffix)
        answer = await self.client.request(
            exchange["method"],
            f"{self.url}{path}{'?' + query if query else ''}",
            json=None if body is None else self.renaming.apply(body),
            headers={**headers, "authorization": f"Bearer {self.token}"},
        )
        replayed = _read(answer)
        self.renaming.learn(exchange["answer"], replayed)
        request = f"{exchange['method']} {exchange['path']}"
        if answer.status_code != exchange["status"]:
            code = replayed.get("code", "") if isinstance(replayed, dict) else ""
            return Difference(number, request, f"status {answer.status_code} {code}, was {exchange['status']}")
        if what := shape_difference(exchange["answer"], replayed):
            return Difference(number, request, what)
        return None


def _read(answer: httpx.Response) -> Json:
    try:
        return answer.json() if answer.content else None
    except ValueError:
        return {"bytes": len(answer.content)}
