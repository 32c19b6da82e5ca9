import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.domain import Chunk, ChunkKind, ContextLine, FileStamp, SkipReason, SourceFile
from coding_assistant.index.known_files import Counts, PassedOver
from coding_assistant.index.matching import ColumnWeights
from coding_assistant.index.store import Batch, IndexedFile, ProjectIndex
from coding_assistant.terms import query_terms
from support.examples import costly

_EVEN = ColumnWeights(path=1.0, symbol=1.0, body=1.0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "index.sqlite"


@pytest.fixture
def index(file: Path) -> Iterator[ProjectIndex]:
    with closing(ProjectIndex.open(file, fingerprint="f")) as index:
        yield index


def _indexed(name: str, *texts: str, symbol: str | None = None, size: int = 1) -> IndexedFile:
    path = PurePosixPath(name)
    chunks = [
        Chunk(path, line, line, text, "python", symbol, ChunkKind.FUNCTION)
        for line, text in enumerate(texts, start=1)
    ]
    file = SourceFile(path, "\n".join(texts), f"digest of {texts}", "python")
    return IndexedFile.of(file, FileStamp(size, 7, 8), chunks)


def _match(index: ProjectIndex, query: str, weights: ColumnWeights = _EVEN) -> list[Chunk]:
    """Return the chunks that match, best first."""
    found = index.match(query_terms(query), weights=weights, limit=10)
    chunks = index.chunks([each.id for each in found])
    return [chunks[each.id] for each in found]


def _paths(chunks: list[Chunk]) -> list[str]:
    return [chunk.path.as_posix() for chunk in chunks]


def _check_integrity(file: Path) -> None:
    """Raise unless the terms table is sound and holds the terms of exactly the chunks there are."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("INSERT INTO terms (terms) VALUES ('integrity-check')")
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        chunks = connection.execute("SELECT id FROM chunks ORDER BY id").fetchall()
        assert connection.execute("SELECT rowid FROM terms ORDER BY rowid").fetchall() == chunks


def test_a_chunk_comes_back_as_it_went_in(index: ProjectIndex) -> None:
    stored = _indexed("src/a.py", "def max_age(self):\n    return 'é\t' ", symbol="Cookie.max_age")
    index.write(Batch(files=[stored]))
    assert _match(index, "max_age") == list(stored.chunks)


def test_a_chunk_keeps_its_context_and_is_found_by_what_it_lies_in(index: ProjectIndex) -> None:
    path = PurePosixPath("a.py")
    context = (ContextLine(1, "class Cookie(Morsel):"), ContextLine(9, "    def clear(self):"))
    chunk = Chunk(path, 3, 4, "    def send(self):\n        ...", "python", "Cookie.send", context=context)
    file = SourceFile(path, "", "digest", "python")
    index.write(Batch(files=[IndexedFile.of(file, FileStamp(1, 2, 3), [chunk])]))
    assert _match(index, "morsel") == [chunk]
    assert _match(index, "clear") == []


@pytest.mark.parametrize(
    "query", ["max_age", "maxAge", "age of a cookie", "COOKIE", "src/cookies.py", "ages", "what about `max`?"]
)
def test_a_chunk_is_found_by_path_symbol_and_text(index: ProjectIndex, query: str) -> None:
    index.write(Batch(files=[_indexed("src/cookies.py", "expires = 3", symbol="Cookie.max_age")]))
    assert _paths(_match(index, query)) == ["src/cookies.py"]


def test_the_weights_say_which_column_counts(index: ProjectIndex) -> None:
    index.write(
        Batch(
            files=[
                _indexed("a.py", "retry"),
                _indexed("b.py", "nothing", symbol="retry"),
                _indexed("retry.py", "nothing"),
                *(_indexed(f"other{number}.py", "nothing here") for number in range(20)),
            ]
        )
    )
    assert _paths(_match(index, "retry", ColumnWeights(path=9, symbol=1, body=1)))[0] == "retry.py"
    assert _paths(_match(index, "retry", ColumnWeights(path=1, symbol=9, body=1)))[0] == "b.py"
    assert _paths(_match(index, "retry", ColumnWeights(path=1, symbol=1, body=9)))[0] == "a.py"


def test_scores_fall_and_are_positive(index: ProjectIndex) -> None:
    index.write(Batch(files=[_indexed(f"{n}.py", "retry " * n + "filler " * 9) for n in range(1, 9)]))
    scores = [match.score for match in index.match(query_terms("retry"), weights=_EVEN, limit=10)]
    assert scores == sorted(scores, reverse=True)
    assert all(score > 0 for score in scores)


def test_the_limit_holds(index: ProjectIndex) -> None:
    index.write(Batch(files=[_indexed("a.py", *["word"] * 30)]))
    assert len(index.match(query_terms("word"), weights=_EVEN, limit=3)) == 3


def test_a_query_without_terms_matches_nothing(index: ProjectIndex) -> None:
    index.write(Batch(files=[_indexed("a.py", "word")]))
    assert _match(index, "what is it?") == []


def test_writing_a_file_again_replaces_it(index: ProjectIndex, file: Path) -> None:
    index.write(Batch(files=[_indexed("a.py", "old one", "old two")]))
    index.write(Batch(files=[_indexed("a.py", "new", size=2)]))
    assert (_match(index, "old"), _paths(_match(index, "new"))) == ([], ["a.py"])
    assert index.stamps()[PurePosixPath("a.py")][0] == FileStamp(2, 7, 8)
    _check_integrity(file)


def test_a_removed_file_is_found_no_more(index: ProjectIndex, file: Path) -> None:
    index.write(Batch(files=[_indexed("a.py", "word"), _indexed("b.py", "word")]))
    index.remove([PurePosixPath("a.py"), PurePosixPath("never/was.py")])
    assert _paths(_match(index, "word")) == ["b.py"]
    _check_integrity(file)


def test_a_file_is_indexed_or_passed_over_and_never_both(index: ProjectIndex) -> None:
    path = PurePosixPath("a.bin")
    index.write(Batch(files=[_indexed("a.bin", "word")]))
    index.write(Batch(passed_over=[PassedOver(path, SkipReason.BINARY, FileStamp(1, 2, 3))]))
    assert index.counts() == Counts(0, 0, {SkipReason.BINARY: 1})
    assert index.passed_over() == {path: PassedOver(path, SkipReason.BINARY, FileStamp(1, 2, 3))}
    index.write(Batch(files=[_indexed("a.bin", "word")]))
    assert index.counts() == Counts(1, 1, {})


def test_a_new_reason_replaces_the_old_one(index: ProjectIndex) -> None:
    for reason in (SkipReason.LINK, SkipReason.IGNORED):
        index.write(Batch(passed_over=[PassedOver(PurePosixPath("a"), reason)]))
    assert index.counts().skipped == {SkipReason.IGNORED: 1}


def test_a_restamped_file_keeps_its_chunks(index: ProjectIndex) -> None:
    path = PurePosixPath("a.py")
    index.write(Batch(files=[_indexed("a.py", "word")]))
    index.write(Batch(restamped={path: FileStamp(1, 99, 100)}))
    assert index.stamps() == {path: (FileStamp(1, 99, 100), _indexed("a.py", "word").digest)}
    assert index.chunk_counts([path, PurePosixPath("absent.py")]) == {path: 1, PurePosixPath("absent.py"): 0}


def test_a_degraded_file_is_counted_until_it_is_replaced(index: ProjectIndex) -> None:
    file = _indexed("a.py", "word")
    index.write(Batch(files=[replace(file, is_degraded=True), _indexed("b.py", "word")]))
    index.write(Batch(restamped={file.path: FileStamp(1, 99, 100)}))
    assert index.counts() == Counts(2, 2, {}, degraded=1)
    index.write(Batch(files=[file]))
    assert index.counts().degraded == 0


def test_a_batch_that_fails_leaves_the_index_as_it_was(index: ProjectIndex, file: Path) -> None:
    index.write(Batch(files=[_indexed("a.py", "old")]))
    twice = _indexed("b.py", "word")
    with pytest.raises(sqlite3.IntegrityError):
        index.write(Batch(files=[_indexed("a.py", "new"), twice, twice]))
    assert (_paths(_match(index, "old")), _match(index, "word")) == (["a.py"], [])
    _check_integrity(file)


_NAMES = st.sampled_from(["a.py", "b/c.py", "b/d.md", "é.txt"])
_TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), max_size=3)
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), _NAMES, _TEXTS),
        st.tuples(st.just("skip"), _NAMES, st.just([])),
        st.tuples(st.just("remove"), _NAMES, st.just([])),
    ),
    max_size=8,
)


@costly
@given(steps=_STEPS)
def test_chunks_and_terms_agree_whatever_is_written(
    tmp_path: Path, steps: list[tuple[str, str, list[str]]]
) -> None:
    file = tmp_path / "index.sqlite"
    file.unlink(missing_ok=True)
    expected: dict[str, int] = {}
    with closing(ProjectIndex.open(file, fingerprint="f")) as index:
        for step, name, texts in steps:
            expected.pop(name, None)
            if step == "write":
                index.write(Batch(files=[_indexed(name, *texts)]))
                expected[name] = len(texts)
            elif step == "skip":
                index.write(Batch(passed_over=[PassedOver(PurePosixPath(name), SkipReason.BINARY)]))
            else:
                index.remove([PurePosixPath(name)])
        assert index.chunk_counts(index.stamps()) == {PurePosixPath(name): n for name, n in expected.items()}
    _check_integrity(file)
