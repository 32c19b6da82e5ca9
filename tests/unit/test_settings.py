import re
from pathlib import Path

import pytest

from coding_assistant.errors import InvalidSetting
from coding_assistant.inference.found_models import ModelStore, StoreKind
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


@pytest.mark.parametrize(
    "value", ["static", "none", "sentence-transformers:~/a/b:c", "~/Some Folder/bge.Q8_0.GGUF"]
)
def test_an_embedder_is_named_by_kind_or_file(home: Path, value: str) -> None:
    environment = {"CODING_ASSISTANT_HOME": str(home), "CODING_ASSISTANT_EMBEDDER": value}

    assert load_settings(environment, {}).embedder == value


@pytest.mark.parametrize("value", ["sk-4711", " sk-4711\n", "sk-4711\r\n"])
def test_blanks_around_a_key_are_no_part_of_it(home: Path, value: str) -> None:
    environment = {"CODING_ASSISTANT_HOME": str(home), "CODING_ASSISTANT_OPENAI_API_KEY": value}
    key = load_settings(environment, {}).openai_api_key

    assert key is not None
    assert key.get_secret_value() == "sk-4711"


@pytest.mark.parametrize("value", ["sk-4711 sk-4711", "sk-4711\nx", "sk-4711\u2019", "sk-4711\x00"])
def test_a_key_that_cannot_be_sent_is_refused_without_being_shown(home: Path, value: str) -> None:
    environment = {"CODING_ASSISTANT_HOME": str(home), "CODING_ASSISTANT_OPENAI_API_KEY": value}

    with pytest.raises(InvalidSetting, match="openai_api_key") as caught:
        load_settings(environment, {})
    assert "4711" not in f"{caught.value.message} {caught.value.hint} {caught.value!r}"


@pytest.mark.parametrize("value", ["statik", "sentence-transformers", "sentence-transformers:", "model.onnx"])
def test_an_embedder_of_no_kind_is_an_error_that_lists_the_kinds(home: Path, value: str) -> None:
    with pytest.raises(
        InvalidSetting, match=r"embedder .*static, none, .*\.gguf, .*ollama:name, .*sentence-tr"
    ):
        load_settings({"CODING_ASSISTANT_HOME": str(home), "CODING_ASSISTANT_EMBEDDER": value}, {})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.toml", b"slots = = 2"),
        ("config.toml", b"# \xff"),
        (".env", b"CODING_ASSISTANT_SLOTS=\xff"),
        (".env", b"CODING_ASSISTANT_SLOTS='2"),
    ],
)
def test_a_broken_settings_file_is_named(home: Path, name: str, content: bytes) -> None:
    home.mkdir()
    (home / name).write_bytes(content)

    with pytest.raises(InvalidSetting, match=re.escape(str(home / name))):
        load_settings({"CODING_ASSISTANT_HOME": str(home)}, {})


@pytest.mark.parametrize(
    ("name", "content", "origin"),
    [
        ("config.toml", "port = 99999", "'port' in {home}/config.toml"),
        (".env", "CODING_ASSISTANT_PORT=99999", "CODING_ASSISTANT_PORT in {home}/.env"),
    ],
)
def test_a_value_out_of_bounds_is_an_error_that_names_its_file(
    home: Path, name: str, content: str, origin: str
) -> None:
    home.mkdir()
    (home / name).write_text(content)

    with pytest.raises(InvalidSetting, match="port") as caught:
        load_settings({"CODING_ASSISTANT_HOME": str(home)}, {})

    assert origin.format(home=home) in caught.value.hint


@pytest.mark.parametrize(("name", "number"), [("CONTEXT_TOKENS", 8_192), ("SLOTS", 3)])
def test_sizes_are_a_number_or_left_to_the_memory(home: Path, name: str, number: int) -> None:
    def read(value: str) -> object:
        environment = {"CODING_ASSISTANT_HOME": str(home), f"CODING_ASSISTANT_{name}": value}
        return getattr(load_settings(environment, {}), name.lower())

    assert read("auto") == "auto"
    assert read(str(number)) == number
    with pytest.raises(InvalidSetting, match="a whole number or auto"):
        read("large")
    with pytest.raises(InvalidSetting, match=r"it must be at least \d+, or auto\."):
        read("0")


def test_a_value_out_of_bounds_is_an_error_that_names_its_flag(home: Path) -> None:
    environment = {"CODING_ASSISTANT_HOME": str(home), "CODING_ASSISTANT_PORT": "8001"}

    with pytest.raises(InvalidSetting) as caught:
        load_settings(environment, {"port": 99_999})

    assert "--port" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "content"), [("config.toml", "home = '/x'"), (".env", "CODING_ASSISTANT_HOME=/x")]
)
def test_no_file_in_the_data_directory_can_say_where_that_is(home: Path, name: str, content: str) -> None:
    home.mkdir()
    (home / name).write_text(content)

    with pytest.raises(InvalidSetting, match=re.escape(name)) as caught:
        load_settings({"CODING_ASSISTANT_HOME": str(home)}, {})

    assert "CODING_ASSISTANT_HOME" in caught.value.hint


def test_a_name_without_our_prefix_in_our_own_file_is_misspelt(home: Path) -> None:
    home.mkdir()
    (home / ".env").write_text("MODEL_NAME=codellama-7b\nSLOTS=2\n")

    with pytest.raises(InvalidSetting, match=r"^SLOTS in ") as caught:
        load_settings({"CODING_ASSISTANT_HOME": str(home)}, {})

    assert "CODING_ASSISTANT_SLOTS" in caught.value.hint


@pytest.mark.parametrize("place", ["environment", "config", "dotenv"])
def test_a_tilde_is_the_users_own_folder(home: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    environment = {"CODING_ASSISTANT_HOME": "~"}
    if place == "environment":
        environment["CODING_ASSISTANT_MODELS_FOLDER"] = "~/weights"
    elif place == "config":
        (home / "config.toml").write_text("models_folder = '~/weights'")
    else:
        (home / ".env").write_text("CODING_ASSISTANT_MODELS_FOLDER=~/weights")

    settings = load_settings(environment, {})

    assert (settings.home, settings.models) == (home, home / "weights")


@pytest.mark.parametrize("variable", ["CODING_ASSISTANT_HOME", "CODING_ASSISTANT_MODELS_FOLDER"])
def test_the_folder_of_nobody_is_an_error_that_names_the_variable(home: Path, variable: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        load_settings({"CODING_ASSISTANT_HOME": str(home), variable: "~nosuchuser/x"}, {})

    assert variable in caught.value.hint


def test_the_folder_that_is_asked_about_configures_nothing(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / ".env").write_text("CODING_ASSISTANT_PORT=6666\n")
    (repository / "config.toml").write_text("port = 6666\n")
    monkeypatch.chdir(repository)

    assert load_settings({"CODING_ASSISTANT_HOME": str(home)}, {}).port == 8000


@pytest.mark.parametrize(
    "program", ["auto", "native", "bundled", "path", "/opt/llama-server", "~/bin/server"]
)
def test_the_program_that_runs_models_is_named_by_kind_or_path(home: Path, program: str) -> None:
    environment = {"CODING_ASSISTANT_HOME": str(home), "CODING_ASSISTANT_LLAMA_SERVER": program}

    assert load_settings(environment, {}).llama_server == program


def test_a_program_without_a_path_is_an_error_that_lists_the_kinds(home: Path) -> None:
    environment = {"CODING_ASSISTANT_HOME": str(home), "CODING_ASSISTANT_LLAMA_SERVER": "nativ"}
    with pytest.raises(InvalidSetting, match="auto, native, bundled, path, or the path"):
        load_settings(environment, {})


@pytest.mark.parametrize(("written", "layers"), [("12", 12), ("auto", "auto"), ("all", "all"), ("-1", "all")])
def test_layers_on_a_gpu_are_a_number_all_or_left_to_the_memory(
    home: Path, written: str, layers: int | str
) -> None:
    environment = {"CODING_ASSISTANT_HOME": str(home), "CODING_ASSISTANT_N_GPU_LAYERS": written}

    assert load_settings(environment, {}).n_gpu_layers == layers


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())
    assert variable_of("model_name") == "MODEL_NAME"


def test_the_stores_of_other_programs_are_their_usual_ones_those_named_or_none(home: Path) -> None:
    def stores(**variables: str) -> tuple[ModelStore, ...] | None:
        return load_settings({"CODING_ASSISTANT_HOME": str(home), **variables}, {}).model_stores

    assert ModelStore(StoreKind.OLLAMA, Path("/big")) in (stores(OLLAMA_MODELS="/big") or ())
    assert stores(CODING_ASSISTANT_MODEL_STORES="none") == ()
    assert stores(CODING_ASSISTANT_MODEL_STORES="ollama=/o, hf=/h") == (
        ModelStore(StoreKind.OLLAMA, Path("/o")),
        ModelStore(StoreKind.HUB, Path("/h")),
    )
    with pytest.raises(
        InvalidSetting, match="model_stores is not valid: '/o' is not one of ollama"
    ) as caught:
        stores(CODING_ASSISTANT_MODEL_STORES="/o")
    assert "CODING_ASSISTANT_MODEL_STORES" in caught.value.hint
