from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.domain import Chunk, ContextLine
from coding_assistant.index.overview import (
    README_CHARACTERS,
    OverviewAsked,
    landmark,
    main_files,
    main_parts,
    overview_asked,
    readme,
    readme_opening,
)
from support.indexing import indexed_project


def _chunks(*parts: tuple[str | None, str], path: str = "a.py") -> list[Chunk]:
    chunks = []
    line = 1
    for symbol, text in parts:
        end = line + text.count("\n")
        chunks.append(Chunk(PurePosixPath(path), line, end, text, "python", symbol))
        line = end + 1
    return chunks


def _sizes(**sizes: int) -> dict[PurePosixPath, int]:
    return {PurePosixPath(name.replace("__", "/")): size for name, size in sizes.items()}


def _names(paths: Sequence[PurePosixPath]) -> list[str]:
    return [str(path) for path in paths]


@pytest.mark.parametrize(
    "question",
    [
        "How is this project organised?",
        "How is the project structured?",
        "how is the code structured",
        "How is this repository laid out?",
        "How is your code base organized at a high level?",
        "How does this library work?",
        "How does it all fit together?",
        "Where do I start reading?",
        "Where should I start reading the code?",
        "Where should a newcomer begin?",
        "Where can I start looking here?",
        "What are the main parts of this project?",
        "What are the main components?",
        "Which are the key modules of the library?",
        "What are the most important files in this repo?",
        "Which are the core classes here?",
        "What are the entry points?",
        "What modules are there?",
        "What packages does this project have?",
        "What does this project do?",
        "What is this package for?",
        "What does this project do? Where should I begin?",
        "Give me an overview.",
        "Give me an overview of the architecture.",
        "Can you give me a short overview of this repository, please",
        "Show me the big picture",
        "Describe the architecture of the application",
        "Explain this codebase",
        "Please summarise this project",
        "Walk me through the code base",
        "Outline the software as a whole",
        "project structure",
        "a map of the code",
    ],
)
def test_a_question_about_the_whole_is_recognised(question: str) -> None:
    assert overview_asked(question) == OverviewAsked()


@pytest.mark.parametrize(
    ("question", "folder"),
    [
        ("Give me an overview of src/web/", "src/web"),
        ("Give me an overview of the `index` package.", "index"),
        ("give me a short overview of the folder lib", "lib"),
        ("How is src/click organised?", "src/click"),
        ("How is the tests directory structured?", "tests"),
        ("What are the main parts of lib/?", "lib"),
        ("What is in src/web?", "src/web"),
        ("What's in the web folder?", "web"),
        ("What does the package storage do?", "storage"),
        ("Explain pkg/v1.2/api/", "pkg/v1.2/api"),
    ],
)
def test_a_question_about_a_folder_is_recognised(question: str, folder: str) -> None:
    assert overview_asked(question) == OverviewAsked(PurePosixPath(folder))


@pytest.mark.parametrize(
    "question",
    [
        "How does it work?",
        "How is a request structured?",
        "How is the session cache organised?",
        "How is this project tested?",
        "How is the package installed?",
        "How is the project's version determined?",
        "How does the library parse dates?",
        "How does this application handle errors?",
        "How do the workers work?",
        "Where do I start the server?",
        "Where should I begin a transaction?",
        "Where does this start?",
        "Where is the main function?",
        "What are the main arguments of parse?",
        "What are the main differences between get and post?",
        "What are the important settings?",
        "Which modules import sqlite3?",
        "Which files are skipped?",
        "What class is raised here?",
        "What does `send` do?",
        "What does this function do?",
        "What is this constant for?",
        "What does this project do when the file is missing?",
        "What is in the cache?",
        "What is in a session?",
        "Describe the parser",
        "Explain this traceback",
        "Explain the tree structure",
        "Summarise the changes of the last release",
        "Walk me through a request",
        "Give me an example of the architecture",
        "Show me the structure of a token",
        "How is this project organised? And what calls Session.send?",
        "How is the index package organised? And who calls it?",
        "Which package provides gzip?",
        "Where is the package folder created?",
        "map",
        "",
        "?",
    ],
)
def test_a_question_about_a_part_is_not(question: str) -> None:
    assert overview_asked(question) is None


def test_large_files_come_first_and_folders_take_turns() -> None:
    sizes = _sizes(core__a=100, core__b=90, core__c=80, web__d=60, web__e=10)
    assert _names(main_files(sizes)) == ["core/a", "web/d", "core/b", "core/c", "web/e"]


@given(
    st.dictionaries(st.tuples(st.sampled_from("xyz"), st.sampled_from("abcdef")), st.integers(0, 99)),
    st.integers(0, 20),
)
def test_every_file_is_chosen_once_up_to_the_limit(sizes: dict[tuple[str, str], int], limit: int) -> None:
    files = {PurePosixPath(*name): size for name, size in sizes.items()}
    chosen = main_files(files, limit=limit)
    assert len(chosen) == len(set(chosen)) == min(limit, len(files))
    assert set(chosen) <= set(files)
    assert chosen == main_files(dict(reversed(files.items())), limit=limit)


def test_the_readme_nearest_to_the_root_is_the_projects() -> None:
    paths = [PurePosixPath(path) for path in ("docs/README.md", "ReadMe.rst", "src/readme.py")]
    assert readme(paths) == PurePosixPath("ReadMe.rst")
    assert readme([PurePosixPath("a.py")]) is None


def test_a_readme_is_shown_as_far_as_it_fits() -> None:
    chunks = _chunks((None, "What it is."), (None, "x" * (README_CHARACTERS - 20)), (None, "y" * 10))
    assert readme_opening(chunks) == chunks[:2]


def test_of_a_readme_that_does_not_fit_the_first_lines_are_shown() -> None:
    text = "\n".join(["# Name", "", "What it is."] + ["more"] * README_CHARACTERS)
    (opening,) = readme_opening(_chunks((None, text)))
    assert opening.text.startswith("# Name\n\nWhat it is.\nmore\n")
    assert README_CHARACTERS - len("more\n") <= len(opening.text) <= README_CHARACTERS
    assert (opening.start_line, opening.end_line) == (1, 1 + opening.text.count("\n"))


def test_a_file_is_shown_by_its_largest_definition() -> None:
    chunks = _chunks(
        (None, "import os"),
        ("small", "def small():\n    pass"),
        ("Large", "@decorated  # Large\nclass Large(Base):\n    '''What it is for.'''\n\n    size = 1"),
        ("Large.run", "    def run(self):\n" + "        step()\n" * 20),
    )
    shown = landmark(chunks)
    assert shown is not None
    assert shown.text == "class Large(Base):\n    '''What it is for.'''\n"
    assert (shown.start_line, shown.end_line) == (5, 7)
    assert shown.context == (ContextLine(2, "def small():"),)


def test_a_file_without_definitions_is_shown_by_its_beginning() -> None:
    shown = landmark(_chunks((None, "a = 1\nb = 2\nc = 3\nd = 4")))
    assert shown is not None
    assert shown.text == "a = 1\nb = 2\nc = 3"


def test_an_empty_file_is_not_shown() -> None:
    assert landmark([]) is None


def test_an_overview_of_a_folder_holds_only_its_files(tmp_path: Path) -> None:
    files = {
        "README.md": "# All",
        "src/web/README.md": "# Web",
        "src/web/app.py": "def serve(): ...",
        "src/core.py": "def compute(): ...",
        "tests/web/test_app.py": "def test_serve(): ...",
    }
    with indexed_project(tmp_path, files) as index:
        web, tests = (main_parts(index, PurePosixPath(folder)) for folder in ("web", "tests"))
        absent = main_parts(index, PurePosixPath("nowhere"))
    assert [str(chunk.path) for chunk in web.readme] == ["src/web/README.md"]
    assert _names(list(web.files)) == ["src/web/app.py"]
    assert _names(list(tests.files)) == ["tests/web/test_app.py"]
    assert not absent.readme
    assert not absent.files
