"""``serve``: the HTTP API on this machine."""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from coding_assistant.cli.connection import server_url
from coding_assistant.cli.logs import SERVER_LOG, BoundedLog, PlacesOnly, log_to
from coding_assistant.cli.options import GlobalOptions, ModelOption, chosen_folder, read_settings
from coding_assistant.cli.screen import Screen, Span, standard_error
from coding_assistant.cli.weights import ensure_model
from coding_assistant.contract import ProjectView
from coding_assistant.errors import DataDirectoryLocked
from coding_assistant.inference.engine_programs import Choice
from coding_assistant.settings import OPENAI, Settings


def serve(
    context: typer.Context,
    *,
    host: Annotated[
        str | None, typer.Option("--host", metavar="ADDRESS", help="A loopback address. Default: 127.0.0.1.")
    ] = None,
    port: Annotated[int | None, typer.Option("--port", metavar="N", help="The port. Default: 8000.")] = None,
    project: Annotated[
        list[Path] | None,
        typer.Option(
            "--project",
            "-p",
            metavar="DIR",
            help="A folder to answer about; may be repeated, the first is asked where none is named."
            " Default: the repository around the working directory.",
        ),
    ] = None,
    model: ModelOption = None,
) -> None:
    """Serve the HTTP API on this machine, until Ctrl-C.

    The other commands ask this server while it runs.
    """
    side = standard_error()
    settings = read_settings(host=host, port=port, model_name=model)
    ensure_model(settings, side, pulls_unasked=GlobalOptions.of(context).pull_if_none)
    folders = [chosen_folder(each) for each in project] if project else [chosen_folder(None)]
    asyncio.run(_serve(settings, folders, side))
    side.line("Stopped.")


async def _serve(settings: Settings, folders: Sequence[Path], side: Screen) -> None:
    # The web framework takes most of a second to load, and no other command needs it.
    from coding_assistant.assistant import AsyncAssistant  # noqa: PLC0415
    from coding_assistant.assistant.wiring import program_search  # noqa: PLC0415
    from coding_assistant.web.server import listen, serve_on, url_of  # noqa: PLC0415

    _require_no_server(settings)
    shown = logging.StreamHandler()
    shown.setFormatter(PlacesOnly())
    log_to([BoundedLog(settings.home, SERVER_LOG), shown])
    # Before the data directory says where this server is: who reads that and connects then waits in a queue.
    with listen(settings.host, settings.port) as listener:
        url = url_of(listener)
        choice = None  # of a server elsewhere was said with the model where it is
        if settings.engine != OPENAI:
            choice = await asyncio.to_thread(program_search(settings).choose)
        async with AsyncAssistant.open(settings, purpose="serve", url=url) as assistant:
            views = [await assistant.add_project(str(folder)) for folder in folders]
            async with assistant.keeping_fresh():
                await serve_on(listener, assistant, announce=partial(_announce, side, views, choice))


def _require_no_server(settings: Settings) -> None:
    """Say that our own server runs, before its port is found to be taken."""
    url = server_url(settings)
    if url is not None:
        raise DataDirectoryLocked(
            f"A server already answers at {url}.",
            hint="Ask it there, or stop it first; with another CODING_ASSISTANT_HOME there can be two.",
        )


def _announce(side: Screen, views: Sequence[ProjectView], choice: Choice | None, url: str) -> None:
    side.line(Span("Serving ", "bold"), Span(url, "bold cyan"), f"  (the API is described at {url}/docs)")
    for view in views:
        side.line(f"  {view.name}: {view.root}")
    if choice is not None:
        side.line(Span(f"Models are run by {choice.program.title}, each from the first question on.", "dim"))
        if choice.warning:
            side.line(Span(f"{choice.warning} {choice.advice}".rstrip(), "yellow"))
    side.line(Span("Ctrl-C stops it.", "dim"))
