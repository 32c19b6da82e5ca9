from contextlib import closing
from pathlib import Path, PurePosixPath

import alembic.command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Engine, insert, select

from coding_assistant.chat.migrations import MIGRATIONS
from coding_assistant.chat.records import source_from, source_values
from coding_assistant.chat.store import ConversationStore
from coding_assistant.chat.tables import metadata, sources
from coding_assistant.database import migrate, open_database, reading, writing
from coding_assistant.domain import Chunk, Grounding, Source


def schema(file: Path, *, migrated: bool) -> set[str]:
    """Return the columns, indexes and foreign keys of every table, as SQLite has them."""
    engine = open_database(file)
    if migrated:
        migrate(engine, MIGRATIONS)
    else:
        with writing(engine) as connection:
            metadata.create_all(connection)
    with reading(engine) as connection:
        if migrated:
            assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        found = {
            f"{table.name}: {pragma}: {tuple(row)[1:]}"  # the first is a running number
            for table in metadata.sorted_tables
            for pragma in ("table_info", "index_list", "foreign_key_list")
            for row in connection.exec_driver_sql(f"PRAGMA {pragma}({table.name})")
        }
    engine.dispose()
    return found


def test_the_migrations_make_exactly_the_tables_that_the_store_knows(tmp_path: Path) -> None:
    migrated = schema(tmp_path / "migrated.db", migrated=True)
    assert migrated == schema(tmp_path / "created.db", migrated=False)
    assert len(migrated) > 40


def migrate_to(engine: Engine, revision: str) -> None:
    """Make the database as it was when this migration was the newest."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, revision)


def test_sources_from_before_context_was_kept_have_none(tmp_path: Path) -> None:
    engine = open_database(tmp_path / "old.db")
    migrate_to(engine, "0001")
    chunk = Chunk(PurePosixPath("a.py"), 1, 2, "x = 1\ny = 2")
    source = Source(1, chunk, chunk.digest)
    values = {name: value for name, value in source_values("t", source).items() if name != "context"}
    with writing(engine) as connection:
        connection.exec_driver_sql("INSERT INTO projects VALUES ('p', '/a', 'a')")
        connection.exec_driver_sql("INSERT INTO sessions VALUES ('s', 1, '2026-01-01', '2026-01-01')")
        connection.exec_driver_sql(
            "INSERT INTO conversations VALUES ('c', 's', 'p', '', 0, 0, 0, 1, '2026-01-01', '2026-01-01')"
        )
        connection.exec_driver_sql(
            "INSERT INTO turns (id, conversation_id, number, question, asked_at, model, answer_text, failure)"
            " VALUES ('t', 'c', 1, 'why?', '2026-01-01', 'a-model', '', '')"
        )
        connection.execute(insert(sources).values(values))
    migrate(engine, MIGRATIONS)
    with reading(engine) as connection:
        assert [source_from(row) for row in connection.execute(select(sources)).mappings()] == [source]
    engine.dispose()


def test_turns_from_before_they_were_numbered_can_be_read_and_found(tmp_path: Path) -> None:
    file = tmp_path / "old.db"
    engine = open_database(file)
    migrate_to(engine, "0002")
    with writing(engine) as connection:
        connection.exec_driver_sql("INSERT INTO projects VALUES ('p', '/a', 'a')")
        connection.exec_driver_sql("INSERT INTO sessions VALUES ('s', 1, '2026-01-01', '2026-01-01')")
        connection.exec_driver_sql(
            "INSERT INTO conversations VALUES ('c', 's', 'p', '', 0, 0, 0, 1, '2026-01-01', '2026-01-01')"
        )
        for turn in (("t2", 2, "why 2?", "2026-01-02 00:00:00"), ("t1", 1, "why 1?", "2026-01-01 00:00:00")):
            connection.exec_driver_sql(
                "INSERT INTO turns (id, number, question, asked_at, conversation_id, model, answer_text,"
                " failure, finish, finished_at)"
                " VALUES (?, ?, ?, ?, 'c', 'm', 'Because.', '', 'complete', '2026-01-03 00:00:00')",
                turn,
            )
    engine.dispose()
    with closing(ConversationStore.open(file)) as store:
        assert [turn.question for turn in store.turns("c")] == ["why 1?", "why 2?"]
        assert [turn.answer.tokens for turn in store.turns("c") if turn.answer] == [(), ()]
        assert [turn.note for turn in store.turns("c")] == ["", ""]
        assert [turn.answer.grounding for turn in store.turns("c") if turn.answer] == [Grounding()] * 2
        assert [each.turn_id for each in store.messages.find("because", limit=5)] == ["t2", "t1"]
        assert store.begin_turn("c", "And now?").number == 3
