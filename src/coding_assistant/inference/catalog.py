"""The models that can be chosen, with the settings that suit them, and where their weights lie.

The facts are data: ``catalog.toml`` beside this module, and a file of the user's in the same format.
Any other GGUF file can be named by its path. Nothing is fetched or loaded here.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path, PurePath, PurePosixPath
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from coding_assistant.domain import HubFile, ModelSpec, WheelParts
from coding_assistant.errors import InvalidModel, InvalidSetting, ModelBroken, ModelMissing, ModelUnknown
from coding_assistant.inference.gguf import GgufHeader, read_header
from coding_assistant.inference.memory import size_in_words

DEFAULT_MODEL: Final = "phi3-mini"
STARTER_MODEL: Final = "qwen2.5-coder-1.5b"

_PATH_CONTEXT_TOKENS: Final = 8_192
"""For a file named by its path: what most models were trained for at least, and most machines can hold."""

_DEFAULT_MAX_TOKENS: Final = 1_024
_DEFAULT_TEMPERATURE: Final = (
    0.2  # an answer about code should be the likeliest one, without repeating itself
)
_DEFAULT_TOP_P: Final = 0.95


@dataclass(frozen=True, slots=True)
class Catalog:
    """The models known by name, in order, and the folder that holds their weights."""

    specs: tuple[ModelSpec, ...]
    models_folder: Path

    @classmethod
    def load(cls, *, user_file: Path | None, models_folder: Path) -> "Catalog":
        """Read the catalog, and the user's additions to it where that file exists.

        Raises ``InvalidSetting`` naming the file and the key that is wrong.
        """
        tables = _parse(
            files(__package__).joinpath("catalog.toml").read_text(encoding="utf-8"), "catalog.toml"
        )
        origin_of_names = dict.fromkeys(tables, "catalog.toml")
        if user_file is not None and user_file.exists():
            for name, table in _parse(_read(user_file), str(user_file)).items():
                tables[name] = {**tables.get(name, {}), **table}
                origin_of_names[name] = str(user_file)
        specs = (_spec(name, table, file=origin_of_names[name]) for name, table in tables.items())
        return cls(tuple(specs), models_folder)

    def get(self, name_or_path: str) -> ModelSpec:
        """Return the model of this name, or the one in this ``.gguf`` file.

        A path may be absolute, relative to the working directory or to the models folder, or begin with
        ``~``; a bare file name is looked for in the models folder first. Raises ``ModelUnknown`` or
        ``ModelMissing`` with a suggestion, and what ``read_header`` raises.
        """
        for spec in self.specs:
            if spec.name == name_or_path:
                return spec
        if _looks_like_path(name_or_path):
            return _spec_of_file(self.existing_file(name_or_path))
        names = [spec.name for spec in self.specs]
        raise ModelUnknown(
            f"There is no model {name_or_path!r} in the catalog.",
            hint=f"{_did_you_mean(name_or_path, names)}Known are {', '.join(names)} and any path of a .gguf.",
        )

    def choose(self, model_name: str | None) -> ModelSpec:
        """Return the model of this name or path; without one the default if present, else the starter."""
        if model_name is not None:
            return self.get(model_name)
        default = self.get(DEFAULT_MODEL)
        return default if self.file_of(default) else self.get(STARTER_MODEL)

    def file_of(self, spec: ModelSpec) -> Path | None:
        """Return the file of the model's weights, None when they are not on this machine."""
        return weights_of(spec, self.models_folder)

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
        """Return a file that is there, its path given as to ``get``; ``ModelMissing`` with a suggestion."""
        given = _expanded(path)
        places = [given.absolute(), self.models_folder / given]
        if given.name == path:
            # The working directory may be a repository that nobody vouches for, with a file of this name.
            places.reverse()
        for place in places:
            if place.is_file():
                return place
        siblings = [file.name for place in places for file in place.parent.glob("*.gguf")]
        raise ModelMissing(
            f"There is no file {given.absolute()}.",
            hint=f"{_did_you_mean(given.name, siblings)}Give the path of a .gguf file, or a model's name.",
        )

    def header_of(self, spec: ModelSpec) -> GgufHeader:
        """Read the header of the model's weights; a broken file's hint names the command that replaces it."""
        file = self.require_file(spec)
        try:
            return read_header(file)
        except ModelBroken as error:
            if not spec.origins:
                raise
            hint = f"Delete {file}, then run `coding-assistant models pull {spec.name}`."
            raise ModelBroken(error.message, hint=hint) from error


def own_place(spec: ModelSpec, models_folder: Path) -> Path:
    """Return where the user's own file of the model is looked for."""
    return spec.path or models_folder / spec.filename


def weights_of(spec: ModelSpec, models_folder: Path) -> Path | None:
    """Return the model's weights if they are here: the user's own file, or else a download."""
    places = [own_place(spec, models_folder)]
    if spec.origins:
        places.append(models_folder / download_name(spec))
    return next((place for place in places if place.is_file()), None)


def download_name(spec: ModelSpec) -> str:
    """Return the name that a download is kept under: the hub's, so that it never takes the user's file's."""
    for origin in spec.origins:
        if isinstance(origin, HubFile):
            return PurePosixPath(origin.filename).name
    return PurePath(spec.filename).name


class _Table(BaseModel):
    """A table of the file: an unknown key is a misspelt one, and a number in quotes is an error."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


_ANY_PART: Final = r"[^{}]*(\{part(:0\d)?\}[^{}]*)*"


class _HubTable(_Table):
    kind: Literal["hub"]
    repository: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    revision: str = Field(pattern=r"^[\w.-]+$")
    filename: str = Field(pattern=r"^[^/\\].*\.gguf$")

    def origin(self) -> HubFile:
        return HubFile(self.repository, self.revision, self.filename)


class _WheelsTable(_Table):
    kind: Literal["wheels"]
    package: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*(\{part\}[\w.-]*)?$")
    version: str = Field(pattern=r"^[0-9][\w.+!]*$")
    parts: int = Field(ge=1, le=999)
    member: str = Field(pattern=f"^{_ANY_PART}$")

    def origin(self) -> WheelParts:
        return WheelParts(self.package, self.version, self.parts, self.member)


def _check_filename(filename: str) -> str:
    path = _expanded(filename)
    if path.suffix.lower() != ".gguf" or not (path.is_absolute() or path.name == filename):
        msg = "give the name of a .gguf file in the models folder, or an absolute path"
        raise ValueError(msg)
    return filename


class _ModelTable(_Table):
    filename: Annotated[str, AfterValidator(_check_filename)]
    context_length: int = Field(default=4_096, ge=256, le=2**20)
    max_tokens: int = Field(default=_DEFAULT_MAX_TOKENS, ge=1)
    temperature: float = Field(default=_DEFAULT_TEMPERATURE, ge=0, le=2)
    top_p: float = Field(default=_DEFAULT_TOP_P, gt=0, le=1)
    n_threads: int | None = Field(default=None, ge=1, le=1_024)
    n_gpu_layers: int = Field(default=0, ge=-1)
    system_prompt: str = ""
    stop_tokens: list[Annotated[str, Field(min_length=1)]] = []
    prompt_format: Literal["auto", "phi3", "llama2", "llama3", "chatml"] = "auto"
    speculation: Literal["off", "ngram"] = "off"
    title: str = ""
    licence: str = ""
    size_bytes: int | None = Field(default=None, ge=1)
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    origins: list[Annotated[_HubTable | _WheelsTable, Field(discriminator="kind")]] = []

    @model_validator(mode="after")
    def _leaves_room_for_a_question(self) -> "_ModelTable":
        if self.max_tokens >= self.context_length:
            msg = f"max_tokens ({self.max_tokens:,}) must be below context_length ({self.context_length:,})"
            raise ValueError(msg)
        return self


_KEYS: Final = ["models", *_ModelTable.model_fields, *_HubTable.model_fields, *_WheelsTable.model_fields]
_NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


class _File(_Table):
    models: dict[Annotated[str, Field(pattern=_NAME_PATTERN)], dict[str, object]] = {}


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSetting(
            f"{file} cannot be read: {error}.", hint="It must be a UTF-8 text file."
        ) from error


def _parse(text: str, file: str) -> dict[str, dict[str, object]]:
    """Return the models' tables, not yet looked into, for one may stand partly in each file."""
    try:
        return _File.model_validate(tomllib.loads(text)).models
    except tomllib.TOMLDecodeError as error:
        raise InvalidSetting(f"{file} is not valid TOML: {error}.", hint="Correct the line.") from error
    except ValidationError as error:
        raise _invalid(error, file=file, place=()) from error


def _spec(name: str, table: Mapping[str, object], *, file: str) -> ModelSpec:
    try:
        model = _ModelTable.model_validate(table)
    except ValidationError as error:
        raise _invalid(error, file=file, place=("models", name)) from error
    path = _expanded(model.filename)
    return ModelSpec(
        name=name,
        filename=model.filename,
        context_length=model.context_length,
        max_tokens=model.max_tokens,
        temperature=model.temperature,
        top_p=model.top_p,
        n_threads=model.n_threads,
        n_gpu_layers=model.n_gpu_layers,
        system_prompt=model.system_prompt,
        stop_tokens=tuple(model.stop_tokens),
        prompt_format=model.prompt_format,
        speculation=model.speculation,
        title=model.title,
        licence=model.licence,
        size_bytes=model.size_bytes,
        sha256=model.sha256,
        origins=tuple(origin.origin() for origin in model.origins),
        path=path if path.is_absolute() else None,
    )


def _spec_of_file(file: Path) -> ModelSpec:
    """Return the settings that a file's own header suggests."""
    header = read_header(file)
    if "bert" in header.architecture:
        raise InvalidModel(
            f"{file.name} is an embedding model ({header.architecture}): it cannot answer questions.",
            hint="Name an instruct or chat model.",
        )
    # Beyond its short context a model with two sets of rope factors reads everything with the long ones.
    context_tokens = min(header.short_context_length or header.context_length, _PATH_CONTEXT_TOKENS)
    return ModelSpec(
        name=file.stem,
        filename=file.name,
        context_length=context_tokens,
        max_tokens=min(_DEFAULT_MAX_TOKENS, context_tokens // 2),
        temperature=_DEFAULT_TEMPERATURE,
        top_p=_DEFAULT_TOP_P,
        n_threads=None,
        n_gpu_layers=0,
        system_prompt="",
        stop_tokens=(),
        prompt_format="auto",
        title=header.name or file.stem,
        size_bytes=header.file_bytes,
        path=file,
    )


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # "~name" of a user that does not exist
        return Path(path)


def _looks_like_path(text: str) -> bool:
    return text.lower().endswith(".gguf") or text.startswith("~") or "/" in text or "\\" in text


def _did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return a sentence that suggests the closest choice, with a blank after it, or nothing."""
    close = get_close_matches(word, list(choices), n=1)
    return f"Did you mean {close[0]}? " if close else ""


def _invalid(error: ValidationError, *, file: str, place: tuple[str, ...]) -> InvalidSetting:
    """Say of the first fault which key of which file it is; the rest would only follow from it."""
    fault = error.errors(include_url=False)[0]
    *parents, last = (*place, *(str(step) for step in fault["loc"]))
    key = ".".join([*parents, last])
    if fault["type"] == "extra_forbidden":
        hint = f"{_did_you_mean(last, _KEYS)}A model has the keys {', '.join(_ModelTable.model_fields)}."
        return InvalidSetting(f"{file}: the key {key} is unknown.", hint=hint)
    complaint = fault["msg"].removeprefix("Value error, ")
    return InvalidSetting(f"{file}: {key}: {complaint}.", hint="Correct that line.")
