from pathlib import PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coding_assistant.domain import Chunk, Hit
from coding_assistant.index.ranking import (
    FILE_WEIGHTS,
    Candidate,
    Weights,
    one_per_file_first,
    rank,
)
from coding_assistant.terms import query_terms


def _candidate(path: str, text: float = 1.0, *, symbol: str | None = None, line: int = 1) -> Candidate:
    return Candidate(Chunk(PurePosixPath(path), line, line, "text", "python", symbol), text)


def _order(query: str, *candidates: Candidate, weights: Weights = FILE_WEIGHTS) -> list[str]:
    return [hit.chunk.location for hit in rank(query_terms(query), candidates, weights=weights)]


def test_without_other_evidence_the_text_decides() -> None:
    assert _order("x", _candidate("a.py", 0.5), _candidate("b.py", 0.9)) == ["b.py:1-1", "a.py:1-1"]


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("Session", "other"),
        ("Session", "session"),
        ("Session", "Client.Session"),
        ("Client.Session", "Client.session"),
        ("Session<T>", "Other<Session>"),
        ("session", None),
    ],
)
def test_what_the_query_names_comes_before_what_mentions_it(better: str, worse: str | None) -> None:
    candidates = (_candidate("a.py", symbol=worse), _candidate("b.py", symbol=better))
    assert _order("Session", *candidates)[0] == "b.py:1-1"


def test_a_qualified_name_means_that_one() -> None:
    candidates = (_candidate("a.py", symbol="Other.send"), _candidate("b.py", symbol="Session.send"))
    assert _order("how does Session.send work", *candidates)[0] == "b.py:1-1"


def test_a_plain_word_of_a_sentence_names_nothing() -> None:
    (hit,) = rank(query_terms("how to send it"), [_candidate("a.py", symbol="send")], weights=FILE_WEIGHTS)
    assert "definition" not in hit.why


@pytest.mark.parametrize(
    "path", ["cookies.py", "cookie_store.py", "cookies/base.py", "CookieJar.java", "src/http-cookie/x.go"]
)
def test_a_path_that_says_what_is_asked_counts(path: str) -> None:
    assert _order("where are cookies kept", _candidate("a.py"), _candidate(path))[0] == f"{path}:1-1"


def test_a_path_that_shares_two_letters_says_nothing() -> None:
    (hit,) = rank(query_terms("how does re match"), [_candidate("requests.py")], weights=FILE_WEIGHTS)
    assert "path" not in hit.why


def test_a_file_that_matches_throughout_comes_first() -> None:
    many = [_candidate("a.py", 0.8, line=line) for line in range(1, 6)]
    assert _order("x", _candidate("b.py", 0.82), *many)[0] == "a.py:1-1"


_OUT_OF_THE_WAY = [
    "tests/test_a.py",
    "pkg/a_test.go",
    "src/a.test.ts",
    "src/a.spec.js",
    "java/ATest.java",
    "conftest.py",
    "README.md",
    "docs/guide.py",
    "_examples/a.go",
    "vendor/lib/a.go",
]


@pytest.mark.parametrize("path", _OUT_OF_THE_WAY)
def test_places_that_seldom_answer_come_later(path: str) -> None:
    assert _order("x", _candidate(path, 1.0), _candidate("zz.py", 0.9))[0] == "zz.py:1-1"


@pytest.mark.parametrize(
    "path", ["contest.py", "latest.js", "src/testimony.py", "src/document.py", "protest/a.py"]
)
def test_places_that_only_sound_like_those_do_not(path: str) -> None:
    assert _order("x", _candidate(path, 1.0), _candidate("zz.py", 0.9))[0] == f"{path}:1-1"


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("which tests cover redirects", "tests/test_redirects.py"),
        ("what does the changelog say about redirects", "CHANGELOG.md"),
        ("what is in the examples of redirects", "examples/redirects.py"),
    ],
)
def test_who_asks_for_such_a_place_gets_it(query: str, path: str) -> None:
    assert _order(query, _candidate("zz.py", 0.9), _candidate(path, 1.0))[0] == f"{path}:1-1"


def test_one_chunk_of_each_file_comes_before_a_second_of_any() -> None:
    hits = [
        Hit(_candidate(path, line=line).chunk, 1.0)
        for path, line in [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 2)]
    ]
    assert [hit.chunk.location for hit in one_per_file_first(hits)] == [
        "a:1-1",
        "b:1-1",
        "a:2-2",
        "b:2-2",
        "a:3-3",
    ]


_CANDIDATES = st.lists(
    st.builds(
        _candidate,
        st.sampled_from(["a.py", "src/cookie.py", "tests/test_a.py", "README.md", "vendor/x.js"]),
        st.floats(0, 1),
        symbol=st.sampled_from([None, "cookie", "Cookie", "Jar.cookie", "<>", ""]),
        line=st.integers(1, 1_000),
    ),
    max_size=12,
    unique_by=lambda candidate: candidate.chunk,
)


@settings(max_examples=30)
@given(st.sampled_from(["Cookie", "where are cookies", "tests of Jar.cookie", ""]) | st.text(), _CANDIDATES)
def test_ranking_orders_and_explains_whatever_it_is_given(query: str, candidates: list[Candidate]) -> None:
    hits = rank(query_terms(query), candidates, weights=FILE_WEIGHTS)
    assert {hit.chunk for hit in hits} == {candidate.chunk for candidate in candidates}
    assert len(hits) == len(candidates)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert all(hit.score == pytest.approx(sum(hit.why.values())) for hit in hits)
    assert all(hit.score >= 0 for hit in hits)
    assert rank(query_terms(query), candidates[::-1], weights=FILE_WEIGHTS) == hits
