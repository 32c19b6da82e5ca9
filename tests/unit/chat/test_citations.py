from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.chat.citations import (
    check,
    cited_sources,
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


def test_a_source_is_cited_by_its_number_or_by_what_only_it_defines() -> None:
    assert cited_sources("Decided at start [2].", [RUN, OTHER]) == (OTHER,)
    assert cited_sources("It is `run_simple` that starts it.", [RUN, OTHER]) == (RUN,)
    assert cited_sources("run_simple calls load_config", [RUN, OTHER]) == (RUN, OTHER)


def test_a_source_is_cited_by_its_files_name() -> None:
    assert cited_sources("It is set in config.py.", [RUN, OTHER]) == (OTHER,)
    assert cited_sources("See src/app.py", [RUN, OTHER]) == (RUN,)


def test_a_number_of_three_digits_is_evidence() -> None:
    stati = source(
        3, "REDIRECT_STATI = (\n    codes.moved,  # 301\n    codes.found,  # 302\n)", path="models.py"
    )

    assert cited_sources("Those are 301 and 302.", [RUN, OTHER, stati]) == (stati,)


def test_an_answer_that_names_nothing_cites_the_source_that_holds_most_of_its_words() -> None:
    usage = source(3, "class UsageError(Error):\n    exit_code = 2", path="errors.py")

    assert cited_sources("The exit code of a usage error is 2.", [RUN, OTHER, usage]) == (usage,)
    assert cited_sources("The weather is fine today, as far as anybody knows.", [RUN, OTHER, usage]) == ()


def test_a_word_that_stands_everywhere_tells_nothing() -> None:
    sources = [source(number, "self.value_of = 1", path=f"{number}.py") for number in range(1, 5)]

    assert cited_sources("the `value_of` attribute", sources) == ()


def test_a_citation_is_as_narrow_as_its_evidence() -> None:
    citation = narrow(RUN, frozenset({"port"}))

    assert (citation.start_line, citation.end_line) == (4, 5)


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
