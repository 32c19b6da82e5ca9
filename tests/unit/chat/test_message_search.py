import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.chat.message_search import (
    SNIPPET_CHARACTERS,
    FindsTurns,
    IndexedWords,
    MessageSearch,
    ReadThrough,
    snippet,
    words_of,
)
from coding_assistant.chat.migrations import MIGRATIONS
from coding_assistant.chat.store import ConversationStore
from coding_assistant.database import migrate, open_database
from coding_assistant.domain import Role
from support.examples import costly
from support.kept import begin, new_store, said, talk


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "conversations.db"


@pytest.fixture
def store(file: Path) -> Iterator[ConversationStore]:
    store = new_store(file)
    yield store
    store.close()


@pytest.fixture(params=[IndexedWords, ReadThrough])
def search(request: pytest.FixtureRequest, store: ConversationStore, file: Path) -> Iterator[MessageSearch]:
    """Both ways to search the messages of the same store, beside it."""
    finds: FindsTurns = request.param()
    if isinstance(finds, IndexedWords):
        yield store.messages
        return
    engine = open_database(file)
    yield MessageSearch(engine, finds)
    engine.dispose()


def said_in(search: MessageSearch, query: str) -> list[str]:
    return [found.snippet for found in search.find(query, limit=10)]


def test_all_words_must_be_there_in_any_order_and_case(
    store: ConversationStore, search: MessageSearch
) -> None:
    conversation = begin(store)
    talk(store, conversation, "Who pays?", "The customer pays at the till.")
    talk(store, conversation, "And who counts?", "The clerk counts at the till.")
    assert said_in(search, "TILL customer") == ["The customer pays at the till."]
    assert said_in(search, "customer clerk") == []
    assert said_in(search, "till") == ["The clerk counts at the till.", "The customer pays at the till."]


def test_a_word_stands_for_all_that_begin_with_it(store: ConversationStore, search: MessageSearch) -> None:
    talk(store, begin(store), "Where is session_expired() decided?", "In sessions.py.")
    for query in ("sess", "expir", "session_exp", "sessions.p", '"expired" decid*'):
        assert len(search.find(query, limit=10)) == 1, query


def test_what_was_found_says_where_it_stands(store: ConversationStore, search: MessageSearch) -> None:
    conversation = begin(store)
    turn = talk(store, conversation, "Who pays?", "The customer.")
    (in_question,) = search.find("pays", limit=10)
    (in_answer,) = search.find("customer", limit=10)
    assert (in_question.role, in_answer.role) == (Role.USER, Role.ASSISTANT)
    for found in (in_question, in_answer):
        assert (found.turn_id, found.conversation_id) == (turn.id, conversation.id)
        assert (found.title, found.project_id) == ("Who pays?", conversation.project_id)


def test_a_title_that_the_user_gave_is_found_before_messages(
    store: ConversationStore, search: MessageSearch
) -> None:
    named, talking = begin(store), begin(store)
    store.change_conversation(named.id, title="Über Zahlungen")
    talk(store, talking, "Was sind Zahlungen?", "Geld.")
    found = search.find("zahl", limit=10)
    assert [(each.conversation_id, each.turn_id is None) for each in found] == [
        (named.id, True),
        (talking.id, False),
    ]
    assert [each.conversation_id for each in search.find("uber zahl", limit=10)] == [named.id]
    assert len(search.find("zahl", limit=1)) == 1


@pytest.mark.parametrize("query", ["", "?!", "*", '"', "-> ::", "\U0001f600"])
def test_what_has_no_word_finds_nothing(store: ConversationStore, search: MessageSearch, query: str) -> None:
    talk(store, begin(store), "Who? *", '" -> :: \U0001f600')
    assert search.find(query, limit=10) == []


def test_what_is_deleted_or_cleared_is_found_no_more(store: ConversationStore, search: MessageSearch) -> None:
    for remove in (
        lambda each: store.delete_conversation(each.id),
        lambda each: store.clear_conversation(each.id),
        lambda each: store.clear_session(each.session_id),
        lambda _: store.clear_all(),
    ):
        conversation = begin(store)
        talk(store, conversation, "Who pays?", "The customer.")
        assert len(search.find("customer", limit=10)) == 1
        remove(conversation)
        assert search.find("customer", limit=10) == []


def test_a_question_is_found_once_its_answer_has_ended(
    store: ConversationStore, search: MessageSearch
) -> None:
    turn = store.begin_turn(begin(store).id, "Who pays?")
    store.save_partial(turn.id, "The customer")
    assert search.find("customer", limit=10) == []
    store.mark_interrupted()
    assert said_in(search, "customer") == ["The customer"]


def test_accents_make_no_difference(store: ConversationStore) -> None:
    talk(store, begin(store), "Où est le café?", "Là-bas, à côté.")
    assert len(store.messages.find("ou CAFE cote", limit=10)) == 1
    assert len(store.messages.find("où café", limit=10)) == 1


@pytest.mark.parametrize(
    "said_words",
    [
        "Wo läuft das Überprüfen? İstanbul",
        "Где проверяется Ёжик, й?",
        "Πού ελέγχεται;",
        "세션은 언제 만료되나요",
        "セッションが期限切れになる",
        "会话何时过期",
        "सत्र कब समाप्त होता है",
        "متى تنتهي الجلسة",
        "\u0065\u0301tat",  # decomposed
    ],
)
def test_every_word_is_found_in_every_script(store: ConversationStore, said_words: str) -> None:
    talk(store, begin(store), "?", said_words)
    for word in words_of(said_words):
        assert len(store.messages.find(word, limit=5)) == 1, word
    assert len(store.messages.find(said_words, limit=5)) == 1
    assert len(store.messages.find(said_words.upper(), limit=5)) == 1


def test_a_message_about_nothing_else_comes_before_one_that_mentions_it(store: ConversationStore) -> None:
    conversation = begin(store)
    for _ in range(5):
        talk(store, conversation, "Anything else?", "No.")
    talk(store, conversation, "What is a tariff?", "A tariff is a tariff.")
    talk(store, conversation, "More?", "Much else is said, and the tariff once. " + "So. " * 80)
    assert [each.snippet[:8] for each in store.messages.find("tariff", limit=2)] == ["What is ", "Much els"]


def test_an_index_that_is_not_as_it_should_be_is_made_anew(store: ConversationStore, file: Path) -> None:
    talk(store, begin(store), "Who pays?", "The customer.")
    store.close()
    for damage in (
        "DROP TABLE message_words",
        "INSERT INTO message_words (message_words) VALUES ('delete-all')",
        "DROP TABLE message_words; CREATE TABLE message_words (x)",
    ):
        with closing(sqlite3.connect(file)) as connection:
            connection.executescript(damage)
        again = ConversationStore.open(file)
        assert len(again.messages.find("customer", limit=10)) == 1
        again.close()


def test_a_database_from_before_the_index_can_be_searched(tmp_path: Path) -> None:
    file = tmp_path / "old.db"
    engine = open_database(file)
    migrate(engine, MIGRATIONS)
    engine.dispose()
    with closing(ConversationStore.open(file)) as store:
        talk(store, begin(store), "Who pays?", "The customer.")
        assert len(store.messages.find("pays", limit=1)) == 1


@costly
@given(texts=st.lists(st.text(max_size=40), min_size=1, max_size=4), query=st.text(max_size=12))
def test_no_query_fails_and_none_finds_what_does_not_hold_it(
    store: ConversationStore, texts: list[str], query: str
) -> None:
    store.clear_all()
    conversation = begin(store)
    for text in texts:
        cleaned = text.encode("utf-8", "replace").decode().replace("\0", "")
        store.finish_turn(store.begin_turn(conversation.id, "?").id, said(cleaned))
    found = store.messages.find(query, limit=100)
    assert len(found) <= len(texts)
    assert not found or words_of(query)


# --- Snippets -----------------------------------------------------------------------------------


def test_a_snippet_is_the_part_where_most_words_are() -> None:
    text = "pay " + "x " * 300 + "who\n must\tpay the bill " + "y " * 300
    found = snippet(text, ["bill", "pay"])
    assert "who must pay the bill" in found
    assert found.startswith("…")
    assert found.endswith("…")
    assert len(found) <= SNIPPET_CHARACTERS + 2


@given(text=st.text(max_size=600), words=st.lists(st.text("abcx", min_size=1, max_size=3), max_size=3))
def test_a_snippet_is_one_line_of_the_text(text: str, words: list[str]) -> None:
    found = snippet(text, words)
    assert len(found) <= SNIPPET_CHARACTERS + 2
    assert found.removeprefix("…").removesuffix("…") in " ".join(text.split()) or found.strip("…") in text
