from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath

import pytest

from coding_assistant.chat.store import ConversationStore
from coding_assistant.domain import Finish, Grounding, NamedPlace, Summary, SummaryOrigin
from coding_assistant.errors import ConversationNotFound, KeyReused, NotFound
from support.kept import NOON, begin, new_store, said, talk

UNKNOWN = "0" * 32
PAY = PurePosixPath("pay.py")
COMMIT = "1a2b3c4d" * 5


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[ConversationStore]:
    store = new_store(tmp_path / "conversations.db", clock=clock)
    yield store
    store.close()


def summary(last_turn: int, text: str = "They talked.") -> Summary:
    return Summary(last_turn, text, SummaryOrigin.MODEL, NOON)


# --- Tokens and commits -------------------------------------------------------------------------


def test_an_answer_keeps_its_tokens_and_a_turn_its_commit(store: ConversationStore, tmp_path: Path) -> None:
    turn = store.begin_turn(begin(store).id, "Who pays?", commit=COMMIT)
    answer = said("The customer.", tokens=(0, 1, 151_643, 2**32 - 1), vocabulary="qwen")
    finished = store.finish_turn(turn.id, answer)
    assert finished == replace(turn, answer=answer)
    assert finished.commit == COMMIT
    store.close()
    again = ConversationStore.open(tmp_path / "conversations.db")
    assert again.turn(turn.id) == finished
    again.close()


def test_what_an_interrupted_answer_had_said_keeps_its_tokens(store: ConversationStore) -> None:
    turn = store.begin_turn(begin(store).id, "Who pays?", model="a-model")
    store.save_partial(turn.id, "The cust", tokens=(7, 8), vocabulary="v")
    store.mark_interrupted()
    answer = store.turn(turn.id).answer
    assert answer == said("The cust", finish=Finish.INTERRUPTED, tokens=(7, 8), vocabulary="v")


def test_what_was_noted_of_a_question_is_kept_and_may_change(store: ConversationStore) -> None:
    turn = store.begin_turn(begin(store).id, "Who pays?")
    assert turn.note == ""
    store.set_note(turn.id, "Note: one.")
    store.set_note(turn.id, "Note: two.")
    grounding = Grounding(
        unverified_names=("made_up",),
        taken_back=("other",),
        not_found=True,
        searched_files=3,
        searched_words=("pays",),
        nearest=(NamedPlace("pay", PAY, 7),),
    )
    answer = replace(said("Not found."), grounding=grounding)
    finished = store.finish_turn(turn.id, answer)
    assert store.turn(turn.id) == finished
    assert finished == replace(turn, note="Note: two.", answer=answer)
    with pytest.raises(NotFound):
        store.set_note(UNKNOWN, "Note: three.")


# --- Keys ---------------------------------------------------------------------------------------


def test_a_question_is_found_under_its_key_for_a_day(store: ConversationStore, clock: Clock) -> None:
    conversation = begin(store)
    turn = store.begin_turn(conversation.id, "Who pays?", idempotency_key="k", request_digest="d")
    assert store.turn_of_key("k", request_digest="d") == turn
    assert store.turn_of_key("another") is None
    clock.now += timedelta(hours=23)
    finished = store.finish_turn(turn.id, said("The customer."))
    assert store.turn_of_key("k", request_digest="d") == finished
    clock.now += timedelta(hours=1)
    assert store.turn_of_key("k", request_digest="d") is None
    again = store.begin_turn(conversation.id, "Who pays?", idempotency_key="k", request_digest="d")
    assert store.turn_of_key("k", request_digest="d") == again


def test_a_key_is_for_one_request(store: ConversationStore) -> None:
    conversation = begin(store)
    store.begin_turn(conversation.id, "Who pays?", idempotency_key="k", request_digest="d")
    with pytest.raises(KeyReused):
        store.turn_of_key("k", request_digest="another")
    with pytest.raises(KeyReused):
        store.begin_turn(conversation.id, "Who pays?", idempotency_key="k", request_digest="d")
    assert store.turn_count(conversation.id) == 1


def test_a_key_that_is_released_can_be_used_anew(store: ConversationStore) -> None:
    conversation = begin(store)
    refused = store.begin_turn(conversation.id, "Who pays?", idempotency_key="k", request_digest="d")
    store.begin_turn(conversation.id, "Who else?", idempotency_key="another")
    store.release_key(refused.id)
    assert store.turn_of_key("k", request_digest="d") is None
    assert store.turn_of_key("another") is not None
    assert store.turn(refused.id) == refused
    again = store.begin_turn(conversation.id, "Who pays?", idempotency_key="k", request_digest="d")
    assert store.turn_of_key("k", request_digest="d") == again


def test_a_key_is_forgotten_with_its_question(store: ConversationStore) -> None:
    conversation = begin(store)
    store.begin_turn(conversation.id, "Who pays?", idempotency_key="k")
    store.clear_conversation(conversation.id)
    assert store.turn_of_key("k") is None


# --- Summaries and primers ----------------------------------------------------------------------


def test_the_newest_summary_is_the_one_in_use(store: ConversationStore) -> None:
    conversation, other = begin(store), begin(store)
    assert store.summary(conversation.id) is None
    first, second = (talk(store, conversation, question, "They.") for question in ("Who?", "Who else?"))
    made = [summary(1), summary(2, "They talked more."), summary(2, "They talked better.")]
    for each, last in zip(made, (first, second, second), strict=True):
        store.add_summary(conversation.id, each, last_turn_id=last.id)
    store.add_summary(other.id, summary(1), last_turn_id=talk(store, other, "Who?", "They.").id)
    assert store.summaries(conversation.id) == made
    assert store.summary(conversation.id) == made[-1]


def test_a_conversation_that_is_emptied_begins_without_summary_and_primer(store: ConversationStore) -> None:
    first, second = begin(store), begin(store)
    for each in (first, second):
        turn = talk(store, each, "Who?", "They.")
        store.set_primer(each.id, "It is a shop.")
        store.add_summary(each.id, summary(1), last_turn_id=turn.id)
    assert store.conversation(first.id).primer == "It is a shop."
    store.clear_conversation(first.id)
    assert (store.conversation(first.id).primer, store.summaries(first.id)) == ("", [])
    assert len(store.summaries(second.id)) == 1
    store.clear_all()
    assert (store.conversation(second.id).primer, store.summaries(second.id)) == ("", [])


def test_what_belongs_to_no_conversation_is_refused(store: ConversationStore) -> None:
    with pytest.raises(ConversationNotFound):
        store.set_primer(UNKNOWN, "It is a shop.")
    with pytest.raises(ConversationNotFound):
        store.add_summary(UNKNOWN, summary(1), last_turn_id=UNKNOWN)
    with pytest.raises(ConversationNotFound):
        store.summaries(UNKNOWN)


def test_a_summary_of_turns_that_were_cleared_meanwhile_is_refused(store: ConversationStore) -> None:
    conversation, other = begin(store), begin(store)
    cleared = talk(store, conversation, "What is my password?", "It is kestrel.")
    store.clear_conversation(conversation.id)
    new, elsewhere = talk(store, conversation, "Who?", "They."), talk(store, other, "Who?", "They.")
    assert new.number == cleared.number
    for gone in (cleared, elsewhere):
        with pytest.raises(NotFound, match=gone.id):
            store.add_summary(conversation.id, summary(1, "Kestrel."), last_turn_id=gone.id)
    assert store.summaries(conversation.id) == []
