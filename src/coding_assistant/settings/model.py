"""What can be set: each setting with its default, its bounds and its meaning. Where, is not known."""

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from pydantic_core import PydanticCustomError

from coding_assistant.inference.engine_programs import AUTO, WORDS
from coding_assistant.inference.found_models import ModelStore, is_found_name, store_of
from coding_assistant.inference.gpu import LayersSetting

MODELS_FILE = "models.toml"

STATIC_EMBEDDER = "static"
NO_EMBEDDER = "none"
OPENAI = "openai"
NO_STORES = "none"
SENTENCE_TRANSFORMERS = "sentence-transformers"
AUTOMATIC: Final = "auto"


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
