"""``models add`` and ``models remove``: a user's own entries in the catalog."""

from typing import Annotated

import typer

from coding_assistant.cli.options import read_settings
from coding_assistant.cli.screen import Span, standard_output
from coding_assistant.errors import InvalidSetting, ModelUnknown
from coding_assistant.inference.catalog import Catalog, spec_of_file
from coding_assistant.inference.catalog_file import InvalidField
from coding_assistant.inference.memory import size_in_words
from coding_assistant.inference.model_kinds import AUTO_FORMAT
from coding_assistant.inference.own_models import Field, add_entry, remove_entry

_OPTIONS = {"filename": "PATH", "stop_tokens": "--stop"}
"""What of a model's fields is called otherwise where it is typed."""

OwnNameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The name to choose it by.")]


def add(
    name: OwnNameArgument,
    path: Annotated[
        str,
        typer.Argument(metavar="PATH", help="A .gguf file, or what `models list` calls it: ollama:qwen3:4b."),
    ],
    *,
    context_length: Annotated[
        int | None, typer.Option(metavar="N", help="Tokens that one conversation can hold.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(metavar="N", help="The longest answer.")] = None,
    prompt_format: Annotated[
        str, typer.Option(metavar="NAME", help="auto (the file's own), phi3, llama2, llama3 or chatml.")
    ] = AUTO_FORMAT,
    thinking: Annotated[
        str | None, typer.Option(metavar="SWITCH", help="on or off, where the model has such a switch.")
    ] = None,
    temperature: Annotated[float | None, typer.Option(metavar="T", help="How freely it is written.")] = None,
    top_p: Annotated[float | None, typer.Option(metavar="P", help="The share of likely words.")] = None,
    n_gpu_layers: Annotated[
        str | None, typer.Option(metavar="N", help="Layers to put on a GPU, all, or auto.")
    ] = None,
    system_prompt: Annotated[
        str | None, typer.Option(metavar="TEXT", help="In place of the assistant's own instructions.")
    ] = None,
    stop: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="Ends an answer; may be given several times.")
    ] = None,
) -> None:
    """Give a model file a name and settings of its own, in models.toml. The file stays where it is."""
    from coding_assistant.assistant import open_catalog  # noqa: PLC0415  -- a third of a second

    settings = read_settings()
    catalog = open_catalog(settings)
    _require_free(catalog, name)
    spec = spec_of_file(catalog.file_named(path), name=name, prompt_format=prompt_format)
    context_tokens = context_length or spec.context_length
    given: dict[str, Field | None] = {
        "filename": str(spec.path),
        "title": spec.title,
        "context_length": context_tokens,
        "max_tokens": max_tokens or min(spec.max_tokens, context_tokens // 2),
        "prompt_format": prompt_format,
        "thinking": thinking,
        "temperature": temperature,
        "top_p": top_p,
        "n_gpu_layers": _number_or_word(n_gpu_layers),
        "system_prompt": system_prompt,
        "stop_tokens": stop or None,
    }
    fields = {key: value for key, value in given.items() if value is not None}
    try:
        add_entry(settings.models_file, name, fields)
    except InvalidField as error:
        raise _wrong_option(error) from error
    added = open_catalog(settings).get(name)
    output = standard_output()
    size = size_in_words(spec.size_bytes or 0)
    output.line(f"{name}: {added.title}, {size}, {added.context_length:,} tokens of context.")
    output.line(Span(f"The entry stands in {settings.models_file}; the file is used where it lies.", "dim"))
    output.line(Span(f"To try it: coding-assistant models check {name}", "dim"))


def remove(name: OwnNameArgument) -> None:
    """Take an entry of your own out of models.toml. The model's file stays."""
    from coding_assistant.assistant import open_catalog  # noqa: PLC0415  -- as in add

    settings = read_settings()
    catalog = open_catalog(settings)
    try:
        remove_entry(settings.models_file, name)
    except ModelUnknown:
        if name in {spec.name for spec in catalog.specs}:
            raise InvalidSetting(
                f"{name} belongs to the built-in catalog, and you have changed nothing of it.",
                hint="Only entries in models.toml can be removed.",
            ) from None
        raise
    output = standard_output()
    if name in catalog.own:
        file = catalog.file_of(catalog.get(name))
        output.line(f"{name} is removed." + (f" Its file stays: {file}" if file else ""))
    else:
        output.line(f"{name} is again as the built-in catalog has it.")


def _require_free(catalog: Catalog, name: str) -> None:
    if name not in {spec.name for spec in catalog.specs}:
        return
    hint = f"Choose another name, or take it away first: coding-assistant models remove {name}"
    if name not in catalog.own:
        hint = f"Choose another name. What you want changed of {name} itself can be written in models.toml."
    raise InvalidSetting(f"There is a model named {name} already.", hint=hint)


def _wrong_option(error: InvalidField) -> InvalidSetting:
    """Return what to say of a field: it was no line of a file that was wrong, but what was typed."""
    option = _OPTIONS.get(error.field, f"--{error.field.replace('_', '-')}")
    blamed = f"{option} cannot be that" if error.field else "These options do not go together"
    hint = "See `coding-assistant models add --help`."
    return InvalidSetting(f"{blamed}: {error.complaint}.", hint=hint)


def _number_or_word(text: str | None) -> Field | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        return text
