"""What signing in and the administration of people refuse, in both languages."""

from __future__ import annotations

from platform_core.kernel.errors import declare
from platform_core.kernel.i18n import Text

SIGN_IN_REQUIRED = declare(
    "identity.sign_in_required",
    status=401,
    title=Text(en="Please sign in", zh="请先登录"),
    detail=Text(en="This page needs a session of its console.", zh="访问此页面需要对应控制台的登录会话。"),
    hint=Text(en="Sign in, then come back.", zh="请登录后返回。"),
)
SIGN_IN_REFUSED = declare(
    "identity.sign_in_refused",
    status=401,
    title=Text(en="Signing in did not succeed", zh="登录未成功"),
    detail=Text(en="E-mail address or password is not right.", zh="邮箱或密码不正确。"),
    hint=Text(en="Check both, or ask for a recovery link.", zh="请检查后重试，或申请找回链接。"),
)
SECOND_FACTOR_REFUSED = declare(
    "identity.second_factor_refused",
    status=401,
    title=Text(en="The code is not right", zh="验证码不正确"),
    detail=Text(en="The code is wrong, too old, or was used before.", zh="验证码错误、已过期，或已使用过。"),
    hint=Text(en="Wait for the next code and type that.", zh="请等待下一个验证码后重新输入。"),
)
SIGN_IN_SLOWED = declare(
    "identity.sign_in_slowed",
    status=429,
    is_retryable=True,
    title=Text(en="Too many tries", zh="尝试次数过多"),
    detail=Text(
        en="There were too many tries that failed; the next one is looked at in {wait_s} seconds.",
        zh="失败次数过多，请在 {wait_s} 秒后重试。",
    ),
    hint=Text(en="Wait, then try again. Nothing is locked for good.", zh="请稍候再试，账户不会被永久锁定。"),
)
SIGN_IN_BUSY = declare(
    "identity.sign_in_busy",
    status=503,
    is_retryable=True,
    title=Text(en="Too many people sign in at once", zh="当前登录人数过多"),
    detail=Text(en="The queue of passwords to check is full.", zh="密码校验队列已满。"),
    hint=Text(en="Try again after the time in Retry-After.", zh="请在 Retry-After 所示时间后重试。"),
)
STEP_UP_REQUIRED = declare(
    "identity.step_up_required",
    status=401,
    title=Text(en="Confirm that it is you", zh="请确认是您本人操作"),
    detail=Text(
        en="This act needs a second factor given within the last {max_age_s} seconds.",
        zh="此操作要求在最近 {max_age_s} 秒内通过双因素验证。",
    ),
    hint=Text(en="Give a code of your authenticator, then repeat the act.", zh="请输入身份验证器中的验证码后重试。"),
)
CSRF_REFUSED = declare(
    "identity.csrf_refused",
    status=403,
    title=Text(en="The request did not come from our page", zh="请求并非来自本平台页面"),
    detail=Text(
        en="Origin, Sec-Fetch-Site or the form's token do not show that our own page sent this request.",
        zh="Origin、Sec-Fetch-Site 或表单令牌无法证明该请求由本平台页面发出。",
    ),
    hint=Text(en="Open the page anew and repeat the act there.", zh="请重新打开页面后再操作。"),
)
CONSOLE_UNCLEAR = declare(
    "identity.console_unclear",
    status=401,
    title=Text(en="Which console acts is not clear", zh="无法确定操作的控制台"),
    detail=Text(en="The request carries sessions of several consoles.", zh="请求携带了多个控制台的会话。"),
    hint=Text(
        en="Name one in the header Arsenal-Console: admin, merchant or isv.",
        zh="请通过请求头 Arsenal-Console 指定：admin、merchant 或 isv。",
    ),
)
PASSWORD_REFUSED = declare(
    "identity.password_refused",
    status=422,
    title=Text(en="The password cannot be used", zh="该密码不可用"),
    detail=Text(en="{reason}", zh="{reason}"),
)
LINK_INVALID = declare(
    "identity.link_invalid",
    status=404,
    title=Text(en="The link does not lead anywhere", zh="链接无效"),
    detail=Text(en="The link is wrong, too old, or was used before.", zh="链接错误、已过期，或已使用过。"),
    hint=Text(en="Ask for a new one.", zh="请重新申请。"),
)
ENROLMENT_STALE = declare(
    "identity.enrolment_stale",
    status=409,
    title=Text(en="The authenticator is set up already", zh="身份验证器已设置"),
    detail=Text(
        en="This account has an authenticator, or the page was open for too long.",
        zh="该账户已设置身份验证器，或页面停留时间过长。",
    ),
    hint=Text(en="Open the page anew.", zh="请重新打开页面。"),
)
STAFF_NOT_FOUND = declare(
    "identity.staff_not_found",
    status=404,
    title=Text(en="No such staff", zh="人员不存在"),
    detail=Text(en="There is no staff {staff_id}.", zh="人员 {staff_id} 不存在。"),
)
STAFF_REFUSED = declare(
    "identity.staff_refused",
    status=422,
    title=Text(en="The roles cannot be given", zh="无法授予该角色"),
    detail=Text(en="{reason}", zh="{reason}"),
)
STAFF_EXISTS = declare(
    "identity.staff_exists",
    status=409,
    title=Text(en="The address is on the staff or invited already", zh="该邮箱已是成员或已被邀请"),
    detail=Text(en="{id} stands for this address already.", zh="{id} 已对应该邮箱。"),
    hint=Text(en="Change or remove {id}.", zh="请修改或移除 {id}。"),
)
LAST_OWNER = declare(
    "identity.last_owner",
    status=409,
    title=Text(en="Somebody must stay in charge", zh="必须保留负责人"),
    detail=Text(en="This is the last person with the role {role}.", zh="这是最后一位拥有角色 {role} 的人员。"),
    hint=Text(en="Give the role to somebody else first.", zh="请先将该角色授予他人。"),
)
VERIFICATION_STATE = declare(
    "identity.verification_state",
    status=409,
    title=Text(en="Verification cannot go there", zh="认证状态不允许该变更"),
    detail=Text(en="Verification {before} does not become {after}.", zh="认证状态 {before} 不能变为 {after}。"),
)
APP_NOT_FOUND = declare(
    "identity.app_not_found",
    status=404,
    title=Text(en="No such app", zh="应用不存在"),
    detail=Text(en="There is no app {app_id}.", zh="应用 {app_id} 不存在。"),
)
SECRET_NOT_FOUND = declare(
    "identity.secret_not_found",
    status=404,
    title=Text(en="No such secret", zh="密钥不存在"),
    detail=Text(en="There is no live secret {secret_id}.", zh="不存在有效密钥 {secret_id}。"),
)
PAYOUT_DESTINATION_NOT_FOUND = declare(
    "identity.payout_destination_not_found",
    status=404,
    title=Text(en="No such payout destination", zh="提现账户不存在"),
    detail=Text(en="There is no payout destination {destination_id}.", zh="提现账户 {destination_id} 不存在。"),
)
SECOND_PERSON_NEEDED = declare(
    "identity.second_person_needed",
    status=403,
    title=Text(en="A second person must decide", zh="须由另一人确认"),
    detail=Text(en="Whoever proposed this cannot decide on it.", zh="提出变更的人不能自行确认。"),
    hint=Text(en="Ask another owner or administrator.", zh="请另一位所有者或管理员确认。"),
)
APP_REFUSED = declare(
    "identity.app_refused",
    status=422,
    title=Text(en="The app cannot be created", zh="无法创建应用"),
    detail=Text(en="The app was not made: {reason}", zh="应用未创建：{reason}"),
)
ALL_STORES_NEEDED = declare(
    "identity.all_stores_needed",
    status=403,
    title=Text(en="This needs every store", zh="此操作需要全部门店权限"),
    detail=Text(en="Whoever is bound to some stores cannot add one.", zh="权限限于部分门店者不能新增门店。"),
)
LICENCE_NOT_FOUND = declare(
    "identity.licence_not_found",
    status=404,
    title=Text(en="No such licence", zh="证照不存在"),
    detail=Text(en="Your business has no licence {licence_id}.", zh="贵商户没有证照 {licence_id}。"),
)
LICENCE_EXISTS = declare(
    "identity.licence_exists",
    status=409,
    title=Text(en="The licence is filed already", zh="证照已登记"),
    detail=Text(
        en="A licence of this kind and number is filed as {licence_id}.", zh="该类别及编号的证照已登记为 {licence_id}。"
    ),
    hint=Text(en="Change {licence_id} instead.", zh="请修改 {licence_id}。"),
)
LICENCE_REFUSED = declare(
    "identity.licence_refused",
    status=422,
    title=Text(en="The licence cannot be filed like this", zh="证照信息无效"),
    detail=Text(en="The licence was not filed: {reason}.", zh="证照未登记：{reason}。"),
)
