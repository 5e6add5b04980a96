"""A remote plugin's version as its publisher hands it in: a manifest, and no wheel."""

from __future__ import annotations

from hashlib import sha256

from platform_core.contracts.manifest_findings import ManifestRefused
from platform_core.contracts.manifest_rules import read
from platform_core.kernel.i18n import Text
from platform_core.plugin_host.errors import MANIFEST_REFUSED, NOT_REMOTE
from platform_core.plugin_host.host_deps import Finding, Unpacked


def remote_version(manifest: str, config_schema: str | None) -> Unpacked:
    """What there is to review. 422 `plugins.manifest_refused`, naming every fault; 409 `plugins.not_remote`.

    It has no files, so no tree hash; what stands for the bundle is SHA-256 over manifest and schema, each with a zero
    byte behind it.
    """
    try:
        declared = read(manifest)
    except ManifestRefused as refused:
        said = str(refused).replace("{", "(").replace("}", ")")[:2000]
        raise MANIFEST_REFUSED.error({"reason": Text(en=said, zh=said)}) from refused
    if declared.remote is None:
        raise NOT_REMOTE.error({"plugin_id": declared.plugin.id})
    hashed = sha256(b"\0".join((manifest.encode(), (config_schema or "").encode(), b""))).hexdigest()
    return Unpacked(
        manifest=manifest,
        config_schema=None if config_schema is None else config_schema.encode(),
        tree_hash="",
        bundle_hash=hashed,
        findings=(
            Finding("REV-001", "pass", "The manifest is whole."),
            Finding("REV-016", "needs_human", "It runs on its publisher's server, where nobody reviews its code."),
        ),
    )
