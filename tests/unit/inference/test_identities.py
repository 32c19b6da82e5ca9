from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from coding_assistant.inference.engine_programs import BUNDLED_PROGRAM, EngineProgram
from coding_assistant.inference.gguf import Vocabulary, read_header
from coding_assistant.inference.identities import snapshot_identity, vocabulary_identity
from coding_assistant.inference.server_protocol import ServerSettings
from support.tiny_model import TinyModel

SETTINGS = ServerSettings("", slots=2, context_tokens=512, batch_tokens=64, threads=1, gpu_layers=0)
WORDS = Vocabulary(("a", "b"), (1, 3))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return TinyModel("Llama 2 tiny").write(tmp_path)


def identity(
    file: Path, settings: ServerSettings = SETTINGS, program: EngineProgram = BUNDLED_PROGRAM
) -> str:
    return snapshot_identity(file, read_header(file), settings, program)


def test_snapshots_are_good_wherever_the_file_lies_and_whoever_else_is_there(
    model: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "elsewhere.gguf"
    copy.write_bytes(model.read_bytes())

    assert identity(copy, replace(SETTINGS, model_file=str(copy), slots=7, threads=3)) == identity(model)


@pytest.mark.parametrize(
    "change",
    [
        lambda settings: replace(settings, context_tokens=1_024),
        lambda settings: replace(settings, gpu_layers=1),
    ],
    ids=["context", "layers on a GPU"],
)
def test_snapshots_are_of_one_way_to_run_the_model(
    change: Callable[[ServerSettings], ServerSettings], model: Path
) -> None:
    assert identity(model, change(SETTINGS)) != identity(model)


def test_snapshots_are_of_one_program(model: Path, tmp_path: Path) -> None:
    binary = tmp_path / "llama-server"
    binary.write_bytes(b"one build")
    native = EngineProgram("native", binary, BUNDLED_PROGRAM.version)
    first = identity(model, program=native)

    assert first != identity(model)
    assert first == identity(model, program=native)
    assert first != identity(model, program=replace(native, version="b1 (abc)"))
    binary.write_bytes(b"another build")
    assert first != identity(model, program=native)


@pytest.mark.parametrize("place", [-1, 0.5])
def test_other_weights_are_told(place: float, model: Path) -> None:
    before = identity(model)
    content = bytearray(model.read_bytes())
    content[-1 if place < 0 else int(len(content) * place)] ^= 1
    model.write_bytes(content)

    assert identity(model) != before


def test_the_name_of_a_snapshot_can_be_made_of_its_identity(model: Path) -> None:
    assert set(identity(model)) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    ("vocabulary", "prompt_format"),
    [
        (Vocabulary(("b", "a"), (1, 3)), "chatml"),
        (Vocabulary(("a", "b"), (3, 1)), "chatml"),
        (Vocabulary(("a", "b", "c"), (1, 3, 1)), "chatml"),
        (WORDS, "llama2"),
    ],
)
def test_a_vocabulary_is_told_from_any_other(vocabulary: Vocabulary, prompt_format: str) -> None:
    assert vocabulary_identity(vocabulary, prompt_format) != vocabulary_identity(WORDS, "chatml")
