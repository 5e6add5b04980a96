"""Settings: what is read, what is refused, what is reported."""

from __future__ import annotations

import os

import pytest
from pydantic import ValidationError

from platform_core.kernel.settings import Settings, unknown_variables, variable_of

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith("ARSENAL_"):
            monkeypatch.delenv(name)


def test_the_defaults_are_the_embedded_platform() -> None:
    settings = Settings()
    assert (settings.database_url, settings.broker_url, str(settings.home)) == (None, None, ".arsenal")
    assert (settings.commit_batch_plans_max, settings.commit_queue_plans_max) == (128, 1024)


def test_the_environment_is_read_and_secrets_stay_covered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARSENAL_DATABASE_URL", "postgresql://owner:hunter2@db/arsenal")
    monkeypatch.setenv("ARSENAL_LOG_LEVEL", "debug")
    monkeypatch.setenv("ARSENAL_BROKER_URL", "")
    settings = Settings()
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == "postgresql://owner:hunter2@db/arsenal"
    assert (settings.log_level, settings.broker_url) == ("debug", None)
    assert "hunter2" not in repr(settings)
    with pytest.raises(ValidationError, match="frozen"):
        settings.log_level = "info"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ARSENAL_PUBLIC_ORIGIN", "https://pay.example/path"),
        ("ARSENAL_PUBLIC_ORIGIN", "pay.example"),
        ("ARSENAL_COMMIT_BATCH_PLANS_MAX", "0"),
        ("ARSENAL_CURSOR_KEY", "short"),
        ("ARSENAL_LANGUAGE", "fr"),
        ("ARSENAL_LOG_LEVEL", "loud"),
        ("ARSENAL_SANDBOX_REQUIRE", "L0"),
        ("ARSENAL_SANDBOX_REQUIRE", "L1"),
        ("ARSENAL_SANDBOX_ACCEPT", "because"),
    ],
)
def test_a_bad_value_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError):
        Settings()


def test_less_than_isolation_needs_somebody_to_answer_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().sandbox_require == "L2"
    monkeypatch.setenv("ARSENAL_SANDBOX_REQUIRE", "L1")
    monkeypatch.setenv("ARSENAL_SANDBOX_ACCEPT", "Li Wei: laptop without Landlock, own plugins only")
    settings = Settings()
    assert (settings.sandbox_require, settings.sandbox_accept) == (
        "L1",
        "Li Wei: laptop without Landlock, own plugins only",
    )


def test_every_setting_is_described() -> None:
    assert [name for name, field in Settings.model_fields.items() if len(field.description or "") < 20] == []
    assert variable_of("database_url") == "ARSENAL_DATABASE_URL"


def test_a_misspelt_variable_is_reported_with_what_was_meant() -> None:
    names = ["ARSENAL_DATABSE_URL", "ARSENAL_HOME", "arsenal_Log_Level", "ARSENAL_ZZZ", "PATH", "ARSENAL_URL_OF_DEMO"]
    assert unknown_variables(names, also_known=["ARSENAL_URL_OF_DEMO"]) == {
        "ARSENAL_DATABSE_URL": "ARSENAL_DATABASE_URL",
        "ARSENAL_ZZZ": None,
    }
