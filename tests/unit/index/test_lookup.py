from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath

import pytest

from coding_assistant.index.locations import NamedLocation
from coding_assistant.index.lookup import MOST_FILES_OF_A_NAME
from coding_assistant.index.store import ProjectIndex
from support.indexing import cut
from support.vectors import write

_TEXTS = ("first\n1", "second\n2", "third\n3")


@pytest.fixture
def index(tmp_path: Path) -> Iterator[ProjectIndex]:
    with closing(ProjectIndex.open(tmp_path / "index.sqlite", fingerprint="f")) as index:
        yield index


def _fill(index: ProjectIndex, *names: str) -> None:
    write(index, *(cut(name, *_TEXTS) for name in names))


def _at(index: ProjectIndex, *named: tuple[str, int | None]) -> dict[str, tuple[int, ...]]:
    """Return where the chunks stand that are found, each with its lines that are named."""
    found = index.ids_at(NamedLocation(PurePosixPath(path), line) for path, line in named)
    chunks = index.chunks(found.keys())
    return {chunks[chunk_id].location: lines for chunk_id, lines in found.items()}


def _files(index: ProjectIndex, path: str) -> set[str]:
    return {location.partition(":")[0] for location in _at(index, (path, 1))}


@pytest.mark.parametrize(("line", "location"), [(1, "1-2"), (2, "1-2"), (3, "3-4"), (6, "5-6")])
def test_a_line_leads_to_the_chunk_that_holds_it(index: ProjectIndex, line: int, location: str) -> None:
    _fill(index, "src/a.py", "src/b.py")
    assert _at(index, ("src/a.py", line)) == {f"src/a.py:{location}": (line,)}


def test_a_line_beyond_the_end_leads_nowhere(index: ProjectIndex) -> None:
    _fill(index, "a.py")
    assert _at(index, ("a.py", 7)) == {}


def test_a_file_leads_to_all_its_chunks(index: ProjectIndex) -> None:
    _fill(index, "src/a.py", "src/b.py")
    assert _at(index, ("a.py", None)) == {
        "src/a.py:1-2": (),
        "src/a.py:3-4": (),
        "src/a.py:5-6": (),
    }


def test_a_named_line_counts_whatever_else_names_its_file(index: ProjectIndex) -> None:
    _fill(index, "a.py")
    expected = {"a.py:1-2": (), "a.py:3-4": (3,), "a.py:5-6": ()}
    assert _at(index, ("a.py", None), ("a.py", 3)) == expected
    assert _at(index, ("a.py", 3), ("a.py", None)) == expected


@pytest.mark.parametrize(
    ("named", "files"),
    [
        ("/build/me/checkout/src/app/run.py", {"src/app/run.py"}),
        ("C:/me/app/run.py", {"src/app/run.py"}),
        ("/elsewhere/tools/run.py", {"tools/run.py"}),
        ("run.py", {"run.py", "src/app/run.py", "tools/run.py"}),
        ("/elsewhere/run.py", {"run.py", "src/app/run.py", "tools/run.py"}),
        ("Run.py", set()),
        ("un.py", set()),
        ("run.py/run", set()),
    ],
)
def test_the_files_that_share_most_of_the_end_of_the_path_are_meant(
    index: ProjectIndex, named: str, files: set[str]
) -> None:
    _fill(index, "run.py", "src/app/run.py", "tools/run.py", "src/app/rerun.py")
    assert _files(index, named) == files


@pytest.mark.parametrize(
    ("name", "other"),
    [("a_b.py", "aXb.py"), ("100%.py", "100x.py"), ("a\\b.py", "ab.py"), ("a\\_.py", "a_.py")],
)
def test_in_a_name_a_wildcard_is_a_character(index: ProjectIndex, name: str, other: str) -> None:
    _fill(index, f"src/{name}", f"src/{other}")
    assert _files(index, name) == {f"src/{name}"}
    assert _files(index, other) == {f"src/{other}"}


def test_a_name_that_many_files_have_says_nothing(index: ProjectIndex) -> None:
    packages = [f"src/p{number}/__init__.py" for number in range(MOST_FILES_OF_A_NAME + 1)]
    _fill(index, *packages)
    assert _files(index, "__init__.py") == set()
    assert _files(index, "/build/me/p3/__init__.py") == {"src/p3/__init__.py"}
    index.remove([PurePosixPath(packages[0])])
    assert _files(index, "__init__.py") == set(packages[1:])


def test_the_chunks_of_files_come_in_the_order_of_their_lines(index: ProjectIndex) -> None:
    _fill(index, "b.py", "a.py")
    asked = [PurePosixPath("a.py"), PurePosixPath("none.py")]
    found = index.chunks_of_files(asked)
    assert list(found) == asked
    assert [chunk.start_line for chunk in found[asked[0]]] == [1, 3, 5]
    assert found[asked[1]] == []


def test_sizes_are_of_code_and_of_a_readme_in_whatever_form(index: ProjectIndex) -> None:
    write(
        index,
        cut("a.py", "12345"),
        cut("README", "123", language=None),
        cut("data/README", "123", language=None),
        cut("words.txt", "123", language=None),
    )
    assert index.sizes() == {PurePosixPath("a.py"): 5, PurePosixPath("README"): 3}
