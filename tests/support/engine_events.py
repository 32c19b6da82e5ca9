"""What an engine's events come to."""

from collections.abc import Sequence

from coding_assistant.domain import EngineEvent, GenerationEnded, TextPiece


def text_of(events: Sequence[EngineEvent]) -> str:
    """Return what was written."""
    return "".join(event.text for event in events if isinstance(event, TextPiece))


def end_of(events: Sequence[EngineEvent]) -> GenerationEnded:
    """Return how it ended, which is the last that an engine says."""
    assert isinstance(events[-1], GenerationEnded)
    return events[-1]
