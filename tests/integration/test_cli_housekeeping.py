"""Conversations put away, brought back, searched, carried elsewhere and backed up, from the command line."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from coding_assistant.chat.store import ConversationStore
from coding_assistant.data_directory import DataDirectory
from coding_assistant.domain import Summary, SummaryOrigin
from support.kept import NOON, begin, talk
from support.terminal import Command


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """The command with a data directory of two conversations about a folder that is gone."""
    (tmp_path / "work").mkdir()
    command = Command(tmp_path / "home", tmp_path / "work")
    command.home.mkdir(mode=0o700)
    with kept(command) as store:
        talk(store, begin(store), "Who pays at the till?", "The customer.")
        talk(store, begin(store), "Who counts?", "The clerk counts the till.")
    return command


def kept(command: Command) -> "closing[ConversationStore]":
    return closing(ConversationStore.open(command.home / "conversations.db"))


def ids(command: Command, *options: str) -> dict[str, str]:
    """Return the ids of what is listed, by title."""
    ended = command.run("conversations", "list", "--all", "--json", *options)
    return {each["title"]: each["conversation_id"] for each in json.loads(ended.output)}


def test_archived_conversations_are_off_the_list_and_pinned_ones_first(command: Command) -> None:
    pays, counts = (ids(command)[title] for title in ("Who pays at the till?", "Who counts?"))
    assert "(pinned)" in command.run("conversations", "pin", pays[:6]).output
    assert list(ids(command).values()) == [pays, counts]
    assert "pinned" not in command.run("conversations", "unpin", pays).output
    assert "(archived)" in command.run("conversations", "archive", counts).output
    assert list(ids(command).values()) == [pays]
    assert list(ids(command, "--archived").values()) == [counts]
    command.run("conversations", "unarchive", counts)
    assert list(ids(command).values()) == [counts, pays]


def test_a_deletion_says_how_to_undo_it(command: Command) -> None:
    pays = ids(command)["Who pays at the till?"]
    deleted = command.run("conversations", "delete", pays[:6])
    assert deleted.status == 0
    undo = re.search(r"Undo: coding-assistant (conversations restore [0-9a-f]+)", deleted.output)
    assert undo is not None
    for typed in (pays[:6], pays):
        shown = command.run("conversations", "show", typed)
        assert shown.status == 1
        assert undo[1] in shown.side
    assert list(ids(command, "--deleted").values()) == [pays]
    restored = command.run(*undo[1].split())
    assert (restored.status, restored.output) == (0, f"Restored {pays[:8]}  Who pays at the till?\n")
    assert pays in ids(command).values()
    command.run("conversations", "delete", pays)
    assert command.run("conversations", "delete", pays[:6], "--permanently", "--yes").status == 0
    assert command.run("conversations", "restore", pays[:6]).status == 1


def test_a_conversation_is_shown_with_its_summaries_where_they_begin_to_count(command: Command) -> None:
    with kept(command) as store:
        conversation = begin(store)
        turn = talk(store, conversation, "Who opens?", "The baker.")
        talk(store, conversation, "Who closes?", "The butcher.")
        summary = Summary(1, "Of bakers.", SummaryOrigin.EXTRACT, NOON)
        store.add_summary(conversation.id, summary, last_turn_id=turn.id)
    shown = command.run("conversations", "show", conversation.id)
    told = ["The baker.", "a summary made by rule in place of turn 1:", "Of bakers.", "Who closes?"]
    places = [shown.output.index(each) for each in told]
    assert places == sorted(places)


def test_messages_are_found_by_their_words(command: Command) -> None:
    found = command.run("conversations", "search", "COUNT", "till")
    assert re.fullmatch(
        r"[0-9a-f]{8}  \d{4}-\d\d-\d\d \d\d:\d\d  Who counts\?\n    The clerk counts the till\.\n",
        found.output,
    )
    assert len(json.loads(command.run("conversations", "search", "till", "--json").output)) == 2
    assert len(json.loads(command.run("conversations", "search", "till", "-n", "1", "--json").output)) == 1
    nothing = command.run("conversations", "search", "zebra")
    assert (nothing.status, nothing.output, nothing.side) == (0, "", "No message found.\n")


def test_an_export_can_be_imported(command: Command, tmp_path: Path) -> None:
    pays = ids(command)["Who pays at the till?"]
    file = tmp_path / "pays.json"
    assert command.run("conversations", "export", pays, "-f", "json", "-o", str(file)).status == 0
    again = command.run("conversations", "import", str(file))
    assert (again.status, again.output) == (1, "")
    assert "--copy" in again.side
    assert command.run("conversations", "import", str(file), "--copy").status == 0
    elsewhere = Command(tmp_path / "elsewhere", command.directory)
    assert elsewhere.run("conversations", "import", str(file)).output == (
        f"Imported {pays[:8]}  Who pays at the till?\n"
    )
    assert "The customer." in elsewhere.run("conversations", "show", pays[:6]).output


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff"])
def test_what_is_no_export_is_a_sentence(command: Command, tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "x.json"
    if content is not None:
        file.write_bytes(content)
    ended = command.run("conversations", "import", str(file))
    assert (ended.status, ended.output) == (2, "")
    assert ended.side.startswith("error: ")
    assert "\nhint: " in ended.side


# --- Backup and restore -------------------------------------------------------------------------


@pytest.fixture
def backup(command: Command, tmp_path: Path) -> Path:
    file = tmp_path / "backup.zip"
    (command.home / "config.toml").write_text("port = 8123\n")
    ended = command.run("backup", str(file))
    assert ended.status == 0
    assert "2 conversations; conversations.db, config.toml" in ended.output
    return file


def test_a_backup_is_restored_on_another_machine(command: Command, backup: Path, tmp_path: Path) -> None:
    elsewhere = Command(tmp_path / "elsewhere", command.directory)
    ended = elsewhere.run("restore", str(backup))
    assert ended.status == 0
    assert "Restored 2 conversations; 0 were here already." in ended.output
    assert "config.toml: restored" in ended.output
    assert ids(elsewhere) == ids(command)
    again = elsewhere.run("restore", str(backup))
    assert "Restored 0 conversations; 2 were here already." in again.output
    assert "config.toml: left as it is here." in again.output
    assert not list(elsewhere.home.glob(".restore*"))


def test_restoring_brings_back_what_is_gone_and_takes_nothing(command: Command, backup: Path) -> None:
    command.run("conversations", "delete", ids(command)["Who counts?"], "--permanently", "--yes")
    with kept(command) as store:
        talk(store, begin(store), "Anything new?", "Yes.")
    assert "Restored 1 conversation;" in command.run("restore", str(backup)).output
    assert set(ids(command)) == {"Who pays at the till?", "Who counts?", "Anything new?"}


def test_restoring_takes_out_of_the_trash_what_the_backup_has(command: Command, backup: Path) -> None:
    pays, counts = (ids(command)[title] for title in ("Who pays at the till?", "Who counts?"))
    for each in (pays, counts):
        command.run("conversations", "delete", each)
    command.run("conversations", "delete", counts, "--permanently", "--yes")
    ended = command.run("restore", str(backup))
    assert ended.status == 0
    assert "Restored 2 conversations (1 from the trash here); 0 were here already." in ended.output
    assert set(ids(command).values()) == {pays, counts}
    assert ids(command, "--deleted") == {}


def test_restoring_says_that_it_leaves_out_the_trash_of_the_backup(command: Command, tmp_path: Path) -> None:
    command.run("conversations", "delete", ids(command)["Who counts?"])
    ended = command.run("backup", str(tmp_path / "b.zip"))
    assert "1 conversation and 1 in the trash;" in ended.output
    elsewhere = Command(tmp_path / "elsewhere", command.directory)
    ended = elsewhere.run("restore", str(tmp_path / "b.zip"))
    assert "Restored 1 conversation; 0 were here already." in ended.output
    assert "Left out 1 conversation from the backup's trash" in ended.output
    assert list(ids(elsewhere)) == ["Who pays at the till?"]


def test_replacing_leaves_nothing_of_what_the_model_had_read(command: Command, backup: Path) -> None:
    folder = command.home / "snapshots"
    folder.mkdir(exist_ok=True)
    own, front = folder / f"5c1bed-{ids(command)['Who counts?']}.kv", folder / "5c1bed-f-0dd.kv"
    for file in (own, front):
        file.write_bytes(b"read")
    assert command.run("restore", str(backup), "--replace").status == 0
    assert list(folder.iterdir()) == [front]


def test_replacing_keeps_what_was_here_in_a_file(command: Command, backup: Path) -> None:
    with kept(command) as store:
        talk(store, begin(store), "Anything new?", "Yes.")
    ended = command.run("restore", str(backup), "--replace")
    assert ended.status == 0
    assert set(ids(command)) == {"Who pays at the till?", "Who counts?"}
    (before,) = command.home.glob("conversations-before-restore-*.sqlite3")
    assert str(before) in ended.side
    with closing(ConversationStore.open(before)) as store:
        assert len(store.conversations()) == 3


@pytest.fixture
def in_use(command: Command) -> Iterator[None]:
    with DataDirectory(command.home).hold("serve", "http://127.0.0.1:9"):
        yield


@pytest.mark.usefixtures("in_use")
def test_nothing_is_replaced_below_a_running_server(command: Command, backup: Path) -> None:
    before = (command.home / "conversations.db").read_bytes()
    ended = command.run("restore", str(backup), "--replace")
    assert (ended.status, ended.output) == (4, "")
    assert "http://127.0.0.1:9" in ended.side
    assert (command.home / "conversations.db").read_bytes() == before


def test_a_backup_that_is_none_touches_nothing(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "b.zip"
    file.write_bytes(b"PK no")
    before = {each.name for each in command.home.iterdir()} | {"models", "indexes", "logs"}
    for options in ([], ["--replace"]):
        ended = command.run("restore", str(file), *options)
        assert (ended.status, ended.output) == (2, "")
    assert {each.name for each in command.home.iterdir()} <= before | {"snapshots"}
    assert command.run("backup", str(file)).status == 2
    assert file.read_bytes() == b"PK no"
