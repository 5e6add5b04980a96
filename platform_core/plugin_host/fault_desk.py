"""What becomes of a fault besides the call's own answer: a problem that people see, and quarantine where it must be."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from platform_core.contracts.plugin import Severity
from platform_core.contracts.runtime import Fault, FaultKind
from platform_core.kernel.i18n import Text
from platform_core.plugin_host.answers import Answer
from platform_core.plugin_host.health_rows import Quarantines
from platform_core.plugin_host.problem_book import Noted, ProblemBook

DOCS: Final = "explanation/plugin-gate.md"


@dataclass(frozen=True, slots=True)
class Words:
    """How a kind of fault is told."""

    severity: Severity
    message: Text
    hint: Text


def _words(severity: Severity, en: str, zh: str, *, next_en: str, next_zh: str) -> Words:
    return Words(severity, Text(en=en, zh=zh), Text(en=next_en, zh=next_zh))


def _security(en: str, zh: str) -> Words:
    return _words(
        "critical",
        f"{en} The version is in quarantine for all merchants.",
        f"{zh}该版本已对所有商户隔离。",
        next_en="Two people may lift the quarantine, with a reason, once it is understood.",
        next_zh="查明原因后，由两人说明理由方可解除隔离。",
    )


WORDS: Final[Mapping[FaultKind, Words]] = {
    FaultKind.EXCEPTION: _words(
        "warning",
        "The plugin raised an exception.",
        "插件抛出异常。",
        next_en="Replay the sample call: arsenal plugin replay <call id>.",
        next_zh="请重放示例调用：arsenal plugin replay <call id>。",
    ),
    FaultKind.BAD_RESULT: _words(
        "warning",
        "The plugin's answer is not what the hook promises.",
        "插件返回值不符合钩子约定。",
        next_en="Run the contract kit: arsenal plugin test.",
        next_zh="请运行契约测试：arsenal plugin test。",
    ),
    FaultKind.TIMEOUT: _words(
        "warning",
        "The plugin did not answer before its deadline.",
        "插件未在截止时间前应答。",
        next_en="Do less in the hook, or move work to an on_ hook.",
        next_zh="请减少钩子内的工作，或移至 on_ 钩子。",
    ),
    FaultKind.OVERSIZE: _words(
        "warning",
        "The plugin sent more than a frame may hold.",
        "插件发送的数据超过帧上限。",
        next_en="Answer with less; results hold at most 64 KiB beside their blobs.",
        next_zh="请减少返回内容；除二进制外结果不超过 64 KiB。",
    ),
    FaultKind.MALFORMED: _words(
        "warning",
        "The plugin sent what is no frame.",
        "插件发送了无法识别的数据。",
        next_en="Write nothing to the channel; print goes to the log.",
        next_zh="请勿直接写入通道；print 输出会进入日志。",
    ),
    FaultKind.CAPABILITY_FLOOD: _words(
        "warning",
        "The plugin asked more than 50 times in one call.",
        "插件在一次调用中请求超过 50 次。",
        next_en="Read lists instead of single objects.",
        next_zh="请使用列表读取代替逐个读取。",
    ),
    FaultKind.MEMORY: _words(
        "warning",
        "The plugin ran out of memory.",
        "插件内存不足。",
        next_en="Hold less, or ask for more in [resources] of plugin.toml.",
        next_zh="请减少占用，或在 plugin.toml 的 [resources] 中申请更多。",
    ),
    FaultKind.DIED: _words(
        "warning",
        "The plugin's process ended in the middle of a call.",
        "插件进程在调用中退出。",
        next_en="Look for exit, abort or a crash in native code.",
        next_zh="请检查是否调用了退出函数或本地代码崩溃。",
    ),
    FaultKind.LOAD: _words(
        "critical",
        "The plugin could not be imported.",
        "插件无法导入。",
        next_en="Run arsenal plugin check against the bundle.",
        next_zh="请对安装包运行 arsenal plugin check。",
    ),
    FaultKind.BOOT_TIMEOUT: _words(
        "critical",
        "The plugin was not ready within 2 s.",
        "插件未在 2 秒内就绪。",
        next_en="Import less at the top of the module.",
        next_zh="请减少模块顶层的导入。",
    ),
    FaultKind.NOT_CONFINED: _words(
        "critical",
        "The machine does not reach the required level of confinement; the plugin is not loaded.",
        "本机未达到要求的隔离级别；插件未加载。",
        next_en="Run arsenal doctor, which names what is missing.",
        next_zh="请运行 arsenal doctor 查看缺少的内容。",
    ),
    FaultKind.SATURATED: _words(
        "notice",
        "All workers of the plugin were busy.",
        "插件的所有进程均忙。",
        next_en="Answer faster, or raise workers_max in [resources].",
        next_zh="请加快应答，或在 [resources] 提高 workers_max。",
    ),
    FaultKind.BREAKER_OPEN: _words(
        "warning",
        "The plugin's hook is not asked for a while, after too many faults or slow answers.",
        "因故障或应答过慢过多，暂停调用该钩子。",
        next_en="It is tried again by itself; see the faults before it.",
        next_zh="系统会自动重试；请查看此前的故障。",
    ),
    FaultKind.UNAVAILABLE: _words(
        "warning",
        "There was nothing to call: no runtime, release or enablement.",
        "无可调用对象：缺少运行环境、版本或启用信息。",
        next_en="Run arsenal doctor.",
        next_zh="请运行 arsenal doctor。",
    ),
    FaultKind.QUARANTINED: _words(
        "critical",
        "The version is in quarantine.",
        "该版本处于隔离状态。",
        next_en="Two people may lift it, with a reason.",
        next_zh="由两人说明理由方可解除。",
    ),
    FaultKind.FORBIDDEN_CALL: _security("The plugin made a forbidden kernel call.", "插件发起了被禁止的内核调用。"),
    FaultKind.FORGED_ID: _security("The plugin answered a call that was not made.", "插件应答了并未发起的调用。"),
    FaultKind.FOREIGN_HANDLE: _security(
        "The plugin showed a handle that is not its own.", "插件出示了不属于自己的句柄。"
    ),
    FaultKind.UNSOLICITED: _security("The plugin spoke without being asked.", "插件在未被调用时发送数据。"),
    FaultKind.TAMPERED: _security("The plugin's files are not those that were published.", "插件文件与发布时不一致。"),
}


WORDS_REMOTE: Final[Mapping[FaultKind, Words]] = {
    FaultKind.LOAD: _words(
        "critical",
        "The publisher's server could not be reached.",
        "无法连接发布者的服务器。",
        next_en="Look at [remote] endpoint in plugin.toml: its name, its certificate, and whether it listens.",
        next_zh="请检查 plugin.toml 中 [remote] endpoint 的域名、证书以及服务是否在监听。",
    ),
    FaultKind.DIED: _words(
        "warning",
        "The publisher's server hung up in the middle of a call.",
        "发布者的服务器在调用中断开连接。",
        next_en="Look into the server's log at the sample call's webhook-id.",
        next_zh="请在服务器日志中查找示例调用的 webhook-id。",
    ),
    FaultKind.EXCEPTION: _words(
        "warning",
        "The publisher's server answered with an error, or refused the signature.",
        "发布者的服务器返回错误，或拒绝了签名。",
        next_en="Look into the server's log at the sample call's webhook-id; compare the signing secret.",
        next_zh="请在服务器日志中查找示例调用的 webhook-id，并核对签名密钥。",
    ),
}
"""Where a remote plugin's fault is told otherwise."""


class FaultDesk:
    """A `contracts.runtime.FaultListener` and a `listening.AnswerListener`. Never waits, never fails."""

    def __init__(self, problems: ProblemBook, quarantines: Quarantines) -> None:
        self._problems = problems
        self._quarantines = quarantines

    def heard(self, plugin_id: str, version: str, fault: Fault, /) -> None:
        """A fault outside any call."""
        self._take(plugin_id, version, fault)

    def answered(self, answers: Sequence[Answer], merchant_id: str, /) -> None:
        """The faults among the answers of one asking."""
        for answer in answers:
            if answer.fault is not None:
                self._take(
                    answer.plugin_id,
                    answer.version,
                    answer.fault,
                    words=(WORDS_REMOTE if answer.tier == "remote" else WORDS).get(answer.fault.kind),
                    merchant_id=merchant_id,
                    hook=answer.hook,
                    call_id=answer.call_id or None,
                )

    def _take(
        self,
        plugin_id: str,
        version: str,
        fault: Fault,
        *,
        words: Words | None = None,
        merchant_id: str | None = None,
        hook: str | None = None,
        call_id: str | None = None,
    ) -> None:
        words = words or WORDS[fault.kind]
        if fault.is_security:
            self._quarantines.fault(plugin_id, version, fault, merchant_id=merchant_id, call_id=call_id)
        self._problems.note(
            Noted(
                plugin_id=plugin_id,
                plugin_version=version,
                merchant_id=None if fault.is_security else merchant_id,
                kind=str(fault.kind),
                key=f"{version}/{hook or '-'}",
                severity=words.severity,
                message=_message(words, fault),
                hint=words.hint,
                hook=hook,
                docs=DOCS,
                call_id=call_id,
            )
        )


_ERROR_TYPE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,79}", re.ASCII)


def _message(words: Words, fault: Fault) -> Text:
    """What happened; of an exception also its type. Its words stay out: they may name a customer."""
    name = fault.detail.partition(":")[0]
    if fault.kind is not FaultKind.EXCEPTION or not _ERROR_TYPE.fullmatch(name):
        return words.message
    return Text(en=f"The plugin raised {name}.", zh=f"插件抛出 {name}。")
