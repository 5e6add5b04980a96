"""Stages that are ended when their test is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.plugin_host.stage import Stages


@pytest.fixture
def stages() -> Iterator[Stages]:
    stages = Stages()
    yield stages
    stages.close()
