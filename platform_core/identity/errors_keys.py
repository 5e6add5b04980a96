"""What is refused about clients' keys, and about what they sign for the API."""

from __future__ import annotations

from platform_core.kernel.errors import declare
from platform_core.kernel.i18n import Text

KEY_REFUSED = declare(
    "identity.key_refused",
    status=422,
    title=Text(en="The key cannot be taken", zh="无法使用该密钥"),
    detail=Text(en="The JWK was not taken: {reason}.", zh="未接受该 JWK：{reason}。"),
    hint=Text(
        en="Send one public JWK: EC on P-256, OKP on Ed25519, or RSA of 2048 to 4096 bits.",
        zh="请提供一个公钥 JWK：P-256 椭圆曲线、Ed25519，或 2048 至 4096 位 RSA。",
    ),
)
KEY_EXISTS = declare(
    "identity.key_exists",
    status=409,
    title=Text(en="The client has this key", zh="该密钥已存在"),
    detail=Text(en="The client has this key already, as {key_id}.", zh="该客户端已有此密钥：{key_id}。"),
)
KEY_NOT_FOUND = declare(
    "identity.key_not_found",
    status=404,
    title=Text(en="No such key", zh="密钥不存在"),
    detail=Text(en="The client has no key {key_id}.", zh="该客户端没有密钥 {key_id}。"),
)
KEYS_FULL = declare(
    "identity.keys_full",
    status=422,
    title=Text(en="There are enough keys", zh="密钥数量已达上限"),
    detail=Text(en="A client has at most {limit} keys.", zh="每个客户端至多 {limit} 个密钥。"),
    hint=Text(en="Remove a key that is no longer used.", zh="请先删除不再使用的密钥。"),
)
KEYS_ELSEWHERE = declare(
    "identity.keys_elsewhere",
    status=409,
    title=Text(en="Keys are uploaded or published, not both", zh="密钥只能上传或发布，不可并用"),
    detail=Text(
        en="The client's keys are already held the other way.",
        zh="该客户端的密钥已采用另一种方式提供。",
    ),
    hint=Text(en="Remove the uploaded keys, or the jwks_uri, first.", zh="请先删除已上传的密钥或 jwks_uri。"),
)
JWKS_URI_REFUSED = declare(
    "identity.jwks_uri_refused",
    status=422,
    title=Text(en="The address cannot be used", zh="无法使用该地址"),
    detail=Text(en="The jwks_uri was not taken: {reason}.", zh="未接受 jwks_uri：{reason}。"),
    hint=Text(
        en="Give a public https address that answers with a JWK set.", zh="请提供返回 JWK 集合的公网 https 地址。"
    ),
)
KEY_NEEDED = declare(
    "identity.key_needed",
    status=422,
    title=Text(en="The client has no key to sign with", zh="客户端没有可用于签名的密钥"),
    detail=Text(
        en="Requests are signed by a P-256 or Ed25519 key, and the client has none.",
        zh="请求须以 P-256 或 Ed25519 密钥签名，而该客户端尚无此类密钥。",
    ),
    hint=Text(en="Upload a key or set a jwks_uri first.", zh="请先上传密钥或设置 jwks_uri。"),
)
PROOF_INVALID = declare(
    "identity.proof_invalid",
    status=401,
    title=Text(en="The DPoP proof is not valid", zh="DPoP 证明无效"),
    detail=Text(
        en="The proof is missing, malformed, stale, used, or made for another request, token or key.",
        zh="该证明缺失、格式错误、已过时、已使用，或属于其他请求、令牌或密钥。",
    ),
    hint=Text(
        en="Make a new proof for each request, with method, address, time, nonce and the hash of the token.",
        zh="请为每个请求生成新的证明，包含方法、地址、时间、随机数及令牌摘要。",
    ),
)
PROOF_NONCE_NEEDED = declare(
    "identity.proof_nonce_needed",
    status=401,
    is_retryable=True,
    title=Text(en="The DPoP proof needs our nonce", zh="DPoP 证明缺少随机数"),
    detail=Text(en="The proof carries no nonce of ours that is still good.", zh="该证明未携带仍有效的随机数。"),
    hint=Text(
        en="Make the proof again with the value of the header DPoP-Nonce.",
        zh="请使用响应头 DPoP-Nonce 的值重新生成证明。",
    ),
)
SIGNATURE_NEEDED = declare(
    "identity.signature_needed",
    status=401,
    title=Text(en="The request must be signed", zh="请求须签名"),
    detail=Text(
        en="This app's requests count only with a signature of its key (RFC 9421).",
        zh="该应用的请求须附有其密钥的签名（RFC 9421）。",
    ),
    hint=Text(
        en="Sign method, address, token, body and idempotency key; send Signature-Input and Signature.",
        zh="请对方法、地址、令牌、请求体及幂等键签名，并发送 Signature-Input 与 Signature。",
    ),
)
SIGNATURE_INVALID = declare(
    "identity.signature_invalid",
    status=401,
    title=Text(en="The signature is not valid", zh="请求签名无效"),
    detail=Text(
        en="The signature is malformed, too old, used, of another key, or covers too little or another request.",
        zh="签名格式错误、已过时、已使用、属于其他密钥，或覆盖内容不足、不是本请求。",
    ),
    hint=Text(
        en='Cover "@method" "@target-uri" "authorization" and, where they are there, "content-digest" '
        'and "idempotency-key", with created, nonce, keyid and tag="arsenal".',
        zh='须覆盖 "@method" "@target-uri" "authorization"，以及存在时的 "content-digest" 与 "idempotency-key"，'
        '并包含 created、nonce、keyid 与 tag="arsenal"。',
    ),
)
