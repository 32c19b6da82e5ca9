"""From a question in its conversation to the sources that its answer is written from."""

from collections.abc import Iterable, Sequence

from anyio import to_thread

from coding_assistant.chat.attachments import room_for_found, search_text, without_attached
from coding_assistant.chat.deeper import MOST_HITS, Reach, find_hits, searched_on
from coding_assistant.chat.model import KeptConversation
from coding_assistant.chat.project_code import ProjectCode
from coding_assistant.chat.query import SearchText, in_conversation
from coding_assistant.chat.rendering import is_answered
from coding_assistant.chat.rewording import asks_to_reword
from coding_assistant.chat.sources import ShownBefore, estimated_tokens, number_sources
from coding_assistant.domain import Chunk, Source

FOLLOW_UP_SHARE = 0.5
"""Of the budget, for a question that leans on the conversation: much of what it is about stands there, and a
follow-up is expected to be quick. Of new sources alone, 500 tokens hold .64 of the gold lines, 1,000 hold .79
(docs/retrieval-log.md, "Follow-ups")."""


async def find_sources(
    question: str,
    kept: KeptConversation,
    code: ProjectCode,
    *,
    reach: Reach,
    read: Sequence[Chunk] = (),
    attached: Sequence[Chunk] = (),
) -> tuple[Source, ...]:
    """Return the sources for a question, best first, but those in front that were ``read`` ahead for it.

    None for one that needs no search. What is ``attached`` has the first numbers, and takes its part of the
    budget.
    """
    if attached:
        return await _beside_attached(question, kept, code, reach=reach, attached=attached)
    if not needs_search(question, kept):
        return ()
    search = in_conversation(question, kept.past)
    if search.context:
        reach = reach.within(round(reach.usual_tokens * FOLLOW_UP_SHARE))
    hits = await find_hits(search, code, reach)
    before = await _shown_before(kept, (hit.chunk for hit in hits))
    return number_sources(hits, before, token_budget=reach.tokens, read=read)


async def _beside_attached(
    question: str,
    kept: KeptConversation,
    code: ProjectCode,
    *,
    reach: Reach,
    attached: Sequence[Chunk],
) -> tuple[Source, ...]:
    """Return what is attached, and what it leads to as far as there is room; "this" means the attachment."""
    room = room_for_found(reach.tokens, attached, taken=sum(map(estimated_tokens, attached)))
    hits = []
    if room > 0:
        search = SearchText(search_text(question, attached))
        found = await code.find_sources(search.question, limit=MOST_HITS)
        if reach.on_round:
            left = reach.within(round(reach.usual_tokens * room / reach.tokens))
            found = await searched_on(search, found, code, left)
        hits = without_attached(found, attached)
    before = await _shown_before(kept, (*attached, *(hit.chunk for hit in hits)))
    return number_sources(hits, before, token_budget=room, attached=attached)


async def _shown_before(kept: KeptConversation, found: Iterable[Chunk]) -> ShownBefore:
    return await to_thread.run_sync(kept.shown_before, tuple(found))


def needs_search(question: str, kept: KeptConversation) -> bool:
    """Return whether the model lacks anything; what asks for the last answer in another form has it read."""
    return not (kept.past and is_answered(kept.past[-1]) and asks_to_reword(question))


def new_chunks(sources: Sequence[Source], kept: KeptConversation) -> tuple[Chunk, ...]:
    """Return the chunks that a turn with these sources is the first to show, in their order."""
    earlier = {source.number for source in kept.sources_in_prompt}
    return tuple(source.chunk for source in sources if source.number not in earlier)
