"""Releases that should be trusted and are not: their files have another hash than the operator's list names."""

from __future__ import annotations

from typing import Final

from platform_core.kernel.i18n import Text
from platform_core.plugin_host.allow_list import AllowList
from platform_core.plugin_host.installed import Release
from platform_core.plugin_host.problem_book import Noted

KIND: Final = "hash_not_allowed"
DOCS: Final = "explanation/plugin-gate.md"


def is_off_list(release: Release, allow_list: AllowList) -> bool:
    """Whether the list names its version with another hash: somebody expects it to run in the host's process."""
    plugin_id, version = release.key
    if release.tier == "remote" or allow_list.admits(plugin_id, version, release.tree_hash):
        return False
    return allow_list.names(plugin_id, version)


def noted_off_list(plugin_id: str, version: str, *, tree_hash: str) -> Noted:
    """What operator, publisher and merchants are told of it, or of one that the host's environment holds unlisted."""
    what = f"{plugin_id} {version}"
    return Noted(
        plugin_id=plugin_id,
        plugin_version=version,
        merchant_id=None,
        kind=KIND,
        key=f"{version}/{tree_hash[:16]}",
        severity="critical",
        message=Text(
            en=f"{what} is not on the list of trusted plugins with the hash of its files. It is not trusted.",
            zh=f"{what} 的文件哈希不在受信任插件清单中，不予信任。",
        ),
        hint=Text(
            en="Compare its files with what was reviewed; then list what `arsenal plugin hash` prints, or remove it.",
            zh="请将文件与已审核的内容比对，再把 `arsenal plugin hash` 的输出写入清单，或移除该插件。",
        ),
        docs=DOCS,
    )
