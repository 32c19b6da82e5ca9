"""One answer on the screen, from the question to the receipt; ``ask`` and ``chat`` show it alike.

Progress and the sources found go to the error stream and only to a terminal; the answer, its citations
and its receipt are the result and go to the output.
"""

import shlex
from contextlib import closing
from pathlib import Path

from coding_assistant.cli.bridge import Interrupt
from coding_assistant.cli.connection import Connection
from coding_assistant.cli.progress import ProgressLine, progress_line, show_indexing
from coding_assistant.cli.prose import Prose
from coding_assistant.cli.rendering import (
    SHORT_ID,
    citation_lines,
    cold_lines,
    count,
    dropped_lines,
    duration,
    ending,
    receipt_line,
    receipt_lines,
    search_lines,
    source_line,
    timing_line,
    unverified_lines,
    vain_search_lines,
)
from coding_assistant.cli.screen import Screen, Span
from coding_assistant.contract import (
    CompactedEvent,
    ErrorEvent,
    IndexingEvent,
    LoadedEvent,
    LoadingEvent,
    QueryRequest,
    QueryResponse,
    ReadingEvent,
    ReasoningEvent,
    RetractedEvent,
    SearchedEvent,
    SourcesEvent,
    StartedEvent,
    StreamEvent,
    TextEvent,
    WaitingEvent,
)
from coding_assistant.errors import EngineFailed, error_from


class AnswerView:
    """Shows the events of one answer as they come; ``started`` tells where it is kept, once it has begun."""

    def __init__(self, output: Screen, side: Screen, *, root: Path | None, streams_text: bool = True) -> None:
        self._output = output
        self._side = side
        self._root = root
        self._streams_text = streams_text
        self._prose = Prose(output.width) if output.is_terminal else None
        self._wrote = ""
        self._thought = ""
        self.started: StartedEvent | None = None

    def show(self, event: StreamEvent, progress: ProgressLine) -> None:
        """Show one event, if it is one to be shown."""
        match event.data:
            case StartedEvent():
                self.started = event.data
            case IndexingEvent() | LoadingEvent() | WaitingEvent() | ReadingEvent():
                _show_progress(event.data, progress)
            case LoadedEvent(notice=notice) if notice:
                progress.clear()
                self._side.line(Span(notice, "yellow"))
            case CompactedEvent():
                self._show_compaction(event.data, progress)
            case SearchedEvent():
                self._show_round(event.data, progress)
            case SourcesEvent():
                self._show_sources(event.data, progress)
            case ReasoningEvent() | TextEvent() | RetractedEvent():
                self._show_words(event.data, progress)
            case _:
                pass

    def _show_words(self, event: ReasoningEvent | TextEvent | RetractedEvent, progress: ProgressLine) -> None:
        match event:
            case ReasoningEvent(text=text):
                self._show_thought(text, progress)
            case TextEvent(text=text):
                self._show_text(text, progress)
            case RetractedEvent():
                self._show_retraction(event, progress)

    def _show_text(self, text: str, progress: ProgressLine) -> None:
        if not self._streams_text:
            progress.show("Writing")
            return
        progress.clear()
        self._end_thought()
        self.write(text)

    def _show_retraction(self, event: RetractedEvent, progress: ProgressLine) -> None:
        """Say that what was written does not hold: it cannot be unwritten everywhere."""
        if not self._streams_text:
            return
        progress.clear()
        self.end_text()
        self._prose = Prose(self._output.width) if self._output.is_terminal else None
        names = ", ".join(f"`{name}`" for name in event.names)
        reason = f"the project has no {names}" if names else "it only points at sources"
        self._output.line(Span(f"Taken back, for {reason}. Once more:", "yellow"))
        self._output.line()

    def write(self, text: str) -> None:
        """Write a piece of the answer."""
        self._wrote = text or self._wrote
        self._output.write(*(self._prose.feed(text) if self._prose else [text]))

    def end_text(self) -> None:
        """End the last line of what was shown."""
        self._end_thought()
        if not self._wrote:
            return
        rest = self._prose.finish() if self._prose else []
        self._output.write(*rest, "" if self._wrote.endswith("\n") else "\n")
        self._wrote = ""

    def conclude(self, response: QueryResponse, *, verbose: bool) -> None:
        """Show what follows the text: how it ended, the citations, the receipt."""
        if not self._streams_text:
            self.write(response.response)
        self.end_text()
        note = ending(response.finish_reason, text=response.response)
        if note:
            self._output.line(Span(note, "yellow"))
        self._output.line()
        self._show_grounding(response)
        is_cited = bool(response.citations or response.unknown_citations)
        if response.response and (is_cited or not response.not_found):
            cited = citation_lines(self._output, self._root, response.citations, response.unknown_citations)
            for line in cited:
                self._output.line(*line)
            self._output.line()
        self._show_receipt(response, verbose=verbose)

    def _show_grounding(self, response: QueryResponse) -> None:
        """Show what of the answer the project does not bear out."""
        lines = [
            *unverified_lines(response.unverified_names),
            *vain_search_lines(self._root, response.searched),
        ]
        for line in lines:
            self._output.line(*line)
        if lines:
            self._output.line()

    def _show_receipt(self, response: QueryResponse, *, verbose: bool) -> None:
        receipt = response.receipt
        if receipt is not None:
            short = (*search_lines(receipt), *cold_lines(receipt), *dropped_lines(receipt))
            for line in receipt_lines(receipt) if verbose else short:
                self._output.line(*line)
        if verbose:
            self._output.line(*timing_line(response.timings))
        self._output.line(*receipt_line(response))

    def _show_thought(self, text: str, progress: ProgressLine) -> None:
        """Show what the model thinks, dim and beside the result; where nobody looks, only that it does."""
        if not (self._streams_text and self._side.is_terminal):
            progress.show("Thinking")
            return
        progress.clear()
        if not self._thought:
            self._side.line(Span("Thinking", "dim bold"))
        self._thought = text
        self._side.write(Span(text, "dim"))

    def _end_thought(self) -> None:
        if self._thought:
            self._side.line("\n")
            self._thought = ""

    def _show_round(self, event: SearchedEvent, progress: ProgressLine) -> None:
        progress.clear()
        if self._side.is_terminal:
            names = ", ".join(event.query)
            note = f"Round {event.round}: {count(event.found, 'excerpt')} more by the names {names}"
            self._side.line(Span(note, "dim"))

    def _show_sources(self, event: SourcesEvent, progress: ProgressLine) -> None:
        progress.clear()
        if not self._side.is_terminal:
            return
        if not event.searched:
            return
        if not event.sources:
            self._side.line(Span("Nothing in the project bears on this question.", "yellow"))
            return
        self._side.line(Span("Sources", "dim bold"))
        for source in sorted(event.sources, key=lambda each: each.number):
            self._side.line(*source_line(self._root, source))
        self._side.line()

    def _show_compaction(self, event: CompactedEvent, progress: ProgressLine) -> None:
        progress.clear()
        if self._side.is_terminal:
            note = (
                f"The context is full: from now on the model reads a summary of turns 1 to {event.last_turn}."
                " They stay in the history."
            )
            self._side.line(Span(note, "yellow"))


def follow(connection: Connection, request: QueryRequest, view: AnswerView, side: Screen) -> QueryResponse:
    """Ask, show the answer as it comes and return it. Ctrl-C stops the model and keeps what there is.

    Raises the answer's error if it failed, and KeyboardInterrupt when there is no answer to stop yet.
    """
    with (
        closing(connection.bridge.events(connection.calls.ask(request))) as events,
        progress_line(side) as bar,
    ):
        for event in events:
            if isinstance(event, Interrupt):
                if view.started is None:
                    raise KeyboardInterrupt
                connection.bridge.run(connection.calls.cancel(view.started.generation_id))
                continue
            view.show(event, bar)
            match event.data:
                case QueryResponse():
                    return event.data
                case ErrorEvent(code=code, detail=detail, hint=hint):
                    bar.clear()
                    view.end_text()
                    raise error_from(code, detail, hint)
                case _:
                    pass
    raise EngineFailed("The answer ended without an end.", hint="Ask again.")


def continuation_hint(response: QueryResponse, project: Path | None) -> Span:
    """Return how to go on with the conversation, which was asked for with that ``--project``, if any."""
    command = "-c" if project is None else f"-c --project {shlex.quote(str(project))}"
    shown = response.conversation_id[:SHORT_ID]
    return Span(f"conversation {shown} · `{command}` goes on with it", "dim")


def _show_progress(
    event: IndexingEvent | LoadingEvent | WaitingEvent | ReadingEvent, progress: ProgressLine
) -> None:
    match event:
        case IndexingEvent():
            show_indexing(progress, event)
        case LoadingEvent(model=model):
            progress.show(f"Loading {model}")
        case WaitingEvent(ahead=ahead):
            progress.show("Waiting", note=f"{count(ahead, 'question')} first" if ahead else "next")
        case ReadingEvent():
            _show_reading(event, progress)


def _show_reading(event: ReadingEvent, progress: ProgressLine) -> None:
    left = event.remaining_seconds
    note = f"{event.done:,} of {event.total:,} tokens"
    if left is not None:
        note += f", about {duration(left)} left"
    progress.show("Reading", done=event.done, total=event.total, note=note)
