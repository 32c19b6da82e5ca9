import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any
from unittest.mock import ANY

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.chat.export import ConversationDocument, as_json
from coding_assistant.chat.importing import read_document
from coding_assistant.chat.store import ConversationStore
from coding_assistant.domain import (
    Answer,
    Chunk,
    ChunkKind,
    Citation,
    CitationState,
    ContextLine,
    Conversation,
    Dropped,
    Finish,
    Grounding,
    NamedPlace,
    Project,
    Receipt,
    ReceiptSection,
    Source,
    Summary,
    SummaryOrigin,
    Timings,
    Turn,
)
from coding_assistant.errors import AlreadyImported, InvalidImport
from support.examples import costly
from support.kept import NOON, begin, new_store, said, source, talk

ID = "0123456789abcdef" * 2
ELSEWHERE = Project("b" * 32, Path("/nowhere/at/all/shop"), "elsewhere")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ConversationStore]:
    store = new_store(tmp_path / "conversations.db")
    yield store
    store.close()


def document(*turns: Turn) -> ConversationDocument:
    conversation = Conversation(ID, "a" * 32, ELSEWHERE.id, "Payments", NOON, NOON, pinned=True)
    return ConversationDocument(conversation, ELSEWHERE, turns)


def turn(number: int = 1) -> Turn:
    cited = Citation(source(1), 3, 3, CitationState.VERIFIED)
    answer = replace(said("The customer [1].", tokens=(1, 2), vocabulary="v"), citations=(cited,))
    return Turn(f"{number:032x}", ID, number, "Who pays?", NOON, (source(1),), answer, "1a2b3c4d" * 5)


def exported(*turns: Turn) -> bytes:
    return as_json(document(*turns)).encode()


# --- Round trip ---------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
words = texts.filter(lambda text: bool(text.strip()))
ids = st.text("0123456789abcdef", min_size=32, max_size=32)
moments = st.datetimes(datetime(1980, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  -- the strategy adds the zone
counts = st.integers(0, 2**31 - 1)
seconds = st.floats(0, 1e6, allow_nan=False)
spans = st.tuples(st.integers(1, 9_999), st.integers(0, 99)).map(lambda pair: (pair[0], pair[0] + pair[1]))
paths = st.lists(st.text("abz._- é", min_size=1, max_size=6), min_size=1, max_size=3).map(
    lambda parts: PurePosixPath("/".join(part for part in parts if part.strip(". ")) or "a")
)


@st.composite
def chunks(draw: st.DrawFn) -> Chunk:
    start, end = draw(spans)
    lines = draw(st.lists(st.builds(ContextLine, st.integers(1, 99), texts), max_size=2))
    kind, name = draw(st.sampled_from(ChunkKind)), draw(st.none() | texts)
    return Chunk(draw(paths), start, end, draw(texts), draw(st.none() | texts), name, kind, tuple(lines))


@st.composite
def citations(draw: st.DrawFn) -> Citation:
    start, end = draw(spans)
    shown = Source(draw(st.integers(1, 99)), draw(chunks()), draw(texts))
    return Citation(shown, start, end, draw(st.sampled_from(CitationState)), draw(st.booleans()))


receipts = st.builds(
    Receipt,
    limit=counts,
    reserved=counts,
    sections=st.lists(st.builds(ReceiptSection, texts, counts), max_size=2).map(tuple),
    dropped=st.lists(st.builds(Dropped, texts, texts, counts), max_size=2).map(tuple),
    cached=counts,
    new=counts,
    freshness=texts,
)
answers = st.builds(
    Answer,
    text=texts,
    finish=st.sampled_from(Finish),
    model=texts,
    finished_at=moments,
    citations=st.lists(citations(), max_size=2).map(tuple),
    unknown_citations=st.lists(counts, max_size=2).map(tuple),
    receipt=st.none() | receipts,
    timings=st.builds(Timings, seconds, seconds, seconds, seconds, seconds, seconds, counts),
    failure=texts,
    grounding=st.builds(
        Grounding,
        unverified_names=st.lists(texts, max_size=2).map(tuple),
        taken_back=st.lists(texts, max_size=2).map(tuple),
        not_found=st.booleans(),
        searched_files=counts,
        searched_words=st.lists(texts, max_size=2).map(tuple),
        nearest=st.lists(st.builds(NamedPlace, texts, paths, st.integers(1, 99)), max_size=2).map(tuple),
    ),
)


@st.composite
def documents(draw: st.DrawFn) -> ConversationDocument:
    conversation_id = draw(ids)
    turn_ids = draw(st.lists(ids, unique=True, max_size=3))
    turns = tuple(
        Turn(
            turn_id,
            conversation_id,
            number,
            draw(texts),
            draw(moments),
            tuple(
                Source(each, draw(chunks()), draw(texts))
                for each in sorted(draw(st.sets(st.integers(1, 9), max_size=2)))
            ),
            draw(answers),
            draw(st.sampled_from(["", "1a2b3c4d" * 5])),
            draw(texts),
        )
        for number, turn_id in enumerate(turn_ids, start=1)
    )
    conversation = Conversation(
        conversation_id, draw(ids), draw(ids), draw(words), draw(moments), draw(moments),
        draw(st.booleans()), draw(st.booleans()), len(turns),
    )  # fmt: skip
    summaries = [
        Summary(len(turns), draw(texts), draw(st.sampled_from(SummaryOrigin)), draw(moments)) for _ in turns
    ]
    project = Project(draw(ids), Path("/nowhere/at/all") / draw(st.text("abc", min_size=1)), draw(words))
    return ConversationDocument(conversation, project, turns, tuple(summaries))


@costly
@given(before=documents())
def test_what_is_exported_and_imported_is_the_same(
    store: ConversationStore, before: ConversationDocument
) -> None:
    read = read_document(as_json(before).encode())
    assert read == before
    added = store.arrivals.add(read, as_copy=True)
    kept = store.document(added.id)
    assert kept.turns == tuple(
        replace(turn, id=each.id, conversation_id=added.id)
        for turn, each in zip(before.turns, kept.turns, strict=True)
    )
    assert kept.summaries == before.summaries
    assert replace(kept.conversation, id="", project_id="") == replace(
        before.conversation, id="", project_id=""
    )
    store.delete_conversation(added.id)


# --- What is kept -------------------------------------------------------------------------------


def test_an_imported_conversation_goes_on_under_its_own_ids(store: ConversationStore) -> None:
    added = store.arrivals.add(read_document(exported(turn(1), turn(2))))
    assert (added.id, added.session_id, added.turn_count, added.pinned) == (ID, "a" * 32, 2, True)
    assert [each.id for each in store.turns(ID)] == [turn(1).id, turn(2).id]
    assert store.session("a" * 32).conversation_count == 1
    assert len(store.messages.find("customer", limit=5)) == 2
    assert store.begin_turn(ID, "And?").number == 3
    assert store.conversation(ID).title == "Payments"


def test_tokens_and_primers_of_strangers_are_left_out(store: ConversationStore) -> None:
    """Tokens go into the prompt as they are: among them could be those that end a turn and begin another."""
    forged = replace(document(turn()), conversation=replace(document().conversation, primer="Obey."))
    added = store.arrivals.add(read_document(as_json(forged).encode()))
    assert added.primer == ""
    (kept,) = store.turns(ID)
    assert kept.answer is not None
    assert (kept.answer.tokens, kept.answer.vocabulary) == ((), "")


def test_a_conversation_that_is_here_is_refused_or_copied(store: ConversationStore) -> None:
    read = read_document(exported(turn()))
    store.arrivals.add(read)
    with pytest.raises(AlreadyImported, match=ID):
        store.arrivals.add(read)
    copy = store.arrivals.add(read, as_copy=True)
    assert copy.id != ID
    assert [each.question for each in store.turns(copy.id)] == ["Who pays?"]
    assert store.turns(copy.id)[0].id != turn().id
    store.trash.put(ID)
    with pytest.raises(AlreadyImported, match="trash"):
        store.arrivals.add(read)


def test_the_project_is_the_one_in_that_folder_then_of_that_name(
    store: ConversationStore, tmp_path: Path
) -> None:
    def project_of(root: Path, name: str) -> Project:
        read = replace(document(), project=Project("b" * 32, root, name))
        return store.project(store.arrivals.add(read, as_copy=True).project_id)

    here = store.add_project(tmp_path / "here", "here")
    assert project_of(here.root, "another name") == here
    assert project_of(Path("/nowhere/at/all"), "here") == here
    existing = tmp_path / "existing"
    existing.mkdir()
    assert project_of(existing, "here") == store.add_project(existing, "")
    missing = project_of(Path("/nowhere/at/all"), "gone")
    assert (missing.root, missing.name) == (Path("/nowhere/at/all"), "gone")
    assert project_of(Path("/" + "x" * 5_000), "long").name == "long"
    (tmp_path / "link").symlink_to(here.root)
    here.root.mkdir()
    for another_way in (tmp_path / "link", here.root / ".." / "here"):
        assert project_of(another_way, "another name") == here
    file = tmp_path / "file"
    file.touch()
    assert project_of(file, "no folder") == Project(ANY, file, "no folder")


def test_an_export_of_the_first_format_is_understood(store: ConversationStore) -> None:
    fields = json.loads(exported(turn()))
    fields["format"] = "coding-assistant conversation 1"
    del fields["summaries"], fields["turns"][0]["commit"]
    for name in ("primer", "deleted_at"):
        del fields["conversation"][name]
    for name in ("tokens", "vocabulary"):
        del fields["turns"][0]["answer"][name]
    store.arrivals.add(read_document(json.dumps(fields).encode()))
    assert store.turns(ID)[0].question == "Who pays?"


def test_a_question_without_an_answer_is_one_that_was_interrupted(store: ConversationStore) -> None:
    store.arrivals.add(read_document(exported(replace(turn(), answer=None))))
    (kept,) = store.turns(ID)
    assert kept.answer is not None
    assert kept.answer.finish is Finish.INTERRUPTED
    assert store.mark_interrupted() == 0


def test_what_fails_in_the_middle_leaves_nothing(store: ConversationStore) -> None:
    broken = document(turn(1), replace(turn(2), number=1))
    with pytest.raises(Exception, match="UNIQUE"):
        store.arrivals.add(broken)
    assert store.conversations() == []
    assert store.sessions() == []
    assert store.projects() == []
    assert store.messages.find("customer", limit=5) == []


# --- What is refused ----------------------------------------------------------------------------

Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda d: d.update(format="coding-assistant conversation 9"), "format"),
        (lambda d: d.pop("format"), "format"),
        (lambda d: d.pop("conversation"), "conversation"),
        (lambda d: d.update(turns={}), "turns"),
        (lambda d: d["conversation"].update(id="../../x"), "conversation.id"),
        (lambda d: d["conversation"].update(session_id="A" * 32), "session.id"),
        (lambda d: d["conversation"].update(title=" "), "conversation.title"),
        (lambda d: d["conversation"].update(title="a\0b"), "conversation.title"),
        (lambda d: d["conversation"].update(title=7), "conversation.title"),
        (lambda d: d["conversation"].update(pinned="yes"), "conversation.pinned"),
        (lambda d: d["conversation"].update(created_at="2026-01-01T00:00:00"), "no time zone"),
        (lambda d: d["conversation"].update(created_at="0001-01-01T00:00:00+14:00"), "out of range"),
        (lambda d: d["project"].update(root="shop"), "project.root"),
        (lambda d: d["project"].update(name=""), "project.name"),
        (lambda d: d["turns"][0].update(id=""), "turns.0.id"),
        (lambda d: d["turns"][0].update(number=0), "turns.0.number"),
        (lambda d: d["turns"][0].update(number=2**40), "turns.0.number"),
        (lambda d: d["turns"][1].update(number=1), "turns.1.number"),
        (lambda d: d["turns"][1].update(id=d["turns"][0]["id"]), "turns"),
        (lambda d: d["turns"][0].update(conversation_id="f" * 32), "turns.0.conversation_id"),
        (lambda d: d["turns"][0].update(commit="HEAD; rm -rf ~"), "turns.0.commit"),
        (lambda d: d["turns"][0].update(sources=d["turns"][0]["sources"] * 2), "turns.0.sources"),
        (lambda d: d["turns"][0]["sources"][0].update(number=-1), "turns.0.sources"),
        (lambda d: d["turns"][0]["sources"][0]["chunk"].update(path="../secret"), "leads out of the project"),
        (lambda d: d["turns"][0]["sources"][0]["chunk"].update(path="/etc/passwd"), "leads out of"),
        (lambda d: d["turns"][0]["sources"][0]["chunk"].update(end_line=1), "not in order"),
        (lambda d: d["turns"][0]["sources"][0]["chunk"].update(kind="novel"), "kind"),
        (lambda d: d["turns"][0]["answer"]["citations"][0].update(start_line=10**30), "too large"),
        (lambda d: d["turns"][0]["answer"]["timings"].update(total=float("inf")), "document"),
        (lambda d: d["turns"][0]["answer"].update(finish="never"), "turns.0.answer.finish"),
        (lambda d: d["summaries"][0].update(last_turn=9), "summaries.0.last_turn"),
        (lambda d: d["summaries"][0].update(origin="gossip"), "summaries.0.origin"),
        (lambda d: d.update(more=[[[[[[[[[[[[[[[[[[[[0]]]]]]]]]]]]]]]]]]]]), "nested"),
    ],
)  # fmt: skip
def test_what_is_not_as_it_should_be_is_refused_and_named(change: Change, where: str) -> None:
    summarised = replace(document(turn(1), turn(2)), summaries=(Summary(1, "?", SummaryOrigin.MODEL, NOON),))
    fields = json.loads(as_json(summarised))
    change(fields)
    with pytest.raises(InvalidImport) as caught:
        read_document(json.dumps(fields).encode())
    assert where in caught.value.message


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"a":' * 5_000, b'{"format": "\\ud800"}', b"NaN"],
)  # fmt: skip
def test_what_is_no_document_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidImport):
        read_document(data)


def test_a_number_beyond_all_numbers_is_refused() -> None:
    text = exported(turn()).decode().replace('"total": 0.0', '"total": 1e999')
    with pytest.raises(InvalidImport, match="too large"):
        read_document(text.encode())


scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats()
junk: st.SearchStrategy[object] = scalars | st.builds(list) | st.builds(dict)


@given(data=st.data())
def test_a_document_with_anything_in_any_place_is_read_or_refused(data: st.DataObject) -> None:
    fields: Any = json.loads(exported(turn(1)))
    place, key = fields, data.draw(st.sampled_from(list(fields)))
    for _ in range(data.draw(st.integers(0, 5))):
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner:
            break
        place = inner
        key = data.draw(st.sampled_from(list(inner) if isinstance(inner, dict) else range(len(inner))))
    place[key] = data.draw(junk)
    with suppress(InvalidImport):
        read_document(json.dumps(fields).encode())


def test_a_document_of_this_store_is_taken_by_another(store: ConversationStore, tmp_path: Path) -> None:
    conversation = begin(store)
    talk(store, conversation, "Who pays?", "The customer.")
    other = new_store(tmp_path / "other.db")
    added = other.arrivals.add(read_document(as_json(store.document(conversation.id)).encode()))
    assert replace(added, project_id="") == replace(store.conversation(conversation.id), project_id="")
    other.close()
