from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.index.store import ProjectIndex
from coding_assistant.index.vector_index import Limits
from support.examples import costly
from support.hashing_embedder import HashingEmbedder
from support.vectors import all_scores, fill, indexed, texts_of, write

_EMBEDDER = HashingEmbedder()
_WORDS = ["retry", "cookie", "header", "socket", "timeout", "parser", "token", "buffer", "stream", "cache"]
# With more than 20 vectors they are searched in their rough form, and with ten new ones that is saved again.
_FEW = Limits(exact_most=20, unsaved_most=10)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "index.sqlite"


@pytest.fixture
def saved(file: Path) -> Path:
    return file.with_name("index.sqlite.vectors")


@pytest.fixture
def index(file: Path) -> Iterator[ProjectIndex]:
    with closing(_open(file)) as index:
        yield index


def _open(file: Path, limits: Limits = _FEW) -> ProjectIndex:
    return ProjectIndex.open(file, fingerprint="f", limits=limits)


def _texts(count: int, offset: int = 0) -> list[str]:
    return [f"{_WORDS[n % 10]} {_WORDS[n // 10 % 10]} number{n}" for n in range(offset, offset + count)]


def _check(index: ProjectIndex, file: Path, query: str, limit: int = 7) -> None:
    """Compare what is found with what looking at every stored vector finds."""
    vector = _EMBEDDER.embed_query(query)
    expected = all_scores(file, vector)
    found = index.nearest(vector, limit=limit)
    assert len({each.id for each in found}) == len(found)
    assert {each.id for each in found} <= expected.keys()
    best = sorted(expected.values(), reverse=True)[:limit]
    np.testing.assert_allclose([each.score for each in found], best, atol=1e-4)
    np.testing.assert_allclose(
        [each.score for each in found], [expected[each.id] for each in found], atol=1e-4
    )
    similar = index.similarities(vector, expected)
    assert similar == pytest.approx(expected, abs=1e-4)


_STEP = st.one_of(
    st.tuples(
        st.just("write"), st.integers(0, 5), st.lists(st.sampled_from(_WORDS), min_size=1, max_size=15)
    ),
    st.tuples(st.just("remove"), st.integers(0, 5), st.just([])),
    st.tuples(st.just("fill"), st.just(0), st.just([])),
    st.tuples(st.just("search"), st.just(0), st.lists(st.sampled_from(_WORDS), min_size=1, max_size=3)),
    st.tuples(st.just("reopen"), st.just(0), st.just([])),
    st.tuples(st.just("anew"), st.just(0), st.just([])),
)


@costly
@given(steps=st.lists(_STEP, max_size=25), limits=st.sampled_from([_FEW, Limits()]))
def test_whatever_happened_what_is_found_is_what_there_is(
    steps: list[tuple[str, int, list[str]]], limits: Limits
) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder, "index.sqlite")
        # One writes, the other searches, as two processes would.
        writer, reader = _open(file, limits), _open(file, limits)
        reader.use_embedder(_EMBEDDER.fingerprint, _EMBEDDER.dimensions)
        for step, number, words in [*steps, ("fill", 0, []), ("search", 0, ["retry"])]:
            match step:
                case "write":
                    write(writer, indexed(f"{number}.py", *words))
                case "remove":
                    writer.remove([PurePosixPath(f"{number}.py")])
                case "fill":
                    fill(writer, _EMBEDDER)
                case "search":
                    _check(reader, file, " ".join(words))
                case "reopen":
                    reader.close()
                    reader = _open(file, limits)
                    reader.use_embedder(_EMBEDDER.fingerprint, _EMBEDDER.dimensions)
                case _:
                    writer.close()
                    file.unlink()
                    writer = _open(file, limits)
                    writer.use_embedder(_EMBEDDER.fingerprint, _EMBEDDER.dimensions)
        reader.close()
        writer.close()


def test_the_nearest_come_first(index: ProjectIndex) -> None:
    write(index, indexed("a.py", "retry after timeout", "cookie jar", "retry policy"))
    fill(index, _EMBEDDER)
    assert texts_of(index, _EMBEDDER.embed_query("cookie jar"), limit=1) == ["cookie jar"]
    assert index.nearest(_EMBEDDER.embed_query("cookie"), limit=0) == []


@pytest.mark.parametrize("question", ["", "???"])
def test_a_question_of_which_nothing_is_known_finds_nothing(index: ProjectIndex, question: str) -> None:
    write(index, indexed("a.py", "retry"))
    fill(index, _EMBEDDER)
    assert index.nearest(_EMBEDDER.embed_query(question), limit=3) == []


def test_many_vectors_are_saved_beside_the_index_and_few_are_not(index: ProjectIndex, saved: Path) -> None:
    write(index, indexed("a.py", *_texts(20)))
    fill(index, _EMBEDDER)
    assert not saved.exists()
    write(index, indexed("b.py", *_texts(40, 20)))
    fill(index, _EMBEDDER)
    assert saved.exists()
    index.remove([PurePosixPath("b.py")])
    fill(index, _EMBEDDER)
    assert not saved.exists()


def test_a_saved_file_is_readable_by_its_owner_alone(index: ProjectIndex, saved: Path) -> None:
    write(index, indexed("a.py", *_texts(40)))
    fill(index, _EMBEDDER)
    assert saved.stat().st_mode & 0o077 == 0
    assert [each.name for each in saved.parent.glob("*.new")] == []


def test_it_is_saved_again_when_it_lacks_much(index: ProjectIndex, saved: Path) -> None:
    write(index, indexed("a.py", *_texts(40)))
    fill(index, _EMBEDDER)
    first = saved.read_bytes()
    write(index, indexed("b.py", *_texts(5, 40)))
    fill(index, _EMBEDDER)
    assert saved.read_bytes() == first
    write(index, indexed("c.py", *_texts(20, 50)))
    fill(index, _EMBEDDER)
    assert len(saved.read_bytes()) > len(first)


def test_what_the_saved_file_lacks_is_found(index: ProjectIndex, file: Path) -> None:
    write(index, indexed("a.py", *_texts(40)))
    fill(index, _EMBEDDER)
    write(index, indexed("b.py", "sandwich"))
    fill(index, _EMBEDDER)
    with closing(_open(file)) as reopened:
        reopened.use_embedder(_EMBEDDER.fingerprint, _EMBEDDER.dimensions)
        assert texts_of(reopened, _EMBEDDER.embed_query("sandwich"))[0] == "sandwich"


def _flip(data: bytes) -> bytes:
    return data[:-40] + bytes([data[-40] ^ 255]) + data[-39:]


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[: len(data) // 2], lambda _: b"", _flip, lambda data: data + b"x"],
    ids=["cut", "emptied", "one byte changed", "longer"],
)
def test_a_damaged_file_is_not_used_and_is_made_anew(
    index: ProjectIndex, file: Path, saved: Path, damage: Callable[[bytes], bytes]
) -> None:
    write(index, indexed("a.py", *_texts(60)))
    fill(index, _EMBEDDER)
    sound = saved.read_bytes()
    saved.write_bytes(damage(sound))
    with closing(_open(file)) as reopened:
        reopened.use_embedder(_EMBEDDER.fingerprint, _EMBEDDER.dimensions)
        _check(reopened, file, "retry cookie")
        fill(reopened, _EMBEDDER)
    assert saved.read_bytes() == sound


def test_a_file_that_is_gone_is_made_anew(index: ProjectIndex, file: Path, saved: Path) -> None:
    write(index, indexed("a.py", *_texts(60)))
    fill(index, _EMBEDDER)
    saved.unlink()
    with closing(_open(file)) as reopened:
        fill(reopened, _EMBEDDER)
        _check(reopened, file, "retry cookie")
    assert saved.exists()


def test_another_index_does_not_use_the_file(index: ProjectIndex, file: Path, saved: Path) -> None:
    write(index, indexed("a.py", *_texts(60)))
    fill(index, _EMBEDDER)
    foreign = saved.read_bytes()
    other_file = file.with_name("other.sqlite")
    with closing(_open(other_file)) as other:
        write(other, indexed("b.py", *_texts(50, 500)))
        fill(other, _EMBEDDER)
    other_file.with_name("other.sqlite.vectors").write_bytes(foreign)
    with closing(_open(other_file)) as other:
        other.use_embedder(_EMBEDDER.fingerprint, _EMBEDDER.dimensions)
        _check(other, other_file, "retry cookie")


def test_rows_that_nothing_is_known_of_do_not_hinder_the_others(index: ProjectIndex) -> None:
    write(index, indexed("a.py", *_texts(60)))
    index.use_embedder(_EMBEDDER.fingerprint, _EMBEDDER.dimensions)
    waiting = index.texts_without_vectors(limit=100)
    texts = ["retry", *[""] * (len(waiting) - 1)]
    index.add_vectors([chunk_id for chunk_id, _ in waiting], _EMBEDDER.embed_documents(texts))
    assert [each.id for each in index.nearest(_EMBEDDER.embed_query("retry"), limit=5)] == [waiting[0][0]]


def test_most_chunks_may_go_without_hiding_those_that_stay(index: ProjectIndex, file: Path) -> None:
    write(index, *(indexed(f"{n}.py", *_texts(100, n * 100)) for n in range(12)))
    fill(index, _EMBEDDER)
    index.remove([PurePosixPath(f"{n}.py") for n in range(11)])
    for _ in range(3):
        _check(index, file, "retry retry number1150", limit=3)


def test_threads_may_search_while_one_writes(index: ProjectIndex, file: Path) -> None:
    write(index, indexed("a.py", *_texts(30)))
    fill(index, _EMBEDDER)
    vector = _EMBEDDER.embed_query("retry")

    def search(_: int) -> bool:
        return len(index.nearest(vector, limit=5)) == 5

    with ThreadPoolExecutor(4) as threads:
        searches = threads.map(search, range(60))
        for number in range(6):
            write(index, indexed(f"{number}.py", *_texts(20, number * 20)))
            fill(index, _EMBEDDER)
        assert all(searches)
    _check(index, file, "retry")
