"""Requests and answers of the gateway's tools under `/sandbox/v1/alipay`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from sandbox.simulators.alipay_gateway.settings import InboxAnswer

KeyText = Annotated[str, Field(min_length=1, max_length=16_384)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class SettingsChange(_Request):
    """What an app tells the tools. An absent field stays; `gateway_url` null: the inbox again."""

    gateway_url: str | None = None
    inbox_answer: InboxAnswer | None = None


class AppRead(_Answer):
    """An app at the gateway. `key_fingerprint` null: it has uploaded none."""

    app_id: str
    app_number: str
    gateway: str
    inbox: str
    gateway_url: str
    inbox_answer: InboxAnswer
    key_fingerprint: str | None
    is_certificate_mode: bool


class PublicKeyGiven(_Request):
    """A public key, PEM or one line of base64."""

    public_key: KeyText


class PlaceRead(_Answer):
    """Where one of the strings belongs."""

    owner: Literal["app", "platform"]
    form: str
    client: str
    setting: str
    says: str


class PairRead(_Answer):
    """A new pair. The private forms are in this answer and nowhere else."""

    private_pkcs1_pem: str
    private_pkcs1_line: str
    private_pkcs8_pem: str
    private_pkcs8_line: str
    public_spki_pem: str
    public_spki_line: str
    fingerprint: str
    is_tested: bool
    places: list[PlaceRead]


class PublicKeyRead(_Answer):
    """A public key in both forms."""

    public_spki_pem: str
    public_spki_line: str
    fingerprint: str


class CertificatesRead(_Answer):
    """The files of certificate mode, and the serials that requests name."""

    app: str
    app_sn: str
    platform: str
    platform_sn: str
    root: str
    root_sn: str


class Examination(_Request):
    """What the doctor is to look at: a stored request by `request_id`, or what is pasted.

    `parameters`: the query or form of a request or notice as it was sent, still encoded; `answer`: the node of an
    answer, byte by byte. `public_key`: the one that the client holds for the platform's. `client_text`: what the client
    says that it signed or verified.
    """

    kind: Literal["request", "notice", "answer"] = "request"
    request_id: str | None = Field(default=None, max_length=64)
    parameters: str | None = Field(default=None, max_length=262_144)
    answer: str | None = Field(default=None, max_length=262_144)
    sign: str | None = Field(default=None, max_length=2_048)
    sign_type: str | None = Field(default=None, max_length=16)
    public_key: KeyText | None = None
    client_text: str | None = Field(default=None, max_length=262_144)


class NoticeRead(_Answer):
    """A notice: `state` is pending, accepted or dead."""

    id: str
    event_id: str
    sequence: int
    address: str
    fields: dict[str, str]
    state: str
    tries: int
    attempts: list[dict[str, Any]]
    created_at: datetime
    due_at: datetime | None
    ended_at: datetime | None


class MessageRead(_Answer):
    """Something that reached the inbox. `body`: as text, bytes that are none escaped."""

    id: str
    path: str
    headers: list[list[str]]
    body: str
    is_verified: bool
    finding: dict[str, Any] | None
    answer: str
    received_at: datetime
    curl: str


class Forward(_Request):
    """Where to send a message on to: this machine, or a host that the sandbox allows."""

    address: Annotated[str, Field(min_length=1, max_length=500)]


class ForwardRead(_Answer):
    """What was answered there; `status` null: nothing, and `error` says why."""

    status: int | None
    body: str
    error: str | None
    is_accepted: bool
