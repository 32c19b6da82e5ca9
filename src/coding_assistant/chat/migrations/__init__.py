"""How the tables of the conversations came to be: a file for each step, never changed once released."""

from pathlib import Path
from typing import Final

MIGRATIONS: Final = Path(__file__).parent
"""The folder that Alembic reads."""
