import io

import pytest

from coding_assistant.cli.progress import progress_line, show_indexing
from coding_assistant.cli.screen import Screen
from coding_assistant.contract import IndexingEvent
from coding_assistant.domain import Indexed


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("what", "told"),
    [
        (Indexed.FILES, ("Indexing", "1,000 of 2,000 files")),
        (Indexed.VECTORS, ("Embedding", "of 2,000 chunks")),
    ],
)
def test_it_tells_what_is_counted(what: Indexed, told: tuple[str, str]) -> None:
    side = Terminal()
    with progress_line(Screen(side)) as line:
        show_indexing(line, IndexingEvent(what=what, done=1_000, total=2_000))
    assert all(each in side.getvalue() for each in told)


def test_a_file_gets_no_progress() -> None:
    side = io.StringIO()
    with progress_line(Screen(side)) as line:
        show_indexing(line, IndexingEvent(what=Indexed.FILES, done=1, total=2))
    assert side.getvalue() == ""
