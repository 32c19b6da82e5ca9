"""``conversations``: look at, find, change, delete, restore, export and import what was said."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from coding_assistant.chat.export import summary_heading
from coding_assistant.cli.connection import Connection, connect
from coding_assistant.cli.conversation_choice import find_conversation
from coding_assistant.cli.elsewhere import address_of_server
from coding_assistant.cli.groups import show_help
from coding_assistant.cli.options import JsonOption, ProjectOption, chosen_folder, read_settings
from coding_assistant.cli.rendering import SHORT_ID, Line, count, message_lines, written
from coding_assistant.cli.screen import Screen, Span, one_line, standard_error, standard_output
from coding_assistant.contract import (
    MAX_IMPORT_BYTES,
    ConversationPatch,
    ConversationView,
    FoundMessageView,
    MessageView,
    SummaryView,
)
from coding_assistant.errors import CodingAssistantError, InvalidRequest
from coding_assistant.project.walk import open_root
from coding_assistant.settings import OPENAI

conversations = typer.Typer(
    help="List, show, search, rename, pin, archive, delete, restore, export, import.",
    callback=show_help,
    invoke_without_command=True,
)

IdArgument = Annotated[
    str, typer.Argument(metavar="ID", help="The conversation's id; 4 digits of it may do.")
]

_TITLE_CELLS = 60
_PAGE_MESSAGES = 200


class ExportForm(StrEnum):
    """What a conversation is exported as."""

    MD = "md"
    JSON = "json"


def _connected(side: Screen) -> AbstractContextManager[Connection]:
    return connect(read_settings(), purpose="conversations", screen=side)


@conversations.command("list")
def list_conversations(
    *,
    project: ProjectOption = None,
    every: Annotated[bool, typer.Option("--all", help="Those about every folder.")] = False,
    archived: Annotated[bool, typer.Option("--archived", help="Those that are archived.")] = False,
    deleted: Annotated[
        bool, typer.Option("--deleted", help="Those in the trash, which `restore` brings back.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the conversations about this folder, the latest first."""
    output, side = standard_output(), standard_error()
    with _connected(side) as connection:
        calls, bridge = connection.calls, connection.bridge
        about = None if every else _known_project(connection, chosen_folder(project))
        # A folder that was never asked about has none, and listing does not make it known.
        found: list[ConversationView] = []
        if every or about:
            found = bridge.run(
                calls.conversations(project=about, archived=None if deleted else archived, deleted=deleted)
            )
    _print_list(output, side, found, as_json=as_json)
    if not found and not every:
        side.line(Span("--all lists those about every folder.", "dim"))


@conversations.command()
def search(
    words: Annotated[
        list[str], typer.Argument(metavar="WORDS", help="Each stands for all words that begin with it.")
    ],
    *,
    limit: Annotated[int, typer.Option("-n", min=1, max=100, help="At most so many.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Find what was said, about whatever folder: the messages that hold all words."""
    output, side = standard_output(), standard_error()
    with _connected(side) as connection:
        found = connection.bridge.run(connection.calls.search_messages(" ".join(words), limit=limit))
    if as_json:
        output.json([each.model_dump(mode="json") for each in found])
    elif not found:
        side.line("No message found.")
    for each in () if as_json else found:
        _print_found(output, each)


@conversations.command()
def show(conversation: IdArgument, *, as_json: JsonOption = False) -> None:
    """Print what was said, with the citations and the summaries that stand for it when the model reads it."""
    output, side = standard_output(), standard_error()
    with _connected(side) as connection:
        calls, bridge = connection.calls, connection.bridge
        found = find_conversation(connection, conversation)
        root = next((Path(e.root) for e in bridge.run(calls.projects()) if e.id == found.project_id), None)
        page = bridge.run(calls.history(found.conversation_id, limit=_PAGE_MESSAGES))
        messages = page.messages
        while len(messages) < page.total_count and page.messages:
            earlier = calls.history(found.conversation_id, limit=_PAGE_MESSAGES, before=messages[0].id)
            page = bridge.run(earlier)
            messages = page.messages + messages
    if as_json:
        output.json(page.model_copy(update={"messages": messages}).model_dump(mode="json"))
        return
    output.line(Span(found.title, "bold"))
    output.line(Span(f"{found.conversation_id} · {root or 'a folder that is not known any more'}", "dim"))
    told: list[MessageView | SummaryView] = [*messages, *page.summaries]
    for each in sorted(told, key=_place):
        output.line()
        for line in _lines(output, root, each):
            output.line(*line)


@conversations.command()
def rename(
    conversation: IdArgument, title: Annotated[str, typer.Argument(metavar="TITLE", help="The new title.")]
) -> None:
    """Give a conversation another title."""
    _change(conversation, ConversationPatch(title=title))


@conversations.command()
def pin(conversation: IdArgument) -> None:
    """Have a conversation listed before the others."""
    _change(conversation, ConversationPatch(pinned=True))


@conversations.command()
def unpin(conversation: IdArgument) -> None:
    """Have a conversation listed among the others again."""
    _change(conversation, ConversationPatch(pinned=False))


@conversations.command()
def archive(conversation: IdArgument) -> None:
    """Take a conversation off the list; `list --archived` shows it."""
    _change(conversation, ConversationPatch(archived=True))


@conversations.command()
def unarchive(conversation: IdArgument) -> None:
    """Put a conversation back on the list."""
    _change(conversation, ConversationPatch(archived=False))


@conversations.command()
def delete(
    conversation: IdArgument,
    *,
    permanently: Annotated[
        bool, typer.Option("--permanently", help="For good and at once, also from the trash.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before it is for good.")] = False,
) -> None:
    """Delete a conversation and everything in it; for 30 days it can be restored."""
    output, side = standard_output(), standard_error()
    with _connected(side) as connection:
        found = find_conversation(connection, conversation, also_deleted=permanently)
        if permanently and not yes and not _confirmed(side, found):
            output.line("Nothing was deleted.")
            return
        connection.bridge.run(
            connection.calls.delete_conversation(found.conversation_id, permanently=permanently)
        )
        remains = _what_remains(connection)
    short = found.conversation_id[:SHORT_ID]
    output.line(f"Deleted {short}  {found.title}")
    if not permanently:
        output.line(Span(f"Undo: coding-assistant conversations restore {short}", "dim"))
    if remains:
        output.line(Span(remains, "yellow"))


def _what_remains(connection: Connection) -> str:
    # Loading the parts takes a third of a second that `--help` does not need.
    from coding_assistant.assistant import remains_elsewhere  # noqa: PLC0415

    settings = read_settings()
    if connection.url is not None:  # the server's settings count
        with suppress(CodingAssistantError):  # it is deleted; by settings that fail, nothing was sent
            address = address_of_server(connection)
            elsewhere = {"engine": OPENAI, "openai_base_url": address}
            return remains_elsewhere(settings.model_copy(update=elsewhere)) if address else ""
        return ""
    return remains_elsewhere(settings)


@conversations.command()
def restore(conversation: IdArgument) -> None:
    """Bring a deleted conversation back; `list --deleted` shows those that can be."""
    output, side = standard_output(), standard_error()
    with _connected(side) as connection:
        found = find_conversation(connection, conversation, also_deleted=True)
        restored = connection.bridge.run(connection.calls.restore_conversation(found.conversation_id))
    output.line(f"Restored {restored.conversation_id[:SHORT_ID]}  {restored.title}")


@conversations.command()
def export(
    conversation: IdArgument,
    *,
    form: Annotated[ExportForm, typer.Option("--format", "-f", help="Markdown or JSON.")] = ExportForm.MD,
    file: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write to a file that is not there yet."),
    ] = None,
) -> None:
    """Print a whole conversation as Markdown or JSON."""
    output, side = standard_output(), standard_error()
    with _connected(side) as connection:
        found = find_conversation(connection, conversation)
        text = connection.bridge.run(
            connection.calls.export_conversation(found.conversation_id, form=form.value)
        )
    if file is None:
        output.line(text.rstrip("\n"))
        return
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except OSError as error:
        raise InvalidRequest(
            f"{file} cannot be written: {error.strerror}.", hint="Name a file that is not there yet."
        ) from error
    side.line(f"Written to {file}")


@conversations.command("import")
def import_conversation(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `export --format json` has written.")],
    *,
    copy: Annotated[
        bool, typer.Option("--copy", help="Keep it beside the one that is here already.")
    ] = False,
) -> None:
    """Read an exported conversation in again, to look at it or to go on with it."""
    output, side = standard_output(), standard_error()
    document = _read_import(file)
    with _connected(side) as connection:
        added = connection.bridge.run(connection.calls.import_conversation(document, as_copy=copy))
    output.line(f"Imported {added.conversation_id[:SHORT_ID]}  {added.title}")


def _read_import(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            document = opened.read(MAX_IMPORT_BYTES + 1)
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be read: {error.strerror}.", hint="Name an export.") from error
    if len(document) > MAX_IMPORT_BYTES:
        raise InvalidRequest(f"{file} is larger than {MAX_IMPORT_BYTES:,} bytes.", hint="Name an export.")
    return document


def _change(conversation: str, patch: ConversationPatch) -> None:
    output, side = standard_output(), standard_error()
    with _connected(side) as connection:
        found = find_conversation(connection, conversation)
        call = connection.calls.change_conversation(found.conversation_id, patch)
        changed = connection.bridge.run(call)
    output.line(f"{changed.conversation_id[:SHORT_ID]}  {changed.title}{_marks(changed)}")


def _place(told: MessageView | SummaryView) -> tuple[int, bool]:
    """Tell where something stands: a summary behind the last turn that it stands for."""
    return (told.last_turn, True) if isinstance(told, SummaryView) else (told.turn, False)


def _lines(screen: Screen, root: Path | None, told: MessageView | SummaryView) -> Iterator[Line]:
    if isinstance(told, MessageView):
        yield from message_lines(screen, root, told)
        return
    yield [Span(f"{summary_heading(told.last_turn, told.origin)}:", "yellow")]
    yield written(screen, told.text)


def _known_project(connection: Connection, folder: Path) -> str | None:
    """Return the id of the project in a folder, also in one that is gone; None for one never asked about.

    Raises ``InvalidProject`` for a folder that is neither known nor there.
    """
    known = connection.bridge.run(connection.calls.projects())
    root = str(folder.resolve())
    found = next((each.id for each in known if each.root == root), None)
    if found is None:
        open_root(folder)
    return found


def _confirmed(side: Screen, found: ConversationView) -> bool:
    what = f"{found.title!r} with {count(found.message_count, 'message')}"
    if not side.is_terminal:
        raise InvalidRequest(f"Deleting {what} has to be confirmed.", hint="Add --yes.")
    side.write(f"Delete {what} for good? [y/N] ")
    return input().strip().lower() in {"y", "yes"}


def _print_list(output: Screen, side: Screen, found: list[ConversationView], *, as_json: bool) -> None:
    if as_json:
        output.json([each.model_dump(mode="json") for each in found])
    elif not found:
        side.line("No conversation found.")
    else:
        output.table(
            (
                each.conversation_id[:SHORT_ID],
                each.last_updated.astimezone().strftime("%Y-%m-%d %H:%M"),
                f"{count(each.message_count, 'message'):>12}",
                one_line(each.title, width=_TITLE_CELLS) + _marks(each),
            )
            for each in found
        )


def _print_found(output: Screen, found: FoundMessageView) -> None:
    when = found.said_at.astimezone().strftime("%Y-%m-%d %H:%M")
    title = one_line(found.title, width=_TITLE_CELLS)
    output.line(f"{found.conversation_id[:SHORT_ID]}  {when}  ", Span(title, "bold"))
    output.line(Span(f"    {found.snippet}", "dim"))


def _marks(conversation: ConversationView) -> str:
    marks = {"pinned": conversation.pinned, "archived": conversation.archived}
    shown = ", ".join(mark for mark, is_set in marks.items() if is_set)
    return f" ({shown})" if shown else ""
