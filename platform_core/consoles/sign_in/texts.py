"""Words of the sign-in pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from platform_core.identity.models_people import Console
from platform_core.kernel.i18n import Text

CONSOLES: Final[Mapping[Console, Text]] = {
    "admin": Text(en="Operator console", zh="运营控制台"),
    "merchant": Text(en="Merchant console", zh="商户控制台"),
    "isv": Text(en="Developer console", zh="开发者控制台"),
}

TEXTS: Final[Mapping[str, Text]] = {
    "sign_in_title": Text(en="Sign in", zh="登录"),
    "email": Text(en="E-mail address", zh="邮箱"),
    "password": Text(en="Password", zh="密码"),
    "sign_in": Text(en="Sign in", zh="登录"),
    "forgotten": Text(en="Forgotten your password?", zh="忘记密码？"),
    "second_title": Text(en="Second factor", zh="双因素验证"),
    "second_lead": Text(
        en="Type the six digits that your authenticator shows now.", zh="请输入身份验证器当前显示的六位数字。"
    ),
    "code": Text(en="Code", zh="验证码"),
    "code_help": Text(
        en="Lost it? Type one of your recovery codes instead. Each works once.",
        zh="无法使用验证器？可输入一个恢复码，每个恢复码只能使用一次。",
    ),
    "go_on": Text(en="Continue", zh="继续"),
    "step_up_title": Text(en="Confirm that it is you", zh="请确认是您本人"),
    "step_up_lead": Text(
        en="What you are about to do needs a fresh code of your authenticator. You then return to where you were.",
        zh="该操作需要身份验证器的最新验证码。验证后将返回原页面。",
    ),
    "step_up_none": Text(
        en="This needs an authenticator, and your account has none yet.", zh="该操作需要身份验证器，您的账户尚未设置。"
    ),
    "set_up": Text(en="Set up an authenticator", zh="设置身份验证器"),
    "enrol_title": Text(en="Set up an authenticator", zh="设置身份验证器"),
    "enrol_lead": Text(
        en="Your role needs a second factor. Scan the picture with an authenticator app, then type the code it shows.",
        zh="您的角色需要双因素验证。请用身份验证器应用扫描图片，并输入其显示的验证码。",
    ),
    "enrol_picture": Text(en="QR code for your authenticator", zh="身份验证器二维码"),
    "enrol_key": Text(en="Or type this key into the app", zh="或在应用中手动输入密钥"),
    "codes_title": Text(en="Keep your recovery codes", zh="请保存恢复码"),
    "codes_lead": Text(
        en="Each of these opens your account once if the authenticator is lost. They are not shown again.",
        zh="身份验证器丢失时，每个恢复码可登录一次。此页面不会再次显示。",
    ),
    "codes_kept": Text(en="I have kept them", zh="我已保存"),
    "party_title": Text(en="For whom do you act?", zh="请选择要代表的主体"),
    "party_lead": Text(en="You can change this later.", zh="之后可以更改。"),
    "party_none": Text(
        en="Your account has no place at this console. Ask whoever runs it to invite you.",
        zh="您的账户在该控制台没有任何角色，请联系负责人邀请您。",
    ),
    "test": Text(en="Test", zh="测试"),
    "recovery_title": Text(en="Recover your account", zh="找回账户"),
    "recovery_lead": Text(
        en="We send a link to the address if an account has it. The link works once, for 30 minutes.",
        zh="如果该邮箱已注册，我们会发送找回链接。链接仅可使用一次，30 分钟内有效。",
    ),
    "recovery_ask": Text(en="Send the link", zh="发送链接"),
    "recovery_sent_title": Text(en="Look into your mailbox", zh="请查收邮件"),
    "recovery_sent": Text(
        en="If an account has this address, a link is on its way. You can close this page.",
        zh="如果该邮箱已注册，链接正在发送中。您可以关闭此页面。",
    ),
    "new_password_title": Text(en="Choose a new password", zh="设置新密码"),
    "new_password_lead": Text(
        en="This ends all your sessions. Your authenticator stays as it is.",
        zh="此操作将结束您的所有会话，身份验证器保持不变。",
    ),
    "new_password": Text(en="New password", zh="新密码"),
    "password_help": Text(
        en="12 to 128 characters; a sentence is a good one.", zh="12 至 128 个字符，推荐使用一句话。"
    ),
    "save": Text(en="Save", zh="保存"),
    "invitation_title": Text(en="Join {party}", zh="加入{party}"),
    "invitation_lead": Text(en="{email} is invited as: {roles}.", zh="{email} 受邀担任：{roles}。"),
    "invitation_known": Text(
        en="This address signs in already. Accept, then sign in as usual.",
        zh="该邮箱已有账户。接受后请照常登录。",
    ),
    "invitation_accept": Text(en="Accept", zh="接受邀请"),
    "your_name": Text(en="Your name", zh="姓名"),
    "account_title": Text(en="Your account", zh="我的账户"),
    "acting_for": Text(en="You act for {party}.", zh="当前代表：{party}。"),
    "change_party": Text(en="Act for somebody else", zh="切换主体"),
    "sessions": Text(en="Your sessions", zh="登录会话"),
    "session_here": Text(en="this one", zh="当前"),
    "session_seen": Text(en="last used {when} UTC, from {address}", zh="最近使用：{when} UTC，来自 {address}"),
    "session_end": Text(en="End", zh="结束"),
    "session_end_all": Text(en="End all and sign out", zh="全部结束并退出"),
    "back": Text(en="Back to sign-in", zh="返回登录"),
}
