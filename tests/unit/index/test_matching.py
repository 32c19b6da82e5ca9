"""Matching in an index so large that not every chunk is scored: the bounds are set low for it."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.index import matching
from coding_assistant.index.matching import ColumnWeights, TermCounts
from coding_assistant.index.scored import Scored

_WEIGHTS = ColumnWeights(path=1.0, symbol=2.0, body=1.0)
_WORDS = ("rare", "some", "common", "everywhere")


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE chunks (id INTEGER PRIMARY KEY)")
        connection.execute("CREATE VIRTUAL TABLE terms USING fts5 (path, symbol, body)")
        yield connection


def _fill(connection: sqlite3.Connection, bodies: Sequence[str]) -> None:
    for table in ("chunks", "terms"):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608  -- the two names above
    for number, body in enumerate(bodies, start=1):
        connection.execute("INSERT INTO chunks VALUES (?)", (number,))
        row = (number, f"file{number % 7}", "common" if number % 5 == 0 else "", body)
        connection.execute("INSERT INTO terms (rowid, path, symbol, body) VALUES (?, ?, ?, ?)", row)


def _match(
    connection: sqlite3.Connection, terms: Sequence[str], counts: TermCounts | None = None
) -> list[Scored]:
    counts = counts or TermCounts()
    return matching.match(connection, terms, weights=_WEIGHTS, limit=1_000, counts=counts)


def _ids(found: Sequence[Scored]) -> set[int]:
    return {each.id for each in found}


def _corpus() -> list[str]:
    return [
        " ".join(
            ("everywhere", *(word for word, each in zip(_WORDS, (40, 6, 3), strict=False) if n % each == 0))
        )
        for n in range(1, 121)
    ]


def test_chunks_with_a_rare_term_are_scored_on_all_terms_as_without_a_bound(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fill(connection, _corpus())
    unbounded = {each.id: each.score for each in _match(connection, _WORDS)}
    monkeypatch.setattr(matching, "MOST_SCORED", 25)
    found = _match(connection, _WORDS)
    assert _ids(found) == {n for n in range(1, 121) if n % 40 == 0 or n % 6 == 0}
    assert [each.score for each in found] == [pytest.approx(unbounded[each.id]) for each in found]


def test_the_rarest_term_finds_its_chunks_however_many_they_are(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fill(connection, _corpus())
    monkeypatch.setattr(matching, "MOST_SCORED", 2)
    assert _ids(_match(connection, ["some", "everywhere"])) == {n for n in range(1, 121) if n % 6 == 0}


def test_a_term_that_stands_everywhere_finds_what_is_called_so(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fill(connection, ["common"] * 40)
    monkeypatch.setattr(matching, "MOST_SCORED", 2)
    monkeypatch.setattr(matching, "MOST_COUNTED", 10)
    assert _ids(_match(connection, ["common"])) == {n for n in range(1, 41) if n % 5 == 0}


def test_a_term_that_was_counted_before_it_stood_anywhere_is_found(connection: sqlite3.Connection) -> None:
    counts = TermCounts()
    _fill(connection, ["some"] * 100)
    assert _match(connection, ["giraffe"], counts) == []
    connection.execute("UPDATE terms SET body = 'giraffe' WHERE rowid = 7")
    assert _ids(_match(connection, ["giraffe", "some"], counts)) >= {7}
    assert _ids(_match(connection, ["giraffe"], counts)) == {7}


@given(
    bodies=st.lists(st.lists(st.sampled_from(_WORDS), max_size=6).map(" ".join), min_size=1, max_size=40),
    terms=st.lists(st.sampled_from(_WORDS), min_size=1, max_size=4, unique=True),
    bounds=st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 80)),
)
def test_whatever_the_bounds_what_is_found_holds_a_term_and_both_ways_score_alike(
    connection: sqlite3.Connection, bodies: list[str], terms: list[str], bounds: tuple[int, int, int]
) -> None:
    _fill(connection, bodies)
    everything = _ids(_match(connection, terms))
    with pytest.MonkeyPatch.context() as patch:
        for name, bound in zip(("MOST_SCORED", "MOST_COUNTED", "MOST_FOUND"), bounds, strict=True):
            patch.setattr(matching, name, bound)
        counts = TermCounts()
        found = _match(connection, terms, counts)
        also = frozenset(range(1, len(bodies) + 1, 2))
        with_others = matching.match(connection, terms, weights=_WEIGHTS, limit=3, counts=counts, also=also)
    assert _ids(found) <= everything
    assert len(_ids(found)) == len(found)
    assert _ids(with_others) <= everything
    assert _ids(found) & also <= _ids(with_others)
    scores = {each.id: each.score for each in with_others}
    best = with_others[:3]
    missed = [each for each in found[:3] if each.id not in scores]  # only for what scores as well
    assert all(len(best) == 3 and best[-1].score >= each.score for each in missed)
    both = [each for each in found if each.id in scores]
    assert [scores[each.id] for each in both] == [pytest.approx(each.score) for each in both]
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)


def test_no_terms_give_nothing(connection: sqlite3.Connection) -> None:
    _fill(connection, ["some"])
    counts = TermCounts()
    assert _match(connection, [], counts) == []


def test_a_word_that_stands_nowhere_takes_nothing_from_the_others(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fill(connection, _corpus())
    monkeypatch.setattr(matching, "MOST_SCORED", 2)
    found = _ids(_match(connection, ["some", "everywhere"]))
    assert found
    assert _ids(_match(connection, ["some", "everywhere", "giraffe"])) == found
