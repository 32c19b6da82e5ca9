"""The models that can be chosen, with the settings that suit them, and where their weights lie.

The facts are data: ``catalog.toml`` beside this module, and a file of the user's in the same format.
Any other GGUF file can be named by its path. Nothing is fetched or loaded here.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path, PurePath, PurePosixPath
from typing import Final

from coding_assistant.domain import HubFile, ModelSpec
from coding_assistant.errors import (
    CodingAssistantError,
    InvalidModel,
    ModelBroken,
    ModelMissing,
    ModelUnknown,
)
from coding_assistant.inference.catalog_file import (
    DEFAULT_MAX_TOKENS,
    DEFAULT_TEMPERATURE,
    DEFAULT_TOP_P,
    LEAST_CONTEXT_TOKENS,
    did_you_mean,
    expanded,
    parse,
    read_text,
    spec_of_table,
)
from coding_assistant.inference.found_models import FoundModel, FoundModels, is_found_name
from coding_assistant.inference.gguf import (
    GgufHeader,
    Glimpse,
    first_part,
    glimpse,
    model_stem,
    read_header,
)
from coding_assistant.inference.memory import available_bytes, size_in_words
from coding_assistant.inference.model_kinds import AUTO_FORMAT, ModelKind, require_answers
from coding_assistant.project.near_paths import near_file

DEFAULT_MODEL: Final = "phi3-mini"
STARTER_MODEL: Final = "qwen2.5-coder-1.5b"

_PATH_CONTEXT_TOKENS: Final = 8_192
"""For a file named by its path: what most models were trained for at least, and most machines can hold."""

_SMALLEST_UNASKED_BYTES: Final = 250_000_000
"""A model with fewer bytes is of no help with code: it must be chosen by name."""

_LARGEST_UNASKED_BYTES: Final = 8_000_000_000
"""A larger one writes fewer than five tokens a second from memory of 40 GB/s: it must be chosen by name."""

MOST_GLIMPSES: Final = 300
"""Of so many files the beginning is read for the list, a millisecond each."""

_ROUNDING: Final = 0.01
"""The catalog may give a download's size in round numbers."""

_MOST_TRIED: Final = 8  # headers, some 0.1 s each


@dataclass(frozen=True, slots=True)
class Catalog:
    """The models known by name, in order, and where their weights lie.

    ``own`` are the names of the user's own entries, ``found`` the models that other programs have.
    """

    specs: tuple[ModelSpec, ...]
    models_folder: Path
    own: frozenset[str] = frozenset()
    found: FoundModels = field(default_factory=FoundModels, compare=False)

    @classmethod
    def load(
        cls, *, user_file: Path | None, models_folder: Path, found: FoundModels | None = None
    ) -> "Catalog":
        """Read the catalog, and the user's additions to it where that file exists.

        Raises ``InvalidSetting`` naming the file and the key that is wrong.
        """
        tables = parse(
            files(__package__).joinpath("catalog.toml").read_text(encoding="utf-8"), "catalog.toml"
        )
        built_in = frozenset(tables)
        origin_of_names = dict.fromkeys(tables, "catalog.toml")
        if user_file is not None and user_file.exists():
            for name, table in parse(read_text(user_file), str(user_file)).items():
                tables[name] = {**tables.get(name, {}), **table}
                origin_of_names[name] = str(user_file)
        specs = (spec_of_table(name, table, file=origin_of_names[name]) for name, table in tables.items())
        return cls(
            tuple(specs), models_folder, own=frozenset(tables) - built_in, found=found or FoundModels()
        )

    def get(self, name_or_path: str) -> ModelSpec:
        """Return the model of this name, another program's of this name, or the one in this ``.gguf`` file.

        A path may be absolute, relative to the working directory or to the models folder, or begin with
        ``~``; a bare file name is looked for in the models folder first. Raises ``ModelUnknown`` or
        ``ModelMissing`` with a suggestion, and what ``read_header`` raises.
        """
        for spec in self.specs:
            if spec.name == name_or_path:
                return spec
        if is_found_name(name_or_path) or _looks_like_path(name_or_path):
            file = self.file_named(name_or_path)
            found = self.found.get(name_or_path)
            return spec_of_file(file, name=found.name if found else model_stem(file))
        names = [spec.name for spec in self.specs]
        raise ModelUnknown(
            f"There is no model {name_or_path!r} in the catalog.",
            hint=f"{did_you_mean(name_or_path, names)}Known are {', '.join(names)}, what other programs have"
            " (`coding-assistant models list`), and any path of a .gguf.",
        )

    def file_named(self, name_or_path: str) -> Path:
        """Return the file of another program's model by its name, or the one at a path; to be loaded from.

        Raises ``ModelUnknown`` or ``ModelMissing`` with a suggestion.
        """
        if not is_found_name(name_or_path):
            return first_part(self.existing_file(name_or_path))
        model = self.found.get(name_or_path)
        if model is None:
            names = [each.name for each in self.found.models]
            raise ModelUnknown(
                f"No other program has a model {name_or_path!r} here.",
                hint=f"{did_you_mean(name_or_path, names)}See `coding-assistant models list`.",
            )
        return model.path

    def choose(self, model_name: str | None) -> ModelSpec:
        """Return the model of this name or path.

        Without one: the default if it is present, else the starter, else the best of what is present, and the
        starter if there is nothing.
        """
        if model_name is not None:
            return self.get(model_name)
        default, starter = self.get(DEFAULT_MODEL), self.get(STARTER_MODEL)
        if self.file_of(default):
            return default
        return starter if self.file_of(starter) else next(self._others_present(), starter)

    def _others_present(self) -> Iterator[ModelSpec]:
        """Yield the models that could answer without having been asked for, the best first.

        The user's own entries, then the catalog's in its order, then what other programs have: first what is
        for code, and of that the largest.
        """
        for spec in sorted(self.specs, key=lambda each: each.name not in self.own):
            file = self.file_of(spec)
            if file and (spec.name in self.own or file.stat().st_size >= _SMALLEST_UNASKED_BYTES):
                yield spec
        largest = min(_LARGEST_UNASKED_BYTES, available_bytes())
        fitting = [
            each for each in self.found.models if _SMALLEST_UNASKED_BYTES <= each.size_bytes <= largest
        ]
        for model in sorted(fitting, key=_usefulness, reverse=True)[:_MOST_TRIED]:
            try:
                yield spec_of_file(model.path, name=model.name)
            except CodingAssistantError:
                continue  # no model that answers, or a broken file

    def file_of(self, spec: ModelSpec) -> Path | None:
        """Return the file of the model's weights, None when they are not on this machine.

        The user's own file, a download, or the file of another program that has the same weights.
        """
        file = weights_of(spec, self.models_folder)
        if file is None and (found := self.found.weights_of(spec, _file_names(spec))):
            return found.path
        return file

    def require_file(self, spec: ModelSpec) -> Path:
        """Return the file of the model's weights; raise ``ModelMissing`` with the command that gets it."""
        file = self.file_of(spec)
        if file is not None:
            return file
        place = own_place(spec, self.models_folder)
        hint = f"Copy the file to {place}."
        if spec.origins:
            size = f" ({size_in_words(spec.size_bytes)})" if spec.size_bytes else ""
            hint = f"Run `coding-assistant models pull {spec.name}`{size}, or copy your own file to {place}."
        raise ModelMissing(f"The weights of {spec.name} are not on this machine.", hint=hint)

    def existing_file(self, path: str) -> Path:
        """Return a file that is there, its path given as to ``get``; ``ModelMissing`` with a suggestion.

        However its path is spelled, the same one comes back. ``ModelUnknown``: it could not be looked for.
        """
        given = expanded(path)
        places = [given.absolute(), self.models_folder / given]
        if given.name == path:
            # The working directory may be a repository that nobody vouches for, with a file of this name.
            places.reverse()
        try:
            for place in places:
                if place.is_file():
                    return _one_spelling(place)
        except OSError as error:  # a folder that is not ours, a name that is longer than a file's may be
            raise ModelUnknown(
                f"{given.absolute()} cannot be read: {error.strerror}.",
                hint="Give the path of a .gguf file that you may read, or a model's name.",
            ) from error
        raise ModelMissing(
            f"There is no file {given.absolute()}.",
            hint=f"{_meant(places)}Give the path of a .gguf file, or a model's name.",
        )

    def header_of(self, spec: ModelSpec) -> GgufHeader:
        """Read the header of the model's weights; a broken file's hint names the command that replaces it."""
        file = self.require_file(spec)
        try:
            return read_header(file)
        except ModelBroken as error:
            raise ModelBroken(error.message, hint=self.replacement_of(spec, file) or error.hint) from error

    def replacement_of(self, spec: ModelSpec, file: Path) -> str:
        """Return how the model's file is replaced if it is broken; empty where it cannot be downloaded."""
        if not spec.origins or self.found.at(file):
            return ""
        pull = f"`coding-assistant models pull {spec.name}`"
        if self.is_download(spec, file):
            return f"{pull} gets it again and replaces it."
        return f"Delete {file}, then run {pull}."

    def is_download(self, spec: ModelSpec, file: Path) -> bool:
        """Return whether the model's file has the place and the name of its download."""
        return bool(spec.origins) and file == self.models_folder / download_name(spec)

    def damage_of(self, spec: ModelSpec) -> ModelBroken | None:
        """Return what is wrong with the file of a model's weights; None if it seems whole, or is not here.

        A header takes 0.1 s to read, for a list of many models too long: of a file that has the catalog's
        size only the beginning is looked at.
        """
        file = self.file_of(spec)
        if file is None:
            return None
        try:
            if has_size_of(spec, file.stat().st_size):
                glimpse(file)
            else:
                self.header_of(spec)
        except ModelBroken as error:
            return error
        except (CodingAssistantError, OSError):  # what else is wrong with it is said when it is used
            return None
        return None

    def glimpses(self) -> Iterator[tuple[FoundModel, Glimpse | None]]:
        """Yield what other programs have, with the first keys of the files; None for a broken file."""
        for number, model in enumerate(self.found.models):
            seen = None
            if number < MOST_GLIMPSES:
                with suppress(CodingAssistantError):
                    seen = glimpse(model.path)
            yield model, seen

    def found_specs(self) -> list[ModelSpec]:
        """Return the models of other programs that can answer, as far as their files' first keys tell."""
        return [
            _spec(
                model.path,
                name=model.name,
                title=model.name,
                context_tokens=seen.context_length or _PATH_CONTEXT_TOKENS,
                size_bytes=model.size_bytes,
            )
            for model, seen in self.glimpses()
            if seen is not None and seen.kind is ModelKind.CHAT
        ]


def has_size_of(spec: ModelSpec, size_bytes: int) -> bool:
    """Return whether a file is as large as the catalog says, which may be in round numbers."""
    return spec.size_bytes is not None and abs(size_bytes - spec.size_bytes) <= _ROUNDING * spec.size_bytes


def own_place(spec: ModelSpec, models_folder: Path) -> Path:
    """Return where the user's own file of the model is looked for."""
    return spec.path or models_folder / spec.filename


def weights_of(spec: ModelSpec, models_folder: Path) -> Path | None:
    """Return the model's weights if they are here: the user's own file, or else a download."""
    places = [own_place(spec, models_folder)]
    if spec.origins:
        places.append(models_folder / download_name(spec))
    return next((first_part(place) for place in places if place.is_file()), None)


def download_name(spec: ModelSpec) -> str:
    """Return the name that a download is kept under: the hub's, so that it never takes the user's file's."""
    for origin in spec.origins:
        if isinstance(origin, HubFile):
            return PurePosixPath(origin.filename).name
    return PurePath(spec.filename).name


def _one_spelling(file: Path) -> Path:
    """Return the path without links and dots; the file's own name stays, a link's too.

    By its name a model is known, and its other parts are found.
    """
    real = file.resolve()
    return real if real.name == file.name else file.parent.resolve() / file.name


def _meant(places: Sequence[Path]) -> str:
    """Return a sentence that suggests a file of nearly the same path, with a blank after it, or nothing."""
    for place in places:
        if near := near_file(place, suffix=".gguf"):
            return f"Did you mean {near}? "
    return ""


def _file_names(spec: ModelSpec) -> tuple[str, str]:
    return PurePath(spec.filename).name, download_name(spec)


def _usefulness(model: FoundModel) -> tuple[bool, int]:
    return "cod" in model.name.lower(), model.size_bytes


def spec_of_file(file: Path, *, name: str, prompt_format: str = AUTO_FORMAT) -> ModelSpec:
    """Return the settings that a file's own header suggests.

    Raises what ``read_header`` does, and ``InvalidModel`` for a file that cannot answer in this format or
    has hardly any context.
    """
    header = read_header(file)
    require_answers(file.name, header.kind, header.architecture, prompt_format)
    # Beyond its short context a model with two sets of rope factors reads everything with the long ones.
    context_tokens = min(header.short_context_length or header.context_length, _PATH_CONTEXT_TOKENS)
    if context_tokens < LEAST_CONTEXT_TOKENS:
        raise InvalidModel(
            f"{file.name} has a context of {context_tokens:,} tokens: no room for a question and an answer.",
            hint=f"Choose a model with {LEAST_CONTEXT_TOKENS:,} tokens or more.",
        )
    spec = _spec(
        file,
        name=name,
        title=header.name or name,
        context_tokens=context_tokens,
        size_bytes=header.file_bytes,
    )
    return replace(spec, prompt_format=prompt_format)


def _spec(file: Path, *, name: str, title: str, context_tokens: int, size_bytes: int) -> ModelSpec:
    """Return the settings of a model that no catalog has, with no more context than for a path."""
    context_length = min(context_tokens, _PATH_CONTEXT_TOKENS)
    return ModelSpec(
        name=name,
        filename=file.name,
        context_length=context_length,
        max_tokens=min(DEFAULT_MAX_TOKENS, context_length // 2),
        temperature=DEFAULT_TEMPERATURE,
        top_p=DEFAULT_TOP_P,
        n_threads=None,
        n_gpu_layers=0,
        system_prompt="",
        stop_tokens=(),
        prompt_format=AUTO_FORMAT,
        title=title,
        size_bytes=size_bytes,
        path=file,
    )


def _looks_like_path(text: str) -> bool:
    return text.lower().endswith(".gguf") or text.startswith("~") or "/" in text or "\\" in text
