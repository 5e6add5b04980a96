"""What the clients of `ctx` ask, as the gate reads it: strict, nothing unknown (`contracts.runtime.Ask`)."""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from platform_core.contracts.plugin import Severity

TTL_S_MAX: Final = 400 * 86_400
COUNT_BY_MAX: Final = 2**53


def _bytes(value: object) -> object:
    if isinstance(value, str):
        try:
            return b64decode(value, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError("not base64") from error
    return value


Base64 = Annotated[bytes, BeforeValidator(_bytes), Field(max_length=64 * 1024)]
Ttl = Annotated[int, Field(ge=1, le=TTL_S_MAX)] | None
Key = Annotated[str, Field(max_length=128)]
SecretName = Annotated[str, Field(min_length=1, max_length=80)]


class Ask(BaseModel):
    """The arguments of one ask."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class StateGet(Ask):
    """`state.get`."""

    key: Key


class StateList(Ask):
    """`state.list`."""

    prefix: Key
    limit: Annotated[int, Field(ge=1, le=100)] = 100


class StatePut(Ask):
    """`state.put`."""

    key: Key
    value: Any  # Any: whatever JSON the plugin keeps
    expected_version: Annotated[int, Field(ge=0)] | None = None
    ttl_s: Ttl = None


class StateIncrement(Ask):
    """`state.increment`."""

    key: Key
    by: Annotated[int, Field(ge=-COUNT_BY_MAX, le=COUNT_BY_MAX)] = 1
    ttl_s: Ttl = None


class StateDelete(Ask):
    """`state.delete`."""

    key: Key


class Fetch(Ask):
    """`egress.fetch`; the body is the ask's blobs."""

    method: Annotated[str, Field(max_length=10)]
    url: Annotated[str, Field(max_length=2048)]
    headers: dict[str, str] = {}
    timeout_s: Annotated[float, Field(gt=0, le=60, strict=False)] | None = None
    media_type: Annotated[str, Field(max_length=100)] | None = None
    secrets: list[SecretName] = Field(default=[], max_length=8)


class SecretMessage(Ask):
    """`secrets.mac`, `secrets.sign`."""

    name: SecretName
    message: Base64


class SecretVerify(SecretMessage):
    """`secrets.verify`."""

    signature: Base64


class SecretOpen(SecretMessage):
    """`secrets.open`."""

    associated_data: Base64 = b""


class Report(Ask):
    """`problems.report`."""

    key: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._:-]{0,99}$")]
    message: Annotated[str, Field(min_length=1, max_length=500)]
    hint: Annotated[str, Field(max_length=500)] = ""
    severity: Severity = "warning"


ClientFamily = Literal["state", "egress", "secrets", "problems"]
CLIENT_ASKS: Final[dict[str, type[Ask]]] = {
    "state.get": StateGet,
    "state.list": StateList,
    "state.put": StatePut,
    "state.increment": StateIncrement,
    "state.delete": StateDelete,
    "egress.fetch": Fetch,
    "secrets.mac": SecretMessage,
    "secrets.sign": SecretMessage,
    "secrets.verify": SecretVerify,
    "secrets.open": SecretOpen,
    "problems.report": Report,
}
