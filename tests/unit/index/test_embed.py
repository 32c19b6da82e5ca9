from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from coding_assistant.domain import Chunk, ChunkKind, ChunksEmbedded, ContextLine, FileStamp, SourceFile
from coding_assistant.embedding.static import StaticEmbedder
from coding_assistant.errors import Conflict, IndexMissing
from coding_assistant.index.embed import embed_missing
from coding_assistant.index.store import IndexedFile, ProjectIndex
from support.hashing_embedder import HashingEmbedder
from support.vectors import fill, indexed, texts_of, write


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "index.sqlite"


@pytest.fixture
def index(file: Path) -> Iterator[ProjectIndex]:
    with closing(ProjectIndex.open(file, fingerprint="f")) as index:
        yield index


@pytest.fixture
def embedder() -> HashingEmbedder:
    return HashingEmbedder()


@pytest.fixture(scope="module")
def static() -> StaticEmbedder:
    return StaticEmbedder.load()


def test_every_chunk_is_embedded_once_with_its_path_and_symbol(
    index: ProjectIndex, embedder: HashingEmbedder
) -> None:
    write(index, indexed("src/a.py", "one", "two"), indexed("b.py", "three"))
    assert fill(index, embedder) == 3
    assert embedder.texts == ["src/a.py\nsymbol1\none", "src/a.py\nsymbol2\ntwo", "b.py\nsymbol1\nthree"]
    assert fill(index, embedder) == 0
    assert len(embedder.texts) == 3


def test_an_embedder_of_terms_gives_the_same_vectors_without_the_text(
    index: ProjectIndex, static: StaticEmbedder
) -> None:
    path = PurePosixPath("src/größe/utf8_v2.py")
    heads = (ContextLine(1, "class HTTPServer2:"), ContextLine(90, "    def below(self):"))
    chunks = [
        Chunk(path, 2, 3, text, "python", symbol, ChunkKind.METHOD, heads)
        for symbol in (None, "HTTPServer2.naïve_größe_sha256")
        for text in ("def naïve(sha256, maxAge):\n    return url_opener()", "", "大小 = 'x' * 10", "\x00")
    ]
    file = SourceFile(path, "", "digest", "python")
    write(index, IndexedFile.of(file, FileStamp(1, 7, 8), chunks))
    index.use_embedder(static.fingerprint, static.dimensions)
    ids, texts = zip(*index.texts_without_vectors(limit=10), strict=True)
    same_ids, terms = zip(*index.terms_without_vectors(limit=10), strict=True)
    assert same_ids == ids
    np.testing.assert_array_equal(static.embed_terms(terms), static.embed_documents(texts))
    assert fill(index, static) == len(chunks)
    for chunk_id, vector in zip(ids, static.embed_documents(texts), strict=True):
        assert index.similarities(vector, [chunk_id])[chunk_id] == pytest.approx(1, abs=0.01)


def test_progress_rises_to_the_total(index: ProjectIndex, embedder: HashingEmbedder) -> None:
    write(index, indexed("a.py", *(f"word{number}" for number in range(100))))
    events = list(embed_missing(index, embedder))
    assert events[-1] == ChunksEmbedded(100, 100)
    done = [event.done for event in events]
    assert done == sorted(set(done))
    assert len(done) > 1


def test_closing_it_keeps_what_was_told_and_the_next_goes_on(
    index: ProjectIndex, embedder: HashingEmbedder
) -> None:
    write(index, indexed("a.py", *(f"word{number}" for number in range(100))))
    events = embed_missing(index, embedder)
    first = next(events)
    events.close()
    assert index.count_without_vectors() == 100 - first.done
    assert fill(index, embedder) == 100 - first.done
    assert len(embedder.texts) == len(set(embedder.texts)) == 100


def test_a_chunk_that_reads_as_before_keeps_its_vector(
    index: ProjectIndex, embedder: HashingEmbedder
) -> None:
    write(index, indexed("a.py", "first", "second", "third"), indexed("b.py", "other"))
    fill(index, embedder)
    embedder.texts.clear()
    write(index, indexed("a.py", "first", "changed", "third"))
    assert index.count_without_vectors() == 1
    assert texts_of(index, embedder.embed_query("third a symbol3"))[0] == "third"
    fill(index, embedder)
    assert embedder.texts == ["a.py\nsymbol2\nchanged"]
    assert texts_of(index, embedder.embed_query("changed"))[0] == "changed"


def test_the_same_text_elsewhere_is_embedded_anew(index: ProjectIndex, embedder: HashingEmbedder) -> None:
    write(index, indexed("a.py", "text"))
    fill(index, embedder)
    write(index, indexed("b.py", "text"))
    assert index.count_without_vectors() == 1


def test_a_chunk_below_one_that_waits_is_not_forgotten(
    index: ProjectIndex, embedder: HashingEmbedder
) -> None:
    write(index, indexed("a.py", "one", "two", "three"))
    index.use_embedder(embedder.fingerprint, embedder.dimensions)
    ((first, _), *_, (last, text)) = index.texts_without_vectors(limit=10)
    index.add_vectors([last], embedder.embed_documents([text]))
    assert [chunk_id for chunk_id, _ in index.texts_without_vectors(limit=10)] == [first, first + 1]


def test_a_text_that_tells_nothing_is_asked_for_once_and_never_found(
    index: ProjectIndex, embedder: HashingEmbedder
) -> None:
    write(index, indexed("a.py", "word"))
    index.use_embedder(embedder.fingerprint, embedder.dimensions)
    ((chunk_id, _),) = index.texts_without_vectors(limit=10)
    index.add_vectors([chunk_id], embedder.embed_documents([""]))
    assert index.count_without_vectors() == 0
    assert index.nearest(embedder.embed_query("word"), limit=10) == []
    assert index.similarities(embedder.embed_query("word"), [chunk_id]) == {}
    write(index, indexed("a.py", "word", "new"))
    assert [text for _, text in index.texts_without_vectors(limit=10)] == ["a.py\nsymbol2\nnew"]


def test_the_vectors_of_another_embedder_give_way(index: ProjectIndex, embedder: HashingEmbedder) -> None:
    write(index, indexed("a.py", "one", "two"))
    fill(index, embedder)
    other = HashingEmbedder(48, seed=1)
    assert fill(index, other) == 2
    assert texts_of(index, other.embed_query("a symbol1 one"))[0] == "one"
    assert index.counts().chunks == 2


def test_an_index_that_was_begun_anew_is_not_given_the_vectors_of_the_old_one(
    index: ProjectIndex, file: Path, embedder: HashingEmbedder
) -> None:
    write(index, indexed("a.py", "old"))
    index.use_embedder(embedder.fingerprint, embedder.dimensions)
    ((chunk_id, _),) = index.texts_without_vectors(limit=10)
    file.unlink()
    with closing(ProjectIndex.open(file, fingerprint="f")) as anew:
        write(anew, indexed("a.py", "new"))
        with pytest.raises(IndexMissing):
            index.add_vectors([chunk_id], embedder.embed_documents(["old"]))
        assert fill(anew, embedder) == 1
        assert fill(index, embedder) == 0


def test_two_embedders_at_once_are_told_apart(
    index: ProjectIndex, file: Path, embedder: HashingEmbedder
) -> None:
    write(index, indexed("a.py", "one", "two"))
    fill(index, embedder)
    with closing(ProjectIndex.open(file, fingerprint="f")) as other_index:
        other = HashingEmbedder(seed=1)
        events = embed_missing(index, other)
        next(events)
        assert fill(other_index, embedder) == 2
        assert index.nearest(other.embed_query("one"), limit=5) == []
        assert index.texts_without_vectors(limit=5) == []
        with pytest.raises(Conflict):
            index.add_vectors([1], other.embed_documents(["one"]))


def test_a_chunk_that_went_while_it_was_embedded_is_passed_over(
    index: ProjectIndex, embedder: HashingEmbedder
) -> None:
    write(index, indexed("a.py", "one"), indexed("b.py", "two"))
    index.use_embedder(embedder.fingerprint, embedder.dimensions)
    ids = [chunk_id for chunk_id, _ in index.texts_without_vectors(limit=10)]
    index.remove([PurePosixPath("a.py")])
    index.add_vectors(ids, embedder.embed_documents(["one", "two"]))
    assert texts_of(index, embedder.embed_query("one")) == ["two"]
    assert index.count_without_vectors() == 0


def test_vectors_of_another_length_are_refused(index: ProjectIndex, embedder: HashingEmbedder) -> None:
    write(index, indexed("a.py", "one"))
    index.use_embedder(embedder.fingerprint, embedder.dimensions)
    with pytest.raises(ValueError, match="shape"):
        index.add_vectors([1], HashingEmbedder(16).embed_documents(["one"]))


def test_without_an_embedder_there_is_nothing_to_find_and_nothing_to_do(
    index: ProjectIndex, embedder: HashingEmbedder
) -> None:
    write(index, indexed("a.py", "one"))
    assert index.count_without_vectors() == 0
    assert index.texts_without_vectors(limit=5) == []
    assert index.terms_without_vectors(limit=5) == []
    assert index.nearest(embedder.embed_query("one"), limit=5) == []
    assert index.similarities(embedder.embed_query("one"), [1]) == {}
    index.prepare_vectors()
