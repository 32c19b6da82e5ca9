import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from coding_assistant.assistant import open_project_code
from coding_assistant.chat.store import ConversationStore
from coding_assistant.cli.doctor import keeping
from coding_assistant.cli.doctor.findings import Finding, Verdict
from coding_assistant.data_directory import DataDirectory
from coding_assistant.errors import DatabaseDamaged
from coding_assistant.index.build import index_fingerprint
from coding_assistant.index.store import ProjectIndex
from coding_assistant.settings import Settings
from support.indexing import bring_settled
from support.shop import write_shop


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings(home=tmp_path / "home", port=free_port())
    DataDirectory(made.home).prepare()
    return made


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def test_the_files_that_settings_came_from_are_named(settings: Settings) -> None:
    assert "defaults" in keeping.settings_files(settings).detail
    (settings.home / "config.toml").write_text("slots = 2\n")
    assert "config.toml" in keeping.settings_files(settings).detail


def test_who_holds_the_data_directory_is_named(settings: Settings) -> None:
    directory = DataDirectory(settings.home)
    assert keeping.data_directory(settings).detail.endswith("free")
    with directory.hold("ask"):
        assert keeping.data_directory(settings).verdict is Verdict.WARN
        assert "`ask`" in keeping.data_directory(settings).detail
    with directory.hold("serve", "http://127.0.0.1:8000"):
        assert keeping.data_directory(settings).verdict is Verdict.OK


def test_a_port_is_free_ours_or_somebody_elses(settings: Settings) -> None:
    assert keeping.port(settings).verdict is Verdict.OK
    with socket.create_server(("127.0.0.1", settings.port)):
        taken = keeping.port(settings)
        assert taken.verdict is Verdict.WARN
        assert f"--port {settings.port + 1}" in taken.advice
        with DataDirectory(settings.home).hold("serve", f"http://127.0.0.1:{settings.port}"):
            assert keeping.port(settings).verdict is Verdict.OK


def test_conversations_are_read_whole_and_damage_is_found(settings: Settings) -> None:
    assert keeping.conversations(settings).detail == "none yet"
    file = DataDirectory(settings.home).conversations_file
    ConversationStore.open(file).close()
    assert keeping.conversations(settings).verdict is Verdict.OK

    content = bytearray(file.read_bytes())
    content[4_096:] = b"\xff" * (len(content) - 4_096)
    file.write_bytes(content)
    with pytest.raises(DatabaseDamaged):
        keeping.conversations(settings)
    assert file.read_bytes() == content


def test_somebody_elses_database_is_no_set_of_conversations(settings: Settings) -> None:
    with sqlite3.connect(DataDirectory(settings.home).conversations_file) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()

    with pytest.raises(DatabaseDamaged, match="another program"):
        keeping.conversations(settings)


def settle(settings: Settings, folder: Path) -> Finding:
    """Index as if the files had lain there for an hour: one written a moment ago is looked into once more."""
    anyio.run(index_it, settings, folder)
    (file,) = DataDirectory(settings.home).indexes.glob("*.sqlite3")
    with closing(ProjectIndex.open(file, fingerprint=index_fingerprint())) as index:
        bring_settled(index, folder)
    return examine(settings, folder)


async def index_it(settings: Settings, folder: Path) -> None:
    async with open_project_code(settings, folder) as code:
        async for _ in code.updates():
            pass


def examine(settings: Settings, folder: Path) -> Finding:
    return anyio.run(keeping.index, settings, folder)


def test_an_index_is_missing_fresh_or_behind(settings: Settings, tmp_path: Path) -> None:
    shop = write_shop(tmp_path)
    assert "none yet" in examine(settings, shop).detail

    fresh = settle(settings, shop)
    assert "as the folder is now" in fresh.detail
    assert fresh.facts["without_vector"] == 0
    assert fresh.facts["files"] == 2

    (shop / "new.py").write_text("def added(): ...\n")
    (shop / "prices.py").unlink()
    behind = examine(settings, shop)
    assert behind.facts["outdated"] == 2
    assert behind.verdict is Verdict.OK
    assert "which the next question does" in behind.detail
    assert examine(settings, shop) == behind


def test_files_that_could_not_be_read_are_counted(settings: Settings, tmp_path: Path) -> None:
    shop = write_shop(tmp_path)
    (shop / "latin.py").write_bytes(b"name = '\xe9t\xe9'\n")
    anyio.run(index_it, settings, shop)
    finding = examine(settings, shop)

    assert finding.facts["problems"] == 1
    assert finding.verdict is Verdict.TIP
    assert "index --status" in finding.advice


def test_chunks_without_vectors_are_counted(settings: Settings, tmp_path: Path) -> None:
    shop = write_shop(tmp_path)
    anyio.run(index_it, settings.model_copy(update={"embedder": "none"}), shop)
    chunks = examine(settings, shop).facts["chunks"]

    assert examine(settings, shop).facts["without_vector"] == chunks
    assert examine(settings.model_copy(update={"embedder": "none"}), shop).facts["without_vector"] == 0
