"""``chat``: a conversation in the terminal."""

import contextlib
import shlex
import sys
from collections.abc import Callable, Mapping

import typer

from coding_assistant.cli.answering import AnswerView, follow
from coding_assistant.cli.ask import (
    ConversationModelMissing,
    Place,
    find_place,
    ready_settings,
    require_one_choice,
    settle_model,
)
from coding_assistant.cli.attaching import TypedFile, attachments
from coding_assistant.cli.bridge import InterruptedAgain
from coding_assistant.cli.connection import Connection, connect
from coding_assistant.cli.exits import print_error
from coding_assistant.cli.options import (
    USUAL_MODEL,
    AnsweringModelOption,
    ContinueOption,
    ConversationOption,
    ProjectOption,
    named_model,
)
from coding_assistant.cli.rendering import (
    SHORT_ID,
    count,
    memory_note,
    message_lines,
    receipt_lines,
    source_line,
    source_text,
)
from coding_assistant.cli.screen import Screen, Span, standard_error, standard_output
from coding_assistant.contract import ChatHistoryResponse, ConversationPatch, QueryRequest, SourceView
from coding_assistant.errors import CodingAssistantError, ModelMissing
from coding_assistant.inference.memory import size_in_words

PROMPT = "> "
_HISTORY_MESSAGES = 50


def chat(
    context: typer.Context,
    *,
    project: ProjectOption = None,
    model: AnsweringModelOption = None,
    goes_on: ContinueOption = False,
    conversation: ConversationOption = None,
) -> None:
    """Talk about your code in the terminal.

    /help lists what can be typed besides questions.
    """
    require_one_choice(goes_on=goes_on, conversation=conversation)
    output, side = standard_output(), standard_error()
    settings = ready_settings(
        context, model=model, screen=side, goes_on=goes_on, conversation=conversation, project=project
    )
    with connect(settings, purpose="chat", screen=side) as connection:
        place = find_place(connection, project=project, goes_on=goes_on, conversation=conversation)
        try:
            settle_model(context, settings, connection, place, model=model, screen=side)
        except ConversationModelMissing as error:
            _say_what_is_missing(side, error)
        Chat(connection, place, model=named_model(model), output=output, side=side).run()


def _say_what_is_missing(side: Screen, error: ConversationModelMissing) -> None:
    """Say that the conversation's model is gone; the chat opens anyway, for in it another can be chosen."""
    print_error(side, error.message, f"{error.hint} Here, `/model {USUAL_MODEL}` does.")


class _Leave(Exception):
    """The user wants to leave."""


class Chat:
    """Reads lines and answers them, until the user leaves."""

    def __init__(
        self, connection: Connection, place: Place, *, model: str | None, output: Screen, side: Screen
    ) -> None:
        self._connection = connection
        self._project_id = place.project_id
        self._root = place.root
        self._conversation_id = place.conversation_id
        self._session_id: str | None = None
        self._model = model  # chosen since the last question; from then on the conversation knows it
        self._output = output
        self._side = side
        self._attached: list[TypedFile] = []  # to the next question
        self._commands: Mapping[str, tuple[str, Callable[[str], None]]] = {
            "/help": ("this list", self._help),
            "/deep": ("/deep QUESTION searches in up to three further rounds", self._ask_deeply),
            "/new": ("begin a new conversation", self._new),
            "/attach": ("attach PATH or PATH:START-END to the next question; - takes all back", self._attach),
            "/sources": ("the sources so far; /sources 2 shows the code of number 2", self._sources),
            "/history": ("what was said in this conversation", self._history),
            "/context": ("how much of the model's context is in use, and by what", self._context),
            "/model": ("the models; /model NAME goes on with that one, /model - as usual", self._choose),
            "/project": ("the folder that is asked about", self._project),
            "/quit": ("leave; so does Ctrl-D", self._quit),
        }

    def run(self) -> None:
        """Talk until the user leaves with /quit, Ctrl-D, or Ctrl-C twice."""
        if self._output.is_terminal:
            self._output.line(f"Ask about {self._root}. /help lists the commands, Ctrl-D leaves.")
        _edit_lines()
        pressed_before = False
        while True:
            try:
                line = input(PROMPT if self._output.is_terminal else "").strip()
                pressed_before = False
                if line:
                    self._take(line)
            except (EOFError, _Leave):
                break
            except KeyboardInterrupt as interrupt:
                if pressed_before or isinstance(interrupt, InterruptedAgain):
                    raise
                pressed_before = True
                self._side.line()
                self._side.line(Span("Ctrl-C again leaves, and so does Ctrl-D.", "dim"))
        if self._output.is_terminal:
            self._output.line()

    def _take(self, line: str) -> None:
        try:
            if line.startswith("/"):
                self._obey(line)
            else:
                self._ask(line)
        except CodingAssistantError as error:
            print_error(self._side, error.message, error.hint)

    def _obey(self, line: str) -> None:
        name, _, rest = line.partition(" ")
        matching = [command for command in self._commands if command.startswith(name)]
        if name in self._commands:
            matching = [name]
        if len(matching) != 1:
            print_error(self._side, f"There is no command {name}.", "/help lists the commands.")
            return
        self._commands[matching[0]][1](rest.strip())

    def _ask(self, question: str, *, deep: bool = False) -> None:
        request = QueryRequest(
            query=question,
            project=self._project_id,
            session_id=None if self._conversation_id else self._session_id,
            conversation_id=self._conversation_id,
            model=self._model,
            deep=deep,
            attachments=attachments(self._attached, self._root),
        )
        view = AnswerView(self._output, self._side, root=self._root)
        self._output.line()
        try:
            response = follow(self._connection, request, view, self._side)
        finally:
            # Also after a failure: the question is kept, and the next one goes on behind it.
            if view.started is not None:
                self._session_id = view.started.session_id
                self._conversation_id = view.started.conversation_id
                self._model = None
                self._attached = []
        view.conclude(response, verbose=False)
        self._output.line()

    # --- Commands -----------------------------------------------------------------------------

    def _help(self, _rest: str) -> None:
        self._output.table([(name, what) for name, (what, _) in self._commands.items()], indent="  ")
        self._output.line("  Ctrl-C stops an answer and keeps what there is of it.")

    def _ask_deeply(self, question: str) -> None:
        if question:
            self._ask(question, deep=True)
        else:
            print_error(self._side, "/deep needs a question.", "Write it behind: /deep QUESTION")

    def _new(self, _rest: str) -> None:
        self._conversation_id = None
        self._output.line("The next question begins a new conversation.")

    def _attach(self, typed: str) -> None:
        if typed == "-":
            self._attached = []
        elif typed:
            file = TypedFile.parse(typed)
            file.within(self._root)  # what lies outside is told now, not once the question is typed
            self._attached.append(file)
        names = ", ".join(each.typed for each in self._attached)
        self._output.line(f"Attached to the next question: {names}" if names else "Nothing is attached.")

    def _sources(self, number: str) -> None:
        sources = self._known_sources()
        if not sources:
            self._output.line("No sources yet: ask something first.")
        elif not number:
            for source in sources.values():
                self._output.line(*source_line(self._root, source))
        elif number.isdecimal() and int(number) in sources:
            self._output.line(*source_line(self._root, sources[int(number)]))
            for line in source_text(sources[int(number)]):
                self._output.line(*line)
        else:
            print_error(self._side, f"There is no source {number}.", f"They go from 1 to {max(sources)}.")

    def _history(self, _rest: str) -> None:
        if self._conversation_id is None:
            self._output.line("Nothing was said yet.")
            return
        history = self._run_history(self._conversation_id)
        left_out = history.total_count - len(history.messages)
        if left_out:
            self._output.line(Span(f"({count(left_out, 'earlier message')} not shown)", "dim"))
        for message in history.messages:
            for line in message_lines(self._output, self._root, message):
                self._output.line(*line)
            self._output.line()

    def _context(self, _rest: str) -> None:
        if self._conversation_id is None:
            self._output.line("Nothing is in the model's context yet.")
            return
        call = self._connection.calls.context(self._conversation_id)
        context = self._connection.bridge.run(call)
        shown = self._conversation_id[:SHORT_ID]
        self._output.line(f"Conversation {shown}, {count(context.message_count, 'message')}.")
        for line in receipt_lines(context.receipt) if context.receipt else ():
            self._output.line(*line)

    def _choose(self, name: str) -> None:
        if not name:
            self._list_models()
        elif name == USUAL_MODEL:
            self._go_on_with(None)
        else:
            self._go_on_with(named_model(name))

    def _list_models(self) -> None:
        calls, bridge = self._connection.calls, self._connection.bridge
        present = self._present_model()
        rows = [("", "name", "size", "here", "")]
        for each in bridge.run(calls.models()):
            is_present = each.selected if present is None else present in {each.name, each.file}
            mark = "*" if is_present else ""
            size = size_in_words(each.size_bytes) if each.size_bytes else "?"
            here = "yes" if each.installed else "elsewhere" if each.address else "no"
            rows.append((mark, each.name, size, here, memory_note(each)))
        self._output.table(rows, indent="  ")

    def _present_model(self) -> str | None:
        """Return the model that the next question goes to; None: the one that the settings name."""
        if self._model or self._conversation_id is None:
            return self._model
        call = self._connection.calls.conversation(self._conversation_id)
        return self._connection.bridge.run(call).model

    def _go_on_with(self, name: str | None) -> None:
        calls, bridge = self._connection.calls, self._connection.bridge
        view = None if name is None else bridge.run(calls.model(name))
        if view is not None and not (view.installed or view.address):
            raise ModelMissing(
                f"The weights of {view.name} are not on this machine.",
                hint=f"Run `coding-assistant models pull {view.name}`.",
            )
        shown = "the usual model" if view is None else view.name
        self._output.line(f"From here on {shown} answers.")
        if self._conversation_id is None:
            self._model = name
            return
        bridge.run(calls.change_conversation(self._conversation_id, ConversationPatch(model=name)))
        found = bridge.run(calls.context(self._conversation_id)).next
        if found is not None and found.cold:
            self._output.line(Span(f"{found.cold} Its first answer takes longer to begin.", "dim"))

    def _project(self, other: str) -> None:
        known = self._connection.bridge.run(self._connection.calls.projects())
        project = next(each for each in known if each.id == self._project_id)
        self._output.line(f"{project.root}: {count(project.files, 'file')}, {count(project.chunks, 'chunk')}")
        if other:
            command = f"coding-assistant chat --project {shlex.quote(other)}"
            self._output.line(f"A chat stays with its folder. For one about another folder: {command}")

    def _quit(self, _rest: str) -> None:
        raise _Leave

    def _known_sources(self) -> dict[int, SourceView]:
        """Return the conversation's sources by number, the newest text of each."""
        if self._conversation_id is None:
            return {}
        messages = self._run_history(self._conversation_id).messages
        return {source.number: source for message in messages for source in message.sources}

    def _run_history(self, conversation_id: str) -> ChatHistoryResponse:
        call = self._connection.calls.history(conversation_id, limit=_HISTORY_MESSAGES)
        return self._connection.bridge.run(call)


def _edit_lines() -> None:
    """Let ``input`` edit lines and recall them, where the platform can; nothing is written to disk."""
    with contextlib.suppress(ImportError):  # Windows has its own line editing
        import readline  # noqa: F401, PLC0415  -- importing it is what switches it on
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="surrogateescape")  # bytes that are no UTF-8: refused as invalid text
