"""What disputes refuse, in words."""

from platform_core.kernel.errors import declare
from platform_core.kernel.i18n import Text

DISPUTE_OVER = declare(
    "payments.dispute_over",
    status=409,
    title=Text(en="The dispute is over", zh="争议已结束"),
    detail=Text(
        en="{act} is not possible: dispute {dispute_id} is {state}; wanted is opened or evidence_sent.",
        zh="无法执行 {act}：争议 {dispute_id} 状态为 {state}，须为 opened 或 evidence_sent。",
    ),
    hint=Text(en="See GET /v1/disputes/{dispute_id}.", zh="请查询 GET /v1/disputes/{dispute_id}。"),
)
EVIDENCE_LATE = declare(
    "payments.evidence_late",
    status=409,
    title=Text(en="Too late for evidence", zh="举证期限已过"),
    detail=Text(
        en="Evidence for dispute {dispute_id} was taken until {due_at}.",
        zh="争议 {dispute_id} 的举证截止时间为 {due_at}。",
    ),
    hint=Text(en="Wait for the decision, or accept the dispute.", zh="请等待裁决，或接受该争议。"),
)
EVIDENCE_FULL = declare(
    "payments.evidence_full",
    status=409,
    title=Text(en="Too many documents", zh="举证材料过多"),
    detail=Text(
        en="A dispute takes {max} documents; {dispute_id} has {count} and {more} more came.",
        zh="每个争议最多 {max} 份材料；{dispute_id} 已有 {count} 份，本次又提交 {more} 份。",
    ),
    hint=Text(en="Put pages together in one PDF.", zh="请将多页合并为一个 PDF。"),
)
EVIDENCE_TYPE = declare(
    "payments.evidence_type",
    status=422,
    title=Text(en="This document cannot be taken", zh="不支持的材料格式"),
    detail=Text(
        en="The file {name} does not begin as JPEG, PNG or PDF does.",
        zh="文件 {name} 的内容不是 JPEG、PNG 或 PDF。",
    ),
    hint=Text(en="Send JPEG, PNG or PDF; the name does not count.", zh="请提交 JPEG、PNG 或 PDF，文件名不作为依据。"),
)
EVIDENCE_TOO_LARGE = declare(
    "payments.evidence_too_large",
    status=413,
    title=Text(en="The document is too large", zh="材料过大"),
    detail=Text(
        en="The file {name} has {size} bytes; one has at most {max}.",
        zh="文件 {name} 为 {size} 字节，单个文件最多 {max} 字节。",
    ),
)
EVIDENCE_MALFORMED = declare(
    "payments.evidence_malformed",
    status=400,
    title=Text(en="The form cannot be read", zh="表单无法解析"),
    detail=Text(en="{why}.", zh="{why}。"),
    hint=Text(
        en="Send multipart/form-data with one to ten parts named file, each with a file name.",
        zh="请使用 multipart/form-data，包含一至十个名为 file 且带文件名的部分。",
    ),
)
EVIDENCE_MEDIA_TYPE = declare(
    "payments.evidence_media_type",
    status=415,
    title=Text(en="A form with files is wanted", zh="须提交文件表单"),
    detail=Text(en="This address reads multipart/form-data.", zh="该地址只接受 multipart/form-data。"),
)
