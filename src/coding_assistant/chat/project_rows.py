"""Making folders known, on the connection, and so in the transaction, of the caller."""

from itertools import count
from pathlib import Path

from sqlalchemy import Connection, insert, select

from coding_assistant.chat.records import project_from
from coding_assistant.chat.rows import new_id
from coding_assistant.chat.tables import projects
from coding_assistant.domain import Project


def project_at(connection: Connection, root: Path) -> Project | None:
    """Return the project in a folder."""
    row = connection.execute(select(projects).where(projects.c.root == str(root))).mappings().first()
    return None if row is None else project_from(row)


def project_called(connection: Connection, name: str) -> Project | None:
    """Return the project of a name."""
    row = connection.execute(select(projects).where(projects.c.name == name)).mappings().first()
    return None if row is None else project_from(row)


def add_project(connection: Connection, root: Path, name: str) -> Project:
    """Make a folder known that is not; no two projects have one name: the second is called ``name-2``."""
    project = Project(id=new_id(), root=root, name=_free_name(connection, name))
    connection.execute(insert(projects).values(id=project.id, root=str(root), name=project.name))
    return project


def _free_name(connection: Connection, name: str) -> str:
    taken = set(connection.scalars(select(projects.c.name)))
    if name not in taken:
        return name
    return next(free for number in count(2) if (free := f"{name}-{number}") not in taken)
