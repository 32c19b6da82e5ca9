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
    source_line,
    timing_line,
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
            case IndexingEvent():
                show_indexing(progress, event.data)
            case LoadingEvent() | WaitingEvent():
                _show_waiting(event.data, progress)
            case LoadedEvent(notice=notice) if notice:
                progress.clear()
                self._side.line(Span(notice, "yellow"))
            case CompactedEvent():
                self._show_compaction(event.data, progress)
            case SourcesEvent():
                self._show_sources(event.data, progress)
            case ReadingEvent():
                _show_reading(event.data, progress)
            case ReasoningEvent(text=text):
                self._show_thought(text, progress)
            case TextEvent(text=text):
                self._show_text(text, progress)
            case _:
                pass

    def _show_text(self, text: str, progress: ProgressLine) -> None:
        if not self._streams_text:
            progress.show("Writing")
            return
        progress.clear()
        self._end_thought()
        self.write(text)

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
        if response.response:
            cited = citation_lines(self._output, self._root, response.citations, response.unknown_citations)
            for line in cited:
                self._output.line(*line)
            self._output.line()
        self._show_receipt(response, verbose=verbose)

    def _show_receipt(self, response: QueryResponse, *, verbose: bool) -> None:
        receipt = response.receipt
        if receipt is not None:
            short = (*cold_lines(receipt), *dropped_lines(receipt))
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


def _show_waiting(event: LoadingEvent | WaitingEvent, progress: ProgressLine) -> None:
    if isinstance(event, LoadingEvent):
        progress.show(f"Loading {event.model}")
    else:
        progress.show("Waiting", note=f"{count(event.ahead, 'question')} first" if event.ahead else "next")


def _show_reading(event: ReadingEvent, progress: ProgressLine) -> None:
    left = event.remaining_seconds
    note = f"{event.done:,} of {event.total:,} tokens"
    if left is not None:
        note += f", about {duration(left)} left"
    progress.show("Reading", done=event.done, total=event.total, note=note)
