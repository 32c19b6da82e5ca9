"""Headers of models of any size, for what is planned with them alone."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from coding_assistant.inference.gguf import GgufHeader, read_header
from support.tiny_model import TinyModel


def header(
    *, layers: int, embedding_length: int, vocabulary_size: int, parameters: int, tensor_bytes: int
) -> GgufHeader:
    """Return the header of a model of this size."""
    return replace(
        _tiny_header(),
        layers=layers,
        embedding_length=embedding_length,
        vocabulary_size=vocabulary_size,
        parameters=parameters,
        tensor_bytes=tensor_bytes,
    )


@cache
def _tiny_header() -> GgufHeader:
    with TemporaryDirectory() as folder:
        return read_header(TinyModel("Llama 2 tiny").write(Path(folder)))
