"""The errors of RFC 6749 and its family as pages: what `error_uri` in an answer points to, in both languages."""

from __future__ import annotations

from typing import Final

from platform_core.kernel.errors import declare
from platform_core.kernel.i18n import Text

_TEXTS: Final = {
    "invalid_request": (
        Text(en="The OAuth request is malformed", zh="OAuth 请求格式错误"),
        Text(
            en="A parameter is missing, given twice, too long or not what the specification says.",
            zh="参数缺失、重复、过长或不符合规范。",
        ),
    ),
    "invalid_client": (
        Text(en="The client did not prove itself", zh="客户端身份验证失败"),
        Text(
            en="The client is unknown or disabled, or its secret, assertion or way of proving itself is wrong.",
            zh="客户端不存在或已停用，或其密钥、断言、验证方式有误。",
        ),
    ),
    "invalid_grant": (
        Text(en="The code or refresh token cannot be used", zh="授权码或刷新令牌不可用"),
        Text(
            en="It is unknown, expired, used, revoked, of another client, or the proof of possession does not fit.",
            zh="其不存在、已过期、已使用、已撤销、属于其他客户端，或持有证明不符。",
        ),
    ),
    "invalid_scope": (
        Text(en="The scope cannot be given", zh="权限范围无效"),
        Text(
            en="A scope is unknown, or more was asked for than was granted.", zh="权限范围不存在，或超出已授予的范围。"
        ),
    ),
    "invalid_target": (
        Text(en="The resource is not served here", zh="资源标识无效"),
        Text(en="The parameter resource names something else than this API.", zh="参数 resource 并非本 API。"),
    ),
    "unauthorized_client": (
        Text(en="The client may not do this", zh="客户端无权使用该方式"),
        Text(
            en="The client was not set up for this grant type, or no merchant's grant stands behind it.",
            zh="该客户端未开通此授权方式，或没有商户授权。",
        ),
    ),
    "unsupported_grant_type": (
        Text(en="The grant type is not offered", zh="不支持的授权方式"),
        Text(en="The metadata lists the grant types that are.", zh="支持的授权方式见元数据。"),
    ),
    "invalid_authorization_details": (
        Text(en="The authorization details cannot be taken", zh="授权明细无效"),
        Text(
            en="A type, a field or a value of authorization_details is unknown or not allowed.",
            zh="authorization_details 中的类型、字段或取值不存在或不被允许。",
        ),
    ),
    "invalid_dpop_proof": (
        Text(en="The DPoP proof is not valid", zh="DPoP 证明无效"),
        Text(
            en="The proof is malformed, stale, used, or made for another request or key.",
            zh="该证明格式错误、已过时、已使用，或属于其他请求或密钥。",
        ),
    ),
    "use_dpop_nonce": (
        Text(en="The DPoP proof needs our nonce", zh="DPoP 证明缺少随机数"),
        Text(
            en="Make the proof again with the value of the header DPoP-Nonce.",
            zh="请使用响应头 DPoP-Nonce 的值重新生成证明。",
        ),
    ),
    "authorization_pending": (
        Text(en="Nobody has decided yet", zh="等待用户确认"),
        Text(en="Ask again after the interval.", zh="请在轮询间隔后重试。"),
    ),
    "slow_down": (
        Text(en="The device asks too often", zh="轮询过于频繁"),
        Text(en="Wait five seconds longer between two requests than before.", zh="请将轮询间隔延长五秒。"),
    ),
    "expired_token": (
        Text(en="The device code is too old", zh="设备码已过期"),
        Text(en="Begin again with a new device code.", zh="请重新获取设备码。"),
    ),
    "access_denied": (
        Text(en="The merchant said no", zh="商户拒绝授权"),
        Text(en="The person on the consent page refused.", zh="授权页上的操作者拒绝了请求。"),
    ),
    "invalid_grant_id": (
        Text(en="The grant is not the client's", zh="授权编号无效"),
        Text(
            en="The parameter grant_id names no active grant of this client.",
            zh="参数 grant_id 不是该客户端的有效授权。",
        ),
    ),
    "temporarily_unavailable": (
        Text(en="Try again in a moment", zh="请稍后重试"),
        Text(en="The request could not be decided in time; nothing was done.", zh="请求未能及时处理，未执行任何操作。"),
    ),
}
for _name, (_title, _detail) in _TEXTS.items():
    declare(f"oauth.{_name}", status=503 if _name == "temporarily_unavailable" else 400, title=_title, detail=_detail)


def error_page(origin: str, error: str) -> str | None:
    """The address of the page about an error, if there is one."""
    return f"{origin}/problems/oauth.{error}" if error in _TEXTS else None
