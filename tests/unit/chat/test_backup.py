import json
import os
import shutil
import sqlite3
import stat
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from coding_assistant.chat.backup import CONVERSATIONS, MANIFEST, opened_backup, write_backup
from coding_assistant.chat.importing import read_document
from coding_assistant.chat.store import ConversationStore
from coding_assistant.errors import CodingAssistantError, DatabaseDamaged, InvalidImport, InvalidRequest
from support.kept import begin, talk


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with two conversations, one of them deleted, and settings."""
    home = tmp_path_factory.mktemp("furnished")
    (home / "config.toml").write_text("port = 8001\n")
    (home / ".env").write_text("CODING_ASSISTANT_SLOTS=2\n")
    (home / "weights.gguf").write_text("can be had again")
    with closing(ConversationStore.open(home / CONVERSATIONS)) as store:
        talk(store, begin(store), "Who pays?", "The customer.")
        deleted = begin(store)
        talk(store, deleted, "Who left?", "Nobody.")
        store.trash.put(deleted.id)
    return home


@pytest.fixture
def home(furnished: Path, tmp_path: Path) -> Path:
    """A copy of that data directory, to be changed at will."""
    return shutil.copytree(furnished, tmp_path / "home")


def backup_of(home: Path, name: str = "backup.zip") -> Path:
    file = home.parent / name
    write_backup(file, home=home, database=home / CONVERSATIONS)
    return file


def titles_in(database: Path) -> list[str]:
    with closing(ConversationStore.open(database)) as store:
        return [each.title for each in store.conversations()]


def repacked(file: Path, change: Callable[[dict[str, bytes]], object]) -> Path:
    """Return the archive with other contents."""
    with zipfile.ZipFile(file) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    change(contents)
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return file


# --- Taking -------------------------------------------------------------------------------------


def test_a_backup_holds_conversations_and_settings_for_its_owner_alone(home: Path) -> None:
    file = backup_of(home)
    with zipfile.ZipFile(file) as archive:
        assert set(archive.namelist()) == {CONVERSATIONS, "config.toml", ".env", MANIFEST}
        assert archive.testzip() is None
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert {each.name for each in home.parent.iterdir()} == {"home", "backup.zip"}


def test_a_backup_is_taken_while_the_conversations_are_in_use(home: Path) -> None:
    with closing(ConversationStore.open(home / CONVERSATIONS)) as store:
        conversation = begin(store)
        talk(store, conversation, "Said while open?", "Yes.")
        file = backup_of(home)
        talk(store, conversation, "And after?", "No.")
        with opened_backup(file, scratch=home) as opened:
            documents = [read_document(each.document) for each in opened.conversations()]
            assert opened.count_deleted() == 1
        assert [[turn.question for turn in each.turns] for each in documents] == [
            ["Who pays?"],
            ["Said while open?"],
        ]


def test_no_file_is_overwritten(home: Path) -> None:
    file = backup_of(home)
    before = file.read_bytes()
    with pytest.raises(InvalidRequest, match="there already"):
        backup_of(home)
    assert file.read_bytes() == before


def test_a_backup_that_fails_leaves_no_file(home: Path) -> None:
    (home / CONVERSATIONS).write_bytes(b"No database at all. " * 500)
    with pytest.raises(DatabaseDamaged):
        backup_of(home)
    with pytest.raises(CodingAssistantError):
        write_backup(home.parent / "missing" / "b.zip", home=home, database=home / "none.db")
    assert {each.name for each in home.parent.iterdir()} == {"home"}


def test_nothing_to_keep_is_no_backup(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="nothing"):
        write_backup(tmp_path / "b.zip", home=tmp_path, database=tmp_path / CONVERSATIONS)


# --- Putting back -------------------------------------------------------------------------------


def test_settings_are_put_back_only_where_none_are(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / ".env").write_text("mine")
    with opened_backup(backup_of(home), scratch=other) as opened:
        assert opened.add_missing_settings(other) == (["config.toml"], [".env"])
    assert (other / ".env").read_text() == "mine"
    assert (other / "config.toml").read_text() == "port = 8001\n"
    assert stat.S_IMODE((other / "config.toml").stat().st_mode) == 0o600
    assert {each.name for each in other.iterdir()} == {".env", "config.toml"}


def test_conversations_are_replaced_and_those_that_were_here_kept(home: Path) -> None:
    file = backup_of(home)
    with closing(ConversationStore.open(home / CONVERSATIONS)) as store:
        store.clear_all()
        talk(store, begin(store), "Something new?", "Yes.")
    with opened_backup(file, scratch=home) as opened:
        kept = opened.replace_database(home / CONVERSATIONS)
    assert titles_in(home / CONVERSATIONS) == ["Who pays?"]
    assert kept is not None
    assert kept.name.startswith("conversations-before-restore-")
    assert "Something new?" in titles_in(kept)
    with closing(ConversationStore.open(home / CONVERSATIONS)) as store:
        assert [each.title for each in store.trash.conversations()] == ["Who left?"]


def test_a_damaged_database_is_replaced_with_what_stands_beside_it(home: Path) -> None:
    file = backup_of(home)
    (home / CONVERSATIONS).write_bytes(b"damaged")
    (home / f"{CONVERSATIONS}-wal").write_bytes(b"its log")
    with opened_backup(file, scratch=home) as opened:
        kept = opened.replace_database(home / CONVERSATIONS)
    assert kept is not None
    assert kept.read_bytes() == b"damaged"
    assert kept.with_name(f"{kept.name}-wal").read_bytes() == b"its log"
    assert titles_in(home / CONVERSATIONS) == ["Who pays?"]


def test_a_new_machine_has_nothing_to_keep(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with opened_backup(backup_of(home), scratch=other) as opened:
        assert opened.replace_database(other / CONVERSATIONS) is None
    assert titles_in(other / CONVERSATIONS) == ["Who pays?"]


# --- What is no backup --------------------------------------------------------------------------


def changed_manifest(contents: dict[str, bytes], **changes: object) -> None:
    manifest = json.loads(contents[MANIFEST])
    manifest.update(changes)
    contents[MANIFEST] = json.dumps(manifest).encode()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda c: c.pop(MANIFEST), "archive"),
        (lambda c: c.update({MANIFEST: b"{}"}), "archive"),
        (lambda c: c.update({MANIFEST: b" " * 100_000}), "archive"),
        (lambda c: changed_manifest(c, format="another"), "format"),
        (
            lambda c: changed_manifest(c, files={"../x": {"size": 1, "sha256": ""}}),
            "files that no backup has",
        ),
        (lambda c: changed_manifest(c, files={".env": {"size": 2**40, "sha256": ""}}), "too long"),
        (lambda c: c.pop(".env"), "archive"),
        (lambda c: c.update({".env": c[".env"] + b"x"}), ".env is not as it was written"),
        (lambda c: c.update({".env": c[".env"][:-1] + b"x"}), ".env is not as it was written"),
        (lambda c: c.update({CONVERSATIONS: c[CONVERSATIONS][:-1]}), "is not as it was written"),
    ],
)
def test_a_backup_that_was_changed_is_refused(
    home: Path, change: Callable[[dict[str, bytes]], object], why: str
) -> None:
    file = repacked(backup_of(home), change)
    before = {each.name for each in home.iterdir()}
    with pytest.raises(InvalidImport, match=why), opened_backup(file, scratch=home):
        pass
    assert {each.name for each in home.iterdir()} == before


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04", b"no archive", os.urandom(2_000)],
    ids=["nothing", "its beginning", "words", "noise"],
)
def test_what_is_no_archive_is_refused(home: Path, content: bytes) -> None:
    file = home.parent / "b.zip"
    file.write_bytes(content)
    with pytest.raises(InvalidImport), opened_backup(file, scratch=home):
        pass


def test_a_file_that_is_not_there_is_named(home: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"b\.zip"), opened_backup(home / "b.zip", scratch=home):
        pass


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER INSERT ON turns BEGIN DELETE FROM turns; END",
        "CREATE VIEW v AS SELECT 1",
        "UPDATE alembic_version SET version_num = '9999'",
    ],
)
def test_conversations_that_this_program_has_not_written_are_refused(home: Path, statement: str) -> None:
    with closing(sqlite3.connect(home / CONVERSATIONS)) as connection:
        connection.execute(statement)
        connection.commit()
    file = backup_of(home)
    with pytest.raises(InvalidImport), opened_backup(file, scratch=home):
        pass
