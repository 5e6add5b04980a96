"""What exports refuse."""

from __future__ import annotations

from platform_core.kernel.errors import declare
from platform_core.kernel.i18n import Text

EXPORTS_RUNNING = declare(
    "payments.exports_running",
    status=429,
    is_retryable=True,
    title=Text(en="Enough exports are running", zh="正在进行的导出过多"),
    detail=Text(
        en="{running} exports of this merchant are not finished yet.", zh="该商户有 {running} 个导出尚未完成。"
    ),
    hint=Text(
        en="Wait for one to finish, or cancel one: POST /v1/exports/[id]/cancel.",
        zh="请等待其完成，或取消其中一个：POST /v1/exports/[id]/cancel。",
    ),
)
RESOURCE_UNKNOWN = declare(
    "payments.export_resource_unknown",
    status=422,
    title=Text(en="This cannot be exported", zh="不支持导出该对象"),
    detail=Text(en="There are exports of: {resources}.", zh="可导出的对象：{resources}。"),
    hint=Text(en="Name one of them as resource.", zh="请在 resource 中填写其中之一。"),
)
FILTER_UNKNOWN = declare(
    "payments.export_filter_unknown",
    status=422,
    title=Text(en="No such filter", zh="筛选条件无效"),
    detail=Text(
        en="The filter {name} cannot be used with this value. {resource} know: {filters}.",
        zh="筛选条件 {name} 或其取值无效。{resource} 支持：{filters}。",
    ),
    hint=Text(
        en="Write moments as RFC 3339 with an offset, amounts as integers, everything else as text.",
        zh="时间须为带时区偏移的 RFC 3339 格式，金额为整数，其余为文本。",
    ),
)
EXPORT_NOT_READY = declare(
    "payments.export_not_ready",
    status=409,
    is_retryable=True,
    title=Text(en="The export is not ready", zh="导出尚未完成"),
    detail=Text(en="{export_id} is {state}.", zh="{export_id} 当前为 {state}。"),
    hint=Text(
        en="Read GET /v1/exports/{export_id} until it is ready.", zh="请查询 GET /v1/exports/{export_id} 直至完成。"
    ),
)
EXPORT_GONE = declare(
    "payments.export_gone",
    status=410,
    title=Text(en="The export's files are gone", zh="导出文件已不存在"),
    detail=Text(
        en="{export_id} is {state}; its files are no longer kept.", zh="{export_id} 为 {state}，文件已不再保留。"
    ),
    hint=Text(en="Begin another with POST /v1/exports.", zh="请通过 POST /v1/exports 重新导出。"),
)
EXPORT_TOO_LARGE = declare(
    "payments.export_too_large",
    status=422,
    title=Text(en="Too many rows", zh="行数过多"),
    detail=Text(en="An export has at most {rows} rows.", zh="单次导出最多 {rows} 行。"),
    hint=Text(
        en="Narrow it by created_from and created_to.",
        zh="请用 created_from 和 created_to 缩小范围。",
    ),
)
RANGE_UNSATISFIABLE = declare(
    "payments.range_unsatisfiable",
    status=416,
    title=Text(en="No such range", zh="范围无效"),
    detail=Text(en="The file has {size} bytes.", zh="文件大小为 {size} 字节。"),
    hint=Text(
        en="Ask for one range within it, such as bytes=0-1023.", zh="请请求文件内的单个范围，例如 bytes=0-1023。"
    ),
)
EXPORT_FAILED = declare(
    "payments.export_failed",
    status=500,
    title=Text(en="The export failed", zh="导出失败"),
    detail=Text(en="It was tried {tries} times in vain.", zh="已尝试 {tries} 次，均未成功。"),
    hint=Text(
        en="Begin another; if that fails too, tell the operator its id.",
        zh="请重新导出；若仍失败，请将编号告知平台运营方。",
    ),
)
NEEDS_ALL_STORES = declare(
    "payments.export_needs_all_stores",
    status=403,
    title=Text(en="Not for a token of some stores", zh="仅限部分门店的令牌不可导出"),
    detail=Text(en="{resource} belong to no store.", zh="{resource} 不属于任何门店。"),
    hint=Text(en="Use a token that covers every store.", zh="请使用覆盖全部门店的令牌。"),
)
