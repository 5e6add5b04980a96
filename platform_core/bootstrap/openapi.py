"""The OpenAPI document without a running server: for the reference pages and for generators of clients."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from platform_core.bootstrap.app import attach, create_app, document_of
from platform_core.bootstrap.platform import assemble
from platform_core.kernel.clock import SystemClock
from platform_core.kernel.database.pools import DatabaseUrls
from platform_core.kernel.ids import Ids
from platform_core.kernel.settings import Settings

_ANY_KEY = SecretStr("of no meaning: nothing is opened or signed")


def document() -> dict[str, Any]:  # Any: JSON
    """The document that `GET /openapi.json` serves. Opens nothing and writes nothing; the environment has no say."""
    settings = Settings.model_construct(
        **{name: field.default for name, field in Settings.model_fields.items()}
        | {"home": Path("/nonexistent"), "secrets_key": _ANY_KEY, "cursor_key": _ANY_KEY}
    )
    platform = assemble(settings, DatabaseUrls(owner="postgresql://nobody@nowhere/none"))
    app = create_app(nullcontext(platform), public_origin=settings.public_origin, ids=Ids(SystemClock()))
    attach(app, platform)
    return document_of(app)
