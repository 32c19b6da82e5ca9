"""Turns keep what the model was told of the question, and what of the answer is not in the project."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the columns; questions of before had no note, and of their answers nothing was looked up."""
    op.add_column("turns", sa.Column("note", sa.Text(), nullable=False, server_default=""))
    op.add_column("turns", sa.Column("grounding", sa.JSON()))
