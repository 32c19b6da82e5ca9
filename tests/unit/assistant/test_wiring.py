import sys
from pathlib import Path

import pytest

from coding_assistant.assistant.wiring import make_embedder
from coding_assistant.embedding.static import StaticEmbedder
from coding_assistant.errors import ModelBroken, ModelMissing, SystemLacks
from coding_assistant.inference.gguf_embedder import GgufEmbedder
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
