"""A gate over clients in memory: what a confined worker asks in a rehearsal, the contract kit's host answers."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from pydantic import ValidationError

from platform_core.contracts.plugin import Clients, EgressAnswer, Refused, StateItem
from platform_core.contracts.runtime import Ask, Told, refusal
from platform_core.contracts.testing.egress import Request
from platform_core.plugin_host import asks


class ClientsGate:
    """A `contracts.runtime.Gate` for one call. Nothing is written and nothing is sent."""

    def __init__(self, clients: Clients, *, call_id: str, handle: str) -> None:
        self._clients = clients
        self._call = (call_id, handle)
        self.asked: list[str] = []
        """Operations in order, each with the refusal's code where there was one."""

    async def tell(self, ask: Ask, /) -> Told:
        """Carry it out. What the host refuses, or cannot know, is a refusal."""
        told = self._told(ask)
        self.asked.append(ask.operation if told.code is None else f"{ask.operation} ({told.code})")
        return told

    def _told(self, ask: Ask) -> Told:
        if (ask.call_id, ask.handle) != self._call:
            return refusal("plugin.handle_invalid", "The handle is not this call's.")
        model = asks.CLIENT_ASKS.get(ask.operation)
        try:
            if model is None:
                return _told(self._clients.call(ask.operation, ask.arguments))
            return _HANDLERS[ask.operation](self._clients, model.model_validate(ask.arguments), ask.blobs)
        except Refused as refused:
            return refusal(refused.code, refused.hint)
        except ValidationError as error:
            return refusal("kernel.validation_failed", str(error.errors(include_url=False)[0]["msg"]))
        except KeyError as error:
            return refusal("plugin.secret_unknown", f"There is no secret {error}.")


def nothing_leaves(request: Request) -> EgressAnswer:
    """The world outside of a plugin that is tried."""
    raise Refused("plugin.egress_not_sent", f"Nothing is sent in a rehearsal: {request.method} {request.url}.")


def runs_elsewhere(*_: object) -> NoReturn:
    """Stands for a hook of a plugin that runs in its worker, and nowhere else."""
    raise AssertionError("the plugin runs in its worker")


def _item(item: StateItem | None) -> dict[str, Any] | None:  # Any: JSON
    return None if item is None else {"key": item.key, "value": item.value, "version": item.version}


def _told(value: object, blobs: tuple[bytes, ...] = ()) -> Told:
    return Told(value=json.dumps(value).encode(), blobs=blobs)


def _told_bytes(raw: bytes) -> Told:
    return _told(b64encode(raw).decode())


def _list(clients: Clients, ask: Any, _: object) -> Told:
    return _told([_item(each) for each in clients.state.list(ask.prefix, limit=ask.limit)])


def _put(clients: Clients, ask: Any, _: object) -> Told:
    return _told(clients.state.put(ask.key, ask.value, expected_version=ask.expected_version, ttl_s=ask.ttl_s))


def _delete(clients: Clients, ask: Any, _: object) -> Told:
    clients.state.delete(ask.key)
    return Told()


def _fetch(clients: Clients, ask: Any, blobs: tuple[bytes, ...]) -> Told:
    body = b"".join(blobs) or None
    answer = clients.egress.fetch(
        ask.method, ask.url, headers=ask.headers, body=body, timeout_s=ask.timeout_s, secrets=ask.secrets
    )
    return _told({"status": answer.status, "headers": dict(answer.headers)}, (answer.body,) if answer.body else ())


def _report(clients: Clients, ask: Any, _: object) -> Told:
    clients.problems.report(ask.key, ask.message, hint=ask.hint, severity=ask.severity)
    return Told()


_HANDLERS: Final[Mapping[str, Callable[[Clients, Any, tuple[bytes, ...]], Told]]] = {  # Any: the ask's own model
    "state.get": lambda clients, ask, _: _told(_item(clients.state.get(ask.key))),
    "state.list": lambda clients, ask, _: _told(
        [_item(each) for each in clients.state.list(ask.prefix, limit=ask.limit)]
    ),
    "state.put": _put,
    "state.increment": lambda clients, ask, _: _told(clients.state.increment(ask.key, ask.by, ttl_s=ask.ttl_s)),
    "state.delete": _delete,
    "egress.fetch": _fetch,
    "secrets.mac": lambda clients, ask, _: _told_bytes(clients.secrets.mac(ask.name, ask.message)),
    "secrets.sign": lambda clients, ask, _: _told_bytes(clients.secrets.sign(ask.name, ask.message)),
    "secrets.verify": lambda clients, ask, _: _told(clients.secrets.verify(ask.name, ask.message, ask.signature)),
    "secrets.open": lambda clients, ask, _: _told_bytes(
        clients.secrets.open(ask.name, ask.message, associated_data=ask.associated_data)
    ),
    "problems.report": _report,
}
