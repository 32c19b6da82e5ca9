"""``backup`` and ``restore``: the conversations and settings in one file, and back."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coding_assistant.cli.connection import Connection, connect
from coding_assistant.cli.exits import ExitCode
from coding_assistant.cli.options import read_settings
from coding_assistant.cli.rendering import count
from coding_assistant.cli.screen import Screen, Span, standard_error, standard_output
from coding_assistant.data_directory import DataDirectory
from coding_assistant.errors import AlreadyImported, CodingAssistantError
from coding_assistant.inference.memory import size_in_words
from coding_assistant.inference.snapshots import SnapshotFolder
from coding_assistant.settings import home_folder, load_settings

if TYPE_CHECKING:
    from coding_assistant.chat.backup import Backup


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A zip archive that is not there yet.")],
) -> None:
    """Write the conversations and the settings to one file, also while a server runs.

    Weights and indexes are not in it: they can be had again.
    """
    # Loading the database's library takes a third of a second that `--help` does not need.
    from coding_assistant.chat.backup import opened_backup, write_backup  # noqa: PLC0415

    home = _home()
    manifest = write_backup(file, home=home, database=DataDirectory(home).conversations_file)
    with opened_backup(file, scratch=home) as opened:  # whoever needs it one day wants it to be readable
        held = count(opened.count_conversations(), "conversation")
        deleted = opened.count_deleted()
    names = ", ".join(manifest.files)
    in_trash = f" and {deleted:,} in the trash" if deleted else ""
    standard_output().line(f"{file}: {held}{in_trash}; {names} ({size_in_words(file.stat().st_size)})")


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `backup` has written.")],
    *,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="Put the backup's conversations in place of all that are here, which are kept in a file"
            " beside; no server may run.",
        ),
    ] = False,
) -> None:
    """Put a backup's conversations among those that are here, and its settings where none are.

    What is here stays as it is, and what is here already is not added again; what is in the trash here comes
    out of it, and the backup's own trash is left out.
    """
    from coding_assistant.chat.backup import opened_backup  # noqa: PLC0415  -- as above

    output, side = standard_output(), standard_error()
    directory = DataDirectory(_home())
    directory.prepare()
    with opened_backup(file, scratch=directory.home) as opened:
        load_settings({}, {"home": opened.folder})  # refused before anything is touched
        if replace:
            with directory.hold("restore"):
                # First: whatever ends this in the middle, nothing that was read is left of what is gone.
                SnapshotFolder(directory.snapshots, most_bytes=0).keep_only(())
                kept = opened.replace_database(directory.conversations_file)
            output.line("The backup's conversations are in place.")
            if kept is not None:
                side.line(Span(f"Those that were here: {kept}", "dim"))
        added, left = opened.add_missing_settings(directory.home)
        for name in added:
            output.line(f"{name}: restored; it counts from the next start on.")
        for name in left:
            output.line(f"{name}: left as it is here.")
        if not replace:
            with connect(read_settings(), purpose="restore", screen=side) as connection:
                _merge(connection, opened, output, side)


def _merge(connection: Connection, opened: "Backup", output: Screen, side: Screen) -> None:
    """Import one conversation after the other; one that is refused keeps no other from being restored.

    One that lies in the trash here is taken out of it.
    """
    calls, run = connection.calls, connection.bridge.run
    in_trash = {each.conversation_id for each in run(calls.conversations(deleted=True))}
    added = undeleted = here = refused = 0
    for each in opened.conversations():
        try:
            if each.id in in_trash:
                run(calls.restore_conversation(each.id))
                undeleted += 1
            else:
                run(calls.import_conversation(each.document))
                added += 1
        except AlreadyImported:
            here += 1
        except CodingAssistantError as error:
            refused += 1
            side.line(Span("not restored: ", "bold red"), f"{each.title!r}: {error.message}")
    from_trash = f" ({undeleted:,} from the trash here)" if undeleted else ""
    restored = count(added + undeleted, "conversation")
    output.line(f"Restored {restored}{from_trash}; {here:,} were here already.")
    if deleted := opened.count_deleted():
        output.line(f"Left out {count(deleted, 'conversation')} from the backup's trash; --replace keeps it.")
    if refused:
        raise typer.Exit(ExitCode.FAILURE)


def _home() -> Path:
    """Return the data directory, also where a setting in it is not as it should be."""
    return home_folder(os.environ)
