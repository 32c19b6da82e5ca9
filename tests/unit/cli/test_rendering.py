import io
from pathlib import Path

import pytest

from coding_assistant.cli.rendering import (
    Line,
    citation_lines,
    duration,
    ending,
    hit_lines,
    message_lines,
    place,
    receipt_line,
    receipt_lines,
    source_line,
    source_text,
)
from coding_assistant.cli.screen import Screen
from coding_assistant.contract import MessageView, SectionView
from coding_assistant.domain import CitationState, Finish
from support import views

ROOT = Path("/srv/project")


def plain(line: Line) -> str:
    return "".join(span.text for span in line)


def screen(encoding: str = "utf-8") -> Screen:
    return Screen(io.TextIOWrapper(io.BytesIO(), encoding=encoding))


def test_a_failed_answer_says_why_and_which_numbers_it_made_up() -> None:
    message = MessageView(
        id="1-a",
        turn=1,
        role="assistant",
        content="It is in [7].",
        created_at=views.MOMENT,
        finish_reason=Finish.FAILED,
        unknown_citations=[7],
        failure="The engine died.",
    )
    lines = [plain(line) for line in message_lines(screen(), ROOT, message)]
    assert "The answer failed; what was written is kept. The engine died." in lines
    assert "  [7] ✗ no such source" in lines


@pytest.mark.parametrize("finish", [Finish.CANCELLED, Finish.FAILED, Finish.INTERRUPTED])
def test_an_answer_without_a_word_has_nothing_that_was_kept(finish: Finish) -> None:
    assert "the question is kept" in ending(finish, text=" \n")
    assert "what was written is kept" in ending(finish, text="It")


@pytest.mark.parametrize(
    ("here", "shown"),
    [
        ("project", "src/a.py:3-9"),
        ("project/src", "a.py:3-9"),
        ("project/docs", "../src/a.py:3-9"),
        (".", "project/src/a.py:3-9"),
        ("elsewhere", "{root}/src/a.py:3-9"),
    ],
)
def test_a_place_is_a_path_that_leads_there_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: str, shown: str
) -> None:
    root = tmp_path / "project"
    folder = tmp_path / here
    folder.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(folder)
    span = place(root, "src/a.py", 3, 9)
    assert span.text == shown.format(root=root)
    assert span.link == root / "src/a.py"


def test_citations_say_how_they_compare_with_the_files_of_now() -> None:
    citations = [views.citation(number, state=state) for number, state in enumerate(CitationState, start=1)]
    lines = [plain(line) for line in citation_lines(screen(), None, citations, [7])]
    assert lines == [
        "Citations",
        "  [1] src/deciding.py:3-4  decide  ✓ verified",
        "  [2] src/deciding.py:3-4  decide  ↪ moved, these are today's lines",
        "  [3] src/deciding.py:3-4  decide  ~ changed since it was read",
        "  [4] src/deciding.py:3-4  decide  ✗ gone",
        "  [5] src/deciding.py:3-4  decide  · given with the question",
        "  [7] ✗ no such source",
    ]


def test_citations_can_be_written_in_ascii() -> None:
    citations = [views.citation(1, state=state) for state in CitationState]
    assert all(plain(line).isascii() for line in citation_lines(screen("ascii"), None, citations, [7]))


def test_an_answer_without_citations_is_said_to_have_none() -> None:
    (line,) = citation_lines(screen(), None, [])
    assert "No citations" in plain(line)


def test_the_receipt_in_a_line() -> None:
    assert plain(receipt_line(views.response())) == (
        "a-model · read 1,860 tokens, 1,240 cached · first token 4.1 s · total 6.1 s · 20 tokens/s"
    )


def test_the_whole_receipt_names_every_part_and_what_was_left_out() -> None:
    receipt = views.response().receipt
    assert receipt is not None
    text = "\n".join(map(plain, receipt_lines(receipt)))
    for expected in ("8,192", "1,024", "1,500  sources", "360  question", "src/other.py:1-9", "no room"):
        assert expected in text


def test_a_part_that_took_nothing_is_no_row_of_the_receipt() -> None:
    receipt = views.response().receipt
    assert receipt is not None
    with_primer = [SectionView(name="primer", tokens=0), *receipt.sections]
    lines = map(plain, receipt_lines(receipt.model_copy(update={"sections": with_primer})))
    assert not [line for line in lines if "primer" in line]


def test_sources_are_shown_with_their_own_line_numbers() -> None:
    source = views.source(2, text="a\n\nb").model_copy(update={"start_line": 9, "end_line": 11})
    assert [plain(line) for line in source_text(source)] == [" 9  a", "10  ", "11  b"]
    assert plain(source_line(None, source)) == "  [2] src/deciding.py:9-11  decide"


def test_a_hit_shows_how_it_begins_and_how_much_more_there_is() -> None:
    long = views.hit().model_copy(update={"text": "\n".join(f"line {number}" for number in range(20))})
    lines = [plain(line) for line in hit_lines(ROOT, long, preview_lines=2)]
    assert lines[0].endswith("src/deciding.py:3-4  decide")
    assert lines[1:] == ["    line 0", "    line 1", "    … 18 more lines"]


def test_a_hit_of_a_few_lines_is_shown_whole() -> None:
    hit = views.hit().model_copy(update={"text": "one\ntwo\nthree"})
    lines = [plain(line) for line in hit_lines(ROOT, hit, preview_lines=1)]
    assert lines[1:] == ["    one", "    two", "    three"]


def test_a_message_that_ended_early_says_so() -> None:
    message = MessageView(
        id="m",
        turn=1,
        role="assistant",
        content="It is",
        created_at=views.MOMENT,
        model="a-model",
        finish_reason=Finish.INTERRUPTED,
        citations=[views.citation()],
    )
    text = "\n".join(map(plain, message_lines(screen(), None, message)))
    for expected in ("a-model", "It is", "ended in the middle", "[1] src/deciding.py:3-4"):
        assert expected in text


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (60, "1 min 00 s"), (200, "3 min 20 s")],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said
