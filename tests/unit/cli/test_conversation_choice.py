from collections.abc import Iterator

import pytest

from coding_assistant.cli.bridge import bridge
from coding_assistant.cli.connection import Connection
from coding_assistant.cli.conversation_choice import find_conversation, latest_conversation
from coding_assistant.errors import ConversationNotFound, InvalidRequest
from support import views
from support.answering_calls import AnsweringCalls

FIRST = views.conversation("abcd1111" + "0" * 24, day=3)
SECOND = views.conversation("abcd2222" + "0" * 24, day=9)
THIRD = views.conversation("ef012345" + "0" * 24, day=6)


@pytest.fixture
def connection() -> Iterator[Connection]:
    with bridge() as crossing:
        yield Connection(AnsweringCalls(conversations=[FIRST, SECOND, THIRD]), crossing)


@pytest.mark.parametrize("typed", ["ef01", "EF012345", " ef0123 ", THIRD.conversation_id])
def test_a_beginning_that_only_one_id_has_is_enough(connection: Connection, typed: str) -> None:
    assert find_conversation(connection, typed) == THIRD


def test_a_beginning_of_several_is_refused_with_their_ids(connection: Connection) -> None:
    with pytest.raises(InvalidRequest, match="2 conversations") as caught:
        find_conversation(connection, "abcd")
    assert "abcd1111" in caught.value.hint
    assert "abcd2222" in caught.value.hint


@pytest.mark.parametrize("typed", ["", "abc", "latest", "abcd!", "a" * 33])
def test_what_is_no_id_is_refused(connection: Connection, typed: str) -> None:
    with pytest.raises(InvalidRequest, match="not a conversation's id"):
        find_conversation(connection, typed)


def test_nothing_begins_so(connection: Connection) -> None:
    with pytest.raises(ConversationNotFound):
        find_conversation(connection, "9999")


def test_the_latest_is_the_last_that_was_written_to(connection: Connection) -> None:
    assert latest_conversation(connection, project_id="p") == SECOND


def test_an_archived_conversation_is_not_gone_on_with() -> None:
    archived = SECOND.model_copy(update={"archived": True})
    with bridge() as crossing:
        connection = Connection(AnsweringCalls(conversations=[FIRST, archived, THIRD]), crossing)
        assert latest_conversation(connection, project_id="p") == THIRD


def test_a_conversation_in_which_nothing_was_answered_is_not_gone_on_with() -> None:
    refused = {SECOND.conversation_id}
    with bridge() as crossing:
        calls = AnsweringCalls(conversations=[FIRST, SECOND, THIRD], unanswered=refused)
        assert latest_conversation(Connection(calls, crossing), project_id="p") == THIRD


def test_where_nothing_was_answered_there_is_nothing_to_go_on_with() -> None:
    calls = AnsweringCalls(conversations=[FIRST], unanswered={FIRST.conversation_id})
    with bridge() as crossing, pytest.raises(ConversationNotFound, match="answered yet"):
        latest_conversation(Connection(calls, crossing), project_id="p")


def test_there_is_no_latest_of_none() -> None:
    with bridge() as crossing, pytest.raises(ConversationNotFound):
        latest_conversation(Connection(AnsweringCalls(), crossing), project_id="p")
