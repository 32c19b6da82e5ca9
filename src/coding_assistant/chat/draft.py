"""An answer while it is being made: what there is of it, and where its time went."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import inf
from time import monotonic

from coding_assistant.chat.citations import ResolvedAnswer
from coding_assistant.chat.grounding import GroundedQuestion
from coding_assistant.chat.receipt import with_counts, with_note
from coding_assistant.domain import (
    Answer,
    Finish,
    GenerationEnded,
    Grounding,
    ReasoningPiece,
    Receipt,
    Source,
    Timings,
)
from coding_assistant.errors import OnlyThoughts


@dataclass(slots=True)
class Draft:
    """An answer while it is being made."""

    began: float = field(default_factory=monotonic)
    reasoning: str = ""
    text: str = ""
    tokens: tuple[int, ...] = ()
    are_tokens_known: bool = True
    vocabulary: str = ""
    saved: float = field(default_factory=monotonic)
    receipt: Receipt | None = None
    shown: tuple[Source, ...] = ()
    sources: tuple[Source, ...] = ()
    question: GroundedQuestion | None = None
    note: str = ""
    grounding: Grounding = field(default_factory=Grounding)
    grounded_text: str | None = None
    search: str = ""
    searching: float = 0.0
    loading: float = 0.0
    first_token: float = 0.0
    ended: GenerationEnded | None = None

    def note_first_token(self) -> None:
        """Take the time of the first thing that the user sees, thoughts included."""
        if not self.first_token:
            self.first_token = monotonic() - self.began

    def note_thought(self, piece: ReasoningPiece) -> None:
        """Add thoughts; what turns out to have been thoughts as well is no part of the answer."""
        if piece.takes_text_back:
            self.reasoning, self.text = self.reasoning + self.text, ""
            self.tokens, self.are_tokens_known = (), False
            self.saved = -inf  # what was saved of it is to be written over at once
        self.reasoning += piece.text

    def take_back(self, names: Sequence[str], *, note: str, note_tokens: int) -> None:
        """Begin again: the answer rests on these names, and the note that takes so many tokens says so."""
        self.reasoning, self.text, self.tokens, self.are_tokens_known = "", "", (), True
        self.note = "\n\n".join(filter(None, (self.note, note)))
        self.grounding, self.grounded_text = Grounding(taken_back=tuple(names)), None
        if self.receipt:
            self.receipt = with_note(self.receipt, note_tokens)
        self.saved = -inf

    def end(self, ended: GenerationEnded) -> None:
        """Take what the engine has counted; for an answer that was taken back, both its readings are one."""
        if before := self.ended:
            read = ended.cached_tokens + ended.new_tokens
            cached = min(before.cached_tokens, read)
            seconds = before.reading_seconds + ended.reading_seconds
            ended = replace(ended, cached_tokens=cached, new_tokens=read - cached, reading_seconds=seconds)
        self.ended = ended

    def timings(self) -> Timings:
        """Return where the time went so far."""
        return Timings(
            searching=self.searching,
            loading=self.loading,
            reading=self.ended.reading_seconds if self.ended else 0.0,
            writing=self.ended.writing_seconds if self.ended else 0.0,
            first_token=self.first_token,
            total=monotonic() - self.began,
            written_tokens=self.ended.written_tokens if self.ended else 0,
        )

    def answer(self, resolved: ResolvedAnswer, finish: Finish, *, model: str, failure: str = "") -> Answer:
        """Return the answer as it is kept."""
        return Answer(
            text=resolved.text,
            finish=finish,
            model=model,
            finished_at=datetime.now(UTC),
            citations=resolved.citations,
            unknown_citations=resolved.unknown,
            receipt=self._counted_receipt(),
            timings=self.timings(),
            failure=failure,
            tokens=self.tokens,
            vocabulary=self.vocabulary,
            grounding=self.grounding,
        )

    def require_words(self, ended: GenerationEnded) -> None:
        """Raise ``OnlyThoughts`` for an answer that has none: an empty one would not say why."""
        if self.text.strip() or not self.reasoning.strip():
            return
        if ended.finish is Finish.LENGTH:
            raise OnlyThoughts(
                f"The model was still thinking when it had written {ended.written_tokens:,} tokens, the"
                " longest reply that it may give, so that there is no answer.",
                hint="Allow a longer reply (--max-tokens, or max_tokens in models.toml), or, if the model has"
                ' a switch for it, set its thinking to "off" in models.toml.',
            )
        raise OnlyThoughts(
            "The model ended within its thoughts, so that there is no answer.",
            hint="Ask again, in other words.",
        )

    def _counted_receipt(self) -> Receipt | None:
        if self.receipt is None or self.ended is None:
            return self.receipt
        return with_counts(self.receipt, cached=self.ended.cached_tokens, new=self.ended.new_tokens)
