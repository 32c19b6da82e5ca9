"""``serve``: the HTTP API on this machine."""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Annotated

import typer

from coding_assistant.cli.options import GlobalOptions, ModelOption, chosen_folder, read_settings
from coding_assistant.cli.screen import Screen, Span, standard_error
from coding_assistant.cli.weights import ensure_model
from coding_assistant.contract import ProjectView
from coding_assistant.data_directory import DataDirectory
from coding_assistant.settings import Settings

SERVER_LOG = "server.log"

_LOG_BYTES = 5_000_000
_LOGS_KEPT = 2


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
    from coding_assistant.web.server import serve as serve_http  # noqa: PLC0415

    directory = DataDirectory(settings.home)
    directory.prepare()
    _log_to(directory.logs / SERVER_LOG)
    async with AsyncAssistant.open(settings, purpose="serve", url=_url(settings)) as assistant:
        views = [await assistant.add_project(str(folder)) for folder in folders]
        announce = partial(_announce, side, views)
        await serve_http(assistant, host=settings.host, port=settings.port, announce=announce)


def _announce(side: Screen, views: Sequence[ProjectView], url: str) -> None:
    side.line(Span("Serving ", "bold"), Span(url, "bold cyan"), f"  (the API is described at {url}/docs)")
    for view in views:
        side.line(f"  {view.name}: {view.root}")
    side.line(Span("Ctrl-C stops it.", "dim"))


def _url(settings: Settings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{settings.port}"


def _log_to(file: Path) -> None:
    """Keep warnings and errors in a file that cannot grow without end, and show them."""
    keeping = RotatingFileHandler(file, maxBytes=_LOG_BYTES, backupCount=_LOGS_KEPT, encoding="utf-8")
    logging.basicConfig(
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        handlers=[keeping, logging.StreamHandler()],
    )
