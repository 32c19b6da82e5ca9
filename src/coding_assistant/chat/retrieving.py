"""From a question in its conversation to the sources that its answer is written from."""

from collections.abc import Sequence

from coding_assistant.chat.model import KeptConversation
from coding_assistant.chat.project_code import ProjectCode
from coding_assistant.chat.query import in_conversation
from coding_assistant.chat.rendering import is_answered
from coding_assistant.chat.rewording import asks_to_reword
from coding_assistant.chat.sources import number_sources
from coding_assistant.domain import Chunk, Source

MOST_HITS = 60
"""More excerpts than this never fit into a source budget that a laptop reads with patience."""

FOLLOW_UP_SHARE = 0.5
"""Of the budget, for a question that leans on the conversation: much of what it is about stands there, and a
follow-up is expected to be quick. Of new sources alone, 500 tokens hold .64 of the gold lines, 1,000 hold .79
(docs/retrieval-log.md, "Follow-ups")."""


async def find_sources(
    question: str,
    kept: KeptConversation,
    code: ProjectCode,
    *,
    token_budget: int,
    read: Sequence[Chunk] = (),
) -> tuple[Source, ...]:
    """Return the sources for a question, best first, but those in front that were ``read`` ahead for it.

    None for one that needs no search.
    """
    if not needs_search(question, kept):
        return ()
    search = in_conversation(question, kept.past)
    hits = await code.find_sources(search.question, context=search.context, limit=MOST_HITS)
    share = FOLLOW_UP_SHARE if search.context else 1.0
    return number_sources(
        hits, kept.past, token_budget=round(token_budget * share), summarised=kept.summarised, read=read
    )


def needs_search(question: str, kept: KeptConversation) -> bool:
    """Return whether the model lacks anything; what asks for the last answer in another form has it read."""
    return not (kept.past and is_answered(kept.past[-1]) and asks_to_reword(question))


def new_chunks(sources: Sequence[Source], kept: KeptConversation) -> tuple[Chunk, ...]:
    """Return the chunks that a turn with these sources is the first to show, in their order."""
    earlier = {
        source.number for turn in kept.past if turn.number > kept.summarised for source in turn.sources
    }
    return tuple(source.chunk for source in sources if source.number not in earlier)
