from pathlib import Path

import pytest

from coding_assistant.index.build import index_fingerprint, update
from coding_assistant.index.store import ProjectIndex


@pytest.fixture
def index(tmp_path: Path) -> ProjectIndex:
    root = tmp_path / "project"
    root.mkdir()
    (root / "byte_cache.py").write_text(
        "class FileCache:\n    def get_template(self, maxAge):\n        return 1\n"
    )
    made = ProjectIndex.open(tmp_path / "index.sqlite", fingerprint=index_fingerprint())
    for _ in update(made, root):
        pass
    return made


def test_a_word_occurs_in_any_form_and_as_part_of_a_name_or_a_path(index: ProjectIndex) -> None:
    words = ["Templates", "cache", "byte", "FileCache", "file_cache", "Redis", "coroutine", "_"]

    assert index.absent_words(words) == {"Redis", "coroutine"}


def test_a_name_occurs_only_as_it_is_written(index: ProjectIndex) -> None:
    names = [
        "get_template",
        "get_templates",
        "getTemplate",
        "FileCache",
        "maxAge",
        "max_age",
        "byte_cache",
        "bytecache",
    ]

    assert index.absent_names(names) == {"get_templates", "getTemplate", "max_age", "bytecache"}


def test_what_no_query_can_say_is_looked_for_all_the_same(index: ProjectIndex) -> None:
    assert index.absent_names(['"', "", 'a"b', "x" * 300]) == {'a"b', "x" * 300}
    assert index.absent_words(["NEAR", "AND", "OR"]) == {"NEAR", "AND", "OR"}
