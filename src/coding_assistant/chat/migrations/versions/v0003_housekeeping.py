"""Answers keep their tokens, turns their commit, conversations their summaries; deletions can be undone."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns and tables; what is kept already has none of that."""
    op.add_column("conversations", sa.Column("primer", sa.Text(), nullable=False, server_default=""))
    op.add_column("conversations", sa.Column("deleted_at", sa.DateTime(timezone=True)))
    op.add_column("turns", sa.Column("answer_tokens", sa.LargeBinary()))
    op.add_column("turns", sa.Column("vocabulary", sa.Text(), nullable=False, server_default=""))
    op.add_column("turns", sa.Column("commit_hash", sa.Text(), nullable=False, server_default=""))
    _number_all_turns()
    op.create_table(
        "summaries",
        sa.Column("conversation_id", sa.String(32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("last_turn", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("origin", sa.String(32), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("conversation_id", "number", name="pk_summaries"),
        sa.ForeignKeyConstraint(
            ["conversation_id"], ["conversations.id"], name="fk_summaries_conversation_id", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "question_keys",
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("request_digest", sa.Text(), nullable=False),
        sa.Column("turn_id", sa.String(32), nullable=False),
        sa.Column("kept_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_question_keys"),
        sa.ForeignKeyConstraint(
            ["turn_id"], ["turns.id"], name="fk_question_keys_turn_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_question_keys_turn_id", "question_keys", ["turn_id"])


def _number_all_turns() -> None:
    """Give all turns one sequence of numbers, in the order in which they were asked."""
    op.add_column("turns", sa.Column("serial", sa.Integer(), nullable=False, server_default=sa.text("0")))
    op.execute(
        "UPDATE turns SET serial = numbered.serial FROM"
        " (SELECT id, row_number() OVER (ORDER BY asked_at, id) AS serial FROM turns) AS numbered"
        " WHERE numbered.id = turns.id"
    )
    op.create_index("ix_turns_serial", "turns", ["serial"], unique=True)
