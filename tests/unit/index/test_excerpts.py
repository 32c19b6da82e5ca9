from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.domain import Chunk, ChunkKind, ContextLine, Hit, SourceFile
from coding_assistant.embedding.static import StaticEmbedder
from coding_assistant.index import excerpts
from coding_assistant.index.ranking import Ranked
from coding_assistant.index.scored import ChunkHead
from coding_assistant.project.chunk import chunk as chunks_of
from coding_assistant.project.notebooks import CODE_MARK
from coding_assistant.protocols import Embedder
from support.hashing_embedder import HashingEmbedder


def _hit(text: str, *, path: str = "a.py", line: int = 1, score: float = 1.0) -> Hit:
    chunk = Chunk(PurePosixPath(path), line, line + text.count("\n"), text, "python", "run")
    return Hit(chunk, score, {"text": score})


def narrowed(hits: Sequence[Hit], query: str, *, embedder: Embedder | None) -> list[Hit]:
    """Narrow hits that are whole chunks, each under its position as id."""
    ranked = [Ranked(_head(id_, hit.chunk), hit.score, hit.why) for id_, hit in enumerate(hits)]
    chunks = {each.head.id: hits[each.head.id].chunk for each in excerpts.to_be_cut(ranked)}
    found = excerpts.narrowed(ranked, chunks, query, embedder=embedder)
    return [Hit(_shown(hits[each.head.id].chunk, each), each.score, each.why) for each in found]


def _head(id_: int, chunk: Chunk) -> ChunkHead:
    return ChunkHead(id_, str(chunk.path), chunk.start_line, chunk.end_line, chunk.symbol)


def _shown(chunk: Chunk, found: Ranked) -> Chunk:
    return chunk.part(found.head.start_line, found.head.end_line) if found.is_excerpt else chunk


def _function(name: str, *, body: str = "step") -> str:
    """Return a function of some four excerpts."""
    blocks = "\n".join(f"    {body}({number})  # of the {name}\n" * 6 for number in range(5))
    return f"def {name}(self):\n{blocks}    return None"


def _in_order(hits: Iterable[Hit]) -> list[Chunk]:
    return sorted((hit.chunk for hit in hits), key=lambda chunk: chunk.start_line)


def _check_cover(parts: Sequence[Chunk], whole: Chunk) -> None:
    """Check that the parts lie side by side, hold exactly the chunk's lines, and are of its kind."""
    lines = whole.text.split("\n")
    following = whole.start_line
    for part in parts:
        assert part.start_line == following
        assert part.end_line >= part.start_line
        start, end = part.start_line - whole.start_line, part.end_line - whole.start_line + 1
        assert part.text.split("\n") == lines[start:end]
        named = replace(part, start_line=whole.start_line, end_line=whole.end_line, text=whole.text)
        assert named == replace(whole, context=())
        following = part.end_line + 1
    assert following == whole.end_line + 1


def test_a_long_chunk_becomes_several_excerpts() -> None:
    hit = _hit(_function("run"), line=11)
    parts = narrowed([hit], "run", embedder=None)
    assert len(parts) > 2
    assert max(len(part.chunk.text) for part in parts) < len(hit.chunk.text) / 2
    _check_cover(_in_order(parts), hit.chunk)


def test_the_lines_that_are_asked_for_come_first() -> None:
    text = _function("run")
    lines = [*text.split("\n")[:20], "    self.cookies.renew(age)", *text.split("\n")[20:]]
    best, *others = narrowed([_hit("\n".join(lines))], "how are cookies renewed", embedder=None)
    assert "self.cookies.renew(age)" in best.chunk.text
    assert best.why["lines"] > 0
    assert others
    assert all(other.score < best.score for other in others)


def test_lines_of_the_same_meaning_come_first_where_no_word_is_the_same() -> None:
    vectors = np.array([[127, 0, 0], [127, 0, 0], [0, 127, 0]], np.int8)
    embedder = StaticEmbedder(["discard", "erase", "step"], vectors, np.ones((2, 3), np.float32))
    text = _function("run")
    lines = [*text.split("\n")[:20], "    self.discard(entry)", *text.split("\n")[20:]]
    best, *_ = narrowed([_hit("\n".join(lines))], "erase", embedder=embedder)
    assert "discard" in best.chunk.text


def test_what_spoke_for_a_chunk_speaks_for_its_excerpts() -> None:
    likely = _hit("print(1)", path="b.py", score=2.0)
    other = _hit("print(1)", path="a.py", score=1.0)
    first, second = narrowed([likely, other], "print", embedder=None)
    assert (first.chunk, second.chunk) == (likely.chunk, other.chunk)
    assert first.why["text"] == pytest.approx(2 * second.why["text"])


def test_of_lines_that_fit_alike_those_with_names_come_first() -> None:
    plain = _hit("run the step\nrun the step\nrun the step", path="a.py")
    done = _hit("run the step\nrun_step(next_step)\nrun the step", path="b.py")

    found = narrowed([plain, done], "run the step", embedder=None)

    assert [str(hit.chunk.path) for hit in found] == ["b.py", "a.py"]
    assert found[0].why["names"] > 0


def test_what_a_place_takes_from_a_chunk_it_takes_from_its_lines() -> None:
    chunk = _hit("run_step(next_step)").chunk
    tested = Hit(chunk, 0.3, {"text": 1.0, "place": -0.7})
    (found,) = narrowed([tested], "run the step", embedder=None)
    (plain,) = narrowed([Hit(chunk, 0.3, {"text": 0.3})], "run the step", embedder=None)

    assert found.why["lines"] == pytest.approx(0.3 * plain.why["lines"])
    assert found.score == pytest.approx(sum(found.why.values()))


def test_excerpts_of_several_chunks_are_ranked_among_each_other() -> None:
    plain = _hit(_function("plain"), score=1.0)
    fitting = _hit("def renew(cookie):\n    return cookie", line=100, score=0.9)
    assert narrowed([plain, fitting], "renew a cookie", embedder=None)[0].chunk == fitting.chunk


def test_hits_beyond_the_best_stay_whole_and_behind() -> None:
    hits = [_hit(_function("run"), path=f"{number:03}.py", score=9 - number / 100) for number in range(80)]
    found = narrowed(hits, "run", embedder=None)
    whole = [hit.chunk for hit in hits]
    kept = [chunk for chunk in whole if chunk in [hit.chunk for hit in found]]
    assert kept == whole[60:]
    assert [hit.chunk for hit in found[-20:]] == kept
    assert {hit.chunk.path for hit in found} == {chunk.path for chunk in whole}
    scores = [hit.score for hit in found]
    assert scores == sorted(scores, reverse=True)


def test_a_hit_that_nothing_speaks_for_stays_whole_and_last() -> None:
    silent = _hit(_function("silent"), score=0.0)
    found = narrowed([_hit("run(1)", path="b.py"), silent], "silent", embedder=None)
    assert [hit.chunk for hit in found] == [_hit("run(1)", path="b.py").chunk, silent.chunk]
    assert narrowed([silent], "silent", embedder=None) == [silent]


def test_nothing_narrows_to_nothing() -> None:
    assert narrowed([], "run", embedder=HashingEmbedder()) == []


@pytest.mark.parametrize("text", ["x = 1", "", "x" * 5_000, "\r", " "])
def test_a_single_line_stays_what_it_is(text: str) -> None:
    hit = _hit(text, line=7)
    (found,) = narrowed([hit], "x", embedder=HashingEmbedder())
    assert found.chunk == hit.chunk


def test_a_carriage_return_stays_with_its_line() -> None:
    hit = _hit(_function("run").replace("\n", "\r\n"))
    parts = narrowed([hit], "run", embedder=None)
    assert len(parts) > 2
    _check_cover(_in_order(parts), hit.chunk)


def test_an_excerpt_of_a_notebook_is_of_one_cell() -> None:
    cells = [f"{CODE_MARK}\n{_function(name)}\n" for name in ("first", "second")]
    file = SourceFile(PurePosixPath("a.ipynb"), "\n".join(cells), "digest", "python")
    chunks = chunks_of(file)
    assert {chunk.kind for chunk in chunks} == {ChunkKind.CELL}
    found = narrowed([Hit(chunk, 1.0, {"text": 1.0}) for chunk in chunks], "second", embedder=None)
    assert len(found) > len(chunks)
    for chunk in chunks:
        own = [hit for hit in found if chunk.start_line <= hit.chunk.start_line <= chunk.end_line]
        _check_cover(_in_order(own), chunk)


def test_what_stands_around_a_chunk_is_left_out() -> None:
    hit = _hit("    return 1", line=5)
    around = replace(hit, chunk=replace(hit.chunk, context=(ContextLine(1, "def run():"),)))
    (found,) = narrowed([around], "run", embedder=None)
    assert found.chunk == hit.chunk


_LINES = st.lists(
    st.sampled_from(["", "    ", "def run(self):", "    step(1)\r", "}", "\tcookie = jar[name]", "x" * 200])
    | st.text(st.characters(exclude_characters="\n"), max_size=30),
    min_size=1,
    max_size=40,
)
_HITS = st.lists(st.tuples(_LINES, st.integers(1, 500), st.floats(0.01, 5)), min_size=1, max_size=5).map(
    lambda drawn: [
        _hit("\n".join(lines), path=f"{number}.py", line=line, score=score)
        for number, (lines, line, score) in enumerate(sorted(drawn, key=lambda each: -each[2]))
    ]
)


@given(
    _HITS, st.sampled_from(["", "cookie", "how does `run` step"]), st.sampled_from([None, HashingEmbedder(8)])
)
def test_excerpts_hold_every_line_of_their_chunks_once(
    hits: list[Hit], query: str, embedder: Embedder | None
) -> None:
    found = narrowed(hits, query, embedder=embedder)
    parts = defaultdict(list)
    for hit in found:
        parts[hit.chunk.path].append(hit)
        assert hit.score == pytest.approx(sum(hit.why.values()))
    for hit in hits:
        _check_cover(_in_order(parts[hit.chunk.path]), hit.chunk)
    scores = [hit.score for hit in found]
    assert scores == sorted(scores, reverse=True)
    assert narrowed(hits, query, embedder=embedder) == found
