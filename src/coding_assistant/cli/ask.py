"""``ask``: one question, one answer."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from coding_assistant.cli.answering import AnswerView, continuation_hint, follow
from coding_assistant.cli.attaching import UTF8_BYTES, TypedFile, attachments, is_piped, piped_text
from coding_assistant.cli.connection import Connection, connect, server_url
from coding_assistant.cli.conversation_choice import find_conversation, latest_conversation
from coding_assistant.cli.elsewhere import say_where_questions_go
from coding_assistant.cli.exits import ExitCode, print_error
from coding_assistant.cli.options import (
    USUAL_MODEL,
    AnsweringModelOption,
    ContinueOption,
    ConversationOption,
    GlobalOptions,
    JsonOption,
    ProjectOption,
    chosen_folder,
    named_model,
    read_settings,
)
from coding_assistant.cli.rendering import SHORT_ID
from coding_assistant.cli.screen import Screen, Span, standard_error, standard_output
from coding_assistant.cli.weights import ensure_model
from coding_assistant.contract import (
    MAX_QUESTION_CHARACTERS,
    ConversationPatch,
    QueryRequest,
    QueryResponse,
)
from coding_assistant.domain import Finish
from coding_assistant.errors import InvalidRequest, InvalidText, ModelMissing, ModelUnknown
from coding_assistant.project.walk import open_root
from coding_assistant.settings import Settings


@dataclass(frozen=True, slots=True)
class Place:
    """Where a question belongs: a project, and the conversation that goes on, if one does.

    ``model`` is the one that was chosen for that conversation.
    """

    project_id: str
    root: Path
    conversation_id: str | None = None
    model: str | None = None


class ConversationModelMissing(ModelMissing):
    """The model that was chosen for a conversation is gone."""

    @classmethod
    def of(cls, model: str, *, hint: str) -> "ConversationModelMissing":
        """Return it with the way out first, then with what was found to help."""
        return cls(
            f"This conversation goes on with {model}, which is not here.",
            hint=f"`--model -` takes the usual one. {hint}".rstrip(),
        )


def ask(
    context: typer.Context,
    question: Annotated[
        str | None,
        typer.Argument(
            metavar="QUESTION",
            help="The question; - or none reads it from the standard input. Beside a question, what is piped"
            " in is attached: git diff | coding-assistant ask 'Review this'.",
        ),
    ] = None,
    *,
    project: ProjectOption = None,
    model: AnsweringModelOption = None,
    goes_on: ContinueOption = False,
    conversation: ConversationOption = None,
    attach: Annotated[
        list[str] | None,
        typer.Option(
            "--attach",
            "-a",
            metavar="PATH[:START[-END]]",
            help="Show the model this file, or these lines of it; may be given several times.",
        ),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", metavar="N", min=1, max=32_768, help="The longest answer.")
    ] = None,
    deep: Annotated[
        bool,
        typer.Option(
            "--deep",
            help="Search in up to three further rounds, by names in what was found, and read up to twice as"
            " much code. The answer begins later.",
        ),
    ] = False,
    as_json: JsonOption = False,
    no_stream: Annotated[
        bool, typer.Option("--no-stream", help="Print the answer when it is whole.")
    ] = False,
    as_diff: Annotated[
        bool,
        typer.Option(
            "--diff",
            help="Print the answer's code as a diff for `git apply`, and the answer on the error stream.",
        ),
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print the whole receipt.")] = False,
) -> None:
    """Answer a question about your code, with citations.

    Ctrl-C stops the answer and keeps what there is of it.
    """
    require_one_choice(goes_on=goes_on, conversation=conversation)
    output, side = standard_output(), standard_error()
    files = [TypedFile.parse(each) for each in attach or ()]
    asked = QueryRequest(
        query=_read_question(question),
        max_tokens=max_tokens,
        model=named_model(model),
        deep=deep,
        diff=as_diff,
    )
    piped = "" if question in {None, "-"} else piped_text(side)
    settings = ready_settings(
        context, model=model, screen=side, goes_on=goes_on, conversation=conversation, project=project
    )
    with connect(settings, purpose="ask", screen=side) as connection:
        place = find_place(connection, project=project, goes_on=goes_on, conversation=conversation)
        settle_model(context, settings, connection, place, model=model, screen=side)
        request = asked.model_copy(
            update={
                "project": place.project_id,
                "conversation_id": place.conversation_id,
                "attachments": attachments(files, place.root, piped),
            }
        )
        prose = side if as_diff else output
        view = AnswerView(prose, side, root=place.root, streams_text=not (as_json or no_stream))
        response = follow(connection, request, view, side)
    if as_json:
        output.json(response.model_dump(mode="json"))
    else:
        view.conclude(response, verbose=verbose)
        prose.line(continuation_hint(response, project))
        if as_diff:
            _print_diff(output, side, response)
    if response.finish_reason is Finish.CANCELLED:
        _say_where_it_is(side, response)
        raise typer.Exit(ExitCode.CANCELLED)


def require_one_choice(*, goes_on: bool, conversation: str | None) -> None:
    """Refuse two answers to the question which conversation goes on."""
    if goes_on and conversation is not None:
        raise InvalidRequest(
            "-c and --conversation are two answers to one question.",
            hint="-c goes on with the latest conversation, --conversation ID with that one.",
        )


def ready_settings(
    context: typer.Context,
    *,
    model: str | None,
    screen: Screen,
    project: Path | None,
    goes_on: bool,
    conversation: str | None,
) -> Settings:
    """Return the settings; for a new conversation once there is a model to answer with, here or at a server.

    Which model a conversation goes on with shows when it is found: ``settle_model`` sees to that.
    """
    settings = read_settings(model_name=named_model(model))
    is_new = not goes_on and conversation is None
    if is_new and server_url(settings) is None:
        open_root(chosen_folder(project))  # a slip in its name must not cost a download
        ensure_model(settings, screen, pulls_unasked=GlobalOptions.of(context).pull_if_none)
    return settings


def settle_model(
    context: typer.Context,
    settings: Settings,
    connection: Connection,
    place: Place,
    *,
    model: str | None,
    screen: Screen,
) -> None:
    """Have a model for the conversation: its own, or the usual one if ``-`` says so; say where it runs.

    Raises ``ConversationModelMissing`` where the conversation's own is to answer and is not here.
    """
    calls, bridge = connection.calls, connection.bridge
    if model == USUAL_MODEL and place.conversation_id is not None:
        bridge.run(calls.change_conversation(place.conversation_id, ConversationPatch(model=None)))
    its_own = place.model if model is None else None
    if connection.url is None:
        if place.conversation_id is not None:  # for a new one `ready_settings` has seen to it
            _ensure(context, settings, its_own, screen)
        return
    if its_own is not None:
        try:
            view = bridge.run(calls.model(its_own))
        except (ModelMissing, ModelUnknown) as error:
            raise ConversationModelMissing.of(its_own, hint=error.hint) from error
        if not (view.installed or view.loaded or view.address):
            hint = f"Or run `coding-assistant models pull {view.name}`."
            raise ConversationModelMissing.of(its_own, hint=hint)
    say_where_questions_go(connection, its_own or named_model(model), screen)


def _ensure(context: typer.Context, settings: Settings, its_own: str | None, screen: Screen) -> None:
    """Have the model here that a conversation goes on with: its own, if one was chosen for it."""
    answering = settings if its_own is None else settings.model_copy(update={"model_name": its_own})
    try:
        ensure_model(answering, screen, pulls_unasked=GlobalOptions.of(context).pull_if_none)
    except (ModelMissing, ModelUnknown) as error:
        if its_own is None:
            raise
        raise ConversationModelMissing.of(its_own, hint=error.hint) from error


def find_place(
    connection: Connection, *, project: Path | None, goes_on: bool, conversation: str | None
) -> Place:
    """Return where the question belongs. A conversation that is named brings its own project."""
    calls, bridge = connection.calls, connection.bridge
    if conversation is not None and project is None:
        found = find_conversation(connection, conversation)
        known = next(each for each in bridge.run(calls.projects()) if each.id == found.project_id)
        return Place(known.id, Path(known.root), found.conversation_id, found.model)
    view = bridge.run(calls.add_project(str(chosen_folder(project))))
    root = Path(view.root)
    if conversation is not None:
        chosen = find_conversation(connection, conversation)
    elif goes_on:
        chosen = latest_conversation(connection, project_id=view.id)
    else:
        return Place(view.id, root)
    return Place(view.id, root, chosen.conversation_id, chosen.model)


def _read_question(typed: str | None) -> str:
    if typed is None and not is_piped():
        raise InvalidText(
            "There is no question.", hint='For instance: coding-assistant ask "Where is the timeout decided?"'
        )
    if typed is not None and typed != "-":
        return typed
    # Bounded, for what stands before the pipe may never end; invalid UTF-8 is refused as invalid text.
    given = sys.stdin.buffer.read(UTF8_BYTES * MAX_QUESTION_CHARACTERS + 1)
    return given.decode("utf-8", "surrogateescape")


def _print_diff(output: Screen, side: Screen, response: QueryResponse) -> None:
    """Print the answer's code as a diff, and why code of it is not in there; none at all is a failure."""
    for reason in response.unplaced:
        side.line(Span(reason, "yellow"))
    if response.diff:
        output.verbatim(response.diff)
    elif response.finish_reason is not Finish.CANCELLED:
        why = "None of its code can be placed in a file" if response.unplaced else "There is no code in it"
        print_error(
            side,
            f"The answer makes no diff. {why}.",
            "Ask for the whole new version of one function, and attach its file: --attach PATH",
        )
        raise typer.Exit(ExitCode.FAILURE)


def _say_where_it_is(screen: Screen, response: QueryResponse) -> None:
    shown = response.conversation_id[:SHORT_ID]
    screen.line(Span(f"Stopped. To see it again: coding-assistant conversations show {shown}", "dim"))
