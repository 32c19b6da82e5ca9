from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from coding_assistant.chat.store import ConversationStore
from coding_assistant.chat.trash import KEPT
from coding_assistant.domain import Conversation, Summary, SummaryOrigin, Turn
from coding_assistant.errors import ConversationNotFound, NotFound
from support.kept import NOON, begin, new_store, said, source, talk

UNKNOWN = "0" * 32


@pytest.fixture
def days() -> list[int]:
    """How many days have gone by."""
    return [0]


@pytest.fixture
def store(tmp_path: Path, days: list[int]) -> Iterator[ConversationStore]:
    store = new_store(tmp_path / "conversations.db", clock=lambda: NOON + timedelta(days=days[0]))
    yield store
    store.close()


def test_a_deletion_can_be_undone(store: ConversationStore) -> None:
    conversation, other = begin(store), begin(store)
    turn = store.begin_turn(conversation.id, "Who pays?")
    store.set_sources(turn.id, [source(1)])
    turn = store.finish_turn(turn.id, said("The customer."))
    before = store.conversation(conversation.id)
    deleted = store.trash.put(conversation.id)
    assert deleted.deleted_at == NOON
    assert store.trash.conversations() == [deleted]
    assert [each.id for each in store.conversations()] == [other.id]
    assert store.trash.restore(conversation.id) == before == store.conversation(conversation.id)
    assert store.turns(conversation.id) == [turn]
    assert store.trash.conversations() == []
    assert store.trash.restore(conversation.id) == before


@pytest.mark.parametrize(
    "sees",
    [
        lambda store, deleted, _turn: store.conversation(deleted.id),
        lambda store, deleted, _turn: store.turns(deleted.id),
        lambda store, deleted, _turn: store.turn_count(deleted.id),
        lambda store, deleted, _turn: store.begin_turn(deleted.id, "And?"),
        lambda store, deleted, _turn: store.change_conversation(deleted.id, title="Mine"),
        lambda store, deleted, _turn: store.clear_conversation(deleted.id),
        lambda store, deleted, _turn: store.summary(deleted.id),
        lambda store, deleted, _turn: store.set_primer(deleted.id, "A shop."),
        lambda store, deleted, _turn: store.document(deleted.id),
        lambda store, deleted, _turn: store.trash.put(deleted.id),
        lambda store, _deleted, turn: store.turn(turn.id),
        lambda store, _deleted, _turn: store.turn_of_key("k"),
        lambda store, _deleted, turn: store.add_summary(
            turn.conversation_id, Summary(1, "?", SummaryOrigin.EXTRACT, NOON), last_turn_id=turn.id
        ),
    ],
)
def test_what_lies_in_the_trash_is_unknown(
    store: ConversationStore, sees: Callable[[ConversationStore, Conversation, Turn], object]
) -> None:
    deleted = begin(store)
    turn = store.begin_turn(deleted.id, "Who pays?", idempotency_key="k")
    store.finish_turn(turn.id, said("The customer."))
    store.trash.put(deleted.id)
    with pytest.raises(NotFound):
        sees(store, deleted, turn)


def test_what_lies_in_the_trash_is_counted_and_found_nowhere(store: ConversationStore) -> None:
    kept = begin(store)
    deleted = begin(store, session_id=kept.session_id)
    talk(store, deleted, "Who pays?", "The customer.")
    store.trash.put(deleted.id)
    assert store.session(kept.session_id).conversation_count == 1
    assert [each.id for each in store.conversations(containing="")] == [kept.id]
    assert store.messages.find("customer", limit=9) == []
    assert store.clear_session(kept.session_id) == (1, 0)
    assert store.trash.conversations() == []


def test_what_was_deleted_for_thirty_days_is_erased(
    store: ConversationStore, days: list[int], tmp_path: Path
) -> None:
    old, newer = begin(store), begin(store)
    talk(store, old, "Where is the canary?", "Here.")
    store.trash.put(old.id)
    days[0] = KEPT.days - 1
    store.trash.put(newer.id)
    assert store.erase_due() == []
    days[0] = KEPT.days
    assert store.erase_due() == [old.id]
    assert [each.id for each in store.trash.conversations()] == [newer.id]
    assert not [file for file in tmp_path.iterdir() if b"canary" in file.read_bytes()]
    with pytest.raises(ConversationNotFound):
        store.trash.restore(old.id)


def test_for_good_is_for_good_also_from_the_trash(store: ConversationStore, tmp_path: Path) -> None:
    for clear in (lambda each: store.delete_conversation(each.id), lambda _: store.clear_all()):
        conversation = begin(store)
        talk(store, conversation, "Where is the canary?", "Here.")
        store.trash.put(conversation.id)
        clear(conversation)
        assert store.trash.conversations() == []
        assert not [file for file in tmp_path.iterdir() if b"canary" in file.read_bytes()]


@pytest.mark.parametrize("name", ["put", "restore"])
def test_an_unknown_conversation_is_named(store: ConversationStore, name: str) -> None:
    with pytest.raises(ConversationNotFound, match=UNKNOWN):
        getattr(store.trash, name)(UNKNOWN)
