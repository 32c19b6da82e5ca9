from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coding_assistant.chat.store import ConversationStore
from coding_assistant.chat.title import NEW_TITLE
from coding_assistant.domain import (
    Answer,
    Citation,
    CitationState,
    Conversation,
    Dropped,
    Finish,
    Receipt,
    ReceiptSection,
    Timings,
)
from coding_assistant.errors import (
    ConversationNotFound,
    DatabaseDamaged,
    InvalidProject,
    NotFound,
    ProjectNotFound,
    SessionNotFound,
)
from support.examples import costly
from support.kept import NOON, begin, new_store, said, source

UNKNOWN = "0" * 32

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ConversationStore]:
    store = new_store(tmp_path / "conversations.db")
    yield store
    store.close()


def titles(conversations: list[Conversation]) -> list[str]:
    return [conversation.title for conversation in conversations]


# --- Projects -----------------------------------------------------------------------------------


def test_a_folder_is_one_project_however_often_it_is_added(store: ConversationStore) -> None:
    project = store.add_project(Path("/code/shop"), "shop")
    assert store.add_project(Path("/code/shop"), "another name") == project
    assert store.project(project.id) == store.project("shop") == project
    assert store.projects() == [project]


def test_two_folders_of_one_name_can_be_told_apart_by_name(store: ConversationStore) -> None:
    first, second, third = (store.add_project(Path(f"/{place}/shop"), "shop") for place in "abc")
    assert [first.name, second.name, third.name] == ["shop", "shop-2", "shop-3"]
    assert store.project("shop-2") == second


def test_a_folder_whose_name_is_no_text_is_refused(store: ConversationStore) -> None:
    with pytest.raises(InvalidProject):
        store.add_project(Path("/code/\udcff"), "shop")


# --- Turns --------------------------------------------------------------------------------------


def test_a_turn_is_kept_with_all_that_belongs_to_it(store: ConversationStore, tmp_path: Path) -> None:
    conversation = begin(store)
    turn = store.begin_turn(conversation.id, "Who pays?")
    shown = (source(1), source(2, "VAT = 20\n"))
    store.set_sources(turn.id, shown)
    answer = Answer(
        text="The customer [2].",
        finish=Finish.LENGTH,
        model="a-model",
        finished_at=NOON,
        citations=(
            Citation(shown[1], 3, 4, CitationState.MOVED),
            Citation(source(7, "of an earlier turn"), 1, 1, CitationState.GONE),
        ),
        unknown_citations=(9, 11),
        receipt=Receipt(
            limit=4096,
            reserved=512,
            sections=(ReceiptSection("system", 40), ReceiptSection("sources", 900)),
            dropped=(Dropped("turn 1", "no room", 300),),
            cached=40,
            new=900,
            freshness="2 files read anew",
        ),
        timings=Timings(searching=0.01, reading=3.25, written_tokens=17),
        failure="",
    )
    finished = store.finish_turn(turn.id, answer)
    assert finished == replace(turn, sources=shown, answer=answer)
    store.close()
    again = ConversationStore.open(tmp_path / "conversations.db")
    assert again.turn(turn.id) == finished
    assert again.turns(conversation.id) == [finished]
    again.close()


def test_while_the_model_is_at_work_there_is_no_answer(store: ConversationStore) -> None:
    turn = store.begin_turn(begin(store).id, "Who pays?")
    assert store.turn(turn.id) == turn
    store.save_partial(turn.id, "The cust")
    assert store.turn(turn.id).answer is None


def test_what_an_interrupted_answer_had_said_is_kept(store: ConversationStore) -> None:
    conversation = begin(store)
    done = store.finish_turn(store.begin_turn(conversation.id, "one").id, said("1"))
    cut_off = store.begin_turn(conversation.id, "two", model="a-model")
    store.save_partial(cut_off.id, "The cust")
    store.save_partial(cut_off.id, "The customer p")
    unheard = store.begin_turn(conversation.id, "three")
    assert store.mark_interrupted() == 2
    assert store.mark_interrupted() == 0
    assert store.turn(done.id) == done
    answers = [store.turn(turn.id).answer for turn in (cut_off, unheard)]
    assert [(answer.finish, answer.text, answer.model) for answer in answers if answer] == [
        (Finish.INTERRUPTED, "The customer p", "a-model"),
        (Finish.INTERRUPTED, "", ""),
    ]


def test_the_first_answer_of_a_turn_stays(store: ConversationStore) -> None:
    turn = store.begin_turn(begin(store).id, "Who pays?")
    finished = store.finish_turn(turn.id, said("The customer."))
    assert store.finish_turn(turn.id, said("Nobody.", finish=Finish.CANCELLED)) == finished
    store.save_partial(turn.id, "Nob")
    assert store.turn(turn.id) == finished


def test_sources_can_be_written_anew(store: ConversationStore) -> None:
    turn = store.begin_turn(begin(store).id, "Who pays?")
    store.set_sources(turn.id, [source(1), source(2)])
    store.set_sources(turn.id, [source(3, "another")])
    assert store.turn(turn.id).sources == (source(3, "another"),)
    store.set_sources(turn.id, [])
    assert store.turn(turn.id).sources == ()


@costly
@example(question="", answer="\ufeff\r\n\x1b[0m\U0010ffff", code="\u2028")
@given(question=texts, answer=texts, code=texts)
def test_no_text_is_changed(store: ConversationStore, question: str, answer: str, code: str) -> None:
    turn = store.begin_turn(begin(store).id, question)
    store.set_sources(turn.id, [source(1, code)])
    cited = replace(said(answer), citations=(Citation(source(1, code), 1, 1, CitationState.VERIFIED),))
    store.finish_turn(turn.id, cited)
    kept = store.turn(turn.id)
    assert (kept.question, kept.answer, kept.sources) == (question, cited, (source(1, code),))


def test_times_come_back_in_utc(store: ConversationStore) -> None:
    turn = store.begin_turn(begin(store).id, "When?")
    india = timezone(timedelta(hours=5, minutes=30))
    finished = store.finish_turn(turn.id, replace(said("Now."), finished_at=NOON.astimezone(india)))
    assert finished.answer is not None
    assert finished.answer.finished_at == NOON
    assert finished.answer.finished_at.tzinfo is UTC
    assert store.turn(turn.id).asked_at.tzinfo is UTC


def test_a_conversation_is_read_in_pages_from_its_end(store: ConversationStore) -> None:
    conversation = begin(store)
    for number in range(1, 8):
        turn = store.begin_turn(conversation.id, f"question {number}")
        store.set_sources(turn.id, [source(number)])
    assert [turn.number for turn in store.turns(conversation.id)] == [1, 2, 3, 4, 5, 6, 7]
    page = store.turns(conversation.id, limit=3)
    assert [turn.number for turn in page] == [5, 6, 7]
    before = store.turns(conversation.id, limit=3, before_number=page[0].number)
    assert [turn.number for turn in before] == [2, 3, 4]
    assert [turn.sources for turn in before] == [(source(2),), (source(3),), (source(4),)]
    assert store.turns(conversation.id, limit=3, before_number=1) == []
    assert store.turns(conversation.id, limit=0) == []
    assert store.turn_count(conversation.id) == 7


# --- Titles -------------------------------------------------------------------------------------


def test_the_first_question_gives_the_title(store: ConversationStore) -> None:
    conversation = begin(store)
    assert conversation.title == NEW_TITLE
    store.begin_turn(conversation.id, "Who pays? And when?")
    store.begin_turn(conversation.id, "And why?")
    assert store.conversation(conversation.id).title == "Who pays?"


def test_a_title_that_the_user_gave_stays(store: ConversationStore) -> None:
    conversation = begin(store)
    store.change_conversation(conversation.id, title="Payments")
    store.begin_turn(conversation.id, "Who pays?")
    assert store.conversation(conversation.id).title == "Payments"
    store.clear_conversation(conversation.id)
    store.begin_turn(conversation.id, "Who else?")
    assert store.conversation(conversation.id).title == "Payments"


def test_only_what_is_given_is_changed(store: ConversationStore) -> None:
    conversation = begin(store)
    pinned = store.change_conversation(conversation.id, pinned=True)
    assert pinned == replace(conversation, pinned=True)
    archived = store.change_conversation(conversation.id, archived=True, pinned=False)
    assert archived == replace(conversation, archived=True)
    assert store.change_conversation(conversation.id) == archived == store.conversation(conversation.id)


# --- Lists --------------------------------------------------------------------------------------


def test_pinned_conversations_come_first_then_the_last_used(tmp_path: Path) -> None:
    hours_back = iter(range(1_000))
    store = new_store(tmp_path / "conversations.db", clock=lambda: NOON - timedelta(hours=next(hours_back)))
    session = store.create_session()
    a, b, c, d = (begin(store, session_id=session.id) for _ in range(4))
    for conversation, title in ((a, "a"), (b, "b"), (c, "c"), (d, "d")):
        store.change_conversation(conversation.id, title=title)
    store.begin_turn(b.id, "again")
    store.change_conversation(a.id, pinned=True)
    assert titles(store.conversations()) == ["a", "b", "d", "c"]
    other = store.create_session()
    assert [each.id for each in store.sessions()] == [other.id, session.id]
    store.begin_turn(c.id, "again")
    assert [each.id for each in store.sessions()] == [session.id, other.id]
    assert titles(store.conversations(session_id=session.id)) == ["a", "c", "b", "d"]
    assert store.conversations(session_id=other.id) == []
    store.close()


def test_conversations_can_be_listed_by_project(store: ConversationStore) -> None:
    about_shop = begin(store)
    other = store.add_project(Path("/somewhere/else"), "else")
    about_other = store.create_conversation(session_id=about_shop.session_id, project_id=other.id)
    assert store.conversations(project_id=other.id) == [about_other]
    assert store.conversations(project_id=about_shop.project_id, session_id=about_shop.session_id) == [
        about_shop
    ]


def test_counts_are_those_of_each(store: ConversationStore) -> None:
    first = begin(store)
    second = begin(store, session_id=first.session_id)
    store.begin_turn(second.id, "one")
    store.begin_turn(second.id, "two")
    assert [each.turn_count for each in store.conversations()] == [2, 0]
    assert store.session(first.session_id).conversation_count == 2


def test_a_conversation_is_found_by_title_question_and_answer_in_any_case(store: ConversationStore) -> None:
    by_title, by_question, by_answer, other = (begin(store) for _ in range(4))
    store.change_conversation(by_title.id, title="Über Zahlungen")
    store.begin_turn(by_question.id, "x. Was heißt ÜBER hier?")
    store.finish_turn(store.begin_turn(by_answer.id, "y").id, said("Es steht darÜber."))
    store.begin_turn(other.id, "uber")
    found = store.conversations(containing="über")
    assert [each.id for each in found] == [by_answer.id, by_question.id, by_title.id]


@costly
@example(text="100% of a_b", sought="%")
@example(text="100", sought="%")
@example(text="axb", sought="a_b")
@example(text="a\\b", sought="\\")
@example(text="a/b", sought="/")
@example(text="ab", sought="\\")
@given(
    text=st.text(alphabet="aAbßÄä%_\\/'\" \n-", min_size=1, max_size=8),
    sought=st.text(alphabet="aAbBÄä%_\\/'\"-", min_size=1, max_size=3),
)
def test_every_sign_of_a_search_means_itself(store: ConversationStore, text: str, sought: str) -> None:
    conversation = begin(store)
    store.change_conversation(conversation.id, title=".")
    store.begin_turn(conversation.id, text)
    found = {each.id for each in store.conversations(session_id=conversation.session_id, containing=sought)}
    assert (conversation.id in found) == (sought.lower() in text.lower())


# --- Apart from each other ----------------------------------------------------------------------


def test_two_conversations_of_a_session_do_not_see_each_other(store: ConversationStore) -> None:
    first = begin(store)
    second = begin(store, session_id=first.session_id)
    ours, theirs = store.begin_turn(first.id, "ours"), store.begin_turn(second.id, "theirs")
    store.set_sources(ours.id, [source(1, "ours")])
    store.set_sources(theirs.id, [source(1, "theirs")])
    assert (ours.number, theirs.number) == (1, 1)
    assert [(turn.question, turn.sources) for turn in store.turns(first.id)] == [
        ("ours", (source(1, "ours"),))
    ]
    assert [turn.question for turn in store.turns(second.id)] == ["theirs"]


def test_deleting_takes_what_belongs_to_the_conversation_and_nothing_else(store: ConversationStore) -> None:
    first = begin(store)
    second = begin(store, session_id=first.session_id)
    gone, stays = store.begin_turn(first.id, "gone"), store.begin_turn(second.id, "stays")
    store.set_sources(gone.id, [source(1)])
    store.delete_conversation(first.id)
    with pytest.raises(NotFound):
        store.turn(gone.id)
    assert store.conversations() == [store.conversation(second.id)]
    assert store.turns(second.id) == [stays]


def test_an_answer_to_a_deleted_question_is_refused(store: ConversationStore) -> None:
    conversation = begin(store)
    turn = store.begin_turn(conversation.id, "cleared")
    store.clear_conversation(conversation.id)
    successor = store.begin_turn(conversation.id, "asked after that")
    assert successor.number == turn.number == 1
    with pytest.raises(NotFound):
        store.save_partial(turn.id, "too late")
    with pytest.raises(NotFound):
        store.set_sources(turn.id, [source(1)])
    with pytest.raises(NotFound):
        store.finish_turn(turn.id, said("too late"))
    assert store.turns(conversation.id) == [successor]


def test_clearing_a_conversation_empties_it(store: ConversationStore) -> None:
    conversation, other = begin(store), begin(store)
    for question in ("one", "two"):
        store.begin_turn(conversation.id, question)
    store.begin_turn(other.id, "kept")
    assert store.clear_conversation(conversation.id) == 2
    assert store.clear_conversation(conversation.id) == 0
    assert store.turns(conversation.id) == []
    assert store.conversation(conversation.id).title == NEW_TITLE
    assert store.turn_count(other.id) == 1
    store.begin_turn(conversation.id, "A new start")
    assert store.conversation(conversation.id).title == "A new start"


def test_clearing_all_empties_every_conversation(store: ConversationStore) -> None:
    first, second, empty = begin(store), begin(store), begin(store)
    for conversation in (first, first, second):
        store.begin_turn(conversation.id, "gone")
    assert store.clear_all() == (2, 3)
    assert {each.id for each in store.conversations()} == {first.id, second.id, empty.id}
    assert {(each.title, each.turn_count) for each in store.conversations()} == {(NEW_TITLE, 0)}


def test_clearing_a_session_deletes_it_with_its_conversations(store: ConversationStore) -> None:
    first, other = begin(store), begin(store)
    begin(store, session_id=first.session_id)
    store.begin_turn(first.id, "gone")
    store.begin_turn(other.id, "kept")
    assert store.clear_session(first.session_id) == (2, 1)
    with pytest.raises(SessionNotFound):
        store.session(first.session_id)
    assert [each.id for each in store.conversations()] == [other.id]


def test_deleted_text_is_nowhere_in_the_files(store: ConversationStore, tmp_path: Path) -> None:
    def traces() -> list[str]:
        return [file.name for file in tmp_path.iterdir() if b"canary" in file.read_bytes()]

    for remove in (
        lambda conversation: store.delete_conversation(conversation.id),
        lambda conversation: store.clear_conversation(conversation.id),
        lambda conversation: store.clear_session(conversation.session_id),
        lambda _: store.clear_all(),
    ):
        conversation = begin(store)
        turn = store.begin_turn(conversation.id, "Where is the canary?")
        store.set_sources(turn.id, [source(1, "canary = 1\n" * 1_000)])
        store.save_partial(turn.id, "The canary")
        store.finish_turn(turn.id, said("The canary is [1]." * 500))
        assert traces()
        remove(conversation)
        assert traces() == []


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.conversation(UNKNOWN),
        lambda store: store.turns(UNKNOWN),
        lambda store: store.turn_count(UNKNOWN),
        lambda store: store.begin_turn(UNKNOWN, "?"),
        lambda store: store.change_conversation(UNKNOWN, pinned=True),
        lambda store: store.change_conversation(UNKNOWN),
        lambda store: store.clear_conversation(UNKNOWN),
        lambda store: store.delete_conversation(UNKNOWN),
    ],
)
def test_an_unknown_conversation_is_named(
    store: ConversationStore, call: Callable[[ConversationStore], object]
) -> None:
    with pytest.raises(ConversationNotFound, match=UNKNOWN):
        call(store)


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.session(UNKNOWN),
        lambda store: store.clear_session(UNKNOWN),
        lambda store: store.conversations(session_id=UNKNOWN),
        lambda store: store.create_conversation(session_id=UNKNOWN, project_id=UNKNOWN),
    ],
)
def test_an_unknown_session_is_named(
    store: ConversationStore, call: Callable[[ConversationStore], object]
) -> None:
    with pytest.raises(SessionNotFound, match=UNKNOWN):
        call(store)


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.project(UNKNOWN),
        lambda store: store.conversations(project_id=UNKNOWN),
        lambda store: store.create_conversation(session_id=store.create_session().id, project_id=UNKNOWN),
    ],
)
def test_an_unknown_project_is_named(
    store: ConversationStore, call: Callable[[ConversationStore], object]
) -> None:
    with pytest.raises(ProjectNotFound, match=UNKNOWN):
        call(store)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "conversations.db"
    file.write_text("No database at all. " * 500)
    with pytest.raises(DatabaseDamaged):
        ConversationStore.open(file)
