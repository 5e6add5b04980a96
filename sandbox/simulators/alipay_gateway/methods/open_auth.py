"""alipay.open.auth.*, alipay.system.oauth.token and the platform's certificate: who may act, and who signs."""

from __future__ import annotations

from typing import Any, Final

from sandbox.simulators.alipay_gateway.calls import Call, Method, Node
from sandbox.simulators.alipay_gateway.certificates import download_content
from sandbox.simulators.alipay_gateway.envelope import answered
from sandbox.simulators.alipay_gateway.fields import Asked, Line
from sandbox.simulators.alipay_gateway.protocol import GatewayError


class TokenAsked(Asked):
    """alipay.open.auth.token.app, alipay.system.oauth.token."""

    grant_type: Line
    code: Line | None = None
    refresh_token: Line | None = None


class TokenQueried(Asked):
    """alipay.open.auth.token.app.query."""

    app_auth_token: Line


class CertificateAsked(Asked):
    """alipay.open.app.alipaycert.download."""

    alipay_cert_sn: Line


async def app_token(call: Call, asked: TokenAsked) -> Node:
    """app_auth_code or app_refresh_token for an app_auth_token."""
    told = await call.services.open_auth.exchange_app(
        call.principal.app_id, asked.grant_type, code=asked.code or "", refresh_token=asked.refresh_token or ""
    )
    return answered(**told)


async def query_app_token(call: Call, asked: TokenQueried) -> Node:
    """What an app_auth_token is good for."""
    return answered(**await call.services.open_auth.about_app(call.principal.app_id, asked.app_auth_token))


async def user_token(call: Call, asked: TokenAsked) -> Node:
    """auth_code or refresh_token for an end user's access_token."""
    told = await call.services.open_auth.exchange_user(
        call.principal.app_id, asked.grant_type, code=asked.code or "", refresh_token=asked.refresh_token or ""
    )
    return answered(**told)


async def download_certificate(call: Call, asked: CertificateAsked) -> Node:
    """The platform's certificate with a serial that an answer named."""
    found = await call.services.open_auth.platform_certificate(call.principal.app_id, asked.alipay_cert_sn)
    if found is None:
        raise GatewayError("40002", "isv.invalid-parameter", "参数无效：alipay_cert_sn，平台没有该序列号的证书")
    return answered(alipay_cert_content=download_content(found))


METHODS: Final[tuple[Method[Any], ...]] = (
    Method(
        name="alipay.open.auth.token.app",
        scope=None,
        native="POST /oauth/token, for grants of kind gateway",
        asks=TokenAsked,
        translate=app_token,
    ),
    Method(
        name="alipay.open.auth.token.app.query",
        scope=None,
        native="GET /v1/grants/{id}, for grants of kind gateway",
        asks=TokenQueried,
        translate=query_app_token,
    ),
    Method(
        name="alipay.system.oauth.token",
        scope=None,
        native="customer keys",
        asks=TokenAsked,
        translate=user_token,
        is_flat=True,
    ),
    Method(
        name="alipay.open.app.alipaycert.download",
        scope=None,
        native="none: the gateway's own",
        asks=CertificateAsked,
        translate=download_certificate,
    ),
)
