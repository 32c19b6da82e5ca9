"""The store and a list of dictionaries are told the same; they must always hold the same."""

import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from coding_assistant.chat.store import ConversationStore
from coding_assistant.chat.title import NEW_TITLE, title_from
from coding_assistant.domain import Answer, Chunk, Finish, Source
from coding_assistant.errors import ConversationNotFound, NotFound, SessionNotFound
from support.examples import costly
from support.kept import new_store

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)

questions = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@dataclass
class ModelTurn:
    id: str
    number: int
    question: str
    sources: tuple[Source, ...] = ()
    text: str = ""
    finish: Finish | None = None


@dataclass
class ModelConversation:
    id: str
    session_id: str
    last_used: int
    title: str = NEW_TITLE
    renamed: bool = False
    pinned: bool = False
    turns: list[ModelTurn] = field(default_factory=list)


class StoreMachine(RuleBasedStateMachine):
    sessions: Bundle[str] = Bundle("sessions")
    conversations: Bundle[str] = Bundle("conversations")
    turns: Bundle[str] = Bundle("turns")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.hours_back = count()  # a clock that runs backwards: nothing may depend on it
        self.uses = count()
        self.known_sessions: set[str] = set()
        self.model: dict[str, ModelConversation] = {}
        self.file = Path(self.folder.name) / "conversations.db"
        self.store = new_store(self.file, clock=self.clock)

    def clock(self) -> datetime:
        return NOON - timedelta(hours=next(self.hours_back))

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    def found(self, turn_id: str) -> tuple[ModelConversation, ModelTurn] | None:
        return next(
            (
                (conversation, turn)
                for conversation in self.model.values()
                for turn in conversation.turns
                if turn.id == turn_id
            ),
            None,
        )

    @initialize()
    def add_project(self) -> None:
        self.project = self.store.add_project(Path("/somewhere/shop"), "shop")

    @rule(target=sessions)
    def create_session(self) -> str:
        session = self.store.create_session()
        self.known_sessions.add(session.id)
        return session.id

    @rule(target=conversations, session_id=sessions)
    def create_conversation(self, session_id: str) -> str:
        if session_id not in self.known_sessions:
            with pytest.raises(SessionNotFound):
                self.store.create_conversation(session_id=session_id, project_id=self.project.id)
            return multiple()  # type: ignore[return-value]  # how hypothesis says "none"
        made = self.store.create_conversation(session_id=session_id, project_id=self.project.id)
        self.model[made.id] = ModelConversation(made.id, session_id, next(self.uses))
        return made.id

    @rule(target=turns, conversation_id=conversations, question=questions)
    def begin_turn(self, conversation_id: str, question: str) -> str:
        conversation = self.model.get(conversation_id)
        if conversation is None:
            with pytest.raises(ConversationNotFound):
                self.store.begin_turn(conversation_id, question)
            return multiple()  # type: ignore[return-value]  # how hypothesis says "none"
        turn = self.store.begin_turn(conversation_id, question)
        if not conversation.turns and not conversation.renamed:
            conversation.title = title_from(question)
        conversation.turns.append(ModelTurn(turn.id, len(conversation.turns) + 1, question))
        conversation.last_used = next(self.uses)
        return turn.id

    @rule(turn_id=turns, text=questions)
    def save_partial(self, turn_id: str, text: str) -> None:
        if (found := self.found(turn_id)) is None:
            with pytest.raises(NotFound):
                self.store.save_partial(turn_id, text)
            return
        self.store.save_partial(turn_id, text)
        if found[1].finish is None:
            found[1].text = text

    @rule(turn_id=turns, numbers=st.sets(st.integers(1, 9)), text=questions)
    def set_sources(self, turn_id: str, numbers: set[int], text: str) -> None:
        sources = tuple(
            Source(number, Chunk(PurePosixPath("a.py"), number, number, text), "digest")
            for number in sorted(numbers)
        )
        if (found := self.found(turn_id)) is None:
            with pytest.raises(NotFound):
                self.store.set_sources(turn_id, sources)
            return
        self.store.set_sources(turn_id, sources)
        found[1].sources = sources

    @rule(turn_id=turns, text=questions, finish=st.sampled_from(Finish))
    def finish_turn(self, turn_id: str, text: str, finish: Finish) -> None:
        answer = Answer(text=text, finish=finish, model="a-model", finished_at=NOON)
        if (found := self.found(turn_id)) is None:
            with pytest.raises(NotFound):
                self.store.finish_turn(turn_id, answer)
            return
        self.store.finish_turn(turn_id, answer)
        conversation, turn = found
        if turn.finish is None:
            turn.text, turn.finish = text, finish
            conversation.last_used = next(self.uses)

    @rule(conversation_id=conversations, title=questions, pinned=st.booleans())
    def change(self, conversation_id: str, title: str, *, pinned: bool) -> None:
        conversation = self.model.get(conversation_id)
        if conversation is None:
            with pytest.raises(ConversationNotFound):
                self.store.change_conversation(conversation_id, title=title, pinned=pinned)
            return
        self.store.change_conversation(conversation_id, title=title, pinned=pinned)
        conversation.title, conversation.renamed, conversation.pinned = title, True, pinned

    @rule(conversation_id=conversations)
    def clear(self, conversation_id: str) -> None:
        conversation = self.model.get(conversation_id)
        if conversation is None:
            with pytest.raises(ConversationNotFound):
                self.store.clear_conversation(conversation_id)
            return
        assert self.store.clear_conversation(conversation_id) == len(conversation.turns)
        self.emptied(conversation)

    @rule()
    def clear_all(self) -> None:
        counts = [len(conversation.turns) for conversation in self.model.values() if conversation.turns]
        assert self.store.clear_all() == (len(counts), sum(counts))
        for conversation in self.model.values():
            self.emptied(conversation)

    def emptied(self, conversation: ModelConversation) -> None:
        conversation.turns = []
        if not conversation.renamed:
            conversation.title = NEW_TITLE

    @rule(conversation_id=consumes(conversations))
    def delete(self, conversation_id: str) -> None:
        if self.model.pop(conversation_id, None) is None:
            with pytest.raises(ConversationNotFound):
                self.store.delete_conversation(conversation_id)
            return
        self.store.delete_conversation(conversation_id)

    @rule(session_id=sessions)
    def clear_session(self, session_id: str) -> None:
        if session_id not in self.known_sessions:
            with pytest.raises(SessionNotFound):
                self.store.clear_session(session_id)
            return
        lost = [each for each in self.model.values() if each.session_id == session_id]
        expected = (len(lost), sum(len(each.turns) for each in lost))
        assert self.store.clear_session(session_id) == expected
        self.known_sessions.remove(session_id)
        for conversation in lost:
            del self.model[conversation.id]

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = ConversationStore.open(self.file, clock=self.clock)
        waiting = [turn for each in self.model.values() for turn in each.turns if turn.finish is None]
        assert self.store.mark_interrupted() == len(waiting)
        for turn in waiting:
            turn.finish = Finish.INTERRUPTED

    @invariant()
    def lists_agree(self) -> None:
        expected = sorted(self.model.values(), key=lambda each: (not each.pinned, -each.last_used))
        assert [
            (each.id, each.session_id, each.title, each.pinned, each.turn_count)
            for each in self.store.conversations()
        ] == [(each.id, each.session_id, each.title, each.pinned, len(each.turns)) for each in expected]
        assert {session.id for session in self.store.sessions()} == self.known_sessions

    @invariant()
    def turns_agree(self) -> None:
        for conversation in self.model.values():
            kept = self.store.turns(conversation.id)
            assert [(turn.id, turn.number, turn.question, turn.sources) for turn in kept] == [
                (turn.id, turn.number, turn.question, turn.sources) for turn in conversation.turns
            ]
            assert [turn.answer and (turn.answer.text, turn.answer.finish) for turn in kept] == [
                turn.finish and (turn.text, turn.finish) for turn in conversation.turns
            ]


TestStoreAgainstModel = StoreMachine.TestCase
TestStoreAgainstModel.settings = settings(costly, stateful_step_count=25)
