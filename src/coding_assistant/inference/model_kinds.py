"""What a model file is: one that answers, or one of the many that look alike and cannot.

Told from a few facts of its header, before anything is loaded. Knows nothing of where files lie, nor of how
a header is read. Which architectures the engine runs is the engine's to say, at the load: a list here would
be out of date with its next build.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from coding_assistant.errors import InvalidModel

AUTO_FORMAT: Final = "auto"


class ModelKind(StrEnum):
    """What a file is for."""

    CHAT = "chat model"
    BASE = "base model"
    EMBEDDING = "embedding model"
    RERANKER = "reranker"
    DRAFT = "draft model"
    PROJECTOR = "vision projector"
    ADAPTER = "LoRA adapter"
    CONTROL_VECTOR = "control vector"
    IMPORTANCE_MATRIX = "importance matrix"
    OTHER = "model of another kind"


@dataclass(frozen=True, slots=True)
class KindFacts:
    """The facts that tell: each as it stands in the header, empty or 0 where it does not.

    ``general_type`` is the key ``general.type``, ``pooling`` llama.cpp's number of how a text's vectors
    become one. ``sections`` are the first words of all keys.
    """

    architecture: str
    general_type: str = ""
    pooling: int = 0
    sections: Collection[str] = ()
    has_vocabulary: bool = True
    has_template: bool = True


_RANK_POOLING: Final = 4
_ENCODERS: Final = ("bert", "t5encoder", "gemma-embedding")
_DRAFTS: Final = ("eagle", "dflash", "dspark")
_TYPES: Final = {
    "adapter": ModelKind.ADAPTER,
    "mmproj": ModelKind.PROJECTOR,
    "projector": ModelKind.PROJECTOR,
    "imatrix": ModelKind.IMPORTANCE_MATRIX,
    "controlvector": ModelKind.CONTROL_VECTOR,
}
_ARCHITECTURES: Final = {"clip": ModelKind.PROJECTOR, "controlvector": ModelKind.CONTROL_VECTOR}


def kind_of(facts: KindFacts) -> ModelKind:
    """Return what a file with these facts is."""
    is_encoder = bool(facts.pooling) or any(name in facts.architecture for name in _ENCODERS)
    signs = (
        (facts.general_type in _TYPES, _TYPES.get(facts.general_type)),
        (facts.architecture in _ARCHITECTURES, _ARCHITECTURES.get(facts.architecture)),
        ("adapter" in facts.sections, ModelKind.ADAPTER),
        ("imatrix" in facts.sections, ModelKind.IMPORTANCE_MATRIX),
        (facts.general_type not in {"", "model"} or not facts.has_vocabulary, ModelKind.OTHER),
        (facts.architecture.startswith(_DRAFTS), ModelKind.DRAFT),
        (facts.pooling == _RANK_POOLING, ModelKind.RERANKER),
        (is_encoder, ModelKind.EMBEDDING),
        (not facts.has_template, ModelKind.BASE),
    )
    return next((kind for found, kind in signs if found and kind), ModelKind.CHAT)


_ADVICE: Final = {
    ModelKind.EMBEDDING: "It can find code by its meaning: set `embedder` to its path or name. To"
    " answer, name an instruct or chat model.",
    ModelKind.RERANKER: "Name an instruct or chat model.",
    ModelKind.DRAFT: "It only guesses for another model. Name that one.",
    ModelKind.PROJECTOR: "It turns images into what a language model reads. Name the GGUF file of the model"
    " itself; questions here have no images, so that the projector is not needed.",
    ModelKind.ADAPTER: "It changes another model and is none by itself. Name the GGUF file of a whole model,"
    " or merge the adapter into its own with llama.cpp's llama-export-lora.",
    ModelKind.CONTROL_VECTOR: "Name the GGUF file of the model itself.",
    ModelKind.IMPORTANCE_MATRIX: "It was made to quantise a model, and is none. Name the model's own file.",
    ModelKind.OTHER: "Name the GGUF file of an instruct or chat model.",
}


def cannot_answer(file_name: str, kind: ModelKind, architecture: str) -> InvalidModel:
    """Return the error for a file of a kind that cannot answer questions."""
    of = f" ({architecture})" if architecture else ""
    article = "an" if kind.value[0] in "aeiou" else "a"
    return InvalidModel(
        f"{file_name} is {article} {kind}{of}: it cannot answer questions.", hint=_ADVICE[kind]
    )


def require_answers(file_name: str, kind: ModelKind, architecture: str, prompt_format: str) -> None:
    """Raise ``InvalidModel``, with what to do, unless such a model can answer in this prompt format."""
    if kind is ModelKind.CHAT:
        return
    if kind is not ModelKind.BASE:
        raise cannot_answer(file_name, kind, architecture)
    if prompt_format == AUTO_FORMAT:
        raise InvalidModel(
            f"{file_name} has no chat template: it is a base model, which continues text and was not taught"
            " to answer, or the template was lost when the file was made.",
            hint="Name an instruct or chat model. If it is one, say as which family it was trained:"
            " `coding-assistant models add NAME PATH --prompt-format phi3|llama2|llama3|chatml`.",
        )


_FOREIGN: Final = (
    (b"PK\x03\x04", "a PyTorch checkpoint or another zip archive"),
    (b"version https://git-lfs", "a Git LFS pointer: the weights themselves were not fetched"),
    (b"<!DOCTYPE", "a web page, as a download that was refused leaves"),
    (b"<html", "a web page, as a download that was refused leaves"),
    (b"lmgg", "a file of llama.cpp's older format GGML"),
    (b"fmgg", "a file of llama.cpp's older format GGMF"),
    (b"tjgg", "a file of llama.cpp's older format GGJT"),
    (b"\x80\x02", "a Python pickle"),
    (b"\x93NUMPY", "a NumPy array"),
)
_SAFETENSORS_AT: Final = 8  # behind the length of its JSON header


def foreign_format(beginning: bytes) -> str:
    """Return what a file is whose first bytes are not those of GGUF; empty if they do not tell."""
    if beginning[_SAFETENSORS_AT : _SAFETENSORS_AT + 2] == b'{"':
        return "a safetensors file"
    return next((name for start, name in _FOREIGN if beginning.startswith(start)), "")
