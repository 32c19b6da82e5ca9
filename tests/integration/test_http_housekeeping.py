"""Conversations put away, brought back, searched, carried elsewhere: over the HTTP skin in this process."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from coding_assistant.chat.store import ConversationStore
from coding_assistant.contract import ConversationView, FoundMessageView, QueryResponse
from coding_assistant.domain import Summary, SummaryOrigin
from coding_assistant.web.problems import Problem
from support.asgi import HOST, Answer
from support.http_server import InProcess, in_process
from support.kept import NOON, begin, talk
from support.scripted_engine import ScriptedEngine

ANSWER = "A session expires after thirty minutes [1]."
QUESTION = "When does a session expire?"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[InProcess]:
    with in_process(tmp_path, ScriptedEngine(ANSWER)) as house:
        yield house


def ask(house: InProcess, query: str = QUESTION, **fields: str) -> QueryResponse:
    answer = house.json("POST", "/chat/query", {"query": query, **fields})
    assert answer.status == 200, answer
    return QueryResponse.model_validate_json(answer.body)


def listed(house: InProcess, query: str = "") -> list[str]:
    answer = house.json("GET", f"/chat/conversations{query}")
    return [ConversationView.model_validate(each).conversation_id for each in json.loads(answer.body)]


def code_of(answer: Answer) -> str:
    assert answer.headers["content-type"] == "application/problem+json"
    return Problem.model_validate_json(answer.body).code


def exported(house: InProcess, conversation_id: str) -> dict[str, Any]:
    answer = house.json("GET", f"/chat/conversation/{conversation_id}/export?format=json")
    document: dict[str, Any] = json.loads(answer.body)
    return document


# --- Away and back ------------------------------------------------------------------------------


def test_archived_conversations_can_be_asked_for_or_left_out(house: InProcess) -> None:
    kept, archived = ask(house).conversation_id, ask(house).conversation_id
    house.json("PATCH", f"/chat/conversation/{archived}", {"archived": True})
    assert set(listed(house)) == {kept, archived}
    assert listed(house, "?archived=false") == [kept]
    assert listed(house, "?archived=true") == [archived]


def test_a_deleted_conversation_is_nowhere_until_it_is_restored(house: InProcess) -> None:
    asked = ask(house)
    path = f"/chat/conversation/{asked.conversation_id}"
    before = house.json("GET", f"/chat/history?conversation_id={asked.conversation_id}").body
    assert house.json("DELETE", path).status == 204

    assert listed(house) == []
    assert json.loads(house.json("GET", f"/chat/session/{asked.session_id}").body)["conversation_count"] == 0
    assert json.loads(house.json("GET", "/chat/search?q=session").body) == []
    unseen = [
        house.json("GET", path),
        house.json("GET", f"{path}/export"),
        house.json("PATCH", path, {"pinned": True}),
        house.json("DELETE", path),
        house.json("GET", f"/chat/history?conversation_id={asked.conversation_id}"),
        house.json("GET", f"/chat/context?conversation_id={asked.conversation_id}"),
        house.json("DELETE", f"/chat/history?conversation_id={asked.conversation_id}"),
        house.json("POST", "/chat/query", {"query": "And?", "conversation_id": asked.conversation_id}),
        house.json("POST", "/chat/prefetch", {"text": "And?", "conversation_id": asked.conversation_id}),
    ]
    assert [(each.status, code_of(each)) for each in unseen] == [(404, "conversation_not_found")] * len(
        unseen
    )

    (in_trash,) = json.loads(house.json("GET", "/chat/conversations?deleted=true").body)
    assert in_trash["conversation_id"] == asked.conversation_id
    assert in_trash["deleted_at"] is not None
    restored = house.json("POST", f"{path}/restore")
    assert (restored.status, json.loads(restored.body)["deleted_at"]) == (200, None)
    assert house.json("GET", f"/chat/history?conversation_id={asked.conversation_id}").body == before
    assert listed(house, "?deleted=true") == []
    assert ask(house, "And?", conversation_id=asked.conversation_id).response == ANSWER


def test_for_good_is_for_good(house: InProcess) -> None:
    first, second = ask(house).conversation_id, ask(house).conversation_id
    assert house.json("DELETE", f"/chat/conversation/{first}?permanently=true").status == 204
    house.json("DELETE", f"/chat/conversation/{second}")
    assert house.json("DELETE", f"/chat/conversation/{second}?permanently=true").status == 204
    for gone in (first, second):
        assert house.json("POST", f"/chat/conversation/{gone}/restore").status == 404
        assert house.json("DELETE", f"/chat/conversation/{gone}?permanently=true").status == 404
    assert listed(house, "?deleted=true") == []


def test_clearing_everything_empties_the_trash_too(house: InProcess) -> None:
    ask(house)
    deleted = ask(house).conversation_id
    house.json("DELETE", f"/chat/conversation/{deleted}")
    cleared = json.loads(house.json("DELETE", "/chat/history").body)
    assert cleared == {"cleared_conversations": 1, "cleared_messages": 2, "remains": ""}
    assert listed(house, "?deleted=true") == []


# --- Search -------------------------------------------------------------------------------------


def test_messages_are_found_by_their_words(house: InProcess) -> None:
    asked = ask(house)
    answer = house.json("GET", "/chat/search?q=THIRTY%20sess&limit=5")
    (found,) = [FoundMessageView.model_validate(each) for each in json.loads(answer.body)]
    assert (found.message_id, found.role) == (asked.message_id, "assistant")
    assert (found.title, found.snippet) == (QUESTION, ANSWER)
    house.json("PATCH", f"/chat/conversation/{asked.conversation_id}", {"title": "Expiry"})
    (by_title,) = json.loads(house.json("GET", "/chat/search?q=expir&limit=1").body)
    assert (by_title["title"], by_title["message_id"], by_title["role"]) == ("Expiry", None, None)


@pytest.mark.parametrize("query", ["q=", "q=%00", "", "q=x&limit=0", "q=" + "x" * 2_001])
def test_a_search_for_nothing_is_refused(house: InProcess, query: str) -> None:
    assert house.json("GET", f"/chat/search?{query}").status == 422


# --- Elsewhere ----------------------------------------------------------------------------------


def test_an_export_can_be_imported_and_gone_on_with(house: InProcess) -> None:
    asked = ask(house)
    document = exported(house, asked.conversation_id)
    assert document["format"] == "coding-assistant conversation 2"
    again = house.json("POST", "/chat/import", document)
    assert (again.status, code_of(again)) == (409, "already_imported")
    copied = house.json("POST", "/chat/import?copy=true", document)
    copy = ConversationView.model_validate_json(copied.body)
    assert (copied.status, copy.message_count, copy.session_id) == (200, 2, asked.session_id)
    assert copy.conversation_id != asked.conversation_id
    assert ask(house, "And?", conversation_id=copy.conversation_id).response == ANSWER

    house.json("DELETE", f"/chat/conversation/{asked.conversation_id}?permanently=true")
    back = house.json("POST", "/chat/import", document)
    assert ConversationView.model_validate_json(back.body).conversation_id == asked.conversation_id
    history = json.loads(house.json("GET", f"/chat/history?conversation_id={asked.conversation_id}").body)
    assert [each["content"] for each in history["messages"]] == [QUESTION, ANSWER]
    assert history["messages"][1]["citations"][0]["path"] == "sessions.py"


@pytest.mark.parametrize("root", ["/nowhere/at/all", __file__])
def test_a_conversation_about_no_folder_that_is_here_can_be_read_but_not_gone_on_with(
    house: InProcess, root: str
) -> None:
    document = exported(house, ask(house).conversation_id)
    document["project"] |= {"root": root, "name": "elsewhere"}
    imported = house.json("POST", "/chat/import?copy=true", document)
    conversation = ConversationView.model_validate_json(imported.body).conversation_id
    path = f"/chat/history?conversation_id={conversation}"
    before = house.json("GET", path)
    assert [each["content"] for each in json.loads(before.body)["messages"]] == [QUESTION, ANSWER]
    for route, question in (("query", {"query": "And?"}), ("prefetch", {"text": "And?"})):
        refused = house.json("POST", f"/chat/{route}", {**question, "conversation_id": conversation})
        assert (refused.status, code_of(refused)) == (422, "invalid_project")
        assert "elsewhere cannot be asked about here" in json.loads(refused.body)["detail"]
    assert house.json("GET", path).body == before.body


def test_what_is_no_export_is_refused_with_what_is_wrong(house: InProcess) -> None:
    document = exported(house, ask(house).conversation_id)
    document["conversation"]["id"] = "f" * 32
    document["turns"][0]["answer"]["finish"] = "never"
    before = listed(house)
    refused = house.json("POST", "/chat/import", document)
    assert (refused.status, code_of(refused)) == (422, "invalid_import")
    assert "turns.0.answer.finish" in json.loads(refused.body)["detail"]
    assert listed(house) == before


def test_an_import_may_be_longer_than_a_question_but_not_endless(house: InProcess) -> None:
    document = exported(house, ask(house).conversation_id)
    document["turns"][0]["answer"]["text"] = "long " * 400_000
    assert house.json("POST", "/chat/import?copy=true", document).status == 200
    headers = [HOST, ("content-type", "application/json")]
    too_long = house.call("POST", "/chat/import", headers, b" " * (32 * 1024 * 1024 + 1))
    assert (too_long.status, code_of(too_long)) == (413, "body_too_large")


# --- Keys, reading ahead ------------------------------------------------------------------------


def keyed(house: InProcess, key: str, **body: object) -> Answer:
    headers = [HOST, ("content-type", "application/json"), ("idempotency-key", key)]
    return house.call("POST", "/chat/query", headers, json.dumps(body).encode())


def test_a_question_that_is_sent_again_is_not_asked_again(house: InProcess) -> None:
    first, second = (
        QueryResponse.model_validate_json(keyed(house, "k-1", query=QUESTION).body) for _ in "12"
    )
    assert (first.conversation_id, first.message_id) == (second.conversation_id, second.message_id)
    assert len(listed(house)) == 1
    another = keyed(house, "k-1", query="Something else?")
    assert (another.status, code_of(another)) == (422, "key_reused")
    assert len(listed(house)) == 1


@pytest.mark.parametrize("key", [" ", "a b", "\xe9", "x" * 256])
def test_a_key_that_is_none_is_refused(house: InProcess, key: str) -> None:
    assert keyed(house, key, query=QUESTION).status == 422


def test_reading_ahead_is_taken_on_at_once(house: InProcess) -> None:
    answer = house.json("POST", "/chat/prefetch", {"text": "When does a sess", "project": house.project})
    assert answer.status == 202
    assert house.json("POST", "/chat/prefetch", {"text": ""}).status == 422
    assert house.json("POST", "/chat/prefetch", {"text": "x", "project": "nowhere"}).status == 404


# --- What the model holds -----------------------------------------------------------------------


def test_the_next_question_is_foretold(house: InProcess) -> None:
    asked = ask(house)
    context = json.loads(house.json("GET", f"/chat/context?conversation_id={asked.conversation_id}").body)
    following = context["next"]
    assert following["limit"] > following["held"] > 0
    assert following["room"] == following["limit"] - following["reserved"] - following["held"]
    assert following["compaction_near"] is False


def test_summaries_are_visible(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    with closing(ConversationStore.open(tmp_path / "home" / "conversations.db")) as store:
        conversation, plain = begin(store), begin(store)
        turn, _ = (talk(store, each, QUESTION, ANSWER) for each in (conversation, plain))
        for text, origin in (("Of tills.", SummaryOrigin.EXTRACT), ("Of sessions.", SummaryOrigin.MODEL)):
            store.add_summary(conversation.id, Summary(1, text, origin, NOON), last_turn_id=turn.id)
    with in_process(tmp_path, ScriptedEngine()) as house:
        context, history = (
            json.loads(house.json("GET", f"/chat/{part}?conversation_id={conversation.id}").body)
            for part in ("context", "history")
        )
        assert [(each["text"], each["origin"]) for each in history["summaries"]] == [
            ("Of tills.", "extract"),
            ("Of sessions.", "model"),
        ]
        assert len(history["messages"]) == 2
        assert (context["summary"]["text"], context["summary"]["last_turn"]) == ("Of sessions.", 1)
        context = json.loads(house.json("GET", f"/chat/context?conversation_id={plain.id}").body)
        assert context["summary"] is None
