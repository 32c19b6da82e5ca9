"""Reads what a question is going to need while it is still being typed.

Its sources are searched for and read into the conversation's slot. If the question then finds the same, they
come in the order in which they were read, so that the engine's cache holds them. A guess that was wrong costs
nobody anything but the processor's time: reading stops within a batch as soon as a question is asked.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

import anyio
from anyio import to_thread

from coding_assistant.chat.deeper import Reach
from coding_assistant.chat.fronts import CodeAskedAbout, Fronts
from coding_assistant.chat.idle import Attention, attempted
from coding_assistant.chat.model import ChatModel, KeptConversation, front_digest, kept_conversation
from coding_assistant.chat.prompt import opening_of_turn
from coding_assistant.chat.retrieving import find_sources, new_chunks
from coding_assistant.chat.store import ConversationStore
from coding_assistant.domain import Chunk, Indexing, ModelLoading

MOST_GUESSES = 32
"""Of so many conversations it is remembered what was read ahead; of the others it is read again."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A question as far as it is typed; without a conversation it is going to begin one."""

    text: str
    about: CodeAskedAbout
    conversation_id: str | None

    @property
    def owner(self) -> str:
        """Whose slot it is read into: a conversation to come has none but its project's."""
        return self.conversation_id or self.about.project.id


class ReadingAhead:
    """Reads for one draft at a time, the newest."""

    def __init__(
        self, store: ConversationStore, model: ChatModel, fronts: Fronts, attention: Attention
    ) -> None:
        self._store = store
        self._model = model
        self._fronts = fronts
        self._attention = attention
        self._newest: Draft | None = None
        self._offered = anyio.Event()
        self._reading = anyio.Lock()
        self._present = anyio.CancelScope()
        self._guesses: OrderedDict[str, tuple[Chunk, ...]] = OrderedDict()

    def offer(self, draft: Draft) -> None:
        """Have a draft read, in place of any other."""
        self._newest = draft
        self._present.cancel()
        self._offered.set()

    def guess(self, owner: str) -> tuple[Chunk, ...]:
        """Return the chunks that were read ahead for an owner, in their order, and forget them."""
        return self._guesses.pop(owner, ())

    async def hand_over(self, project_id: str, conversation_id: str) -> None:
        """Give what was read for a conversation to come to the one that has begun, once reading stopped."""
        async with self._reading:
            await self._model.caches.hand_over(project_id, conversation_id)

    async def run(self) -> None:
        """Read drafts as they are offered; returns only by cancellation."""
        while True:
            await self._offered.wait()
            self._offered = anyio.Event()
            draft, self._newest = self._newest, None
            if draft is not None and not self._attention.questions:
                self._attention.stop_chores()
                with anyio.CancelScope() as self._present:
                    await self._attention.unless_asked(partial(attempted, partial(self.read, draft)))

    async def read(self, draft: Draft) -> bool:
        """Read a draft's sources into its slot; return whether there was anything to read."""
        async with self._reading:
            kept = await self._kept(draft)
            await draft.about.code.refresh(_unheard)
            sources = await find_sources(
                draft.text,
                kept,
                draft.about.code,
                reach=Reach(self._model.source_budget(draft.text)),
                read=self._guesses.get(draft.owner, ()),
            )
            info = await self._model.engine.load()
            if not info.reads_ahead:
                return False
            if not kept.past:
                primer = await self._fronts.primer_for_new(draft.about, info, question=draft.text)
                kept = KeptConversation(primer)
            text = self._model.text(draft.about.project, kept, question=draft.text, sources=sources)
            tokens = await opening_of_turn(
                self._model.engine,
                text,
                budget=self._model.budget(info.context_tokens),
                vocabulary=info.vocabulary,
            )
            if not tokens:
                return False
            async with self._model.caches.lease(draft.owner) as lease:
                await lease.prepare(info, front=front_digest(text.system))
                self._remember(draft.owner, new_chunks(sources, kept))
                await self._model.read(tokens, slot=lease.slot)
        return True

    async def _kept(self, draft: Draft) -> KeptConversation:
        if draft.conversation_id is None:
            return KeptConversation()
        return await to_thread.run_sync(kept_conversation, self._store, draft.conversation_id)

    def _remember(self, owner: str, chunks: tuple[Chunk, ...]) -> None:
        self._guesses.pop(owner, None)
        self._guesses[owner] = chunks
        while len(self._guesses) > MOST_GUESSES:
            self._guesses.popitem(last=False)


def _unheard(_progress: Indexing | ModelLoading) -> None:
    """Nobody waits for the index here."""
