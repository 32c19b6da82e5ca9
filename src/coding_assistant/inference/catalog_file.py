"""Catalog files: tables of models, read and checked.

The built-in ``catalog.toml`` and a user's ``models.toml`` have one format. Knows nothing of which files are
there, nor of what is in them.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from coding_assistant.domain import HubFile, ModelSpec, WheelParts
from coding_assistant.errors import InvalidSetting
from coding_assistant.inference.gpu import LayersSetting
from coding_assistant.inference.value_faults import requirement

DEFAULT_MAX_TOKENS: Final = 1_024
DEFAULT_TEMPERATURE: Final = 0.2  # an answer about code should be the likeliest one, without repeating itself
DEFAULT_TOP_P: Final = 0.95
LEAST_CONTEXT_TOKENS: Final = 256


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
    path = expanded(filename)
    # Elsewhere a file may have any name: Ollama's are called by their digests.
    if not path.is_absolute() and (path.suffix.lower() != ".gguf" or path.name != filename):
        msg = "give the name of a .gguf file in the models folder, or an absolute path"
        raise ValueError(msg)
    return filename


class _ModelTable(_Table):
    filename: Annotated[str, AfterValidator(_check_filename)]
    context_length: int = Field(default=4_096, ge=LEAST_CONTEXT_TOKENS, le=2**20)
    max_tokens: int = Field(default=DEFAULT_MAX_TOKENS, ge=1)
    temperature: float = Field(default=DEFAULT_TEMPERATURE, ge=0, le=2)
    top_p: float = Field(default=DEFAULT_TOP_P, gt=0, le=1)
    n_threads: int | None = Field(default=None, ge=1, le=1_024)
    n_gpu_layers: LayersSetting = 0
    system_prompt: str = ""
    stop_tokens: list[Annotated[str, Field(min_length=1)]] = []
    prompt_format: Literal["auto", "phi3", "llama2", "llama3", "chatml"] = "auto"
    speculation: Literal["off", "ngram"] = "off"
    thinking: Literal["auto", "on", "off"] = "auto"
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


def require_name(name: str) -> None:
    """Raise ``InvalidSetting`` for what cannot be the name of a model."""
    if not re.fullmatch(_NAME_PATTERN, name):
        raise InvalidSetting(
            f"{name!r} cannot be the name of a model.",
            hint="A name has letters, digits, dots, dashes and underscores, and begins with no punctuation.",
        )


class _File(_Table):
    models: dict[Annotated[str, Field(pattern=_NAME_PATTERN)], dict[str, object]] = {}


def read_text(file: Path) -> str:
    """Return the text of a catalog file; raises ``InvalidSetting``."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSetting(
            f"{file} cannot be read: {error}.", hint="It must be a UTF-8 text file."
        ) from error


def parse(text: str, file: str) -> dict[str, dict[str, object]]:
    """Return the models' tables, not yet looked into, for one may stand partly in each file."""
    try:
        return _File.model_validate(tomllib.loads(text)).models
    except tomllib.TOMLDecodeError as error:
        raise InvalidSetting(f"{file} is not valid TOML: {error}.", hint="Correct the line.") from error
    except ValidationError as error:
        raise _invalid(error, file=file, place=()) from error


def spec_of_table(name: str, table: Mapping[str, object], *, file: str) -> ModelSpec:
    """Return the model that a table describes; raises ``InvalidSetting`` naming the key that is wrong."""
    try:
        model = _ModelTable.model_validate(table)
    except ValidationError as error:
        raise _invalid(error, file=file, place=("models", name)) from error
    path = expanded(model.filename)
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
        thinking=model.thinking,
        title=model.title,
        licence=model.licence,
        size_bytes=model.size_bytes,
        sha256=model.sha256,
        origins=tuple(origin.origin() for origin in model.origins),
        path=path if path.is_absolute() else None,
    )


def expanded(path: str) -> Path:
    """Return the path with the home that ``~`` stands for, if there is one."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # "~name" of a user that does not exist
        return Path(path)


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return a sentence that suggests the closest choice, with a blank after it, or nothing."""
    close = get_close_matches(word, list(choices), n=1)
    return f"Did you mean {close[0]}? " if close else ""


class InvalidField(InvalidSetting):
    """A key of a model's table is wrong: ``field``, empty where several are, for the ``complaint``."""

    def __init__(self, message: str, *, hint: str, field: str, complaint: str) -> None:
        super().__init__(message, hint=hint)
        self.field = field
        self.complaint = complaint


def _invalid(error: ValidationError, *, file: str, place: tuple[str, ...]) -> InvalidSetting:
    """Say of the first fault which key of which file it is; the rest would only follow from it."""
    faults = error.errors(include_url=False)
    fault = faults[0]
    *parents, last = (*place, *(str(step) for step in fault["loc"]))
    key = ".".join([*parents, last])
    if fault["type"] == "extra_forbidden":
        hint = f"{did_you_mean(last, _KEYS)}A model has the keys {', '.join(_ModelTable.model_fields)}."
        return InvalidSetting(f"{file}: the key {key} is unknown.", hint=hint)
    complaint = requirement([each for each in faults if each["loc"][:1] == fault["loc"][:1]])
    return InvalidField(
        f"{file}: {key}: {complaint}.",
        hint="Correct that line.",
        field=str(fault["loc"][0]) if fault["loc"] else "",
        complaint=complaint,
    )
