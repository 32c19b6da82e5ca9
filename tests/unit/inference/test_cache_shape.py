"""Caches of other kinds than plain attention, by what llama.cpp allocates for their architectures."""

from collections.abc import Mapping, Sequence

import pytest

from coding_assistant.domain import Bound
from coding_assistant.inference.cache_shape import Attention, CacheShape, cache_shape

LAYERS = 12
HEAD = 64


class FakeKeys:
    def __init__(self, keys: Mapping[str, int | tuple[int, ...]]) -> None:
        self._keys = keys

    def number(self, key: str, *, default: int | None = None, at_least: int = 0, at_most: int = 2**31) -> int:
        value = self._keys.get(key, default)
        assert isinstance(value, int)
        assert at_least <= value <= at_most
        return value

    def numbers(self, key: str, *, most: int) -> tuple[int, ...] | None:
        value = self._keys.get(key)
        return value[:most] if isinstance(value, tuple) else None


def shape(
    architecture: str,
    keys: Mapping[str, int | tuple[int, ...]] | None = None,
    *,
    kv_heads: Sequence[int] = (2,) * LAYERS,
) -> CacheShape:
    named = {f"{architecture}.{key}": value for key, value in (keys or {}).items()}
    return cache_shape(FakeKeys(named), Attention(architecture, kv_heads, HEAD, HEAD, embedding=256))


def layers_of_bytes(size: int) -> float:
    """In how many layers a token's key and value, two heads each in f16, take so many bytes."""
    return size / (2 * 2 * HEAD * 2)


def test_plain_attention_keeps_key_and_value_of_every_layer() -> None:
    plain = shape("llama")

    assert layers_of_bytes(plain.token_bytes) == LAYERS
    assert plain.slot_bytes(1_000, 128) == 1_000 * plain.token_bytes
    assert plain.bound is Bound.EXACT


def test_layers_without_heads_keep_nothing() -> None:
    assert layers_of_bytes(shape("llama", kv_heads=[2, 0] * 6).token_bytes) == 6


@pytest.mark.parametrize(("architecture", "whole"), [("gemma2", 6), ("gemma3", 2), ("gpt-oss", 6)])
def test_a_window_bounds_the_cache_of_its_layers(architecture: str, whole: int) -> None:
    windowed = shape(architecture, {"attention.sliding_window": 512})

    assert layers_of_bytes(windowed.token_bytes) == whole
    assert layers_of_bytes(windowed.windowed_token_bytes) == LAYERS - whole
    # 512 tokens and the batch of 128 that moves through, in steps of 256.
    assert (
        windowed.slot_bytes(8_192, 128) == windowed.token_bytes * 8_192 + windowed.windowed_token_bytes * 768
    )
    assert windowed.bound is Bound.AT_LEAST


def test_the_file_says_which_layers_have_a_window() -> None:
    flags = (1, 1, 1, 0) * 3
    by_flags = shape("laguna", {"attention.sliding_window": 512, "attention.sliding_window_pattern": flags})
    by_period = shape("gemma3", {"attention.sliding_window": 512, "attention.sliding_window_pattern": 4})

    assert layers_of_bytes(by_flags.token_bytes) == layers_of_bytes(by_period.token_bytes) == 3


def test_a_context_below_the_window_is_all_that_is_kept() -> None:
    windowed = shape("gemma2", {"attention.sliding_window": 4_096})

    assert windowed.slot_bytes(1_024, 128) == shape("llama").slot_bytes(1_024, 128)


def test_where_it_is_unknown_which_layers_have_a_window_all_are_counted_in_full() -> None:
    unknown = shape("mistral9", {"attention.sliding_window": 512})

    assert layers_of_bytes(unknown.token_bytes) == LAYERS
    assert unknown.bound is Bound.AT_MOST


def test_phi3_names_a_window_that_the_engine_does_not_heed() -> None:
    assert shape("phi3", {"attention.sliding_window": 2_047}) == shape("llama")


def test_compressed_attention_keeps_one_vector_in_place_of_two() -> None:
    compressed = shape("deepseek2", {"attention.key_length_mla": 192})

    assert layers_of_bytes(compressed.token_bytes) == LAYERS / 2


def test_states_are_paid_by_the_slot_and_not_by_the_token() -> None:
    keys = {"ssm.inner_size": 512, "ssm.state_size": 16, "ssm.conv_kernel": 4, "ssm.group_count": 1}
    mamba = shape("mamba", keys, kv_heads=(0,) * LAYERS)

    assert mamba.token_bytes == 0
    assert mamba.state_bytes == LAYERS * 4 * (3 * (512 + 2 * 16) + 16 * 512)
    assert mamba.slot_bytes(512, 128) == mamba.slot_bytes(8_192, 128) == mamba.state_bytes


@pytest.mark.parametrize(
    ("architecture", "kv_heads", "attending", "stateful"),
    [
        ("jamba", [0, 0, 0, 2] * 3, 3, 9),  # the file says it by the heads
        ("qwen3next", [2] * LAYERS, 3, 9),  # every fourth layer attends
        ("falcon-h1", [2] * LAYERS, LAYERS, LAYERS),  # both, side by side
    ],
)
def test_mixed_models_have_layers_of_each_kind(
    architecture: str, kv_heads: list[int], attending: int, stateful: int
) -> None:
    keys = {"ssm.inner_size": 512, "ssm.state_size": 16, "ssm.conv_kernel": 4}
    mixed = shape(architecture, keys, kv_heads=kv_heads)

    assert layers_of_bytes(mixed.token_bytes) == attending
    assert mixed.state_bytes == stateful * 4 * (3 * 512 + 16 * 512)
    assert mixed.bound is Bound.AT_LEAST


def test_layers_of_an_unknown_kind_make_the_size_a_least_one() -> None:
    assert shape("kimi9", kv_heads=[0, 2] * 6).bound is Bound.AT_LEAST
