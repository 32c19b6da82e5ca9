"""What the two sides of the engine's process say to each other, a JSON line each.

The parent writes one ``ServerSettings`` to the child's standard input and keeps it open; the child writes
one ``ServerReady`` to its standard output. Standard library only: the child starts with it.
"""

import json
from dataclasses import asdict, dataclass
from typing import Final

# So many tokens must have stood in the same order before, and so many that followed them are guessed.
# Measured with Qwen2.5-Coder 1.5B, in processor time: a function written once more takes two thirds; where
# code was explained or a short answer given, nothing was guessed. After 8 equal tokens, guesses went wrong
# there, and a short answer took a tenth longer. The library's own 48 guessed tokens are for GPUs.
SAME_TOKENS: Final = 12
MOST_GUESSED_TOKENS: Final = 12


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How the child is to run the model.

    ``context_tokens`` is what each slot holds. ``api_key`` is what every request must show; it travels here
    because arguments and environments can be read by others. ``embedding`` has the model turn text into
    vectors instead of continuing it, by its own way of making one vector of its tokens' or else by their
    mean when ``mean_pooling`` is set. ``niceness`` is how far the process steps back behind others, 0 to 19.
    ``snapshot_folder`` is where slots are saved to, empty for nowhere. ``speculates`` has the model guess.
    ``gpu_layers`` counts the output as a layer; with ``main_gpu`` all of them are on that one, otherwise
    spread over all GPUs. ``program_file`` is the binary to run, empty for the bundled library.
    """

    model_file: str
    slots: int
    context_tokens: int
    batch_tokens: int
    threads: int
    gpu_layers: int
    api_key: str = ""
    embedding: bool = False
    mean_pooling: bool = False
    niceness: int = 0
    snapshot_folder: str = ""
    speculates: bool = False
    main_gpu: int | None = None
    program_file: str = ""

    @property
    def safe_batch_tokens(self) -> int:
        """The size of a batch, with room for what every slot may guess: else all slots' answers fail."""
        guessed = 1 + MOST_GUESSED_TOKENS if self.speculates else 1
        return max(self.batch_tokens, self.slots * guessed)

    def to_line(self) -> bytes:
        """Return the settings as they travel."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> "ServerSettings":
        """Read what ``to_line`` wrote; raises ``TypeError`` or ``ValueError`` for anything else."""
        return cls(**json.loads(line))


@dataclass(frozen=True, slots=True)
class ServerReady:
    """The model is loaded, in the memory of this process, and the server answers at this address."""

    url: str
    process_id: int

    def to_line(self) -> bytes:
        """Return the announcement as it travels."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> "ServerReady":
        """Read what ``to_line`` wrote; raises ``TypeError`` or ``ValueError`` for anything else."""
        return cls(**json.loads(line))
