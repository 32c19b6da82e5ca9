"""What several commands have in common: their options, the settings, the folder that is meant."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from coding_assistant.settings import Settings, load_settings

USUAL_MODEL = "-"
"""Names the model that the settings choose: no model can be called that."""

_REPOSITORY_MARKS = (".git", ".hg", ".svn")

ProjectOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--project",
        "-p",
        metavar="DIR",
        help="The folder to ask about. Default: the repository around the working directory.",
    ),
]
ModelOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--model", "-m", metavar="NAME", help="A model of the catalog, or a path to a .gguf file."),
]
AnsweringModelOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help="A model of the catalog, or a path to a .gguf file; - takes the usual one again.",
    ),
]
ContinueOption: TypeAlias = Annotated[
    bool, typer.Option("-c", "--continue", help="Go on with the latest conversation about this folder.")
]
ConversationOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--conversation", metavar="ID", help="Go on with this conversation; 4 digits may do."),
]
JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


@dataclass(frozen=True, slots=True)
class GlobalOptions:
    """What was said before the verb."""

    pull_if_none: bool = False

    @classmethod
    def of(cls, context: typer.Context) -> "GlobalOptions":
        """Return those of this run."""
        found = context.find_object(cls)
        return cls() if found is None else found


def read_settings(**flags: object) -> Settings:
    """Return the settings of this run; a flag that is None was not given."""
    return load_settings(os.environ, flags)


def named_model(model: str | None) -> str | None:
    """Return a model as it was named, a path in full: a server has another working directory.

    None stands for the usual one.
    """
    if model == USUAL_MODEL:
        return None
    if model is None or not {"/", "\\"}.intersection(model):
        return model
    try:
        file = Path(model).expanduser().absolute()
        return str(file) if file.is_file() else model
    except (OSError, RuntimeError):  # a name that is too long, or ~ of nobody: refused where it is used
        return model


def repository_root(folder: Path) -> Path:
    """Return the repository that a folder lies in; a folder in no repository stands for itself."""
    for candidate in (folder, *folder.parents):
        if any((candidate / mark).exists() for mark in _REPOSITORY_MARKS):
            return candidate
    return folder


def chosen_folder(project: Path | None) -> Path:
    """Return the folder that a command is about, absolute; whether it can be read shows later."""
    return repository_root(Path.cwd()) if project is None else project.expanduser().absolute()
