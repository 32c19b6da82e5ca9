"""What a model's cache of a conversation costs, by the keys of its header.

Most models keep a key and a value of every token in every layer. Some layers look no further back than a
window, some keep a state of fixed size instead, and compressed attention keeps one vector in place of the
two. Knows nothing of files or memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from coding_assistant.domain import Bound

_VALUE_BYTES: Final = 2  # f16: on a processor a quantised cache falls off the fast attention paths
_STATE_VALUE_BYTES: Final = 4  # llama.cpp keeps states in f32
_WINDOW_STEP_TOKENS: Final = 256  # llama.cpp pads a window's cache to it

_WINDOW_PERIODS: Final = {"cohere2": 4, "gemma2": 2, "gemma3": 6, "gemma3n": 5, "gpt-oss": 2}
"""Of so many layers the last one looks at everything, where the file does not say: llama.cpp knows it too."""

_WITHOUT_WINDOW: Final = frozenset({"phi3"})
"""Their files name a window that llama.cpp does not heed."""

_STATEFUL_EVERYWHERE: Final = frozenset({"falcon-h1"})
"""Every layer has attention and a state side by side."""

_FULL_ATTENTION_INTERVAL: Final = 4  # of models that mix, where the file does not say: llama.cpp's default


@dataclass(frozen=True, slots=True)
class CacheShape:
    """Bytes of the cache: of each token, of each token within the window, of each slot whatever it holds.

    ``bound`` says how sure that is.
    """

    token_bytes: int
    windowed_token_bytes: int = 0
    window_tokens: int = 0
    state_bytes: int = 0
    bound: Bound = Bound.EXACT

    def slot_bytes(self, context_tokens: int, batch_tokens: int) -> int:
        """Return the cache of one slot. A window has room for the batch that moves through it."""
        window = -(-(self.window_tokens + batch_tokens) // _WINDOW_STEP_TOKENS) * _WINDOW_STEP_TOKENS
        windowed = self.windowed_token_bytes * min(context_tokens, window)
        return self.token_bytes * context_tokens + windowed + self.state_bytes


class Keys(Protocol):
    """The header's keys, as far as they are needed here."""

    def number(self, key: str, *, default: int | None = None, at_least: int = 0, at_most: int = ...) -> int:
        """Return a whole number."""

    def numbers(self, key: str, *, most: int) -> tuple[int, ...] | None:
        """Return the first numbers of an array of whole ones; None where the key holds none."""


@dataclass(frozen=True, slots=True)
class Attention:
    """What every model says of its attention: the heads of each layer that keep keys and values."""

    architecture: str
    kv_heads: Sequence[int]
    key_size: int
    value_size: int
    embedding: int


def cache_shape(keys: Keys, attention: Attention) -> CacheShape:
    """Return the shape of the cache. Raises what ``keys`` raises of a corrupt header."""
    name, layers = attention.architecture, len(attention.kv_heads)
    is_compressed = keys.number(f"{name}.attention.key_length_mla", default=0) > 0
    head = (attention.key_size + (0 if is_compressed else attention.value_size)) * _VALUE_BYTES
    state, knows_state = _state_of_a_layer(keys, attention)
    stateful = _stateful_layers(keys, attention, has_states=state > 0)
    windowed, window_tokens, knows_windows = _windows(keys, name, layers)
    full_bytes = windowed_bytes = 0
    for layer, heads in enumerate(attention.kv_heads):
        if layer in stateful and name not in _STATEFUL_EVERYWHERE:
            continue
        if layer in windowed:
            windowed_bytes += heads * head
        else:
            full_bytes += heads * head
    bound = Bound.EXACT
    if not knows_windows:
        bound = Bound.AT_MOST
    if not knows_state or windowed_bytes or stateful:
        # The server keeps copies of windows and states while it reads: they cannot be taken back in part.
        bound = Bound.AT_LEAST
    return CacheShape(full_bytes, windowed_bytes, window_tokens, len(stateful) * state, bound)


def _windows(keys: Keys, name: str, layers: int) -> tuple[frozenset[int], int, bool]:
    """Return the layers that look no further than a window, the window, and whether all of that is known."""
    window = keys.number(f"{name}.attention.sliding_window", default=0)
    if not window or name in _WITHOUT_WINDOW:
        return frozenset(), 0, True
    pattern = f"{name}.attention.sliding_window_pattern"
    flags = keys.numbers(pattern, most=layers)
    if flags is not None:
        return frozenset(layer for layer, flag in enumerate(flags) if flag), window, True
    period = _WINDOW_PERIODS.get(name, 0)
    if not period:
        return frozenset(), 0, False
    period = keys.number(pattern, default=period, at_least=1)
    return frozenset(layer for layer in range(layers) if layer % period < period - 1), window, True


def _state_of_a_layer(keys: Keys, attention: Attention) -> tuple[int, bool]:
    """Return the bytes of one layer's state, and whether they are known; 0 for models without states."""
    name, embedding = attention.architecture, attention.embedding
    inner = keys.number(f"{name}.ssm.inner_size", default=0)
    if inner:
        state = keys.number(f"{name}.ssm.state_size", default=0)
        groups = keys.number(f"{name}.ssm.group_count", default=0)
        kernel = keys.number(f"{name}.ssm.conv_kernel", default=1, at_least=1)
        return ((kernel - 1) * (inner + 2 * groups * state) + state * inner) * _STATE_VALUE_BYTES, True
    remembered = keys.number(f"{name}.shortconv.l_cache", default=0)
    if remembered:
        return embedding * (remembered - 1) * _STATE_VALUE_BYTES, True
    head = keys.number(f"{name}.wkv.head_size", default=0)
    if head:
        shifted = keys.number(f"{name}.token_shift_count", default=2)
        return embedding * (shifted + head) * _STATE_VALUE_BYTES, True
    return 0, all(attention.kv_heads)


def _stateful_layers(keys: Keys, attention: Attention, *, has_states: bool) -> frozenset[int]:
    """Return the layers that keep a state: those without heads; where all have some, all but each fourth."""
    layers = range(len(attention.kv_heads))
    if not has_states:
        return frozenset()
    if attention.architecture in _STATEFUL_EVERYWHERE:
        return frozenset(layers)
    without_heads = frozenset(layer for layer in layers if not attention.kv_heads[layer])
    if without_heads:
        return without_heads
    interval = keys.number(
        f"{attention.architecture}.full_attention_interval", default=_FULL_ATTENTION_INTERVAL, at_least=1
    )
    return frozenset(layer for layer in layers if (layer + 1) % interval)
