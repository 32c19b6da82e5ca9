"""``search`` and ``index``: the code itself, without a model, without conversations and their lock."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from coding_assistant.cli.bridge import Bridge, Interrupt, bridge
from coding_assistant.cli.options import JsonOption, ProjectOption, chosen_folder, read_settings
from coding_assistant.cli.progress import progress_line, show_indexing
from coding_assistant.cli.rendering import count, duration, hit_lines
from coding_assistant.cli.screen import Screen, Span, standard_error, standard_output
from coding_assistant.contract import HitView, IndexingEvent, IndexReport
from coding_assistant.domain import SearchMode, SkipReason
from coding_assistant.errors import IndexMissing, InvalidRequest
from coding_assistant.index.known_files import FileProblem
from coding_assistant.settings import NO_EMBEDDER, Settings

_PREVIEW_LINES = 3
_MOST_RESULTS = 100

# Of these a user may want to know which they are; what is ignored, binary or a link is only counted.
_TOLD_BY_NAME = frozenset({SkipReason.UNREADABLE, SkipReason.ENCODING, SkipReason.TOO_LARGE})
_MOST_NAMES = 20
_WITHOUT_SYNTAX = "cut by lines: its syntax could not be read in time"

IndexEvents: TypeAlias = AsyncGenerator[IndexingEvent | IndexReport, None]


@dataclass(frozen=True, slots=True)
class IndexState:
    """What an index holds."""

    files: int
    chunks: int
    skipped: dict[str, int]
    degraded: int


@dataclass(frozen=True, slots=True)
class OpenFolder:
    """A folder's code; ``state`` is None before its first index."""

    root: Path
    embedder: str
    state: IndexState | None
    count_with_vectors: Callable[[], Awaitable[int]]
    problems: Callable[[], Awaitable[list[FileProblem]]]
    begin_watching: Callable[[], Awaitable[None]]
    next_change: Callable[[], AsyncGenerator[None, None]]
    index: Callable[[], IndexEvents]
    search: Callable[[str, int, SearchMode], Awaitable[list[HitView]]]


def search(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="Names, words, a sentence.")],
    *,
    project: ProjectOption = None,
    limit: Annotated[
        int,
        typer.Option("-n", "--limit", metavar="N", min=1, max=_MOST_RESULTS, help="At most so many results."),
    ] = 10,
    mode: Annotated[
        SearchMode, typer.Option("--mode", help="What finds: words (text), meaning (vector), or both.")
    ] = SearchMode.HYBRID,
    as_json: JsonOption = False,
) -> None:
    """Find code by names, words and meaning; needs no model.

    Prints the chunks that bear on the query, best first.
    """
    output, side = standard_output(), standard_error()
    settings = read_settings()
    with bridge() as crossing, open_folder(settings, chosen_folder(project), crossing) as folder:
        if folder.state is None:
            _update(crossing, folder, side)
        with progress_line(side) as bar:
            bar.show("Searching")
            hits = crossing.run(folder.search(query, limit, mode))
    if as_json:
        for hit in hits:
            output.json(hit.model_dump(mode="json"), indent=None)
    elif not hits:
        side.line("Nothing found.")
    else:
        for number, hit in enumerate(hits):
            if number:
                output.line()
            for line in hit_lines(folder.root, hit, preview_lines=_PREVIEW_LINES):
                output.line(*line)


def index(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR", help="The folder. Default: the repository around the working directory."
        ),
    ] = None,
    *,
    status: Annotated[
        bool, typer.Option("--status", help="Say what the index holds; change nothing.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Then wait for changes and read them, until Ctrl-C.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Read a folder; say what was skipped and why.

    Asking and searching do it by themselves when something has changed.
    """
    if status and watch:
        raise InvalidRequest("--status changes nothing, --watch goes on changing.", hint="Leave out one.")
    output, side = standard_output(), standard_error()
    settings = read_settings()
    with bridge() as crossing, open_folder(settings, chosen_folder(folder), crossing) as opened:
        if status:
            _print_state(output, opened, crossing, as_json=as_json)
            return
        if watch:
            crossing.run(opened.begin_watching())
        report = _update(crossing, opened, side)
        if not watch:
            _print_report(output, opened.root, report, as_json=as_json)
            return
        with suppress(KeyboardInterrupt):  # the ordinary end of watching, as of `serve`
            _print_change(output, opened.root, report, as_json=as_json)
            while True:
                _await_change(crossing, opened)
                report = _update(crossing, opened, side)
                if report.changed or report.removed:
                    _print_change(output, opened.root, report, as_json=as_json)


@contextmanager
def open_folder(settings: Settings, folder: Path, crossing: Bridge) -> Iterator[OpenFolder]:
    """Open a folder's code in this process, also beside a server: an index may have several readers."""
    # These load the database and the chunker: a third of a second that `--help` does not need.
    from coding_assistant.assistant import (  # noqa: PLC0415
        index_folder,
        next_change,
        open_project_code,
        search_folder,
    )

    with crossing.within(open_project_code(settings, folder)) as code:
        counts = crossing.run(code.counts())
        skipped = {str(reason): number for reason, number in counts.skipped.items()} if counts else {}
        yield OpenFolder(
            root=code.root,
            embedder=settings.embedder,
            state=IndexState(counts.files, counts.chunks, skipped, counts.degraded) if counts else None,
            count_with_vectors=code.count_with_vectors,
            problems=code.problems,
            begin_watching=lambda: code.begin_watching(unheeded=[settings.home]),
            next_change=lambda: next_change(code),
            index=lambda: index_folder(code, code.root.name),
            search=lambda query, limit, mode: search_folder(code, query, limit=limit, mode=mode),
        )


def _update(crossing: Bridge, folder: OpenFolder, side: Screen) -> IndexReport:
    """Bring the index up to date before a progress bar; Ctrl-C keeps what is done."""
    with closing(crossing.events(folder.index())) as events, progress_line(side) as bar:
        bar.show("Looking for changes")
        for event in events:
            match event:
                case Interrupt():
                    raise KeyboardInterrupt
                case IndexingEvent():
                    show_indexing(bar, event)
                case IndexReport():
                    return event
    raise AssertionError("an update of the index ends with its report")


def _await_change(crossing: Bridge, folder: OpenFolder) -> None:
    with closing(crossing.events(folder.next_change())) as events:
        if next(events) is Interrupt.PRESSED:
            raise KeyboardInterrupt


def _print_report(output: Screen, root: Path, report: IndexReport, *, as_json: bool) -> None:
    if as_json:
        output.json(report.model_dump(mode="json"))
        return
    output.line(_report_line(root, report))
    if report.degraded:
        output.line(f"{count(report.degraded, 'file')} could not be parsed in time: cut by lines, no names.")
    _print_skipped(output, report.skipped)


def _print_change(output: Screen, root: Path, report: IndexReport, *, as_json: bool) -> None:
    """Print one update of many: a line each."""
    if as_json:
        output.json(report.model_dump(mode="json"), indent=None)
    else:
        output.line(_report_line(root, report))


def _report_line(root: Path, report: IndexReport) -> str:
    return (
        f"{root}: {count(report.files, 'file')}, {count(report.chunks, 'chunk')};"
        f" {report.changed:,} changed and {report.removed:,} removed in {duration(report.seconds)}"
    )


def _print_state(output: Screen, folder: OpenFolder, crossing: Bridge, *, as_json: bool) -> None:
    state = folder.state
    if state is None:
        raise IndexMissing(f"{folder.root} has no index yet.", hint="Make it: coding-assistant index")
    problems = crossing.run(folder.problems())
    embedded = crossing.run(folder.count_with_vectors())
    if as_json:
        output.json(
            {
                "project": folder.root.name,
                "files": state.files,
                "chunks": state.chunks,
                "skipped": state.skipped,
                "degraded": state.degraded,
                "embedder": folder.embedder,
                "embedded": embedded,
                "problems": [
                    {"path": str(each.path), "reason": each.reason or "degraded"} for each in problems
                ],
            }
        )
        return
    output.line(f"{folder.root}: {count(state.files, 'file')}, {count(state.chunks, 'chunk')}")
    if folder.embedder == NO_EMBEDDER:
        output.line("vectors: none, words only")
    else:
        output.line(f"vectors: {folder.embedder}, {embedded:,} of {count(state.chunks, 'chunk')}")
    _print_skipped(output, state.skipped)
    _print_problems(output, problems)


def _print_problems(output: Screen, problems: Sequence[FileProblem]) -> None:
    """Name the files that were to be read and could not, or not well."""
    told = [each for each in problems if each.reason is None or each.reason in _TOLD_BY_NAME]
    if not told:
        return
    output.line(Span("Not as it should be:", "dim"))
    rows = [(str(each.path), each.reason or _WITHOUT_SYNTAX) for each in told[:_MOST_NAMES]]
    output.table(rows, indent="  ")
    if len(told) > _MOST_NAMES:
        output.line(f"  and {len(told) - _MOST_NAMES:,} more: --json names them all")


def _print_skipped(output: Screen, skipped: dict[str, int]) -> None:
    if not skipped:
        return
    output.line(Span("Skipped:", "dim"))
    by_number = sorted(skipped.items(), key=lambda each: (-each[1], each[0]))
    output.table([(f"{number:,}", reason) for reason, number in by_number], indent="  ")
