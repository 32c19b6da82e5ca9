from pathlib import Path

import pytest

from coding_assistant.errors import InvalidSetting
from coding_assistant.settings import Settings, load_settings, variable_of


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_flags_go_over_the_environment_and_that_over_the_files(home: Path) -> None:
    home.mkdir()
    (home / "config.toml").write_text("slots = 2\nport = 1111\nsource_tokens = 500\nbatch_tokens = 64\n")
    (home / ".env").write_text("CODING_ASSISTANT_PORT=2222\nCODING_ASSISTANT_SOURCE_TOKENS=600\n")
    environment = {"CODING_ASSISTANT_HOME": str(home), "CODING_ASSISTANT_SOURCE_TOKENS": "700"}

    settings = load_settings(environment, {"slots": 3, "port": None})

    assert (settings.batch_tokens, settings.port, settings.source_tokens, settings.slots) == (
        64,
        2222,
        700,
        3,
    )


def test_the_model_is_named_by_its_plain_variable(home: Path) -> None:
    settings = load_settings({"CODING_ASSISTANT_HOME": str(home), "MODEL_NAME": "codellama-7b"}, {})

    assert settings.model_name == "codellama-7b"


@pytest.mark.parametrize("place", ["environment", "config", "dotenv"])
def test_a_misspelt_name_is_an_error_with_a_suggestion(home: Path, place: str) -> None:
    home.mkdir()
    environment = {"CODING_ASSISTANT_HOME": str(home)}
    if place == "environment":
        environment["CODING_ASSISTANT_SOURCE_TOKEN"] = "500"
    elif place == "config":
        (home / "config.toml").write_text("source_token = 500\n")
    else:
        (home / ".env").write_text("CODING_ASSISTANT_SOURCE_TOKEN=500\n")

    with pytest.raises(InvalidSetting) as caught:
        load_settings(environment, {})

    assert "source_tokens" in caught.value.hint.lower()


@pytest.mark.parametrize(
    ("variable", "value"), [("CODING_ASSISTANT_PORT", "99999"), ("CODING_ASSISTANT_SLOTS", "many")]
)
def test_a_value_out_of_bounds_is_an_error_that_names_the_variable(
    home: Path, variable: str, value: str
) -> None:
    with pytest.raises(InvalidSetting) as caught:
        load_settings({"CODING_ASSISTANT_HOME": str(home), variable: value}, {})

    assert variable in caught.value.hint


def test_a_broken_settings_file_is_named(home: Path) -> None:
    home.mkdir()
    (home / "config.toml").write_text("slots = = 2")

    with pytest.raises(InvalidSetting, match=r"config\.toml"):
        load_settings({"CODING_ASSISTANT_HOME": str(home)}, {})


def test_the_folder_that_is_asked_about_configures_nothing(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / ".env").write_text("CODING_ASSISTANT_PORT=6666\n")
    (repository / "config.toml").write_text("port = 6666\n")
    monkeypatch.chdir(repository)

    assert load_settings({"CODING_ASSISTANT_HOME": str(home)}, {}).port == 8000


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())
    assert variable_of("model_name") == "MODEL_NAME"
