"""``models``: which there are, what they need, how to get them, and whether they work."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from coding_assistant.cli.groups import show_help
from coding_assistant.cli.memory import memory_rows
from coding_assistant.cli.model_entries import add, remove
from coding_assistant.cli.options import JsonOption, read_settings
from coding_assistant.cli.screen import Screen, Span, standard_error, standard_output
from coding_assistant.cli.weights import described, pull, stand_in_notice
from coding_assistant.domain import (
    MemoryPlan,
    ModelSpec,
)
from coding_assistant.inference.catalog import Catalog, download_name
from coding_assistant.inference.found_models import FoundModel
from coding_assistant.inference.gguf import GgufHeader, Glimpse
from coding_assistant.inference.memory import size_in_words
from coding_assistant.inference.model_kinds import ModelKind
from coding_assistant.settings import Settings

models = typer.Typer(
    help="List, show, pull, check, add, remove.", callback=show_help, invoke_without_command=True
)

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="A model that `models list` names, or a path to a .gguf file.")
]
OptionalNameArgument = Annotated[
    str | None, typer.Argument(metavar="NAME", help="A model of the catalog. Default: the chosen one.")
]


@models.command("list")
def list_models(*, as_json: JsonOption = False) -> None:
    """List the models that can be chosen by name; * marks the one that answers."""
    output = standard_output()
    settings, catalog, chosen = _chosen(None)
    if chosen.address:  # models here cannot be chosen then
        known, found = [chosen], []
    else:
        known, found = list(catalog.specs), list(catalog.glimpses())
        is_listed = any(_is_chosen(spec, chosen) for spec in known)
        if not (is_listed or any(_is_chosen(model, chosen) for model, _ in found)):
            known.append(chosen)
    if as_json:
        output.json(
            [
                *(_as_json(catalog, spec, chosen) for spec in known),
                *(_found_as_json(model, seen, chosen) for model, seen in found),
            ]
        )
        return
    rows = [("", "name", "size", "context", "here", "title")]
    for spec in known:
        here = _here(catalog, spec)
        size = size_in_words(spec.size_bytes) if spec.size_bytes else "?"
        mark = "*" if _is_chosen(spec, chosen) else ""
        rows.append((mark, spec.name, size, f"{spec.context_length:,}", here, spec.title))
    output.table(rows)
    _show_files(output, catalog, known)
    _show_found(output, found, chosen, () if chosen.address else catalog.found.complaints)
    output.line()
    notice = stand_in_notice(chosen, settings)
    if notice:
        output.line(Span(notice, "dim"))
    output.line(Span("MODEL_NAME or --model chooses another one.", "dim"))


@models.command()
def show(name: NameArgument, *, as_json: JsonOption = False) -> None:
    """Show everything that is known about a model, and the memory that it would take."""
    output = standard_output()
    settings, catalog, chosen = _chosen(name)
    header = catalog.header_of(chosen) if catalog.file_of(chosen) else None
    plan = _memory_plan(catalog, chosen, settings) if header else None
    if as_json:
        facts = (
            {key: value for key, value in asdict(header).items() if key != "chat_template"}
            if header
            else None
        )
        memory = asdict(plan) | {"needed": plan.needed, "fits": plan.fits} if plan else None
        output.json(_as_json(catalog, chosen, chosen) | {"header": facts, "memory": memory})
        return
    output.table(_spec_rows(catalog, chosen))
    if header and plan:
        output.line()
        output.table([*_header_rows(header), *memory_rows(plan, settings)])
    if chosen.notice:
        output.line(Span(chosen.notice, "yellow"))


@models.command("pull")
def pull_model(
    name: OptionalNameArgument = None,
) -> None:
    """Download a model's weights and check them; a broken download goes on where it stopped."""
    side = standard_error()
    _, catalog, chosen = _chosen(name)
    if chosen.address:
        side.line(f"{chosen.name} runs at {chosen.address}: there is nothing to download.")
        return
    file, damage = catalog.file_of(chosen), catalog.damage_of(chosen)
    if file is not None and damage is not None:
        side.line(Span(f"Damaged: {damage.message}", "yellow"))
        if not catalog.is_download(chosen, file):  # a file of the user's own, or of another program
            raise damage
    elif file is not None:
        side.line(f"{chosen.name} is here already: {file}")
        return
    pull(catalog, chosen, side, replaces=damage is not None)


@models.command()
def check(name: OptionalNameArgument = None) -> None:
    """Recognise a model's file, load it and ask it what 2+2 is."""
    from coding_assistant.cli.model_trial import ask_it  # noqa: PLC0415  -- as in _chosen

    output, side = standard_output(), standard_error()
    settings, catalog, chosen = _chosen(name)
    if chosen.address:
        output.table([("runs at", chosen.address)])
        if chosen.notice:
            side.line(Span(chosen.notice, "yellow"))
        output.line()
        ask_it(settings, catalog, chosen, output=output, side=side)
        return
    file = catalog.require_file(chosen)
    header = catalog.header_of(chosen)
    plan = _memory_plan(catalog, chosen, settings)
    rows = memory_rows(plan, settings) if plan else ()
    output.table([("found", str(file)), *_header_rows(header), *rows])
    output.line()
    ask_it(settings, catalog, chosen, output=output, side=side)


def _chosen(name: str | None) -> tuple[Settings, Catalog, ModelSpec]:
    # Loading the parts takes a third of a second that `--help` does not need.
    from coding_assistant.assistant import chosen_model, open_catalog  # noqa: PLC0415

    settings = read_settings(model_name=name)
    catalog = open_catalog(settings)
    return settings, catalog, chosen_model(catalog, settings)


models.command()(add)
models.command()(remove)


# --- What other programs have ---------------------------------------------------------------------


def _show_found(
    output: Screen,
    found: Sequence[tuple[FoundModel, Glimpse | None]],
    chosen: ModelSpec,
    complaints: Sequence[str],
) -> None:
    """Show the models that can answer; the others, and stores that cannot be read, are a line."""
    rows: list[tuple[str, ...]] = []
    others: Counter[str] = Counter()
    for model, seen in found:
        if seen is None or seen.kind is not ModelKind.CHAT:
            others["broken or unreadable file" if seen is None else seen.kind] += 1
            continue
        mark = "*" if _is_chosen(model, chosen) else ""
        context = f"{seen.context_length:,}" if seen.context_length else "?"
        rows.append((mark, model.name, size_in_words(model.size_bytes), context, seen.architecture))
    if rows:
        output.line()
        output.line("Of other programs, used where they lie:")
        output.table([("", "name", "size", "trained context", "architecture"), *rows])
    if others:
        output.line()
        listed = ", ".join(f"{kind} ({number:,})" for kind, number in sorted(others.items()))
        output.line(Span(f"They also have what cannot answer: {listed}.", "dim"))
    for complaint in complaints:
        output.line(Span(f"Not listed: {complaint}", "yellow"))


def _found_as_json(model: FoundModel, seen: Glimpse | None, chosen: ModelSpec) -> dict[str, object]:
    return {
        "name": model.name,
        "file": str(model.path),
        "size_bytes": model.size_bytes,
        "sha256": model.sha256,
        "program": model.store.program,
        "kind": seen.kind if seen else None,
        "architecture": seen.architecture if seen else None,
        "trained_context_length": seen.context_length or None if seen else None,
        "installed": True,
        "selected": _is_chosen(model, chosen),
    }


def _is_chosen(listed: ModelSpec | FoundModel, chosen: ModelSpec) -> bool:
    """Return whether it is the model that answers: a file named by its path may share another's name."""
    return (listed.name, listed.path) == (chosen.name, chosen.path)


def _here(catalog: Catalog, spec: ModelSpec) -> str:
    """Say whether the weights of a catalog's model are here, and with which other program they lie."""
    file = catalog.file_of(spec)
    if file is None:
        return "elsewhere" if spec.address else "no"
    if catalog.damage_of(spec) is not None:
        return "damaged"
    found = catalog.found.at(file)
    return f"in {found.store.program}" if found else "yes"


def _show_files(output: Screen, catalog: Catalog, known: Sequence[ModelSpec]) -> None:
    """Show which file each model here is, for it may be called otherwise, and what replaces a broken one."""
    folder, names_of = catalog.models_folder, dict[Path, list[str]]()
    for spec in known:
        if file := catalog.file_of(spec):
            names_of.setdefault(file, []).append(spec.name)
    output.line()
    if not names_of:
        output.line(f"No weights lie in {folder} yet.")
        return
    output.line(f"Weights, in {folder} if no other folder is named:")
    output.table(
        [
            (str(file.relative_to(folder) if file.is_relative_to(folder) else file), ", ".join(names))
            for file, names in names_of.items()
        ],
        indent="  ",
    )
    for spec in known:
        if damage := catalog.damage_of(spec):
            output.line(Span(f"{spec.name} is damaged. {damage.hint}", "yellow"))


# --- What is known --------------------------------------------------------------------------------


def _as_json(catalog: Catalog, spec: ModelSpec, chosen: ModelSpec) -> dict[str, object]:
    file = catalog.file_of(spec)
    fields = {key: value for key, value in asdict(spec).items() if key not in {"origins", "path"}}
    return fields | {
        "origins": [asdict(origin) for origin in spec.origins],
        "file": None if file is None else str(file),
        "installed": file is not None,
        "damage": damage.message if (damage := catalog.damage_of(spec)) else "",
        "selected": _is_chosen(spec, chosen),
    }


def _spec_rows(catalog: Catalog, spec: ModelSpec) -> Iterator[tuple[str, str]]:
    file = catalog.file_of(spec)
    yield "name", spec.name
    yield "title", spec.title or "-"
    yield "licence", spec.licence or "not stated"
    if spec.address:
        yield "runs at", spec.address
        return
    names = dict.fromkeys((spec.filename, download_name(spec)))
    yield "file", str(file) if file else f"not here; looked for as {' or '.join(names)}"
    yield "download", described(spec) if spec.origins else "nowhere known"
    yield "sha256", spec.sha256 or "-"
    yield "context", f"{spec.context_length:,} tokens"
    yield "longest answer", f"{spec.max_tokens:,} tokens"
    yield "temperature", str(spec.temperature)
    yield "top_p", str(spec.top_p)
    yield "threads", str(spec.n_threads or "one for each core")
    yield "GPU layers", str(spec.n_gpu_layers)
    yield "prompt format", spec.prompt_format
    yield "thinking", spec.thinking
    yield "stop tokens", " ".join(spec.stop_tokens) or "-"
    yield "system prompt", spec.system_prompt or "the assistant's own"


def _header_rows(header: GgufHeader) -> Iterator[tuple[str, str]]:
    yield "size", size_in_words(header.file_bytes)
    yield "kind", header.kind
    yield "architecture", header.architecture
    yield "parameters", f"{header.parameters / 1e9:.2f} billion"
    yield "quantisation", header.quantisation
    yield "layers", str(header.layers)
    yield "trained context", f"{header.context_length:,} tokens"
    yield "vocabulary", f"{header.vocabulary_size:,} tokens"


def _memory_plan(catalog: Catalog, spec: ModelSpec, settings: Settings) -> MemoryPlan | None:
    from coding_assistant.assistant import memory_plan  # noqa: PLC0415  -- as in _chosen

    return memory_plan(spec, catalog, settings)
