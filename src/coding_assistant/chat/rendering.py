"""A conversation as the messages that a model reads, and what each part of them takes in tokens.

The same conversation is rendered the same way each time, and a longer one begins with the messages of the
shorter: that is what keeps an engine's cache good.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass

from coding_assistant.chat.compaction import TurnCost, render_summary
from coding_assistant.chat.sources import render_source
from coding_assistant.domain import Message, Role, Source, SourceOrigin, Summary, Turn
from coding_assistant.protocols import Engine

SYSTEM_PROMPT = (
    "You answer questions about the code of one project. Numbered sources from it stand before the"
    " questions; every line of a source begins with its line number in the file. Answer from the sources"
    " alone, in full sentences, and put the number of the source that a sentence rests on at its end, like"
    " this [1]. Name functions, values and files exactly. If the sources do not hold the answer, say so."
)
"""Tried on Qwen2.5-Coder 1.5B, temperature 0. "Write the number of the source behind each fact" got answers
that were a bare number, 3 of 6; an example with words in it was copied in place of an answer."""

MESSAGE_OVERHEAD_TOKENS = 16
"""At most this many tokens surround one message in any of the formats; Llama 2 with its system part is
the longest."""

SOURCE_OVERHEAD_TOKENS = 4
"""For the blank line after a source, and for tokens that a joint splits."""


@dataclass(frozen=True, slots=True)
class ConversationText:
    """A conversation as a prompt is made of it, up to the question to come.

    ``past`` are the turns before it, some of which the summary may stand for, as for all before them.
    ``sources`` are the new turn's. Two are there for the receipt alone: ``primer``, which stands in
    ``system``, and ``summarised_tokens``, what all turns in the summary took when they were asked.
    """

    system: str
    past: Sequence[Turn] = ()
    summary: Summary | None = None
    summarised_tokens: int = 0
    question: str = ""
    sources: tuple[Source, ...] = ()
    primer: str = ""
    note: str = ""

    @property
    def summarised(self) -> tuple[Turn, ...]:
        """The turns that the summary stands for."""
        last = self.summary.last_turn if self.summary else 0
        return tuple(turn for turn in self.past if turn.number <= last)

    @property
    def kept(self) -> tuple[Turn, ...]:
        """The turns that are in the prompt as they are."""
        return tuple(self.past[len(self.summarised) :])

    @property
    def shown(self) -> tuple[Source, ...]:
        """The sources that are in the prompt: what can be cited."""
        shown = {source.number: source for turn in self.kept for source in turn.sources}
        return tuple((shown | {source.number: source for source in self.sources}).values())


def system_text(project_name: str, *, instructions: str = "", primer: str = "") -> str:
    """Return the system message: the project's name, the model's own instructions, if any, the primer.

    The name is no sentence, and not at the end: small models answer with what stands there.
    """
    opening = f"Project: {project_name}\n\n{instructions or SYSTEM_PROMPT}"
    return f"{opening}\n\n{primer}" if primer else opening


def render_question(
    question: str, sources: Sequence[Source], *, shown: Container[int], note: str = ""
) -> str:
    """Return what a turn asks: sources not yet shown in full, the others by number, the question, the note.

    Small models heed best what they read last: so what is attached stands right before the question, and the
    note behind it.
    """
    new = [source for source in sources if source.number not in shown]
    parts = [
        render_source(source)
        for source in sorted(new, key=lambda each: each.origin is not SourceOrigin.FOUND)
    ]
    again = [f"[{source.number}]" for source in sources if source.number in shown]
    if again:
        parts.append(f"See also {', '.join(again)} above.")
    return "\n\n".join(filter(None, (*parts, f"Question: {question}", note)))


def render_conversation(conversation: ConversationText, *, vocabulary: str) -> tuple[Message, ...]:
    """Return the messages of the conversation up to the new question.

    A question that got no answer stays where it was read, in one message with the next one: after two empty
    answers Qwen2.5-Coder 1.5B gave none either, and any words in their place it copied
    (docs/conversations-log.md). Tokens of an answer count where the vocabulary is the one that wrote them.
    """
    messages = [Message(Role.SYSTEM, conversation.system)]
    shown: set[int] = set()
    before = [summary_text(conversation)]
    for turn in conversation.kept:
        before.append(render_question(turn.question, turn.sources, shown=shown, note=turn.note))
        shown |= {source.number for source in turn.sources}
        if is_answered(turn):
            messages += [_asked(before), answer_message(turn, vocabulary)]
            before = []
    return (*messages, _asked([*before, new_turn_text(conversation)]))


def new_turn_text(conversation: ConversationText) -> str:
    """Return the new question with its sources, as it stands at the end of the prompt."""
    shown = {source.number for turn in conversation.kept for source in turn.sources}
    return render_question(conversation.question, conversation.sources, shown=shown, note=conversation.note)


def is_answered(turn: Turn) -> bool:
    """Return whether the turn has an answer with words in it; one that was stopped early may have none."""
    return turn.answer is not None and bool(turn.answer.text.strip())


def models_answering(turns: Sequence[Turn]) -> frozenset[str]:
    """Return the models that have answered these turns."""
    return frozenset(turn.answer.model for turn in turns if turn.answer and is_answered(turn))


def _asked(parts: Sequence[str]) -> Message:
    return Message(Role.USER, "\n\n".join(filter(None, parts)))


def summary_text(conversation: ConversationText) -> str:
    """Return the summary as it stands in the prompt; empty if there is none."""
    summary = conversation.summary
    return render_summary(summary) if summary and summary.text else ""


def answer_message(turn: Turn, vocabulary: str) -> Message:
    """Return a past turn's answer as it goes into the prompt."""
    answer = turn.answer
    if answer is None:
        return Message(Role.ASSISTANT, "")
    is_same = bool(vocabulary) and answer.vocabulary == vocabulary
    return Message(Role.ASSISTANT, answer.text, answer.tokens if is_same else ())


class Counts:
    """Token counts of the parts of a prompt, never less than they take in it.

    The engine remembers the tokens of earlier turns.
    """

    def __init__(self, engine: Engine, vocabulary: str) -> None:
        self._engine = engine
        self.vocabulary = vocabulary

    async def text(self, text: str) -> int:
        """Return the tokens of a text alone."""
        return len(await self._engine.tokenize(text))

    async def message(self, message: Message) -> int:
        """Return the tokens of a message without what the format puts around it."""
        return len(message.tokens) or await self.text(message.text)

    async def front(self, conversation: ConversationText) -> int:
        """Return what the system text takes."""
        return await self.text(conversation.system) + MESSAGE_OVERHEAD_TOKENS

    async def summary(self, conversation: ConversationText) -> int:
        """Return what the summary takes, 0 if there is none."""
        before = summary_text(conversation)
        return await self.text(before) + SOURCE_OVERHEAD_TOKENS if before else 0

    async def question(self, question: str, note: str = "") -> int:
        """Return what the question takes with its note, without its sources."""
        return await self.text(render_question(question, (), shown=(), note=note)) + MESSAGE_OVERHEAD_TOKENS

    async def source(self, source: Source) -> int:
        """Return what the source takes where it is shown in full."""
        return await self.text(render_source(source)) + SOURCE_OVERHEAD_TOKENS

    async def sources(self, sources: Sequence[Source]) -> tuple[tuple[int, int], ...]:
        """Return what each of the sources takes."""
        return tuple([(source.number, await self.source(source)) for source in sources])

    async def turn(self, turn: Turn) -> TurnCost:
        """Return what a past turn takes."""
        answer = await self.message(answer_message(turn, self.vocabulary))
        return TurnCost(
            await self.question(turn.question, turn.note),
            answer + MESSAGE_OVERHEAD_TOKENS,
            await self.sources(turn.sources),
        )
