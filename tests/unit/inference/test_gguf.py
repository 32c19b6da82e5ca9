import struct
import tracemalloc
from dataclasses import asdict
from pathlib import Path

import gguf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.errors import InvalidModel, ModelBroken, ModelMissing
from coding_assistant.inference.gguf import first_part, read_header, read_vocabulary
from coding_assistant.inference.gguf_reader import GgufArray, opened, read_metadata
from coding_assistant.inference.model_kinds import ModelKind
from support.small_gguf import CONTEXT, EMBEDDING, HEADS, KV_HEADS, LAYERS, TOKEN_TYPES, TOKENS, write_gguf
from support.tiny_model import TinyModel

TENSOR_BYTES = 32 * 64 * 4 + 64 * 64 // 32 * 34


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "model.gguf").read_bytes()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "model.gguf")


def test_a_header_tells_the_models_shape_and_size(model: Path) -> None:
    header = read_header(model)

    expected = {
        "architecture": "llama",
        "name": "A small model",
        "quantisation": "Q8_0",
        "parameters": 32 * 64 + 64 * 64,
        "layers": LAYERS,
        "context_length": CONTEXT,
        "short_context_length": None,
        "embedding_length": EMBEDDING,
        "heads": HEADS,
        "kv_heads": KV_HEADS,
        "head_size": EMBEDDING // HEADS,
        "kv_bytes_per_token": 2 * LAYERS * KV_HEADS * (EMBEDDING // HEADS) * 2,
        "pooling": 0,
        "vocabulary_size": len(TOKENS),
        "chat_template": "{{ messages }}",
        "tensor_bytes": TENSOR_BYTES,
        "file_bytes": model.stat().st_size,
        "parts": 1,
        "kind": ModelKind.CHAT,
    }
    assert {key: value for key, value in asdict(header).items() if key in expected} == expected


def test_head_sizes_given_in_the_file_count_more_than_the_embeddings(tmp_path: Path) -> None:
    numbers = {"llama.attention.key_length": 32, "llama.attention.value_length": 8}
    header = read_header(write_gguf(tmp_path / "m.gguf", numbers=numbers))

    assert header.head_size == 32
    assert header.kv_bytes_per_token == LAYERS * KV_HEADS * (32 + 8) * 2


def test_kv_heads_may_differ_from_layer_to_layer(tmp_path: Path) -> None:
    header = read_header(write_gguf(tmp_path / "m.gguf", kv_heads=[1, 3]))

    assert header.kv_heads == 3
    assert header.kv_bytes_per_token == 2 * (1 + 3) * (EMBEDDING // HEADS) * 2


def test_of_a_list_for_the_layers_no_more_is_read_than_there_are_layers(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_array("llama.attention.sliding_window_pattern", [True, False] * 50_000)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()

    with opened(file) as reader:
        _, keys = read_metadata(reader)
        pattern = keys["llama.attention.sliding_window_pattern"]
        assert isinstance(pattern, GgufArray)
        tracemalloc.start()
        try:
            flags = reader.numbers(pattern, most=3)
            most_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert flags == (True, False, True)
    assert most_bytes < 10_000


def test_the_vocabulary_is_read_with_the_tokens_types(model: Path) -> None:
    vocabulary = read_vocabulary(model)

    assert vocabulary.tokens == tuple(TOKENS)
    assert vocabulary.types == tuple(TOKEN_TYPES)


def test_the_vocabulary_names_the_tokens_that_begin_and_end_a_text(tmp_path: Path) -> None:
    numbers = {"tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2**31}
    vocabulary = read_vocabulary(write_gguf(tmp_path / "m.gguf", numbers=numbers))

    assert (vocabulary.beginning, vocabulary.end) == ("<s>", "")


def test_the_published_figures_of_phi_3_mini(tmp_path: Path) -> None:
    numbers = {
        "phi3.block_count": 32,
        "phi3.context_length": 131_072,
        "phi3.embedding_length": 3_072,
        "phi3.attention.head_count": 32,
    }
    left_out = ["block_count", "context_length", "embedding_length", "attention.head_count"]
    path = write_gguf(
        tmp_path / "m.gguf", architecture="phi3", numbers=numbers, leave_out=left_out, kv_heads=32
    )

    assert read_header(path).kv_bytes_per_token == 384 * 1024


def test_a_file_cut_short_is_told_with_both_sizes(model: Path, sound: bytes) -> None:
    model.write_bytes(sound[:-1_000])

    with pytest.raises(ModelBroken, match="truncated") as caught:
        read_header(model)

    assert f"{len(sound) - 1_000:,} of {len(sound):,} bytes" in str(caught.value)
    assert "model.gguf" in str(caught.value)
    assert caught.value.hint


def test_a_file_cut_within_its_header_is_broken(model: Path, sound: bytes) -> None:
    model.write_bytes(sound[:200])

    with pytest.raises(ModelBroken, match="past the end at 200 bytes"):
        read_header(model)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04" + bytes(100), "not a GGUF file, but a PyTorch"),
        (struct.pack("<Q", 60) + b'{"__metadata__":{}}', "a safetensors file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html><title>Sign in</title>", "a web page"),
        (b"tjgg" + bytes(100), "older format"),
        (b"anything else at all", "is not a GGUF file"),
        (b"GGUF" + struct.pack("<I", 1), "version 1"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(100), "big-endian"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 1), "claims"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60), "claims"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**63), "past the end"),
    ],
)
def test_what_is_no_gguf_file_is_refused_in_words(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)

    with pytest.raises(ModelBroken, match=complaint):
        read_header(path)


def test_a_tensor_declared_larger_than_the_file_is_refused(model: Path, sound: bytes) -> None:
    at = sound.index(b"output.weight") + len(b"output.weight") + 4
    model.write_bytes(sound[:at] + struct.pack("<Q", 2**40) + sound[at + 8 :])

    with pytest.raises(ModelBroken, match="truncated"):
        read_header(model)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", leave_out=["block_count"])

    with pytest.raises(ModelBroken, match=r"llama\.block_count"):
        read_header(path)


@pytest.mark.parametrize("key", ["context_length", "embedding_length", "block_count"])
def test_a_shape_of_nothing_is_refused(tmp_path: Path, key: str) -> None:
    path = write_gguf(tmp_path / "m.gguf", leave_out=[key], numbers={f"llama.{key}": 0})

    with pytest.raises(ModelBroken, match=rf"llama\.{key} is no whole number from 1"):
        read_header(path)


def test_a_complaint_stays_short_whatever_the_file_says(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", architecture="x" * 5_000, leave_out=["block_count"])

    with pytest.raises(ModelBroken) as caught:
        read_header(path)
    assert len(str(caught.value)) < 400


def test_an_absent_file_is_missing_not_broken(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing):
        read_header(tmp_path / "none.gguf")


def test_an_adapter_is_no_language_model(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", texts={"general.type": "adapter"}, leave_out=["block_count"])

    with pytest.raises(InvalidModel, match="LoRA adapter"):
        read_header(path)


@pytest.fixture
def split(tmp_path: Path) -> list[Path]:
    TinyModel("big", tensors_in_part=5).write(tmp_path)
    return sorted(tmp_path.glob("*.gguf"))


def test_a_split_model_is_counted_whole_whichever_part_is_named(split: list[Path], tmp_path: Path) -> None:
    whole = read_header(TinyModel("whole").write(tmp_path))

    for part in split:
        header = read_header(part)
        assert (header.parts, header.tensor_bytes) == (3, whole.tensor_bytes)
        assert header.parameters == whole.parameters
        assert header.file_bytes == sum(each.stat().st_size for each in split)
        assert first_part(part) == split[0]


def test_missing_parts_are_named(split: list[Path]) -> None:
    split[0].unlink()
    split[2].unlink()

    with pytest.raises(ModelMissing, match=r"big-00001-of-00003\.gguf, big-00003-of-00003\.gguf") as caught:
        read_header(split[1])
    assert str(split[1].parent) in caught.value.hint
    assert first_part(split[1]) == split[1]


def test_a_part_whose_name_is_lost_cannot_name_the_others(split: list[Path]) -> None:
    renamed = split[1].rename(split[1].with_name("second.gguf"))

    with pytest.raises(InvalidModel, match="part 2 of 3") as caught:
        read_header(renamed)
    assert "-00002-of-00003.gguf" in caught.value.hint


def test_a_part_in_anothers_place_is_told(split: list[Path]) -> None:
    split[1].write_bytes(split[2].read_bytes())
    with pytest.raises(ModelBroken, match="no part 2 of 3"):
        read_header(split[0])


def test_parts_that_hold_a_tensor_twice_are_not_of_one_model(tmp_path: Path) -> None:
    for number in range(2):
        numbers = {"split.no": number, "split.count": 2}
        write_gguf(tmp_path / f"big-{number + 1:05}-of-00002.gguf", numbers=numbers)

    with pytest.raises(ModelBroken, match="not of one model: together they hold 2 different tensors of 4"):
        read_header(tmp_path / "big-00001-of-00002.gguf")


def test_a_single_file_that_is_named_like_a_part_is_one_file(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "Q4_K_M-00001-of-00001.gguf")

    assert read_header(file).parts == 1
    assert first_part(file) == file


def test_heads_below_zero_are_refused(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", kv_heads=[1, -3])

    with pytest.raises(ModelBroken, match="head_count_kv"):
        read_header(path)


@pytest.mark.model
def test_a_published_model_is_read_as_its_publisher_describes_it(smollm2: Path) -> None:
    header = read_header(smollm2)

    assert (header.architecture, header.quantisation) == ("llama", "Q4_1")
    assert (header.layers, header.kv_heads, header.head_size) == (30, 3, 64)
    assert header.parameters == 134_515_008
    assert header.context_length == 8_192


def read_whatever_it_is(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    for read in (read_header, read_vocabulary):
        try:
            read(path)
        except (ModelBroken, InvalidModel, ModelMissing):
            continue


@given(data=st.data())
def test_no_damage_does_more_than_break_the_model(data: st.DataObject, sound: bytes, tmp_path: Path) -> None:
    content = bytearray(sound[: data.draw(st.integers(0, len(sound)))])
    header_end = max(1, min(len(content), 1_200))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, header_end - 1))
        patch = data.draw(
            st.binary(min_size=1, max_size=8)
            | st.sampled_from([struct.pack("<Q", value) for value in (2**63, 2**64 - 1, 2**32, 2**31)])
        )
        content[at : at + len(patch)] = patch

    read_whatever_it_is(tmp_path / "fuzzed.gguf", bytes(content))


@given(tail=st.binary(max_size=400))
def test_no_bytes_after_a_good_start_do_more_than_break_the_model(tail: bytes, tmp_path: Path) -> None:
    read_whatever_it_is(tmp_path / "random.gguf", b"GGUF" + struct.pack("<IQQ", 3, 1, 3) + tail)
