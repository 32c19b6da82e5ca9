import sys
from pathlib import Path

import pytest

from coding_assistant.assistant.remote import remains_elsewhere
from coding_assistant.assistant.wiring import chosen_model, make_embedder, make_engine, open_catalog
from coding_assistant.embedding.static import StaticEmbedder
from coding_assistant.errors import InvalidSetting, ModelBroken, ModelMissing, SystemLacks
from coding_assistant.inference.gguf_embedder import GgufEmbedder
from coding_assistant.inference.openai_engine import OpenAIEngine
from coding_assistant.settings import Settings
from support.bert_gguf import write_tiny_bert


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_the_settings_name_the_embedder(home: Path) -> None:
    assert isinstance(make_embedder(Settings(home=home)), StaticEmbedder)
    assert make_embedder(Settings(home=home, embedder="none")) is None


def test_a_gguf_is_found_by_its_path_and_by_its_name_in_the_models_folder(home: Path) -> None:
    file = home / "models" / "tiny.gguf"
    file.parent.mkdir(parents=True)
    write_tiny_bert(file)

    assert isinstance(make_embedder(Settings(home=home, embedder=str(file))), GgufEmbedder)
    assert isinstance(make_embedder(Settings(home=home, embedder="tiny.gguf")), GgufEmbedder)


def test_what_cannot_embed_is_told_before_anything_is_embedded(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "models").mkdir(parents=True)
    (home / "models" / "text.gguf").write_text("Vectors.")
    with pytest.raises(ModelBroken):
        make_embedder(Settings(home=home, embedder="text.gguf"))
    with pytest.raises(ModelMissing):
        make_embedder(Settings(home=home, embedder="absent.gguf"))

    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(SystemLacks):
        make_embedder(Settings(home=home, embedder="sentence-transformers:some-model"))


def remote_settings(home: Path, **more: object) -> Settings:
    remote = {"engine": "openai", "openai_base_url": "https://gpu.example.org/v1", "openai_model": "coder"}
    return Settings.model_validate({"home": home, **remote, **more})


def test_the_model_of_a_server_elsewhere_is_chosen_by_the_settings_alone(home: Path) -> None:
    settings = remote_settings(home, openai_context_tokens=16_384, slots=32)
    catalog = open_catalog(settings)
    spec = chosen_model(catalog, settings)

    assert (spec.name, spec.address) == ("coder", "https://gpu.example.org/v1")
    assert (spec.context_length, spec.slots) == (16_384, 32)
    assert "gpu.example.org" in spec.notice
    assert catalog.file_of(spec) is None
    assert isinstance(make_engine(catalog, spec, settings), OpenAIEngine)


def test_a_model_that_is_named_for_a_run_goes_before_the_servers(home: Path) -> None:
    settings = remote_settings(home, model_name="thinker", context_tokens=1_024)
    spec = chosen_model(open_catalog(settings), settings)

    assert (spec.name, spec.address) == ("thinker", "https://gpu.example.org/v1")
    assert spec.context_length == 1_024


def test_without_the_engine_openai_its_settings_choose_nothing(home: Path) -> None:
    settings = remote_settings(home, engine="llama.cpp")

    assert chosen_model(open_catalog(settings), settings).address == ""
    assert remains_elsewhere(settings) == ""


@pytest.mark.parametrize(
    ("missing", "named"), [("openai_base_url", "openai_base_url"), ("openai_model", "openai_model")]
)
def test_what_is_missing_is_named(home: Path, missing: str, named: str) -> None:
    settings = remote_settings(home, **{missing: None})
    with pytest.raises(InvalidSetting) as raised:
        chosen_model(open_catalog(settings), settings)

    assert named in raised.value.hint


def test_the_key_is_shown_by_nothing_that_shows_settings(home: Path) -> None:
    settings = remote_settings(home, openai_api_key="sk-secret-4711")

    shown = (repr(settings), str(settings), settings.model_dump_json(), str(settings.model_dump()))
    assert not any("4711" in each for each in shown)
