"""Requests of the Alipay OpenAPI protocol, version 1.0: read on bytes, and checked in the protocol's order.

Everything here is pure. What needs a look-up (app, key, grant) is asked by `gateway`, between these checks.
Source: opendocs.alipay.com, "Common errors" and the request parameters of the OpenAPI access guide, and the code of
python-alipay-sdk 3.4.0 and alipay-sdk-python 3.7.1411, read 2026-11-22.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from platform_core.kernel.errors import PlatformError
from platform_core.kernel.http.strict_json import strict_json

BODY_BYTES_MAX: Final = 256 * 1024
DEPTH_MAX: Final = 10
"""How many objects and lists biz_content may hold within one another."""
PARAMETERS_MAX: Final = 200
METHOD_NAME: Final = re.compile(r"[a-z]+(?:\.[a-z]+){2,5}", re.ASCII)
"""alipay-sdk-python looks for the node of an answer by letters and underscores alone: a digit would hide it."""
CHARSETS: Final[Mapping[str, str]] = MappingProxyType({"utf-8": "utf-8", "gbk": "gbk", "gb2312": "gbk"})
"""Codec by charset. GBK holds GB2312, and clients that say the one send the other."""
CHINA: Final = timezone(timedelta(hours=8), "Asia/Shanghai")
COMMON: Final = frozenset(
    {
        "app_id",
        "method",
        "charset",
        "sign_type",
        "sign",
        "timestamp",
        "version",
        "format",
        "biz_content",
        "notify_url",
        "return_url",
        "app_auth_token",
        "auth_token",
        "app_cert_sn",
        "alipay_root_cert_sn",
        "terminal_type",
        "terminal_info",
        "prod_code",
        "arsenal_order",
    }
)
"""Names that are no field of a flat method."""
MESSAGES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "10000": "Success",
        "10003": "order success pay inprocess",
        "20000": "Service Currently Unavailable",
        "20001": "Insufficient Token Permissions",
        "40001": "Missing Required Arguments",
        "40002": "Invalid Arguments",
        "40003": "Insufficient Conditions",
        "40004": "Business Failed",
        "40005": "Call Limited",
        "40006": "Insufficient Permissions",
    }
)
_TIMESTAMP: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}", re.ASCII)
_APP_NUMBER: Final = re.compile(r"[0-9]{16}", re.ASCII)


class GatewayError(Exception):
    """An answer of the protocol that says no. `sub_msg` is Chinese, as the protocol's users read it."""

    def __init__(
        self, code: str, sub_code: str, sub_msg: str, *, is_unnamed: bool = False, more: Mapping[str, Any] | None = None
    ) -> None:
        """`is_unnamed`: answered as `error_response`, whatever the method; `more`: further fields of the node."""
        super().__init__(f"{code} {sub_code}: {sub_msg}")
        self.code: Final = code
        self.sub_code: Final = sub_code
        self.sub_msg: Final = sub_msg
        self.is_unnamed: Final = is_unnamed
        self.more: Final = more or {}

    def node(self) -> dict[str, Any]:
        """The node of the answer."""
        return {
            "code": self.code,
            "msg": MESSAGES[self.code],
            "sub_code": self.sub_code,
            "sub_msg": self.sub_msg,
            **self.more,
        }


def missing(name: str, sub_msg: str, *, is_unnamed: bool = False) -> GatewayError:
    """40001: a common parameter was not given."""
    return GatewayError("40001", f"isv.missing-{name}", sub_msg, is_unnamed=is_unnamed)


def invalid(name: str, sub_msg: str, *, is_unnamed: bool = False) -> GatewayError:
    """40002: a common parameter cannot be what it is."""
    return GatewayError("40002", f"isv.invalid-{name}", sub_msg, is_unnamed=is_unnamed)


@dataclass(frozen=True, slots=True)
class Parameters:
    """A request's parameters from query and form, percent-decoded and not yet in any charset; each name once."""

    values: Mapping[bytes, bytes]

    def raw(self, name: str) -> bytes:
        """A value's bytes; empty for one that was not given."""
        return self.values.get(name.encode(), b"")

    def ascii(self, name: str) -> str:
        """A value that can only be ASCII; anything else becomes question marks and fits no check."""
        return self.raw(name).decode("ascii", "replace").replace("\ufffd", "?")

    @property
    def node_name(self) -> str:
        """The key of the answer's node: `error_response` for a method that could not be one."""
        method = self.ascii("method")
        return method.replace(".", "_") + "_response" if METHOD_NAME.fullmatch(method) else "error_response"


def split_pairs(encoded: bytes) -> list[tuple[bytes, bytes]]:
    """The pairs of a query or form in their order, `+` and percent-encoding undone. Blank values are kept."""
    pairs = []
    for piece in encoded.split(b"&"):
        if piece:
            name, _, value = piece.partition(b"=")
            pairs.append((unquote_to_bytes(name.replace(b"+", b" ")), unquote_to_bytes(value.replace(b"+", b" "))))
    return pairs


def read_parameters(query: bytes, body: bytes) -> tuple[Parameters, GatewayError | None]:
    """Query and form as one set of parameters.

    A name given twice, in whichever place, is refused, and so is a heap of them; the parameters that come with the
    refusal hold the first value of each, so that it can be answered under its method.
    """
    values: dict[bytes, bytes] = {}
    refusal = None
    for name, value in (*split_pairs(query), *split_pairs(body)):
        if name in values and refusal is None:
            shown = name[:40].decode("ascii", "replace")
            refusal = GatewayError("40002", "isv.invalid-parameter", f"参数重复：{shown}")
        values.setdefault(name, value)
    if len(values) > PARAMETERS_MAX and refusal is None:
        refusal = GatewayError("40002", "isv.invalid-parameter", f"参数个数超过 {PARAMETERS_MAX}")
    return Parameters(values), refusal


def too_long() -> GatewayError:
    """The form exceeds what is read."""
    return GatewayError("40002", "isv.invalid-parameter", f"请求体超过 {BODY_BYTES_MAX} 字节")


# The checks, in the order in which they are made


def check_method_given(parameters: Parameters) -> None:
    """The first of all."""
    if not parameters.raw("method"):
        raise missing("method", "缺少方法名参数", is_unnamed=True)


def check_app_given(parameters: Parameters) -> str:
    """The app's number. An unknown one is refused by whoever looks it up, with `unknown_app`."""
    if not parameters.raw("app_id"):
        raise missing("app-id", "缺少AppID参数")
    number = parameters.ascii("app_id")
    if _APP_NUMBER.fullmatch(number) is None:
        raise unknown_app()
    return number


def unknown_app() -> GatewayError:
    """No app has this number."""
    return invalid("app-id", "无效的AppID参数")


def check_signing_given(parameters: Parameters) -> None:
    """Signature and its type."""
    if not parameters.raw("sign_type"):
        raise missing("signature-type", "缺少签名类型参数")
    if not parameters.raw("sign"):
        raise missing("signature", "缺少签名参数")
    if parameters.raw("sign_type") not in (b"RSA", b"RSA2"):
        raise invalid("signature-type", "无效的签名类型，应为 RSA2 或 RSA")


def check_form(parameters: Parameters) -> None:
    """Time, version, charset, format and encryption.

    The time is checked in its form alone: both clients send their machine's local time without a zone, and the
    sandbox's clock is its own.
    """
    if not parameters.raw("timestamp"):
        raise missing("timestamp", "缺少时间戳参数")
    if not parameters.raw("version"):
        raise missing("version", "缺少版本参数")
    if not _is_timestamp(parameters.ascii("timestamp")):
        raise invalid("timestamp", "非法的时间戳参数，应为 yyyy-MM-dd HH:mm:ss")
    if parameters.raw("version") != b"1.0":
        raise invalid("parameter", "参数无效：version，应为 1.0")
    if parameters.ascii("charset").lower() not in CHARSETS:
        raise invalid("charset", "字符集错误，应为 utf-8、gbk 或 gb2312")
    if parameters.raw("format") and parameters.raw("format").lower() != b"json":
        raise invalid("format", "无效的数据格式，应为 JSON")
    if parameters.raw("encrypt_type"):
        raise invalid("encrypt-type", "沙箱不支持内容加密，请去掉 encrypt_type")


def _is_timestamp(text: str) -> bool:
    if _TIMESTAMP.fullmatch(text) is None:
        return False
    try:
        datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=CHINA)
    except ValueError:
        return False
    return True


def unknown_method() -> GatewayError:
    """No such method, or not here yet: the protocol has one answer for both."""
    return invalid("method", "不存在的方法名", is_unnamed=True)


def codec_of(parameters: Parameters) -> str:
    """The codec of the values, checked by `check_form`."""
    return CHARSETS[parameters.ascii("charset").lower()]


def charset_shown(parameters: Parameters) -> str:
    """The charset for an answer's media type; what was sent if it is one, else utf-8. The body is ASCII anyhow."""
    charset = parameters.ascii("charset").lower()
    return charset if charset in CHARSETS else "utf-8"


def text_of(parameters: Parameters, name: str) -> str:
    """A common parameter in words. Raises 40002 for bytes that are not of the charset."""
    try:
        return parameters.raw(name).decode(codec_of(parameters))
    except UnicodeDecodeError:
        raise invalid("parameter", f"参数 {name} 不是 {parameters.ascii('charset')} 编码") from None


def read_business(parameters: Parameters, *, is_flat: bool) -> dict[str, Any]:
    """The fields of the business: of biz_content, or for a flat method of the parameters themselves.

    Null and blank fields count as not given, at every level. Raises 40002 `isv.illegal-json` for what is not one JSON
    object in the request's charset: doubled keys, NaN and more than 10 levels included.
    """
    if is_flat:
        extra = {_name(name) for name in parameters.values} - COMMON
        return {name: value for name in sorted(extra) if (value := text_of(parameters, name))}
    document = read_json(parameters, "biz_content")
    fields: dict[str, Any] = _given(document)
    return fields


def read_json(parameters: Parameters, name: str) -> dict[str, Any]:
    """A parameter that holds one JSON object; an absent one is an empty object. Raises as `read_business` does."""
    raw = parameters.raw(name)
    if not raw:
        return {}
    try:
        document = strict_json(raw.decode(codec_of(parameters)).encode(), depth_max=DEPTH_MAX)
    except (UnicodeError, PlatformError) as error:
        reason = error.detail("zh") if isinstance(error, PlatformError) else "编码与 charset 不一致"
        raise GatewayError("40002", "isv.illegal-json", f"{name} 不是合法的 JSON：{reason}") from None
    if not isinstance(document, dict):
        raise GatewayError("40002", "isv.illegal-json", f"{name} 应为一个 JSON 对象")
    return document


def _name(raw: bytes) -> str:
    return raw.decode("ascii", "replace").replace("\ufffd", "?")


def _given(value: Any) -> Any:  # JSON in, JSON out
    if isinstance(value, dict):
        return {key: _given(inner) for key, inner in value.items() if inner not in (None, "")}
    if isinstance(value, list):
        return [_given(inner) for inner in value if inner is not None]
    return value
