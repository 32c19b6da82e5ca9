"""Getting a model's weights: asked for, offered, or left to the ``run`` script."""

import sys
from contextlib import closing

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from coding_assistant.cli.memory import say_plan
from coding_assistant.cli.progress import BAR_CELLS
from coding_assistant.cli.screen import Screen, Span
from coding_assistant.domain import ModelSpec
from coding_assistant.errors import InvalidModel
from coding_assistant.inference.catalog import DEFAULT_MODEL, STARTER_MODEL, Catalog, download_name
from coding_assistant.inference.download import (
    DownloadChecking,
    DownloadFinished,
    DownloadProgress,
    DownloadWaiting,
    OriginFailed,
    download,
)
from coding_assistant.inference.memory import size_in_words
from coding_assistant.inference.origins import describe
from coding_assistant.settings import Settings


def ensure_model(
    settings: Settings,
    screen: Screen,
    *,
    pulls_unasked: bool,
) -> None:
    """Return at once if there is a model to answer with; otherwise get it, or offer to.

    Raises ``ModelMissing`` where nobody can be asked, or the answer is no.
    """
    # Loading the parts takes a third of a second that `--help` does not need.
    from coding_assistant.assistant import chosen_model, open_catalog  # noqa: PLC0415

    catalog = open_catalog(settings)
    spec = chosen_model(catalog, settings)
    if spec.address:
        if spec.notice:  # on a terminal or not: whoever asks has to know where it goes
            screen.line(Span(spec.notice, "yellow"))
        return
    if catalog.file_of(spec) is not None:
        _say_which(screen, catalog, spec, settings)
        say_plan(screen, catalog, spec, settings)
        return
    if spec.origins and (pulls_unasked or _agreed(screen, spec)):
        pull(catalog, spec, screen)
        _say_which(screen, catalog, spec, settings)
        say_plan(screen, catalog, spec, settings)
        return
    catalog.require_file(spec)


def pull(catalog: Catalog, spec: ModelSpec, screen: Screen, *, replaces: bool = False) -> None:
    """Download a model's weights, saying what comes from where. Ctrl-C keeps what has come for next time.

    With ``replaces`` an earlier download that is broken gives its place to them.
    """
    if not spec.origins:
        raise InvalidModel(
            f"The catalog does not say where {spec.name} can be downloaded.",
            hint=f"Copy the file to {catalog.models_folder / spec.filename}.",
        )
    screen.line(f"Getting {spec.title or spec.name}: {described(spec)}.")
    screen.line(Span(f"It will be kept as {catalog.models_folder / download_name(spec)}.", "dim"))
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(BAR_CELLS),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
    )
    bar = Progress(*columns, console=screen.console, transient=True, disable=not screen.is_terminal)
    with closing(download(spec, folder=catalog.models_folder, replaces=replaces)) as events, bar:
        task = bar.add_task("Connecting", total=None)
        for event in events:
            match event:
                case DownloadProgress(done_bytes=done, total_bytes=total):
                    bar.update(task, description="Downloading", completed=done, total=total)
                case DownloadWaiting():
                    bar.update(task, description="Waiting for another download of it")
                case DownloadChecking(done_bytes=done, total_bytes=total):
                    bar.update(task, description="Checking", completed=done, total=total)
                case OriginFailed(origin=origin, reason=reason):
                    screen.line(Span(f"Not from {origin}: {reason}", "yellow"))
                case DownloadFinished(file=file):
                    screen.line(f"{spec.name} is at {file}.")


def described(spec: ModelSpec) -> str:
    """Return a download's size and origins, ``1.1 GB from the package index``."""
    size = size_in_words(spec.size_bytes) if spec.size_bytes else "of unknown size"
    return f"{size} from {' or '.join(map(describe, spec.origins))}"


def stand_in_notice(spec: ModelSpec, settings: Settings) -> str:
    """Return what to say where another model stands in for the default one; empty where none does."""
    if settings.model_name is not None or spec.address or spec.name == DEFAULT_MODEL:
        return ""
    reason = f"since {DEFAULT_MODEL}, the default, is not here"
    if spec.name != STARTER_MODEL:
        reason = f"since neither {DEFAULT_MODEL}, the default, nor {STARTER_MODEL}, the starter, is here"
    return f"{spec.name} answers, {reason}. To get the default: coding-assistant models pull {DEFAULT_MODEL}"


def _say_which(screen: Screen, catalog: Catalog, spec: ModelSpec, settings: Settings) -> None:
    if not screen.is_terminal:
        return
    notice = stand_in_notice(spec, settings)
    if notice:
        screen.line(Span(notice, "dim"))
    file = catalog.file_of(spec)
    found = catalog.found.at(file) if file else None
    if found:
        screen.line(Span(f"The weights of {spec.name} are {found.store.program}'s: {file}", "dim"))


def _agreed(screen: Screen, spec: ModelSpec) -> bool:
    if not (screen.is_terminal and sys.stdin.isatty()):
        return False
    screen.line(f"The model {spec.name} is not here yet. It is {described(spec)}.")
    screen.write("Download it? [Y/n] ")
    return input().strip().lower() in {"", "y", "yes"}
