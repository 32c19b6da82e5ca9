from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from coding_assistant.chat.model import LATEST_TURNS, kept_conversation
from coding_assistant.chat.receipt import turn_tokens
from coding_assistant.chat.store import ConversationStore
from coding_assistant.domain import Conversation, Summary, SummaryOrigin, Turn
from support.kept import NOON, begin, new_store, said, source, talk


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ConversationStore]:
    store = new_store(tmp_path / "conversations.db")
    yield store
    store.close()


def talk_on(store: ConversationStore, conversation: Conversation, turns: int) -> list[Turn]:
    return [talk(store, conversation, f"Why {number}?", "So. " * number) for number in range(1, turns + 1)]


def summarise(store: ConversationStore, last: Turn) -> None:
    summary = Summary(last.number, "They talked.", SummaryOrigin.MODEL, NOON)
    store.add_summary(last.conversation_id, summary, last_turn_id=last.id)


def show(store: ConversationStore, conversation: Conversation, *numbers: int, text: str = "a\nb\n") -> None:
    turn = store.begin_turn(conversation.id, "Who pays?")
    store.set_sources(turn.id, [source(number, text) for number in numbers])
    store.finish_turn(turn.id, said("The customer."))


def test_a_total_is_of_all_turns_up_to_a_number_whatever_was_asked_for_before(
    store: ConversationStore,
) -> None:
    conversation = begin(store)
    turns = talk_on(store, conversation, 40)

    totals = [store.older.total(conversation.id, last).tokens for last in (3, 40, 39, 0)]

    assert totals == [sum(map(turn_tokens, turns[:last])) for last in (3, 40, 39, 0)]
    assert store.older.total(conversation.id, 40).models == {"a-model"}


def test_the_total_of_a_conversation_that_was_cleared_begins_anew(store: ConversationStore) -> None:
    conversation = begin(store)
    talk_on(store, conversation, 5)
    before = store.older.total(conversation.id, 5)
    store.clear_conversation(conversation.id)
    talk(store, conversation, "Why?", "So.")
    talk_on(store, conversation, 7)

    after = store.older.total(conversation.id, 6)

    assert after.tokens == sum(map(turn_tokens, store.turns(conversation.id)[:6])) != before.tokens


def test_sources_of_older_turns_are_found_by_their_lines_each_as_it_was_shown_last(
    store: ConversationStore,
) -> None:
    conversation = begin(store)
    show(store, conversation, 1, 2)
    show(store, conversation, 1, 3, text="a\nchanged\n")
    show(store, conversation, 9)
    chunk = source(1).chunk

    found = store.older.shown(conversation.id, 2, [chunk])

    assert list(found.by_number) == [1, 2, 3]
    assert found.by_number[1].chunk.text == "a\nchanged\n"
    assert found.highest == 3
    lower, elsewhere = replace(chunk, end_line=chunk.end_line + 1), replace(chunk, path=chunk.path / "x")
    assert store.older.shown(conversation.id, 2, [lower, elsewhere]).summarised == ()
    assert store.older.shown(begin(store).id, 2, [chunk]).highest == 0


def test_a_conversation_holds_the_turns_after_its_summary_and_at_least_the_latest(
    store: ConversationStore,
) -> None:
    conversation = begin(store)
    turns = talk_on(store, conversation, 30)
    assert list(kept_conversation(store, conversation.id).past) == turns

    summarise(store, turns[9])
    assert list(kept_conversation(store, conversation.id).past) == turns[10:]
    assert list(kept_conversation(store, conversation.id, before_number=25).past) == turns[10:24]

    summarise(store, turns[27])
    kept = kept_conversation(store, conversation.id)
    assert list(kept.past) == turns[-LATEST_TURNS:]
    assert kept.summarised == 28
    assert kept.models == {"a-model"}
    assert kept.summarised_tokens == sum(map(turn_tokens, turns[:28]))
