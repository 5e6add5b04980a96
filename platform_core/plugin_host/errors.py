"""What the life cycle of plugins refuses, in both languages."""

from __future__ import annotations

from typing import Final

from platform_core.kernel.errors import declare
from platform_core.kernel.i18n import Text

_SEE_RELEASE: Final = Text(en="See GET /v1/plugins/{plugin_id}.", zh="请查看 GET /v1/plugins/{plugin_id}。")

PLUGIN_NOT_FOUND: Final = declare(
    "plugins.not_found",
    status=404,
    title=Text(en="There is no such plugin", zh="插件不存在"),
    detail=Text(en="No published plugin has the id {plugin_id}.", zh="没有已发布的插件 {plugin_id}。"),
    hint=Text(en="See GET /v1/plugins.", zh="请查看 GET /v1/plugins。"),
)
RELEASE_NOT_FOUND: Final = declare(
    "plugins.release_not_found",
    status=404,
    title=Text(en="There is no such release", zh="版本不存在"),
    detail=Text(en="There is no release {release}.", zh="不存在版本 {release}。"),
)
RELEASE_EXISTS: Final = declare(
    "plugins.release_exists",
    status=409,
    title=Text(en="The version exists already", zh="该版本已存在"),
    detail=Text(
        en="{plugin_id} {version} was submitted before and is {state}; a version never changes.",
        zh="{plugin_id} {version} 已提交，状态为 {state}；版本内容不可更改。",
    ),
    hint=Text(en="Raise the version in plugin.toml and submit again.", zh="请提高 plugin.toml 中的版本号后重新提交。"),
)
RELEASE_STATE: Final = declare(
    "plugins.release_state",
    status=409,
    title=Text(en="The release is in another state", zh="版本状态不符"),
    detail=Text(
        en="The release {release} is {state}; this needs one of: {needed}.",
        zh="版本 {release} 的状态为 {state}；此操作要求：{needed}。",
    ),
)
MANIFEST_REFUSED: Final = declare(
    "plugins.manifest_refused",
    status=422,
    title=Text(en="The manifest cannot be taken", zh="清单不被接受"),
    detail=Text(en="plugin.toml: {reason}.", zh="plugin.toml：{reason}。"),
    hint=Text(en="Run arsenal plugin check, which applies the same rules.", zh="请运行 arsenal plugin check。"),
)
SCHEMA_REFUSED: Final = declare(
    "plugins.schema_refused",
    status=422,
    title=Text(en="The configuration schema cannot be taken", zh="配置模式不被接受"),
    detail=Text(en="At {where}: {found} {next_step}", zh="配置模式的 {where} 处：{found} {next_step}"),
    hint=Text(en="See the subset in the guide operate-plugins.", zh="请参阅 operate-plugins 指南中的子集说明。"),
)
CHECK_FAILED: Final = declare(
    "plugins.check_failed",
    status=422,
    title=Text(en="The automated review failed", zh="自动审核未通过"),
    detail=Text(en="{count} rule(s) failed: {rules}.", zh="{count} 条规则未通过：{rules}。"),
    hint=Text(en="Run arsenal plugin check and correct what it names.", zh="请运行 arsenal plugin check 并修正。"),
)
BUNDLE_REFUSED: Final = declare(
    "plugins.bundle_refused",
    status=422,
    title=Text(en="The bundle cannot be unpacked", zh="安装包无法解开"),
    detail=Text(en="The bundle was refused: {reason}.", zh="安装包被拒绝：{reason}。"),
    hint=Text(en="Make it with arsenal plugin pack.", zh="请使用 arsenal plugin pack 打包。"),
)
PUBLISHER_REFUSED: Final = declare(
    "plugins.publisher_refused",
    status=403,
    title=Text(en="This is not your plugin", zh="无权提交该插件"),
    detail=Text(
        en="{plugin_id} names another publisher than the one that submits, or belongs to one.",
        zh="{plugin_id} 的发布者与提交者不一致。",
    ),
    hint=Text(en="Set plugin.publisher to your own ISV's id.", zh="请将 plugin.publisher 设为您的 ISV 编号。"),
)
REVIEWER_REFUSED: Final = declare(
    "plugins.reviewer_refused",
    status=403,
    title=Text(en="Somebody else must review this", zh="须由他人审核"),
    detail=Text(
        en="A reviewer decides once a round, and not about a release of their own.",
        zh="每轮审核每人仅能决定一次，且不得审核自己的版本。",
    ),
)
INSTALLATION_NOT_FOUND: Final = declare(
    "plugins.installation_not_found",
    status=404,
    title=Text(en="There is no such installation", zh="安装不存在"),
    detail=Text(en="There is no installation {installation_id}.", zh="不存在安装 {installation_id}。"),
)
ALREADY_INSTALLED: Final = declare(
    "plugins.already_installed",
    status=409,
    title=Text(en="The plugin is installed already", zh="插件已安装"),
    detail=Text(en="{plugin_id} is installed as {installation_id}.", zh="{plugin_id} 已安装：{installation_id}。"),
    hint=Text(en="Upgrade it, or remove it first.", zh="请升级，或先移除。"),
)
INSTALLATION_STATE: Final = declare(
    "plugins.installation_state",
    status=409,
    title=Text(en="The installation is in another state", zh="安装状态不符"),
    detail=Text(en="{installation_id} is {state}.", zh="{installation_id} 的状态为 {state}。"),
)
CONSENT_REFUSED: Final = declare(
    "plugins.consent_refused",
    status=422,
    title=Text(en="The consent does not fit the plugin", zh="授权与插件不符"),
    detail=Text(en="{reason}.", zh="{reason}。"),
    hint=_SEE_RELEASE,
)
CONSENT_NEEDED: Final = declare(
    "plugins.consent_needed",
    status=409,
    title=Text(en="The version asks for more", zh="新版本要求更多权限"),
    detail=Text(
        en="{plugin_id} {version} asks for more than was agreed; see difference.",
        zh="{plugin_id} {version} 的权限范围有所扩大，详见 difference。",
    ),
    hint=Text(
        en="Show the difference, then repeat with its digest in accepted_difference.",
        zh="请展示差异，并将其摘要填入 accepted_difference 后重试。",
    ),
)
NOT_READY: Final = declare(
    "plugins.not_ready",
    status=409,
    title=Text(en="Something is missing before it can run", zh="启用条件不足"),
    detail=Text(en="{plugin_id} cannot run yet: {missing}.", zh="{plugin_id} 尚不能运行：{missing}。"),
)
PLUGIN_SUSPENDED: Final = declare(
    "plugins.suspended",
    status=409,
    title=Text(en="The plugin is suspended", zh="插件已被暂停"),
    detail=Text(
        en="{plugin_id} is suspended under the rule {rule}: {reason}", zh="{plugin_id} 因规则 {rule} 被暂停：{reason}"
    ),
)
CONFIG_INVALID: Final = declare(
    "plugins.config_invalid",
    status=422,
    title=Text(en="The configuration is not valid", zh="配置无效"),
    detail=Text(
        en="{count} place(s) do not fit the schema of {plugin_id} {version}; see errors.",
        zh="有 {count} 处不符合 {plugin_id} {version} 的配置模式，详见 errors。",
    ),
)
CONFIG_BREAKS: Final = declare(
    "plugins.config_breaks",
    status=409,
    title=Text(en="The stored configuration does not fit the version", zh="现有配置与该版本不兼容"),
    detail=Text(
        en="The configuration of {installation_id} is not valid under {version}; see errors.",
        zh="{installation_id} 的配置不符合版本 {version}，详见 errors。",
    ),
    hint=Text(
        en="Change the configuration so that it fits both versions, then repeat.",
        zh="请修改配置使其符合两个版本后重试。",
    ),
)
CONFIG_TOO_LARGE: Final = declare(
    "plugins.config_too_large",
    status=422,
    title=Text(en="The configuration is too large", zh="配置过大"),
    detail=Text(en="A configuration has at most {limit} bytes.", zh="配置最多 {limit} 字节。"),
)
NOTHING_BEFORE: Final = declare(
    "plugins.nothing_before",
    status=409,
    title=Text(en="There is no version to go back to", zh="没有可回退的版本"),
    detail=Text(en="{installation_id} has run no other version.", zh="{installation_id} 未运行过其他版本。"),
)
SECRET_UNKNOWN: Final = declare(
    "plugins.secret_unknown",
    status=404,
    title=Text(en="The plugin has no such secret", zh="插件没有该密钥"),
    detail=Text(en="{plugin_id} declares no secret {name}.", zh="{plugin_id} 未声明密钥 {name}。"),
    hint=_SEE_RELEASE,
)
SECRET_REFUSED: Final = declare(
    "plugins.secret_refused",
    status=422,
    title=Text(en="The secret cannot be used", zh="密钥不可用"),
    detail=Text(en="A secret of the kind {kind} {reason}.", zh="{kind} 类型的密钥：{reason}。"),
)
SWITCH_NOT_FOUND: Final = declare(
    "plugins.switch_not_found",
    status=404,
    title=Text(en="There is no such switch", zh="开关不存在"),
    detail=Text(en="There is no switch {switch_id}.", zh="不存在开关 {switch_id}。"),
)
SWITCH_REFUSED: Final = declare(
    "plugins.switch_refused",
    status=422,
    title=Text(en="The switch cannot be pulled like this", zh="开关操作不被接受"),
    detail=Text(en="{reason}.", zh="{reason}。"),
)
SWITCH_LIFTED: Final = declare(
    "plugins.switch_lifted",
    status=409,
    title=Text(en="The switch is lifted already", zh="开关已解除"),
    detail=Text(en="{switch_id} was lifted before.", zh="{switch_id} 此前已解除。"),
)
SECOND_PERSON_NEEDED: Final = declare(
    "plugins.second_person_needed",
    status=403,
    title=Text(en="Another person must agree", zh="须由另一人确认"),
    detail=Text(
        en="{switch_id} was proposed to be lifted by the same person; two lift it together.",
        zh="{switch_id} 的解除由同一人提出；须两人共同解除。",
    ),
)
ROLLOUT_RUNNING: Final = declare(
    "plugins.rollout_running",
    status=409,
    title=Text(en="A rollout is under way", zh="灰度发布进行中"),
    detail=Text(en="{plugin_id} is being rolled out as {rollout_id}.", zh="{plugin_id} 正在灰度发布：{rollout_id}。"),
    hint=Text(en="Wait for its end, or halt it.", zh="请等待其完成，或先中止。"),
)
CHANGED_MEANWHILE: Final = declare(
    "plugins.changed_meanwhile",
    status=409,
    is_retryable=True,
    title=Text(en="It was changed meanwhile", zh="对象已被更改"),
    detail=Text(en="{id} was changed by somebody else at this moment.", zh="{id} 刚刚被他人更改。"),
    hint=Text(en="Read it again and decide anew.", zh="请重新读取后再决定。"),
)
DELIVERY_NOT_FOUND: Final = declare(
    "plugins.delivery_not_found",
    status=404,
    title=Text(en="There is no such delivery", zh="投递不存在"),
    detail=Text(en="There is no delivery {delivery_id}.", zh="不存在投递 {delivery_id}。"),
)
DELIVERY_STATE: Final = declare(
    "plugins.delivery_state",
    status=409,
    title=Text(en="The delivery needs no resend", zh="该投递无需重发"),
    detail=Text(
        en="{delivery_id} is {state}; only what has ended is sent again.",
        zh="{delivery_id} 的状态为 {state}；仅已结束的投递可以重发。",
    ),
)
ENABLEMENT_UNREADABLE: Final = declare(
    "plugins.enablement_unreadable",
    status=503,
    is_retryable=True,
    title=Text(en="It cannot be said which plugins are enabled", zh="无法读取已启用的插件"),
    detail=Text(en="The enabled plugins could not be read in time.", zh="未能及时读取已启用的插件。"),
)
NOT_REMOTE: Final = declare(
    "plugins.not_remote",
    status=409,
    title=Text(en="The plugin does not run on its publisher's server", zh="插件不在发布者的服务器上运行"),
    detail=Text(en="{plugin_id} has no release with runtime remote.", zh="{plugin_id} 没有 runtime 为 remote 的版本。"),
    hint=Text(
        en='Submit a plugin.toml with runtime = "remote" and [remote]; a wheel is sent to /v1/plugin-bundles.',
        zh='请提交 runtime = "remote" 并含 [remote] 的 plugin.toml；wheel 请发送至 /v1/plugin-bundles。',
    ),
)
SIGNING_SECRET_NEEDED: Final = declare(
    "plugins.signing_secret_needed",
    status=409,
    title=Text(en="The plugin has no signing secret", zh="插件没有签名密钥"),
    detail=Text(
        en="Requests to {plugin_id} are signed, and its server has no secret to check them with.",
        zh="发往 {plugin_id} 的请求须签名，而其服务器还没有用于验证的密钥。",
    ),
    hint=Text(
        en="Call POST /v1/plugin-signing-secrets/{plugin_id}, keep what it shows, and publish again.",
        zh="请调用 POST /v1/plugin-signing-secrets/{plugin_id}，保存其返回的密钥后再发布。",
    ),
)
BLOB_INVALID: Final = declare(
    "plugins.blob_invalid",
    status=422,
    title=Text(en="A blob is not base64", zh="二进制内容不是有效的 base64"),
    detail=Text(
        en="What stands in blobs is standard base64 with padding (RFC 4648 section 4).",
        zh="blobs 须为带填充的标准 base64（RFC 4648 第 4 节）。",
    ),
    hint=Text(en="Encode the bytes and send it again.", zh="请重新编码后再发送。"),
)
DEV_MERCHANT_LIVE: Final = declare(
    "plugins.dev_merchant_live",
    status=409,
    title=Text(en="The merchant's orders are real", zh="该商户为正式商户"),
    detail=Text(
        en="A draft runs at merchants in test mode alone, and {merchant_id} is live.",
        zh="草稿版本只能在测试模式的商户运行，{merchant_id} 为正式商户。",
    ),
    hint=Text(
        en="Create one: arsenal merchant create --name Trial --industry retail.",
        zh="请创建测试商户：arsenal merchant create --name Trial --industry retail。",
    ),
)
DEV_SESSION_HELD: Final = declare(
    "plugins.dev_session_held",
    status=409,
    title=Text(en="Somebody develops this plugin here", zh="已有人在此开发该插件"),
    detail=Text(
        en="{by} develops {plugin_id} at this merchant; one session at a time.",
        zh="{by} 正在此商户开发 {plugin_id}；同一时间只能有一个会话。",
    ),
    hint=Text(
        en="End the other one, wait a minute, or name another merchant.",
        zh="请结束另一会话、等待一分钟，或换用其他商户。",
    ),
)
DEV_VERSION_QUARANTINED: Final = declare(
    "plugins.dev_version_quarantined",
    status=409,
    title=Text(en="The version is in quarantine", zh="该版本处于隔离状态"),
    detail=Text(
        en="{plugin_id} {version} is in quarantine; a draft of it does not run either.",
        zh="{plugin_id} {version} 处于隔离状态，其草稿同样不能运行。",
    ),
    hint=Text(en="Mend it under a new version in plugin.toml.", zh="请修复并提高 plugin.toml 中的版本号。"),
)
BUNDLE_TOO_LARGE: Final = declare(
    "plugins.bundle_too_large",
    status=413,
    title=Text(en="The bundle is too large", zh="安装包过大"),
    detail=Text(en="A bundle holds at most {limit} bytes.", zh="安装包不得超过 {limit} 字节。"),
    hint=Text(en="Leave out what the plugin does not need.", zh="请去除插件不需要的内容。"),
)
UPLOAD_DIFFERS: Final = declare(
    "plugins.upload_differs",
    status=422,
    title=Text(en="What arrived is not what was announced", zh="收到的内容与声明不符"),
    detail=Text(
        en="The SHA-256 of the body is {digest}, and the address names another.",
        zh="请求体的 SHA-256 为 {digest}，与地址所示不同。",
    ),
    hint=Text(en="Send it again, to the address of its own hash.", zh="请按其自身哈希的地址重新发送。"),
)
UPLOAD_MEDIA_TYPE: Final = declare(
    "plugins.upload_media_type",
    status=415,
    title=Text(en="The media type is not supported", zh="不支持的内容类型"),
    detail=Text(en="A bundle is sent as application/zip, not encoded.", zh="安装包须以 application/zip 发送且不编码。"),
    hint=Text(en="Send Content-Type: application/zip.", zh="请设置 Content-Type: application/zip。"),
)
UPLOADS_EXCEEDED: Final = declare(
    "plugins.uploads_exceeded",
    status=429,
    is_retryable=True,
    title=Text(en="Too many uploads", zh="上传过于频繁"),
    detail=Text(en="A publisher may send {max} bundles an hour.", zh="发布者每小时最多上传 {max} 个安装包。"),
    hint=Text(en="Come again after the time in Retry-After.", zh="请在 Retry-After 所示时间后重试。"),
)
UPLOADS_NOT_KEPT: Final = declare(
    "plugins.uploads_not_kept",
    status=503,
    title=Text(en="This installation takes no bundles", zh="本系统不接收安装包"),
    detail=Text(en="The process has no folder for bundles.", zh="该进程没有存放安装包的目录。"),
    hint=Text(en="Run arsenal doctor.", zh="请运行 arsenal doctor。"),
)
