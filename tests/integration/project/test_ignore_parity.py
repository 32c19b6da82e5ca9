"""Our reading of ignore files against git's own, on trees that hypothesis makes up."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coding_assistant.domain import FoundFile
from coding_assistant.project.walk import walk

GIT = shutil.which("git")
pytestmark = pytest.mark.skipif(
    GIT is None, reason="git is not installed: ignore files are not compared with it"
)

NAMES = st.sampled_from(["a", "b", "ab", "a.log", "b.log", ".a", "a b", "A", "[a]", "-"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
# Not "a**": git takes off the literal beginning and then reads the rest as a ``**`` that stands alone,
# though its manual says that such stars are ordinary ones.
SEGMENTS = st.sampled_from(
    [
        "a",
        "b",
        "ab",
        "*.log",
        "a*",
        "*b",
        "*",
        "**",
        "?",
        "[ab]",
        "[!a]",
        "[a-b]*",
        "a.*",
        "\\a",
        "\\[a]",
    ]
)
LINES = st.one_of(
    st.builds(
        "".join,
        st.tuples(
            st.sampled_from(["", "", "!"]),
            st.sampled_from(["", "", "/"]),
            st.lists(SEGMENTS, min_size=1, max_size=3).map("/".join),
            st.sampled_from(["", "", "/", " "]),
        ),
    ),
    st.sampled_from(
        ["# a", "", "!", "/", "\\!a", "a\\ b", "a b", "[a", "**/", "/**", "a/**/b", "[[:alpha:]]", "[]-]"]
    ),
)
IGNORE_FILES = st.dictionaries(
    st.sampled_from([".gitignore", "a/.gitignore", "a/b/.gitignore", "ab/.gitignore", ".git/info/exclude"]),
    st.lists(LINES, min_size=1, max_size=5).map("\n".join),
    min_size=1,
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("repository")
    run_git(root, "init", "--quiet", "--template=")
    return root


def run_git(root: Path, *arguments: str) -> str:
    assert GIT is not None
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    environment |= {"XDG_CONFIG_HOME": str(root), "GIT_DIR": str(root / ".git"), "GIT_WORK_TREE": str(root)}
    done = subprocess.run(
        [GIT, *arguments], cwd=root, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def make_tree(root: Path, paths: set[str], ignore_files: Mapping[str, str]) -> None:
    for entry in root.iterdir():
        if entry.is_dir() and entry.name != ".git":
            shutil.rmtree(entry)
        elif entry.is_file():
            entry.unlink()
    exclude = root / ".git" / "info" / "exclude"
    exclude.unlink(missing_ok=True)
    for path in sorted(paths):
        file = root / path
        if not any(parent.is_file() for parent in file.parents) and not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    for path, text in ignore_files.items():
        file = root / path
        if path.startswith(".git/") or file.parent.is_dir():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)


@settings(max_examples=100)
@given(paths=st.sets(PATHS, min_size=1, max_size=12), ignore_files=IGNORE_FILES)
def test_we_see_the_files_that_git_sees(
    repository: Path, paths: set[str], ignore_files: dict[str, str]
) -> None:
    make_tree(repository, paths, ignore_files)
    listed = run_git(repository, "ls-files", "--others", "--exclude-standard", "-z")
    expected = {path for path in listed.split("\0") if path}
    assert {str(item.path) for item in walk(repository) if isinstance(item, FoundFile)} == expected
