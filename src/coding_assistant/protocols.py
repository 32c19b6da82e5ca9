"""What has more than one real implementation, and nothing else."""

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from coding_assistant.domain import EngineEvent, EngineInfo, GenerationRequest, Message, PromptRead

Vectors: TypeAlias = NDArray[np.float32]
"""A vector of an embedder's dimensions, or one in each row."""


class Embedder(Protocol):
    """Turns text into vectors whose inner product tells how near in meaning two texts are.

    Its methods block, and may raise an ``EngineFailed`` or a ``NotReady``.
    """

    @property
    def fingerprint(self) -> str:
        """Changes whenever the same text would get another vector."""
        ...

    @property
    def dimensions(self) -> int:
        """The length of every vector."""
        ...

    @property
    def is_instant(self) -> bool:
        """Whether hundreds of texts take no time that anybody notices: a question may then wait for them."""
        ...

    @property
    def is_loaded(self) -> bool:
        """Whether the next text finds the model ready."""
        ...

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """Return a row for each text, of length 1, or all zeros for a text in which it knows no word."""
        ...

    @property
    def embed_terms(self) -> Callable[[Sequence[str]], Vectors] | None:
        """Does as ``embed_documents`` for texts that ``terms.index_terms`` has split: the same vectors.

        None where the texts themselves must be read.
        """
        ...

    def embed_query(self, text: str) -> Vectors:
        """Return the vector of a question, of length 1 or all zeros."""
        ...

    def close(self) -> None:
        """End whatever runs the model. The embedder is not used again."""
        ...


class Engine(Protocol):
    """A language model that reads tokens and writes text.

    An engine loads its model at the first call that needs it and keeps it until ``close``.
    Every method may raise an ``EngineFailed`` or a ``NotReady``.
    """

    @property
    def name(self) -> str:
        """The model's name, known before it is loaded."""
        ...

    @property
    def is_loaded(self) -> bool:
        """Whether the next question finds the model ready."""
        ...

    async def load(self) -> EngineInfo:
        """Load the model unless it is loaded, and say what it is."""
        ...

    async def tokenize(self, text: str) -> tuple[int, ...]:
        """Return the tokens of plain text: a control token's name in it stays text.

        From an engine elsewhere they are stand-ins that can be counted and nothing else, and where it does
        not count (``EngineInfo.counts_exactly``) their number is an estimate that is rather too high. So it
        is with ``encode``.
        """
        ...

    async def encode(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Return the prompt's tokens in the model's own format, ending where the answer begins.

        Only the format's own control tokens are control tokens; nothing in a message can add one.
        Encoding is append-only: the tokens of a prefix of the messages, up to the point where its
        answer begins, are a prefix of the tokens of the whole.
        """
        ...

    def generate(self, request: GenerationRequest) -> AsyncGenerator[EngineEvent, None]:
        """Continue the prompt: ``PromptRead`` and ``TextPiece`` events, then one ``GenerationEnded``.

        An engine without token prompts sends the request's messages.

        What a model thinks before it answers comes as ``ReasoningPiece``, before the first ``TextPiece``; it
        counts towards ``max_tokens``.

        Closing the generator stops the model.
        """
        ...

    def read(self, tokens: Sequence[int], *, slot: int) -> AsyncGenerator[PromptRead, None]:
        """Read tokens into a slot and write nothing, for a prompt that is going to begin with them.

        Closing the generator stops within a batch; what is read by then stays read.
        """
        ...

    async def save_slot(self, slot: int, name: str) -> int:
        """Write what a slot has read to the file ``name`` of the engine's snapshots; return its bytes.

        0: the slot is empty, or the engine makes no snapshots, and there is no file. This and the two below
        never load the model: with none loaded, they do nothing.
        """
        ...

    async def restore_slot(self, slot: int, name: str) -> int:
        """Have a slot hold what the file says and return its tokens; 0 if it cannot be used."""
        ...

    async def erase_slot(self, slot: int) -> None:
        """Forget what a slot has read."""
        ...

    async def close(self) -> None:
        """Unload the model and end whatever runs it. The engine may be loaded again."""
        ...
