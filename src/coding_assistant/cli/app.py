"""The command ``coding-assistant``: its verbs, and the one place where it ends.

Every failure that the product raises on purpose becomes a sentence, a hint and an exit code here; nothing
else prints an error or chooses a code.
"""

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version as package_version
from typing import Annotated

import typer

from coding_assistant.cli.ask import ask
from coding_assistant.cli.backup import backup, restore
from coding_assistant.cli.chat import chat
from coding_assistant.cli.conversations import conversations
from coding_assistant.cli.doctor import doctor
from coding_assistant.cli.engine import engine
from coding_assistant.cli.exits import ExitCode, exit_code_of, print_error, print_internal_error
from coding_assistant.cli.groups import show_help
from coding_assistant.cli.logs import log_command
from coding_assistant.cli.models import models
from coding_assistant.cli.options import GlobalOptions
from coding_assistant.cli.screen import ReaderLeft, standard_error, standard_output
from coding_assistant.cli.search import index, search
from coding_assistant.cli.serve import serve
from coding_assistant.errors import CodingAssistantError

NAME = "coding-assistant"

_SHORT_HELP = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name=NAME,
    help="A private coding assistant for your own code, on your own machine.",
    context_settings=_SHORT_HELP,
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def before_the_verb(
    context: typer.Context,
    *,
    pull_if_none: Annotated[
        bool,
        typer.Option("--pull-if-none", hidden=True, help="Get the model without asking if there is none."),
    ] = False,
) -> None:
    """Keep what was said before the verb."""
    context.obj = GlobalOptions(pull_if_none=pull_if_none)
    show_help(context)


def version() -> None:
    """Print the version."""
    standard_output().line(package_version(NAME))


for command in (ask, chat, search, index, serve):
    app.command()(command)
app.add_typer(conversations, name="conversations")
app.add_typer(models, name="models")
app.add_typer(engine, name="engine")
app.command()(backup)
app.command()(restore)
app.command()(doctor)
app.command()(version)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and end the process with its exit code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    side = standard_error()
    log_command()
    try:
        code = typer.main.get_command(app).main(list(arguments), prog_name=NAME, standalone_mode=False)
    except CodingAssistantError as error:
        print_error(side, error.message, error.hint)
        return exit_code_of(type(error))
    except typer.TyperException as error:
        print_error(side, error.format_message(), _usage_hint(arguments))
        return ExitCode.USAGE
    except (KeyboardInterrupt, typer.Abort):
        return ExitCode.CANCELLED
    except ReaderLeft:
        # What is still in the buffer goes nowhere, also when the interpreter writes it out at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.DONE
    except Exception as error:  # noqa: BLE001  -- the outermost edge
        print_internal_error(side, error)
        return ExitCode.FAILURE
    return code if isinstance(code, int) else ExitCode.DONE


def _usage_hint(arguments: Sequence[str]) -> str:
    verbs = [argument for argument in arguments if not argument.startswith("-")]
    known = {command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands}
    known |= {group.name for group in app.registered_groups}
    if verbs and verbs[0] in known:
        return f"See `{NAME} {verbs[0]} --help`."
    return f"`{NAME} --help` lists the commands."
