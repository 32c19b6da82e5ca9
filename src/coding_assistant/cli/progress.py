"""Progress bars on the error stream: for a person who waits, never for a file."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TaskID, TextColumn

from coding_assistant.cli.screen import Screen
from coding_assistant.contract import IndexingEvent
from coding_assistant.domain import Indexed

BAR_CELLS = 24


class ProgressLine:
    """One line that says what is being waited for, how far it is, and how long it will take."""

    def __init__(self, screen: Screen) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(BAR_CELLS),
            TextColumn("{task.fields[note]}", markup=False),
            console=screen.console,
            transient=True,
            disable=not screen.is_terminal,
        )
        self._task: TaskID | None = None

    def show(self, what: str, *, done: int = 0, total: int | None = None, note: str = "") -> None:
        """Show the line, in the place of the one before; no total means that nobody knows."""
        if self._task is None:
            self._task = self._progress.add_task(what, note=note)
            self._progress.start()
        self._progress.update(self._task, description=what, completed=done, total=total, note=note)

    def clear(self) -> None:
        """Take the line away; ``show`` brings it back."""
        if self._task is None:
            return
        self._progress.stop()
        self._progress.remove_task(self._task)
        self._task = None


def show_indexing(line: ProgressLine, event: IndexingEvent) -> None:
    """Show how far an update of the index is."""
    is_files = event.what is Indexed.FILES
    line.show(
        "Indexing" if is_files else "Embedding",
        done=event.done,
        total=event.total,
        note=f"{event.done:,} of {event.total:,} {'files' if is_files else 'chunks'}",
    )


@contextmanager
def progress_line(screen: Screen) -> Iterator[ProgressLine]:
    """Give a progress line that is gone at the end, whatever the end."""
    line = ProgressLine(screen)
    try:
        yield line
    finally:
        line.clear()
