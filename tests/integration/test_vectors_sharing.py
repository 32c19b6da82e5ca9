"""One process gives an index its vectors, and is killed at it, while another searches them."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from coding_assistant.index.store import ProjectIndex
from coding_assistant.index.vector_index import Limits
from support.hashing_embedder import HashingEmbedder
from support.vectors import all_scores, fill, texts_of

_TESTS = Path(__file__).parents[1]
_LIMITS = Limits(exact_most=50, unsaved_most=20)
_EMBEDDER = HashingEmbedder()

# Says so after each batch, and goes on when it is told to.
_FILLER = """
import sys
from pathlib import Path
from coding_assistant.index.embed import embed_missing
from coding_assistant.index.store import ProjectIndex
from coding_assistant.index.vector_index import Limits
from support.hashing_embedder import HashingEmbedder
from support.vectors import indexed, write

index = ProjectIndex.open(Path(sys.argv[1]), fingerprint="f", limits=Limits(exact_most=50, unsaved_most=20))
for round in range(3):
    for number in range(10):
        write(index, indexed(f"{number}.py", *(f"zebra {round} {number} {line}" for line in range(20))))
    for event in embed_missing(index, HashingEmbedder()):
        print(round, event.done, flush=True)
        sys.stdin.readline()
"""


@contextmanager
def _filler(file: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-W", "error", "-c", _FILLER, str(file)]
    environment = {"PYTHONPATH": str(_TESTS)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def _steps(process: subprocess.Popen[str]) -> Iterator[tuple[int, int]]:
    assert process.stdin is not None
    assert process.stdout is not None
    for line in process.stdout:
        rounds, done = line.split()
        yield int(rounds), int(done)
        process.stdin.write("go on\n")
        process.stdin.flush()


def test_a_search_sees_what_another_process_has_committed_and_nothing_older(tmp_path: Path) -> None:
    file = tmp_path / "index.sqlite"
    vector = _EMBEDDER.embed_query("zebra")
    with closing(ProjectIndex.open(file, fingerprint="f", limits=_LIMITS)) as index:
        with _filler(file) as filler:
            for rounds, done in _steps(filler):
                index.use_embedder(_EMBEDDER.fingerprint, _EMBEDDER.dimensions)
                texts = texts_of(index, vector, limit=1_000)
                assert len(texts) == len(all_scores(file, vector)) == done
                assert {text.split()[1] for text in texts} == ({str(rounds)} if done else set())
            assert filler.wait(timeout=60) == 0
        assert len(texts_of(index, vector, limit=1_000)) == 200


def test_a_killed_filling_goes_on_where_it_was(tmp_path: Path) -> None:
    file = tmp_path / "index.sqlite"
    with _filler(file) as filler:
        _, done = next(_steps(filler))
        filler.kill()
    with closing(ProjectIndex.open(file, fingerprint="f", limits=_LIMITS)) as index:
        assert fill(index, _EMBEDDER) == 200 - done
        assert len(texts_of(index, _EMBEDDER.embed_query("zebra"), limit=1_000)) == 200
