"""What the capability gate refuses, in the words that a plugin's author reads.

The same codes reach confined, remote and trusted plugins as `contracts.plugin.Refused`; the English detail and hint
together are its hint. Errors of capabilities come through as they are.
"""

from __future__ import annotations

from typing import Final

from platform_core.kernel.errors import ErrorCode, declare
from platform_core.kernel.i18n import Text


def _refused(
    reason: str, *, status: int, title: Text, detail: Text, hint: Text | None = None, is_retryable: bool = False
) -> ErrorCode:
    return declare(f"plugin.{reason}", status=status, title=title, detail=detail, hint=hint, is_retryable=is_retryable)


HANDLE_INVALID: Final = _refused(
    "handle_invalid",
    status=401,
    title=Text(en="The call's handle is not valid", zh="调用句柄无效"),
    detail=Text(
        en="The handle belongs to no open call of this channel; nothing was done.",
        zh="该句柄不属于此通道中进行的调用；未执行任何操作。",
    ),
    hint=Text(
        en="Use the ctx of the call at hand and keep none beyond it.",
        zh="请使用当前调用的 ctx，且不要在调用结束后保留。",
    ),
)
DEADLINE_PASSED: Final = _refused(
    "deadline_passed",
    status=504,
    is_retryable=True,
    title=Text(en="The call's time is over", zh="调用已超时"),
    detail=Text(
        en="{operation} was not answered before the deadline of the call; a write may still be done.",
        zh="{operation} 未能在调用截止时间前完成；写操作可能仍会完成。",
    ),
    hint=Text(
        en="Ask for less in one call; repeat a write with the same key.",
        zh="请减少单次调用的请求；写操作请用同一 key 重试。",
    ),
)
BUDGET_EXCEEDED: Final = _refused(
    "budget_exceeded",
    status=429,
    title=Text(en="Too many asks in one call", zh="单次调用请求过多"),
    detail=Text(en="One call of a hook may ask {max} times.", zh="每次钩子调用最多可请求 {max} 次。"),
    hint=Text(
        en="Read lists instead of single objects, or do less in one call.", zh="请使用列表读取，或减少单次调用的工作。"
    ),
)
OPERATION_UNKNOWN: Final = _refused(
    "operation_unknown",
    status=404,
    title=Text(en="No such operation", zh="操作不存在"),
    detail=Text(
        en="Plugins have no operation of this name. There are: {known}.", zh="插件没有该操作。可用操作：{known}。"
    ),
    hint=Text(en="Correct the name given to ctx.call.", zh="请更正 ctx.call 的操作名称。"),
)
WRITE_IN_DECISION: Final = _refused(
    "write_in_decision",
    status=403,
    title=Text(en="Deciding writes nothing", zh="决策钩子不能写入"),
    detail=Text(en="{operation} writes, and {hook} decides.", zh="{operation} 是写操作，而 {hook} 是决策钩子。"),
    hint=Text(en="Do it in an on_ hook, after the decision is committed.", zh="请在决策提交之后的 on_ 钩子中执行。"),
)
EGRESS_IN_DECISION: Final = _refused(
    "egress_in_decision",
    status=403,
    title=Text(en="Deciding calls nobody outside", zh="决策钩子不能访问外部"),
    detail=Text(en="{hook} decides; egress waits for others.", zh="{hook} 是决策钩子；外部访问会等待他方。"),
    hint=Text(
        en="Fetch in an on_ hook or a provider's method and keep the answer in ctx.state.",
        zh="请在 on_ 钩子或提供方方法中获取，并保存到 ctx.state。",
    ),
)
NOT_ALLOWED_HERE: Final = _refused(
    "not_allowed_here",
    status=403,
    title=Text(en="Not available in this call", zh="此调用中不可用"),
    detail=Text(en="{operation} is not available in {hook}.", zh="{operation} 在 {hook} 中不可用。"),
    hint=Text(
        en="See which clients each kind of hook has: arsenal docs hooks.",
        zh="各类钩子可用的能力见：arsenal docs hooks。",
    ),
)
MERCHANT_NAMED: Final = _refused(
    "merchant_named",
    status=422,
    title=Text(en="The merchant is not an argument", zh="商户不能作为参数"),
    detail=Text(
        en="{argument} names a merchant; the call at hand says whose it is.",
        zh="{argument} 指定了商户；商户由当前调用决定。",
    ),
    hint=Text(en="Leave it out.", zh="请去掉该参数。"),
)
KEY_NEEDED: Final = _refused(
    "key_needed",
    status=422,
    title=Text(en="A write needs its key", zh="写操作缺少 key"),
    detail=Text(
        en="{operation} writes; `key` is 1 to 255 visible ASCII characters that stay the same on every repeat.",
        zh="{operation} 是写操作；key 为 1 至 255 个可见 ASCII 字符，重试时保持不变。",
    ),
    hint=Text(
        en="Pass key=ctx.idempotency_key, with a suffix for each act of a call.",
        zh="请传入 key=ctx.idempotency_key，一次调用内的多个操作各加后缀。",
    ),
)
GRANT_NEEDED: Final = _refused(
    "grant_needed",
    status=403,
    title=Text(en="No grant of the merchant", zh="缺少商户授权"),
    detail=Text(
        en="The merchant has given this plugin no grant, or has ended it.", zh="商户未向该插件授权，或授权已终止。"
    ),
    hint=Text(en="The merchant grants it when the plugin is installed.", zh="商户在安装插件时授权。"),
)
STATE_KEY: Final = _refused(
    "state_key",
    status=422,
    title=Text(en="Not a key of the store", zh="存储键无效"),
    detail=Text(en="A key has 1 to {max} printable characters.", zh="键为 1 至 {max} 个可打印字符。"),
)
STATE_VALUE: Final = _refused(
    "state_value",
    status=422,
    title=Text(en="Not a value of the store", zh="存储值无效"),
    detail=Text(en="A value is JSON of at most {max} bytes.", zh="值为不超过 {max} 字节的 JSON。"),
)
STATE_NUMBER: Final = _refused(
    "state_number",
    status=409,
    title=Text(en="Not a number that can be counted on", zh="该值不能计数"),
    detail=Text(
        en="The value is no whole number, or the sum would pass {max}.", zh="该值不是整数，或累加后超过 {max}。"
    ),
    hint=Text(en="Delete the key first, or count under another.", zh="请先删除该键，或换用其他键。"),
)
STATE_FULL: Final = _refused(
    "state_full",
    status=409,
    title=Text(en="The store is full", zh="存储已满"),
    detail=Text(
        en="This merchant's store may hold {keys_max} keys and {bytes_max} bytes.",
        zh="该商户的存储上限为 {keys_max} 个键、{bytes_max} 字节。",
    ),
    hint=Text(
        en="Delete what is not needed, set ttl_s, or ask for more in [state] of plugin.toml.",
        zh="请删除不需要的数据、设置 ttl_s，或在 plugin.toml 的 [state] 中申请更多。",
    ),
)
STATE_CHANGED: Final = _refused(
    "state_changed",
    status=409,
    is_retryable=True,
    title=Text(en="The value has changed", zh="值已变化"),
    detail=Text(
        en="Version {expected} was expected and {found} stands there.", zh="期望版本 {expected}，实际为 {found}。"
    ),
    hint=Text(en="Read it again and decide anew.", zh="请重新读取后再决定。"),
)
STATE_UNAVAILABLE: Final = _refused(
    "state_unavailable",
    status=503,
    is_retryable=True,
    title=Text(en="The store cannot be reached", zh="存储暂不可用"),
    detail=Text(en="The store did not answer.", zh="存储未响应。"),
)
EGRESS_NOT_DECLARED: Final = _refused(
    "egress_not_declared",
    status=403,
    title=Text(en="The host is not declared", zh="未声明的主机"),
    detail=Text(
        en="{method} to {place} is not among the plugin's declared hosts, ports and methods.",
        zh="插件未声明对 {place} 的 {method} 访问（主机、端口、方法）。",
    ),
    hint=Text(
        en="Declare it in [[egress]] of plugin.toml. Next: arsenal plugin check --explain egress.",
        zh="请在 plugin.toml 的 [[egress]] 中声明。下一步：arsenal plugin check --explain egress。",
    ),
)
EGRESS_REFUSED: Final = _refused(
    "egress_refused",
    status=422,
    title=Text(en="The request cannot be sent like this", zh="请求形式不可接受"),
    detail=Text(en="Nothing was sent: {reason}.", zh="未发送：{reason}。"),
)
EGRESS_EXHAUSTED: Final = _refused(
    "egress_exhausted",
    status=429,
    title=Text(en="Too many requests in one call", zh="单次调用外部请求过多"),
    detail=Text(en="One call may fetch {max} times.", zh="每次调用最多可发送 {max} 个外部请求。"),
)
EGRESS_NOT_SENT: Final = _refused(
    "egress_not_sent",
    status=502,
    is_retryable=True,
    title=Text(en="Nothing left", zh="请求未发出"),
    detail=Text(en="No byte of the request left: {reason}.", zh="请求没有任何字节发出：{reason}。"),
    hint=Text(en="It is safe to send it again later.", zh="稍后可安全重发。"),
)
EGRESS_UNKNOWN: Final = _refused(
    "egress_unknown",
    status=504,
    title=Text(en="It is not known what became of it", zh="结果未知"),
    detail=Text(
        en="Something of the request left and no whole answer came: {reason}.",
        zh="请求已部分或全部发出，但没有完整的应答：{reason}。",
    ),
    hint=Text(
        en="Ask the other side before sending it again, or repeat it under its idempotency key.",
        zh="重发之前请先向对方查询，或使用同一幂等键重试。",
    ),
)
EGRESS_TOO_LARGE: Final = _refused(
    "egress_too_large",
    status=502,
    title=Text(en="The answer is too large", zh="应答过大"),
    detail=Text(en="The request arrived, and its answer exceeds {kib} KiB.", zh="请求已送达，但应答超过 {kib} KiB。"),
    hint=Text(
        en="Raise response_kib_max in [[egress]], or ask for less.",
        zh="请在 [[egress]] 提高 response_kib_max，或减少请求内容。",
    ),
)
SECRET_UNKNOWN: Final = _refused(
    "secret_unknown",
    status=404,
    title=Text(en="No such secret", zh="密钥不存在"),
    detail=Text(
        en="No secret of this name is declared in plugin.toml and entered by the merchant.",
        zh="plugin.toml 未声明该名称的密钥，或商户尚未录入。",
    ),
)
SECRET_UNFIT: Final = _refused(
    "secret_unfit",
    status=422,
    title=Text(en="The secret is not for that", zh="密钥用途不符"),
    detail=Text(en="The secret {name} cannot be used for this: {reason}.", zh="密钥 {name} 不能用于此操作：{reason}。"),
)
SECRET_NOT_FOR_HOST: Final = _refused(
    "secret_not_for_host",
    status=403,
    title=Text(en="The secret does not go there", zh="密钥不得发送至该主机"),
    detail=Text(
        en="The secret {name} goes to its own hosts only, not to {host}.",
        zh="密钥 {name} 只能发送到其声明的主机，不能发送到 {host}。",
    ),
    hint=Text(
        en="Add the host to `hosts` of the secret in plugin.toml.", zh="请在 plugin.toml 中该密钥的 hosts 添加此主机。"
    ),
)
REPORTS_EXCEEDED: Final = _refused(
    "reports_exceeded",
    status=429,
    is_retryable=True,
    title=Text(en="Too many reports", zh="上报过多"),
    detail=Text(en="A plugin reports at most {max} problems a minute.", zh="插件每分钟最多上报 {max} 个问题。"),
)
AUDIT_FULL: Final = _refused(
    "audit_full",
    status=503,
    is_retryable=True,
    title=Text(en="The audit log takes nothing now", zh="审计队列已满"),
    detail=Text(
        en="The call cannot be accounted for at the moment, so it was not carried out.",
        zh="当前无法记录审计，因此未执行该调用。",
    ),
    hint=Text(en="Come again shortly.", zh="请稍后重试。"),
)
ON_THE_LOOP: Final = _refused(
    "on_the_loop",
    status=409,
    title=Text(en="The clients of ctx wait, and this code may not", zh="此处代码不能等待"),
    detail=Text(
        en="{operation} was asked on the server's event loop, which must not be blocked.",
        zh="{operation} 在服务器事件循环中被调用，不能阻塞。",
    ),
    hint=Text(
        en="Declare the scope, state, egress or secret in plugin.toml: the host then runs the plugin in a thread.",
        zh="请在 plugin.toml 中声明相应的权限、存储、外部访问或密钥，宿主会在线程中运行插件。",
    ),
)
NOT_QUARANTINED: Final = _refused(
    "not_quarantined",
    status=404,
    title=Text(en="Not in quarantine", zh="未被隔离"),
    detail=Text(en="{plugin} {version} is not in quarantine.", zh="{plugin} {version} 未处于隔离状态。"),
)
SECOND_PERSON_NEEDED: Final = _refused(
    "second_person_needed",
    status=409,
    title=Text(en="Two people lift a quarantine", zh="解除隔离需要两人"),
    detail=Text(
        en="Lifting {plugin} {version} was asked by {first}; another person confirms it.",
        zh="{plugin} {version} 的解除由 {first} 提出，须由另一人确认。",
    ),
)
PROBLEM_NOT_FOUND: Final = _refused(
    "problem_not_found",
    status=404,
    title=Text(en="No such problem", zh="问题不存在"),
    detail=Text(en="There is no such problem, or it is resolved.", zh="该问题不存在或已解决。"),
)
