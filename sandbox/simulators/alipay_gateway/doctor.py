"""The signature doctor: which rule a bad signature broke, found by trying what clients are known to do wrong.

A signature says nothing about what was signed. So each hypothesis rebuilds the string as a client that broke one rule
would have built it, and the first one whose string the signature fits is the cause. Pure: keys and bytes come in, a
diagnosis goes out. The stated cause of fzlee/alipay#21, #36 and #80 is the second row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from platform_core.kernel.i18n import Text
from sandbox.simulators.alipay_gateway import doctor_trials as trials
from sandbox.simulators.alipay_gateway.evidence import Evidence, Trial
from sandbox.simulators.alipay_gateway.signing import is_signed


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One known mistake: its words, and the trials that show it."""

    code: str
    cause: Text
    fix: Text
    trials: Callable[[Evidence], Iterator[Trial]]


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two strings part: the first byte (counted from 0) and a few on either side of it."""

    at: int
    expected: str
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What the doctor found. `code` is `valid`, a hypothesis', or `unknown`; strings are shown with bytes escaped."""

    code: str
    cause: Text
    fix: Text
    string_to_sign: str
    length: int
    difference: Difference | None
    key_name: str
    tried: int

    @property
    def is_valid(self) -> bool:
        """Whether nothing is wrong."""
        return self.code == "valid"

    def say(self, language: Literal["en", "zh"] = "en") -> str:
        """The whole finding as lines of text."""
        words = _LABELS[language]
        lines = [
            f"{words['cause']}: {self.cause.say(language)}",
            f"{words['fix']}: {self.fix.say(language)}",
            f"{words['text']} ({self.length} {words['bytes']}):",
            self.string_to_sign,
        ]
        if self.difference is not None:
            lines += [
                f"{words['differs']} {self.difference.at}:",
                f"  {words['expected']}: {self.difference.expected}",
                f"  {words['found']}: {self.difference.found}",
            ]
        if self.key_name:
            lines.append(f"{words['key']}: {self.key_name}")
        return "\n".join(lines)


_LABELS: Final = {
    "en": {
        "cause": "Cause",
        "fix": "What to do",
        "text": "String to sign",
        "bytes": "bytes",
        "differs": "First difference, at byte",
        "expected": "to sign",
        "found": "signed ",
        "key": "The signature fits the key",
    },
    "zh": {
        "cause": "原因",
        "fix": "处理办法",
        "text": "待签名字符串",
        "bytes": "字节",
        "differs": "首个不同的字节，位置",
        "expected": "应签",
        "found": "实签",
        "key": "该签名对应的密钥",
    },
}


def diagnose(evidence: Evidence) -> Diagnosis:
    """The first explanation that the signature fits, in the order of `HYPOTHESES`."""
    tried = 0
    for hypothesis in (_VALID, *HYPOTHESES):
        for trial in hypothesis.trials(evidence):
            key = trial.key or evidence.right_key
            if key is None or trial.text == evidence.text:
                continue
            tried += 1
            text = evidence.text if trial.text is None else trial.text
            signature = evidence.signature if trial.signature is None else trial.signature
            sign_type = trial.sign_type or evidence.sign_type
            if trial.is_certain or is_signed(key, text, signature, sign_type=sign_type):
                return _found(evidence, hypothesis, text, key_name=trial.key_name, tried=tried)
    return _found(evidence, _UNKNOWN, evidence.client_text or evidence.text, key_name="", tried=tried)


def _found(evidence: Evidence, hypothesis: Hypothesis, signed: bytes, *, key_name: str, tried: int) -> Diagnosis:
    text = evidence.text
    return Diagnosis(
        code=hypothesis.code,
        cause=hypothesis.cause,
        fix=hypothesis.fix,
        string_to_sign=shown(text),
        length=len(text),
        difference=first_difference(text, signed),
        key_name=key_name,
        tried=tried,
    )


def first_difference(expected: bytes, found: bytes) -> Difference | None:
    """Where two strings part; None when they are equal."""
    if expected == found:
        return None
    at = next((n for n, (one, other) in enumerate(zip(expected, found, strict=False)) if one != other), None)
    at = min(len(expected), len(found)) if at is None else at
    return Difference(at, _around(expected, at), _around(found, at))


def shown(text: bytes) -> str:
    """Bytes for a reader: UTF-8 where it is, everything else and control characters as `\\xNN`."""
    decoded = text.decode("utf-8", "backslashreplace")
    return "".join(
        c if c.isprintable() else c.encode("utf-8").decode("latin-1").encode("unicode_escape").decode() for c in decoded
    )


def _around(text: bytes, at: int) -> str:
    """The bytes before and after a place, which is marked; nothing after it where the string ends."""
    before, after = text[max(0, at - 12) : at], text[at : at + 12]
    return f"{shown(before)}[{shown(after[:1]) if after else 'end'}]{shown(after[1:])}"


_VALID: Final = Hypothesis(
    "valid",
    Text(en="The signature is right.", zh="签名正确。"),
    Text(
        en="Nothing. If your client says otherwise, it holds another key.",
        zh="无需处理。若客户端验签失败，说明其配置的公钥不对。",
    ),
    trials.as_it_should_be,
)
_UNKNOWN: Final = Hypothesis(
    "unknown",
    Text(en="None of the known mistakes gives this signature.", zh="已知的错误都得不到这个签名。"),
    Text(
        en="Print the string that your client signs and compare it with the one below; then compare the keys' "
        "fingerprints.",
        zh="打印客户端实际签名的字符串，与下方字符串逐字比较，再比对两边公钥的指纹。",
    ),
    trials.as_it_should_be,
)

HYPOTHESES: Final[tuple[Hypothesis, ...]] = (
    Hypothesis(
        "other_key",
        Text(en="Signed with another key of the same owner.", zh="使用了同一主体的另一把密钥签名。"),
        Text(
            en="Use the private key whose public key is uploaded, or upload the one that you sign with; for answers, "
            "configure the platform's present public key.",
            zh="请改用与已上传公钥配对的私钥，或上传您签名所用的公钥；验签时请配置平台当前的公钥。",
        ),
        trials.other_key,
    ),
    Hypothesis(
        "own_key_for_platforms",
        Text(
            en="The app's and the platform's public key stand in each other's place.",
            zh="应用公钥与平台公钥配置反了（例如把自己的应用公钥当作平台公钥）。",
        ),
        Text(
            en="Upload your own public key to the platform; in the client configure the platform's public key "
            "(`arsenal sandbox alipay keys platform`).",
            zh="把自己的应用公钥上传到平台；在客户端配置平台公钥（arsenal sandbox alipay keys platform）。",
        ),
        trials.sides_mixed_up,
    ),
    Hypothesis(
        "other_sign_type",
        Text(en="Signed with the other hash than sign_type says.", zh="签名所用的摘要算法与 sign_type 不一致。"),
        Text(
            en="RSA2 is SHA-256, RSA is SHA-1: make both say the same.",
            zh="RSA2 对应 SHA-256，RSA 对应 SHA-1，请保持一致。",
        ),
        trials.other_hash,
    ),
    Hypothesis(
        "sign_type_left_out",
        Text(
            en="sign_type was treated as in the other direction: requests sign it, notices do not.",
            zh="sign_type 处理错误：请求要参与签名，异步通知验签时要去掉。",
        ),
        Text(
            en="Sign it in requests; remove it, with sign, before verifying a notice.",
            zh="请求签名时保留 sign_type；验证通知前去掉 sign 与 sign_type。",
        ),
        trials.sign_type_wrong,
    ),
    Hypothesis(
        "blanks_left_out",
        Text(en="Blank values were treated differently on the two sides.", zh="两侧对空值参数的处理不一致。"),
        Text(en="Send no parameter without a value.", zh="不要发送空值参数。"),
        trials.without_blanks,
    ),
    Hypothesis(
        "url_encoded",
        Text(en="The values were URL-encoded when they were signed.", zh="签名时参数值已做 URL 编码。"),
        Text(
            en="Sign the plain values, then encode each of them once.", zh="先用原始值签名，再对每个值做一次 URL 编码。"
        ),
        trials.url_encoded,
    ),
    Hypothesis(
        "charset",
        Text(en="Signed in another charset than sent.", zh="签名与发送使用的字符集不同。"),
        Text(
            en="Use one charset for both, and name it in `charset`.",
            zh="签名与发送使用同一字符集，并在 charset 中声明。",
        ),
        trials.charset,
    ),
    Hypothesis(
        "reserialised",
        Text(
            en="The JSON was written anew between signing and sending.", zh="biz_content 在签名与发送之间被重新序列化。"
        ),
        Text(
            en="Serialise once, sign that text, send that text. Verify answers over the bytes as they came.",
            zh="只序列化一次，签名与发送用同一文本；验签时使用收到的原始字节。",
        ),
        trials.reserialised,
    ),
    Hypothesis(
        "html_unescaped",
        Text(
            en="A page's HTML changed the values (&quot;, or &times out of &timestamp).",
            zh="页面 HTML 转义改变了参数值（如 &quot; 或 &timestamp 变成 ×tamp）。",
        ),
        Text(
            en="Escape every value once for HTML in the form, and sign the plain one.",
            zh="表单中每个值按 HTML 转义一次，签名使用原始值。",
        ),
        trials.html_changed,
    ),
    Hypothesis(
        "other_app",
        Text(en="Signed with another app's key.", zh="使用了其他应用的密钥签名。"),
        Text(
            en="app_id and private key belong together: take both from the same app.",
            zh="app_id 与私钥必须属于同一应用。",
        ),
        trials.other_app,
    ),
    Hypothesis(
        "signature_damaged",
        Text(
            en="The signature itself was changed on its way (+ became a blank, lines were wrapped).",
            zh="签名值在传输中被改动（+ 变为空格，或被换行）。",
        ),
        Text(
            en="URL-encode `sign` like every other value; base64 in one line.",
            zh="sign 也要做 URL 编码，base64 不换行。",
        ),
        trials.spelling,
    ),
    Hypothesis(
        "unsorted",
        Text(en="The parameters were joined in another order or without &.", zh="参数未按名称排序，或未用 & 连接。"),
        Text(
            en="Sort by name (bytes, upper case first), join `name=value` by &.",
            zh="按参数名字节序排序，以 & 连接 name=value。",
        ),
        trials.order,
    ),
    Hypothesis(
        "whole_answer",
        Text(
            en="The whole body was taken where the node alone is signed.", zh="验签用了整个响应，而签名只覆盖响应节点。"
        ),
        Text(
            en='Verify the bytes between `..._response":` and `,"sign"`.',
            zh='只对 "..._response": 与 ,"sign" 之间的字节验签。',
        ),
        trials.whole_answer,
    ),
    Hypothesis(
        "other_text",
        Text(
            en="The signature fits the string that the client shows, which is not the one received.",
            zh="签名与客户端给出的字符串一致，但与收到的参数不同。",
        ),
        Text(
            en="Something changed the parameters after signing; look at the first difference.",
            zh="签名后参数被改动，请查看首个不同之处。",
        ),
        trials.client_says,
    ),
)
