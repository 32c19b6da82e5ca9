"""The terminal skin: commands, and how their results look."""

from coding_assistant.cli.app import main

__all__ = ["main"]
