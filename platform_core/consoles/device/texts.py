"""The words of the page for devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from platform_core.kernel.i18n import Text

TEXTS: Final[Mapping[str, Text]] = {
    "title": Text(en="Connect a device", zh="连接设备"),
    "enter": Text(
        en="Enter the code that the cash register or other device shows.", zh="请输入收银机或其他设备上显示的代码。"
    ),
    "code": Text(en="Code", zh="代码"),
    "next": Text(en="Continue", zh="继续"),
    "compare": Text(
        en="Go on only if this code stands on your device now. Somebody who sent it to you would get the access.",
        zh="仅当您的设备正显示此代码时才继续；若代码由他人发来，权限将归对方所有。",
    ),
    "asks": Text(en="{app} asks to act for {merchant}.", zh="{app} 请求代表 {merchant} 进行操作。"),
    "publisher": Text(en="Published by", zh="发布者"),
    "may": Text(en="The device may then", zh="授权后设备可以"),
    "limits": Text(en="Within these limits", zh="限额"),
    "store": Text(en="The store that it stands in", zh="设备所在门店"),
    "no_stores": Text(en="There is no store that you could choose.", zh="没有可供选择的门店。"),
    "cannot": Text(en="You cannot allow this.", zh="您无法批准。"),
    "allow": Text(en="Allow", zh="允许"),
    "refuse": Text(en="Refuse", zh="拒绝"),
    "allowed_title": Text(en="The device is connected", zh="设备已连接"),
    "allowed": Text(en="It goes on by itself within a few seconds.", zh="设备将在几秒内自动继续。"),
    "refused_title": Text(en="The device was refused", zh="已拒绝该设备"),
    "refused": Text(en="It gets no access.", zh="该设备未获得任何权限。"),
}
