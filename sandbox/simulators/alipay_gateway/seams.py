"""What the gateway asks of its other parts: whose keys, who acts, what broke a signature, what a fault does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509 import Certificate

from platform_core.identity.principal import Principal
from sandbox.simulators.alipay_gateway.protocol import Parameters
from sandbox.simulators.alipay_gateway.signing import PlatformKey


@dataclass(frozen=True, slots=True)
class Explained:
    """What the doctor says of a bad signature: a line for `sub_msg`, and the whole for the stored request."""

    line: str
    record: Mapping[str, Any]


class Signatures(Protocol):
    """Keys and certificates."""

    async def of_app(self, app_id: str) -> Sequence[RSAPublicKey]:
        """The keys that the app's requests may be signed with; none: 40003 isv.missing-signature-config."""
        ...

    async def of_platform(self, app_id: str | None) -> PlatformKey:
        """What answers are signed with, and notices: for an unknown app as for any other."""
        ...

    async def check_certificates(self, app_id: str, *, app_cert_sn: str, root_cert_sn: str) -> None:
        """Certificate mode. Raises 40002 isv.invalid-signature for serials that are not the app's and ours, and
        app-cert-expired.
        """
        ...

    async def explain(self, app_id: str, parameters: Parameters) -> Explained:
        """Why the signature of a request does not verify. Never raises."""
        ...


class OpenAuth(Protocol):
    """What the methods of authorisation and certificates need. `app_id`: the native id of the app that asks."""

    async def exchange_app(self, app_id: str, grant_type: str, *, code: str, refresh_token: str) -> Mapping[str, Any]:
        """The fields of alipay.open.auth.token.app. Raises GatewayError."""
        ...

    async def about_app(self, app_id: str, app_auth_token: str) -> Mapping[str, Any]:
        """The fields of alipay.open.auth.token.app.query. Raises GatewayError."""
        ...

    async def exchange_user(self, app_id: str, grant_type: str, *, code: str, refresh_token: str) -> Mapping[str, Any]:
        """The fields of alipay.system.oauth.token. Raises GatewayError."""
        ...

    async def platform_certificate(self, app_id: str, certificate_sn: str) -> Certificate | None:
        """The platform's certificate with this serial."""
        ...


class Actors(Protocol):
    """Who acts."""

    async def actor(self, app_id: str, app_auth_token: str, auth_token: str, method: str) -> Principal:
        """The app's own merchant without a token, else the merchant behind `app_auth_token`.

        `app_id`: the native id. `method`: by name; its scope must be among the principal's. Raises 20001
        aop.invalid-app-auth-token, aop.app-auth-token-time-out, aop.invalid-app-auth-token-no-api,
        aop.invalid-auth-token, aop.auth-token-time-out; 40006 isv.insufficient-isv-permissions.
        """
        ...
