"""Conversations keep the model that was chosen for them."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column; what is kept already goes on with the model that the settings name."""
    op.add_column("conversations", sa.Column("model", sa.Text()))
