import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.index.ranking import (
    FILE_WEIGHTS,
    SOURCE_WEIGHTS,
    Candidate,
    Ranked,
    Weights,
    one_per_file_first,
    other_files_forward,
    rank,
)
from coding_assistant.index.scored import ChunkHead
from coding_assistant.terms import query_terms


def _candidate(path: str, text: float = 1.0, *, symbol: str | None = None, line: int = 1) -> Candidate:
    return Candidate(ChunkHead(line, path, line, line, symbol), text)


def _found(path: str, *, text: float = 0.0, vector: float = 0.0, named: float = 0.0) -> Candidate:
    return Candidate(ChunkHead(1, path, 1, 1, None), text, vector, named)


def _place(found: Ranked) -> str:
    return f"{found.head.path}:{found.head.start_line}"


def _order(query: str, *candidates: Candidate, weights: Weights = FILE_WEIGHTS) -> list[str]:
    return [_place(hit) for hit in rank(query_terms(query), candidates, weights=weights)]


def test_without_other_evidence_the_text_decides() -> None:
    assert _order("x", _candidate("a.py", 0.5), _candidate("b.py", 0.9)) == ["b.py:1", "a.py:1"]


def test_equals_stand_in_the_order_of_their_places() -> None:
    of_file = [_candidate("b.py", 0.5, line=line) for line in (10, 9, 1)]
    candidates = [_candidate("c.py"), *of_file, _candidate("a.py")]
    order = _order("x", *candidates)
    assert [location for location in order if location[0] in "ac"] == ["a.py:1", "c.py:1"]
    assert [location for location in order if location[0] == "b"] == ["b.py:1", "b.py:9", "b.py:10"]


def test_words_and_vectors_count_alike_and_together_for_more() -> None:
    words, vector, both = (
        _found("a.py", text=0.8),
        _found("b.py", vector=0.8),
        _found("c.py", text=0.5, vector=0.5),
    )
    hits = rank(query_terms("x"), [words, vector, both], weights=FILE_WEIGHTS)
    assert [_place(hit) for hit in hits] == ["c.py:1", "a.py:1", "b.py:1"]
    assert hits[1].score == hits[2].score
    assert (hits[1].why["text"], hits[2].why["vector"]) == (0.8, 0.8)


@pytest.mark.parametrize("best", [0.1, 1.0, 1.9])
def test_other_evidence_weighs_as_much_however_relevant_the_best_is(best: float) -> None:
    hits = rank(
        query_terms("Session"),
        [_found("a.py", text=best / 2, vector=best / 2), _candidate("b.py", best / 4, symbol="Session")],
        weights=SOURCE_WEIGHTS,
    )
    why = {hit.head.path: hit.why for hit in hits}
    assert (why["a.py"]["text"], why["a.py"]["vector"]) == pytest.approx((0.5, 0.5))
    assert why["b.py"]["text"] == pytest.approx(0.25)
    assert why["b.py"]["definition"] == SOURCE_WEIGHTS.definition


@pytest.mark.parametrize("weights", [FILE_WEIGHTS, SOURCE_WEIGHTS])
def test_a_named_line_comes_before_all_likeness(weights: Weights) -> None:
    likely = _found("a.py", text=1.0, vector=1.0)
    line, file = _found("tests/test_b.py", named=1.0), _found("tests/test_c.py", named=0.25)
    order = _order("x", file, likely, line, weights=weights)
    assert order == ["tests/test_b.py:1", "a.py:1", "tests/test_c.py:1"]


def test_what_is_named_loses_nothing_for_its_place() -> None:
    named = rank(query_terms("x"), [_found("tests/test_a.py", text=0.5, named=0.25)], weights=FILE_WEIGHTS)
    assert not named[0].why["place"]


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
    assert _order("Session", *candidates)[0] == "b.py:1"


def test_a_qualified_name_means_that_one() -> None:
    candidates = (_candidate("a.py", symbol="Other.send"), _candidate("b.py", symbol="Session.send"))
    assert _order("how does Session.send work", *candidates)[0] == "b.py:1"


def test_a_plain_word_of_a_sentence_names_nothing() -> None:
    (hit,) = rank(query_terms("how to send it"), [_candidate("a.py", symbol="send")], weights=FILE_WEIGHTS)
    assert not hit.why["definition"]


@pytest.mark.parametrize(
    "path", ["cookies.py", "cookie_store.py", "cookies/base.py", "CookieJar.java", "src/http-cookie/x.go"]
)
def test_a_path_that_says_what_is_asked_counts(path: str) -> None:
    assert _order("where are cookies kept", _candidate("a.py"), _candidate(path))[0] == f"{path}:1"


def test_a_path_that_shares_two_letters_says_nothing() -> None:
    (hit,) = rank(query_terms("how does re match"), [_candidate("requests.py")], weights=FILE_WEIGHTS)
    assert not hit.why["path"]


def test_a_file_that_matches_throughout_comes_first() -> None:
    many = [_candidate("a.py", 0.8, line=line) for line in range(1, 6)]
    assert _order("x", _candidate("b.py", 0.82), *many)[0] == "a.py:1"


def test_a_file_that_matches_throughout_is_shown_by_its_best_chunk() -> None:
    chunks = [_candidate("a.py", text, line=line) for line, text in [(1, 0.5), (2, 0.9), (3, 0.6)]]
    hits = rank(query_terms("x"), [*chunks, _candidate("b.py", 1.0)], weights=FILE_WEIGHTS)
    of_files = {_place(hit): hit.why["file"] for hit in hits if hit.why["file"]}
    assert of_files == {
        "a.py:2": FILE_WEIGHTS.coherence,
        "b.py:1": pytest.approx(FILE_WEIGHTS.coherence / 2),
    }


def test_a_file_matches_throughout_by_vectors_as_well() -> None:
    candidates = [_found("a.py", vector=0.8), _found("b.py", text=0.4)]
    hits = rank(query_terms("x"), candidates, weights=FILE_WEIGHTS)
    assert [hit.why["file"] for hit in hits] == pytest.approx(
        [FILE_WEIGHTS.coherence, FILE_WEIGHTS.coherence / 2]
    )


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
    assert _order("x", _candidate(path, 1.0), _candidate("zz.py", 0.9))[0] == "zz.py:1"


@pytest.mark.parametrize(
    "path", ["contest.py", "latest.js", "src/testimony.py", "src/document.py", "protest/a.py"]
)
def test_places_that_only_sound_like_those_do_not(path: str) -> None:
    assert _order("x", _candidate(path, 1.0), _candidate("zz.py", 0.9))[0] == f"{path}:1"


@pytest.mark.parametrize(
    ("original", "copy"),
    [
        ("src/a.ts", "lib/a.js"),
        ("src/a.ts", "src/a.js"),
        ("src/app/a.tsx", "build/app/a.js"),
        ("packages/x/src/a.ts", "packages/x/esm/a.mjs"),
        ("packages/x/src/a.ts", "packages/x/cjs/a.cjs"),
        ("src/a.ts", "out/a.min.js"),
        ("src/a.ts", "lib/a.d.ts"),
    ],
)
def test_a_built_copy_comes_after_what_it_was_made_from(original: str, copy: str) -> None:
    candidates = (_candidate(copy, 1.0), _candidate(original, 0.5))
    assert _order("x", *candidates)[0] == f"{original}:1"
    assert _order("where is x in the compiled code of declarations", *candidates)[0] == f"{copy}:1"


@pytest.mark.parametrize(
    ("path", "other"),
    [
        ("lib/a.js", "src/b.ts"),
        ("packages/x/src/a.js", "packages/y/src/a.ts"),
        ("lib/a.js", "lib/a.d.ts"),
        ("src/a.ts", "src/a.test.ts"),
        ("lib/a.js", "src/a.js"),
    ],
)
def test_what_was_made_from_nothing_here_is_no_built_copy(path: str, other: str) -> None:
    hits = rank(query_terms("x"), [_candidate(path), _candidate(other, 0.9)], weights=FILE_WEIGHTS)
    assert _place(hits[0]) == f"{path}:1"
    assert not hits[0].why["place"]


@pytest.mark.parametrize("path", ["a.pyi", "types/a.d.ts", "a.d.mts"])
def test_declarations_come_later_unless_they_fit_much_better(path: str) -> None:
    assert _order("x", _candidate(path, 1.0), _candidate("zz.py", 0.9))[0] == "zz.py:1"
    assert _order("x", _candidate(path, 1.0), _candidate("zz.py", 0.3))[0] == f"{path}:1"
    asked = "the declarations of x"
    assert _order(asked, _candidate(path, 1.0), _candidate("zz.py", 0.9))[0] == f"{path}:1"


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("which tests cover redirects", "tests/test_redirects.py"),
        ("what does the changelog say about redirects", "CHANGELOG.md"),
        ("what is in the examples of redirects", "examples/redirects.py"),
    ],
)
def test_who_asks_for_such_a_place_gets_it(query: str, path: str) -> None:
    assert _order(query, _candidate("zz.py", 0.9), _candidate(path, 1.0))[0] == f"{path}:1"


def test_one_chunk_of_each_file_comes_before_a_second_of_any() -> None:
    hits = [
        Ranked(_candidate(path, line=line).head, 1.0, {})
        for path, line in [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 2)]
    ]
    assert [_place(hit) for hit in one_per_file_first(hits)] == [
        "a:1",
        "b:1",
        "a:2",
        "b:2",
        "a:3",
    ]


_PATHS = ["a.py", "src/cookie.py", "tests/test_a.py", "README.md", "vendor/x.js", "src/y.ts", "lib/y.js"]
_CANDIDATES = st.lists(
    st.builds(
        Candidate,
        st.builds(
            lambda path, line, symbol: ChunkHead(line, path, line, line, symbol),
            st.sampled_from(_PATHS),
            st.integers(1, 1_000),
            st.sampled_from([None, "cookie", "Cookie", "Jar.cookie", "<>", ""]),
        ),
        text=st.floats(0, 1),
        vector=st.floats(0, 1),
        named=st.sampled_from([0.0, 0.0, 0.25, 1.0]),
    ),
    max_size=12,
    unique_by=lambda candidate: candidate.head,
)


@given(st.sampled_from(["Cookie", "where are cookies", "tests of Jar.cookie", ""]) | st.text(), _CANDIDATES)
def test_ranking_orders_and_explains_whatever_it_is_given(query: str, candidates: list[Candidate]) -> None:
    hits = rank(query_terms(query), candidates, weights=FILE_WEIGHTS)
    assert {hit.head for hit in hits} == {candidate.head for candidate in candidates}
    assert len(hits) == len(candidates)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert all(hit.score == pytest.approx(sum(hit.why.values())) for hit in hits)
    assert all(hit.score >= 0 for hit in hits)
    assert rank(query_terms(query), candidates[::-1], weights=FILE_WEIGHTS) == hits


def test_after_the_best_dozen_sources_come_files_that_were_not_shown() -> None:
    hits = [_source("a.py", line, score=1 - line / 100) for line in range(1, 15)]
    hits.append(_source("b.py", 1, score=0.85))

    ranked = other_files_forward(hits)

    assert [hit.head.start_line for hit in ranked[:12]] == list(range(1, 13))
    assert [_place(hit) for hit in ranked[12:]] == ["b.py:1", "a.py:13", "a.py:14"]


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.floats(0, 1)), max_size=40))
def test_sources_of_other_files_come_forward_and_none_is_lost(found: list[tuple[str, float]]) -> None:
    ordered = sorted(found, key=lambda each: -each[1])
    hits = [_source(f"{name}.py", line, score=score) for line, (name, score) in enumerate(ordered, start=1)]

    ranked = other_files_forward(hits)

    assert ranked[:12] == hits[:12]
    assert {hit.head for hit in ranked} == {hit.head for hit in hits}
    assert [hit.score for hit in ranked] == sorted((hit.score for hit in ranked), reverse=True)
    for hit in ranked:
        assert sum(hit.why.values()) == pytest.approx(hit.score)


def _source(path: str, line: int, *, score: float) -> Ranked:
    return Ranked(ChunkHead(line, path, line, line, None), score, {"text": score})
