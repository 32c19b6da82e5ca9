"""Everything that a user can set, read once at the edge.

Defaults < ``config.toml`` < ``.env`` < environment < flags. Both files lie in the data directory, never
in the project that is asked about: a cloned repository must not configure the program that reads it.
Nothing below the assistant can import this module, so everything there is a function of its arguments.
"""

import difflib
import re
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final, Literal

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from platformdirs import user_data_path
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from coding_assistant.errors import InvalidSetting
from coding_assistant.inference.engine_programs import AUTO, WORDS
from coding_assistant.inference.found_models import ModelStore, is_found_name, store_of, usual_stores
from coding_assistant.inference.gpu import LayersSetting

PREFIX = "CODING_ASSISTANT_"
CONFIG_FILE = "config.toml"
DOTENV_FILE = ".env"
MODELS_FILE = "models.toml"

STATIC_EMBEDDER = "static"
NO_EMBEDDER = "none"
OPENAI = "openai"
NO_STORES = "none"
SENTENCE_TRANSFORMERS = "sentence-transformers"
AUTOMATIC: Final = "auto"

FOREIGN_NAMES = frozenset(
    {
        "CODING_ASSISTANT_DEBUG",
        "CODING_ASSISTANT_TEST_LLAMA_SERVER",
        "CODING_ASSISTANT_TEST_WEIGHTS",
    }
)
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
    model_stores: tuple[ModelStore, ...] | None = Field(
        default=None,
        description="Folders in which other programs keep models, to be used in place: as in"
        " `ollama=/data/ollama`, also `lmstudio=`, `hf=`, `jan=` and `llama.cpp=`, several with commas"
        " between; `none` for none. Default: where these programs keep them.",
    )
    context_tokens: Annotated[int, Field(ge=512, le=1_048_576)] | Literal["auto"] | None = Field(
        default=None,
        description="Context of one conversation, in tokens. `auto`: that of the model's entry, or less where"
        " memory is short. Default: that of the model's entry, and a model that does not fit is refused.",
    )
    slots: Annotated[int, Field(ge=1, le=64)] | Literal["auto"] = Field(
        default=1,
        description="How many conversations are answered at once; each takes its own context's memory."
        " `auto`: as many as fit, up to 4.",
    )
    batch_tokens: int = Field(
        default=128,
        ge=64,
        le=4096,
        description="Tokens read in one step, during which other answers wait: on a processor more read no"
        " faster; a GPU wants 512.",
    )
    n_threads: int | None = Field(
        default=None, ge=1, le=1024, description="Threads of the engine. Default: the physical cores."
    )
    n_gpu_layers: LayersSetting | None = Field(
        default=None,
        description="Layers to put on a GPU: a number, `auto` (as many as fit into its free memory) or `all`."
        " Default: the model's entry.",
    )
    main_gpu: int | None = Field(
        default=None,
        ge=0,
        le=63,
        description="The one GPU to use, counted from 0 as `engine show` lists them. Default: all of them"
        " share the layers.",
    )
    require_gpu: bool = Field(
        default=False,
        description="Refuse to run a model of which no layer, or fewer than `n_gpu_layers` asks for, are on a"
        " GPU.",
    )
    llama_server: str = Field(
        default=AUTO,
        description="The program that runs models: `auto` (the one that `engine build` made, otherwise the"
        " bundled one), `native`, `bundled`, `path` (the llama-server on the search path), or the path of a"
        " llama-server.",
    )
    engine: Literal["llama.cpp", "openai"] = Field(
        default="llama.cpp",
        description="What runs the model: `llama.cpp` on this machine, or `openai`, a server elsewhere that"
        " speaks the OpenAI API, to which questions and code are then sent.",
    )
    openai_base_url: str | None = Field(
        default=None,
        description='The address of the server for `engine = "openai"`, as in `http://127.0.0.1:8080/v1`.',
    )
    openai_api_key: SecretStr | None = Field(
        default=None, description="The key that this server wants, if it wants one. Never shown or logged."
    )
    openai_model: str | None = Field(
        default=None,
        description="The server's name for the model; `model_name`, if it is set, goes before it.",
    )
    openai_context_tokens: int | None = Field(
        default=None,
        ge=512,
        le=10_000_000,
        description="Context of the server's model, where the server does not say; where it does, the lesser"
        " counts.",
    )
    embedder: str = Field(
        default=STATIC_EMBEDDER,
        description="What finds code by its meaning: `static`, which is built in; `none`; a path to an"
        " embedding model's .gguf file, or another program's name for it, as `ollama:nomic-embed-text`; or"
        " `sentence-transformers:` and a model's folder (with a slash) or installed package.",
    )
    source_tokens: int | None = Field(
        default=None,
        ge=200,
        le=16_000,
        description="Code shown to the model for one question, in tokens: more finds more and takes longer."
        " Default: what the model reads here within `first_token_seconds`, between 600 and 4,000.",
    )
    first_token_seconds: float = Field(
        default=20.0,
        gt=0.0,
        le=3600.0,
        description="How long the first answer of a conversation may take to begin; sets how much code it"
        " is shown.",
    )
    primer_tokens: int = Field(
        default=0,
        ge=0,
        le=4_000,
        description="What a new conversation knows of the project from its beginning (layout, main files and"
        " symbols), in tokens; read once while nobody asks. 0: nothing.",
    )
    snapshot_megabytes: int = Field(
        default=4_096,
        ge=0,
        le=1_000_000,
        description="Disk for what the model has read of conversations, so that they go on at once after a"
        " switch or a restart; the one unused for the longest goes first. 0: none is kept.",
    )
    longest_queue: int = Field(
        default=16,
        ge=0,
        le=10_000,
        description="How many questions may wait for a slot; beyond that they are refused at once.",
    )
    patience_seconds: float = Field(
        default=120.0,
        gt=0.0,
        le=3600.0,
        description="How long a question waits for a free slot, and for a sign of progress from a server"
        " elsewhere.",
    )
    idle_unload_minutes: float = Field(
        default=30.0,
        ge=0.0,
        le=100_000.0,
        description="After so long without a question to it, a model's memory is given back; what it has read"
        " is kept on disk, and the next question loads it again. 0: never.",
    )
    host: str = Field(default="127.0.0.1", description="The address that `serve` listens on: loopback only.")
    port: int = Field(default=8000, ge=1, le=65_535, description="The port that `serve` listens on.")

    @field_validator("embedder")
    @classmethod
    def _require_known_embedder(cls, value: str) -> str:
        library, _, model = value.partition(":")
        is_named = value in (STATIC_EMBEDDER, NO_EMBEDDER) or (library == SENTENCE_TRANSFORMERS and model)
        if not is_named and not value.lower().endswith(".gguf") and not is_found_name(value):
            raise PydanticCustomError(
                "embedder",
                "it must be static, none, a path that ends in .gguf, another program's name for a model, as"
                " ollama:name, or sentence-transformers: followed by a folder or a package",
            )
        return value

    @field_validator("openai_api_key")
    @classmethod
    def _require_sendable_key(cls, value: SecretStr | None) -> SecretStr | None:
        """Take off blanks around it; what no header can carry would come back in an error, key and all."""
        key = value.get_secret_value().strip() if value else ""
        if not all("!" <= character <= "~" for character in key):
            raise PydanticCustomError(
                "openai_api_key", "it may hold only letters, digits and signs of ASCII, without blanks"
            )
        return SecretStr(key) if value else None

    @field_validator("context_tokens", "slots", mode="before")
    @classmethod
    def _require_number_or_auto(cls, value: object) -> object:
        if isinstance(value, str) and value != AUTOMATIC and not value.isdecimal():
            raise PydanticCustomError("number_or_auto", "it must be a whole number or auto")
        return value

    @field_validator("model_stores", mode="before")
    @classmethod
    def _read_stores(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if value == NO_STORES:
            return ()
        try:
            return tuple(store_of(each.strip()) for each in value.split(","))
        except (ValueError, RuntimeError) as error:  # the second: ~ of nobody
            raise PydanticCustomError("model_stores", "{reason}", {"reason": str(error)}) from None

    @field_validator("llama_server")
    @classmethod
    def _require_program(cls, value: str) -> str:
        if value not in WORDS and "/" not in value:
            raise PydanticCustomError(
                "llama_server",
                "it must be auto, native, bundled, path, or the path of a llama-server (with a slash)",
            )
        return value

    @property
    def models(self) -> Path:
        """The folder that holds weights."""
        return self.models_folder or self.home / "models"

    @property
    def models_file(self) -> Path:
        """The user's own catalog entries."""
        return self.home / MODELS_FILE


@dataclass(frozen=True, slots=True)
class _Given:
    """A value, and where it was given, in words: ``CODING_ASSISTANT_PORT in the environment``."""

    value: object
    origin: str


def load_settings(environment: Mapping[str, str], flags: Mapping[str, object]) -> Settings:
    """Merge the sources into settings; a flag that is None was not given.

    Raises ``InvalidSetting`` naming the source and the name.
    """
    home = home_folder(environment, flags)
    given = _from_config(home / CONFIG_FILE)
    given |= _from_dotenv(home / DOTENV_FILE)
    given |= _from_variables(environment, place=lambda _: "the environment")
    given |= {
        name: _Given(value, f"the flag --{name.removesuffix('_name').replace('_', '-')}")
        for name, value in flags.items()
        if value is not None
    }
    merged = {name: each.value for name, each in given.items()} | {"home": home}
    if isinstance(merged.get("models_folder"), str):
        merged["models_folder"] = _folder(given["models_folder"])
    merged.setdefault("model_stores", _usual_stores(environment))
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0])
        raise InvalidSetting(
            f"The setting {name} is not valid: {first['msg']}.", hint=f"Correct {given[name].origin}."
        ) from None


def _usual_stores(environment: Mapping[str, str]) -> tuple[ModelStore, ...]:
    try:
        return usual_stores(environment, Path.home(), sys.platform)
    except RuntimeError:  # a user without a home, as in some containers
        return ()


def home_folder(environment: Mapping[str, str], flags: Mapping[str, object] = MappingProxyType({})) -> Path:
    """Return the data directory; no file can name it, for it is where the files lie.

    Raises ``InvalidSetting``.
    """
    if flags.get("home"):
        return _folder(_Given(flags["home"], "`home`"))
    variable = PREFIX + "HOME"
    if environment.get(variable):
        return _folder(_Given(environment[variable], f"{variable} in the environment"))
    return user_data_path("coding-assistant")


def variable_of(name: str) -> str:
    """Return the environment variable that sets a setting."""
    return "MODEL_NAME" if name == "model_name" else PREFIX + name.upper()


def _folder(given: _Given) -> Path:
    """Return a folder as it was meant, absolute."""
    try:
        return Path(str(given.value)).expanduser().absolute()
    except (RuntimeError, OSError) as error:  # ~ of nobody; a relative path in a folder that is gone
        raise InvalidSetting(
            f"The folder {given.value} cannot be made out: {error}.", hint=f"Correct {given.origin}."
        ) from error


def _from_config(file: Path) -> dict[str, _Given]:
    text = _text_of(file)
    try:
        entries = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _unreadable(file, error) from error
    for name in entries:
        _require_known(name, source=_place(file, text, name), spelt=str)
    if "home" in entries:
        raise _misplaced_home(file)
    return {
        name: _Given(value, f"the entry {name!r} in {_place(file, text, name)}")
        for name, value in entries.items()
    }


def _from_dotenv(file: Path) -> dict[str, _Given]:
    """Return the settings of our own ``.env``; it is for nothing else, so every name in it must be one."""
    text = _text_of(file)
    for binding in parse_stream(StringIO(text)):
        if binding.error:
            raise InvalidSetting(
                f"Line {binding.original.line} of the settings file {file} cannot be read.",
                hint=f"Write NAME=value, as in {PREFIX}SLOTS=2.",
            )
    found = dotenv_values(stream=StringIO(text))
    for variable in found:
        if variable != "MODEL_NAME" and not variable.startswith(PREFIX):
            source = _place(file, text, variable)
            raise _unknown(variable, variable.lower(), source=source, spelt=variable_of)
    if PREFIX + "HOME" in found:
        raise _misplaced_home(file)
    values = {name: value for name, value in found.items() if value is not None}
    return _from_variables(values, place=partial(_place, file, text))


def _place(file: Path, text: str, name: str) -> str:
    """Return the file and, where it can be told, the line that sets the name: in a ``.env`` the last does."""
    sets_it = re.compile(rf"""\s*(?:export\s+)?["']?{re.escape(name)}["']?\s*=""")
    found = [number for number, line in enumerate(text.splitlines(), 1) if sets_it.match(line)]
    return f"{file}, line {found[-1]}" if found else str(file)


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):  # the latter is for the data directory to report
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> InvalidSetting:
    return InvalidSetting(
        f"The settings file {file} cannot be read: {error}.", hint="Correct it, or move it away."
    )


def _misplaced_home(file: Path) -> InvalidSetting:
    return InvalidSetting(
        f"{file} cannot name the data directory, which is where it lies.",
        hint=f"Set {PREFIX}HOME in the environment.",
    )


def _from_variables(variables: Mapping[str, str], *, place: Callable[[str], str]) -> dict[str, _Given]:
    found: dict[str, _Given] = {}
    if variables.get("MODEL_NAME"):
        found["model_name"] = _Given(variables["MODEL_NAME"], f"MODEL_NAME in {place('MODEL_NAME')}")
    for variable, value in variables.items():
        if not variable.startswith(PREFIX) or variable in FOREIGN_NAMES:
            continue
        name = variable.removeprefix(PREFIX).lower()
        _require_known(name, source=place(variable), spelt=variable_of)
        if value:
            found[name] = _Given(value, f"{variable} in {place(variable)}")
    return found


def _require_known(name: str, *, source: str, spelt: Callable[[str], str]) -> None:
    if name in Settings.model_fields:
        return
    unknown = PREFIX + name.upper() if spelt is variable_of else name
    raise _unknown(unknown, name, source=source, spelt=spelt)


def _unknown(written: str, name: str, *, source: str, spelt: Callable[[str], str]) -> InvalidSetting:
    close = difflib.get_close_matches(name, Settings.model_fields, n=1, cutoff=0.5)
    hint = (
        f"Did you mean {spelt(close[0])}?"
        if close
        else f"Known: {', '.join(map(spelt, Settings.model_fields))}."
    )
    return InvalidSetting(f"{written} in {source} is not a setting.", hint=hint)
