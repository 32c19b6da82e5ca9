from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.chat.citations import (
    check,
    cite,
    mark_unknown,
    narrow,
    resolve,
    written_numbers,
)
from coding_assistant.domain import Chunk, Citation, CitationState, Source

APP = PurePosixPath("app.py")
TEXT = "import os\n\ndef run_simple(host):\n    port = 5000\n    return serve(host, port)\n"


def source(
    number: int, text: str, *, path: str = "app.py", start: int = 1, symbol: str | None = None
) -> Source:
    chunk = Chunk(PurePosixPath(path), start, start + text.count("\n"), text, "python", symbol)
    return Source(number, chunk, chunk.digest)


RUN = source(
    1, "def run_simple(host):\n    port = 5000\n    return serve(host, port)", start=3, symbol="run_simple"
)
OTHER = source(2, "def load_config(path):\n    return path", path="config.py", symbol="load_config")


def cited(answer: str, *sources: Source, question: str = "") -> list[tuple[int, bool]]:
    """Return the numbers that an answer cites, each with whether that was inferred."""
    return [(each.source.number, each.is_inferred) for each in cite(answer, sources, question=question)]


@pytest.mark.parametrize(
    ("answer", "numbers"),
    [
        ("It is in run [1].", (1,)),
        ("See [1, 2] and [3][4].", (1, 2, 3, 4)),
        ("Both [1; 2]", (1, 2)),
        ("`items[3]` and items[4] are indexes, [5](url) is a link", ()),
        ("```python\nx = [1]\n```\nas said [2]", (2,)),
        ("an unclosed block\n```\n[1]", ()),
    ],
)
def test_numbers_are_read_from_prose_alone(answer: str, numbers: tuple[int, ...]) -> None:
    assert written_numbers(answer) == numbers


def test_what_is_written_is_cited_and_what_is_inferred_says_so() -> None:
    assert cited("Decided at start [2].", RUN, OTHER) == [(2, False)]
    assert cited("It is `run_simple` that starts it.", RUN, OTHER) == [(1, True)]
    assert cited("run_simple calls load_config [2].", RUN, OTHER) == [(2, False)]
    assert cited("It starts [1]. Then `load_config` reads.", RUN, OTHER) == [(1, False), (2, True)]


def test_a_number_counts_only_where_its_source_bears_out_what_it_stands_for() -> None:
    assert cited("`run_simple` opens the port 5000 [2].", RUN, OTHER) == [(1, True)]
    assert cited("`run_simple` opens the port 5000 [2] [1].", RUN, OTHER) == [(1, False)]
    assert cited("Es steht nirgends [2].", RUN, OTHER) == [(2, False)]


def test_each_number_stands_for_what_is_before_it_or_else_behind_it() -> None:
    answer = "`load_config` takes a path [2], then `run_simple` serves with host and port 5000 [1]."

    assert cited(answer, RUN, OTHER) == [(1, False), (2, False)]
    assert cited("In short:\n[1] `run_simple` serves\n[2] `load_config` reads", RUN, OTHER) == [
        (1, False),
        (2, False),
    ]


def test_a_number_may_stand_for_what_the_question_has_said() -> None:
    chatter = source(2, "# starts the development server", path="notes.py")

    asked = "What does run_simple do?"
    assert (1, False) in cited("`run_simple` starts the server [1].", RUN, chatter, question=asked)


def test_the_definition_of_a_name_is_cited_and_not_its_use() -> None:
    use = source(1, "load_config(here)", path="main.py")

    assert cited("`load_config` does.", use, OTHER) == [(2, True)]


def test_of_the_parts_of_a_definition_the_one_is_cited_that_bears_the_sentence_out() -> None:
    begins = source(3, "def read(path):\n    check(path)", path="io.py", symbol="read")
    ends = source(4, "    raise Unreadable(path)", path="io.py", start=30, symbol="read")

    assert cited("`read` raises `Unreadable`.", begins, ends) == [(4, True)]


def test_a_long_answer_rests_on_what_it_names_however_many_words_it_has() -> None:
    prose = " ".join(f"Word{number} upon words." for number in range(200))

    assert cited(f"`run_simple` and `load_config` do. {prose}", RUN, OTHER) == [(1, True), (2, True)]


def test_names_of_the_question_give_nothing_away_unless_nothing_else_does() -> None:
    asked = "What does run_simple read?"

    assert cited("`run_simple` uses `load_config`.", RUN, OTHER, question=asked) == [(2, True)]
    assert cited("`run_simple` does it.", RUN, OTHER, question=asked) == [(1, True)]


def test_a_file_that_is_named_gives_its_sources_away() -> None:
    assert cited("It is set in src/config.py.", RUN, OTHER) == [(2, True)]


def test_of_many_sources_that_hold_as_much_those_found_first_are_cited() -> None:
    copies = [source(number, "limit = 10", path=f"{number}.py") for number in (9, 7, 4, 2)]

    assert cited("The limit is 10.", *copies) == [(4, True), (7, True), (9, True)]


@pytest.mark.parametrize("letters", ["A" * 32_000, "a." * 16_000, "-" * 32_000, "[1] " * 8_000])
def test_a_long_answer_without_sense_is_read_at_once(letters: str) -> None:
    assert cited(letters, RUN, OTHER) in ([], [(1, False)])


def test_an_answer_that_names_nothing_cites_the_source_that_holds_most_of_its_words() -> None:
    usage = source(3, "class UsageError(Error):\n    exit_code = 2", path="errors.py")

    assert cited("The exit code of a usage error is 2.", RUN, OTHER, usage) == [(3, True)]
    assert cited("The weather is fine today, as far as anybody knows.", RUN, OTHER, usage) == []


def test_an_answer_that_finds_nothing_cites_nothing() -> None:
    resolved = resolve("`run_simple` is not it [1].", [RUN], {APP: TEXT}, says_nothing=True)

    assert resolved.citations == ()


def test_a_citation_is_as_narrow_as_its_sentence() -> None:
    citation = narrow(RUN, "The port is `5000`.")

    assert (citation.start_line, citation.end_line) == (4, 4)


def test_a_definition_is_cited_whole() -> None:
    citation = narrow(RUN, "It is `run_simple`.")

    assert (citation.start_line, citation.end_line) == (3, 5)


def test_far_apart_lines_do_not_stretch_a_citation() -> None:
    lines = ["first_name = 1", *(f"filler_{number} = 0" for number in range(40)), "second_name = first_name"]
    citation = narrow(source(1, "\n".join(lines)), "`first_name` and `second_name` are set.")

    assert (citation.start_line, citation.end_line) == (42, 42)


def test_a_number_behind_the_full_stop_belongs_to_the_sentence_before_it() -> None:
    both = source(3, "first_name = 1\n\n\nsecond_name = 2", path="names.py")
    citation = cite("Set by `second_name`. [3] Nothing else is.", [both])[0]

    assert (citation.start_line, citation.is_inferred) == (4, False)


def test_invented_numbers_are_dropped_and_marked() -> None:
    resolved = resolve("It is here [1], and there [7].", [RUN], {APP: TEXT})

    assert resolved.text == "It is here [1], and there [7?]."
    assert resolved.unknown == (7,)
    assert [citation.source.number for citation in resolved.citations] == [1]


def test_a_citation_says_how_it_compares_with_the_working_tree() -> None:
    citation = Citation(RUN, 3, 5, CitationState.VERIFIED)
    lines = TEXT.split("\n")

    assert check(citation, TEXT).state is CitationState.VERIFIED
    moved = check(citation, "\n".join(["# new", "# lines", *lines]))
    assert (moved.state, moved.start_line, moved.end_line) == (CitationState.MOVED, 5, 7)
    assert check(citation, TEXT.replace("5000", "80")).state is CitationState.CHANGED
    assert check(citation, None).state is CitationState.GONE


def test_lines_that_recur_are_not_taken_for_moved_ones() -> None:
    citation = Citation(source(1, "pass\nx = 1"), 1, 1, CitationState.VERIFIED)

    assert check(citation, "new\npass\npass\n").state is CitationState.CHANGED


prose = st.text(st.sampled_from("ab [](),;0123456789`\n?"), max_size=80)


@given(prose, st.frozensets(st.integers(0, 30)))
def test_marking_adds_nothing_but_question_marks(answer: str, known: frozenset[int]) -> None:
    marked = mark_unknown(answer, known)

    assert len(marked) - len(answer) == sum(1 for number in written_numbers(answer) if number not in known)
    assert marked.replace("?", "") == answer.replace("?", "")


@given(
    st.lists(st.sampled_from(["a", "b", "c = 1", "", "d()"]), min_size=1, max_size=12),
    st.lists(st.sampled_from(["x", "y"]), max_size=5),
    st.data(),
)
def test_unique_text_is_followed_wherever_it_moves(
    body: list[str], before: list[str], data: st.DataObject
) -> None:
    lines = [f"{number} {line}" for number, line in enumerate(body)]
    start = data.draw(st.integers(1, len(lines)))
    end = data.draw(st.integers(start, len(lines)))
    cited = source(1, "\n".join(lines))

    found = check(Citation(cited, start, end, CitationState.VERIFIED), "\n".join([*before, *lines]))

    assert found.start_line == start + len(before)
    assert (found.state is CitationState.MOVED) == bool(before)


code_text = st.lists(
    st.sampled_from(["def save_all():", "    save_one(404)", "", "x = 1", "# words"]), min_size=1
)
answers = st.lists(
    st.sampled_from(["`save_all`", "save_one", "404", "[1]", "[2]. ", "[9]", ".", "words of", "\n", "```"]),
    max_size=12,
).map(" ".join)


@given(answers, st.lists(code_text, min_size=1, max_size=3))
def test_every_citation_lies_in_a_source_that_is_there(answer: str, texts: list[list[str]]) -> None:
    sources = [source(number, "\n".join(lines), start=7) for number, lines in enumerate(texts, start=1)]

    citations = cite(answer, sources, question="Where is save_all?")

    assert len({each.source.number for each in citations}) == len(citations)
    for each in citations:
        assert each.source in sources
        assert each.source.chunk.start_line <= each.start_line <= each.end_line
        assert each.end_line <= each.source.chunk.end_line
