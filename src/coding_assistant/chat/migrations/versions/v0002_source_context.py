"""Sources keep the lines around their chunk that the model was shown with it."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; the sources of before were shown without such lines."""
    op.add_column("sources", sa.Column("context", sa.JSON()))
