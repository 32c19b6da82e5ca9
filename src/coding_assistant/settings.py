"""Everything that a user can set, read once at the edge.

Defaults < ``config.toml`` < ``.env`` < environment < flags. Both files lie in the data directory, never
in the project that is asked about: a cloned repository must not configure the program that reads it.
Nothing below the assistant can import this module, so everything there is a function of its arguments.
"""

import difflib
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

from dotenv import dotenv_values
from platformdirs import user_data_path
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from coding_assistant.errors import InvalidSetting

PREFIX = "CODING_ASSISTANT_"
CONFIG_FILE = "config.toml"
DOTENV_FILE = ".env"
MODELS_FILE = "models.toml"

FOREIGN_NAMES = frozenset({"CODING_ASSISTANT_DEBUG", "CODING_ASSISTANT_TEST_WEIGHTS"})
"""Names with our prefix that others read: the command line's traceback switch and the test suite."""


class Settings(BaseModel):
    """The settings of one run. Each has its default here and its bounds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Field(description="The data directory: conversations, indexes and models.")
    model_name: str | None = Field(
        default=None,
        description="A name of the catalog, or a path to a .gguf file. The one setting that is also read as"
        " plain MODEL_NAME. Default: phi3-mini when its file is there, otherwise the starter model.",
    )
    models_folder: Path | None = Field(
        default=None, description="Where weights lie. Default: the folder `models` of the data directory."
    )
    context_tokens: int | None = Field(
        default=None,
        ge=512,
        le=1_048_576,
        description="Context of one conversation. Default: the model's entry.",
    )
    slots: int = Field(
        default=1,
        ge=1,
        le=64,
        description="How many conversations are answered at once; each takes its own context's memory.",
    )
    batch_tokens: int = Field(
        default=64,
        ge=32,
        le=4096,
        description="Tokens read in one step: fewer stop sooner, and on a processor more read no faster;"
        " a GPU wants 512.",
    )
    n_threads: int | None = Field(
        default=None, ge=1, le=1024, description="Threads of the engine. Default: the physical cores."
    )
    n_gpu_layers: int | None = Field(
        default=None,
        ge=-1,
        le=1024,
        description="Layers to put on a GPU; -1 is all. Default: the model's entry.",
    )
    source_tokens: int = Field(
        default=1_200,
        ge=200,
        le=16_000,
        description="Code shown to the model for one question, in tokens: more finds more and takes longer.",
    )
    patience_seconds: float = Field(
        default=120.0, gt=0.0, le=3600.0, description="How long a question waits for a free slot."
    )
    host: str = Field(default="127.0.0.1", description="The address that `serve` listens on: loopback only.")
    port: int = Field(default=8000, ge=1, le=65_535, description="The port that `serve` listens on.")

    @property
    def models(self) -> Path:
        """The folder that holds weights."""
        return self.models_folder or self.home / "models"

    @property
    def models_file(self) -> Path:
        """The user's own catalog entries."""
        return self.home / MODELS_FILE


def load_settings(environment: Mapping[str, str], flags: Mapping[str, object]) -> Settings:
    """Merge the sources into settings; a flag that is None was not given.

    Raises ``InvalidSetting`` naming the source and the name.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    home = _home(environment, given)
    merged: dict[str, object] = {"home": home}
    merged |= _from_config(home / CONFIG_FILE)
    merged |= _from_variables(_dotenv(home / DOTENV_FILE), source=str(home / DOTENV_FILE))
    merged |= _from_variables(environment, source="the environment")
    merged |= given
    merged["home"] = home
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise InvalidSetting(
            f"The setting {name} is not valid: {first['msg']}.",
            hint=f"Correct {variable_of(name)} or the entry {name!r} in {home / CONFIG_FILE}.",
        ) from None


def variable_of(name: str) -> str:
    """Return the environment variable that sets a setting."""
    return "MODEL_NAME" if name == "model_name" else PREFIX + name.upper()


def _home(environment: Mapping[str, str], flags: Mapping[str, object]) -> Path:
    chosen = flags.get("home") or environment.get(PREFIX + "HOME")
    return Path(str(chosen)).expanduser().absolute() if chosen else user_data_path("coding-assistant")


def _from_config(file: Path) -> dict[str, object]:
    try:
        entries = tomllib.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):  # the latter is for the data directory to report
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidSetting(
            f"The settings file {file} cannot be read: {error}.", hint="Correct it, or move it away."
        ) from error
    for name in entries:
        _require_known(name, source=str(file), spelt=str)
    return entries


def _dotenv(file: Path) -> dict[str, str]:
    return {name: value for name, value in dotenv_values(file).items() if value is not None}


def _from_variables(variables: Mapping[str, str], *, source: str) -> dict[str, object]:
    found: dict[str, object] = {}
    if variables.get("MODEL_NAME"):
        found["model_name"] = variables["MODEL_NAME"]
    for variable, value in variables.items():
        if not variable.startswith(PREFIX) or variable in FOREIGN_NAMES:
            continue
        name = variable.removeprefix(PREFIX).lower()
        _require_known(name, source=source, spelt=variable_of)
        if value:
            found[name] = value
    return found


def _require_known(name: str, *, source: str, spelt: Callable[[str], str]) -> None:
    if name in Settings.model_fields:
        return
    close = difflib.get_close_matches(name, Settings.model_fields, n=1, cutoff=0.5)
    hint = (
        f"Did you mean {spelt(close[0])}?"
        if close
        else f"Known: {', '.join(map(spelt, Settings.model_fields))}."
    )
    unknown = PREFIX + name.upper() if spelt is variable_of else name
    raise InvalidSetting(f"{unknown} in {source} is not a setting.", hint=hint)
