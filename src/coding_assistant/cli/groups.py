"""What a group of commands does where none of them is named."""

import typer

from coding_assistant.cli.screen import standard_output


def show_help(context: typer.Context) -> None:
    """Print the help, which whoever names no command asks for: that is no error."""
    if context.invoked_subcommand is None:
        standard_output().line(context.get_help())
