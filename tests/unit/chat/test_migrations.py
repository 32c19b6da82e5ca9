from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from coding_assistant.chat.migrations import MIGRATIONS
from coding_assistant.chat.tables import metadata
from coding_assistant.database import migrate, open_database, reading, writing


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
