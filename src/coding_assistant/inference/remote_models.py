"""Which models a server elsewhere has, how much context it gives them, and whether it counts tokens for us.

Everything is asked from the server when a model is loaded; each kind of server has its own way to say it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict

from coding_assistant.domain import Message, Role
from coding_assistant.errors import InvalidSetting, ModelUnknown
from coding_assistant.inference.control_strings import broken_control_strings
from coding_assistant.inference.remote_counts import Counting, EstimatedCounting, ServerCounting
from coding_assistant.inference.remote_server import RemoteFailure, RemoteServer

# What Ollama gives a model where neither the model nor the server was told otherwise, on machines with little
# video memory. It cuts longer prompts without a word.
_OLLAMA_TOKENS: Final = 4_096

_NAMES_SHOWN: Final = 10


class ServerKind(StrEnum):
    """What runs the models, as far as it matters here."""

    LLAMA_SERVER = "llama.cpp"
    VLLM = "vLLM"
    OLLAMA = "Ollama"
    OTHER = "another server"


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that a server has, under the name that the server calls it."""

    name: str
    kind: ServerKind
    context_tokens: int
    counting: Counting

    @property
    def notice(self) -> str:
        """What the user would wonder about; empty where all is as it should be."""
        if self.kind is not ServerKind.OLLAMA or self.context_tokens > _OLLAMA_TOKENS:
            return ""
        return (
            f"Ollama gives {self.name} {self.context_tokens:,} tokens of context. For longer conversations"
            " start it with OLLAMA_CONTEXT_LENGTH=16384, or more."
        )


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore", protected_namespaces=())


class _Meta(_Lenient):
    n_ctx: int | None = None


class _Listed(_Lenient):
    """A model in the list; the context is under the name that each kind of server has for it."""

    id: str
    aliases: list[str] = []
    owned_by: str | None = None
    meta: _Meta | None = None
    max_model_len: int | None = None
    loaded_context_length: int | None = None
    max_context_length: int | None = None
    context_length: int | None = None
    context_window: int | None = None

    @property
    def context(self) -> int | None:
        said = (
            self.meta.n_ctx if self.meta else None,
            self.max_model_len,
            self.loaded_context_length,
            self.max_context_length,
            self.context_length,
            self.context_window,
        )
        return next((tokens for tokens in said if tokens), None)

    def answers_to(self, name: str) -> bool:
        """Whether it is meant; llama-server calls a model by its path, and Ollama adds a tag."""
        last = self.id.replace("\\", "/").rpartition("/")[2]
        return name in {self.id, *self.aliases, last} or self.id == f"{name}:latest"


class _Models(_Lenient):
    data: list[_Listed] = []


class _Settings(_Lenient):
    n_ctx: int | None = None


class _Properties(_Lenient):
    default_generation_settings: _Settings = _Settings()


class _Count(_Lenient):
    """A count, under the name that each door has for it."""

    count: int | None = None
    input_tokens: int | None = None
    tokens: list[int] = []

    @property
    def total(self) -> int:
        return next((said for said in (self.count, self.input_tokens) if said is not None), len(self.tokens))


class _Version(_Lenient):
    version: str


class _Running(_Lenient):
    name: str = ""
    model: str = ""
    context_length: int | None = None


class _AllRunning(_Lenient):
    models: list[_Running] = []


class _Shown(_Lenient):
    parameters: str = ""


async def examine(server: RemoteServer, name: str, *, stated_tokens: int | None) -> ServedModel:
    """Return the model of this name with all that the server says of it.

    ``stated_tokens`` is the context where the server does not say; where it does, the lesser counts. Raises
    ``ModelUnknown`` with the names that are served, ``InvalidSetting`` where nobody knows the context, and
    ``RemoteFailure``.
    """
    listed = await _listed(server, name)
    kind = await _kind(server, listed)
    said = await _context(server, listed, kind)
    known = [tokens for tokens in (said, stated_tokens) if tokens]
    if not known:
        raise InvalidSetting(
            f"{server.address.base} does not say how much context {listed.id} has.",
            hint="Set openai_context_tokens to what the server was started with.",
        )
    return ServedModel(listed.id, kind, min(known), await _counting(server, listed.id, kind))


async def _listed(server: RemoteServer, name: str) -> _Listed:
    models = (await server.get(f"{server.address.base}/models", _Models)).data
    found = next((model for model in models if model.answers_to(name)), None)
    if found is not None:
        return found
    names = [model.id for model in models]
    close = get_close_matches(name, names, n=1)
    suggestion = f"Did you mean {close[0]}? " if close else ""
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    served = ", ".join(names[:_NAMES_SHOWN]) or "none at all"
    raise ModelUnknown(
        f"{server.address.base} does not serve a model {name!r}.",
        hint=f"{suggestion}It serves {served}{more}. Name one in openai_model, or with --model.",
    )


async def _kind(server: RemoteServer, listed: _Listed) -> ServerKind:
    if listed.owned_by == "llamacpp":
        return ServerKind.LLAMA_SERVER
    if listed.owned_by == "vllm":
        return ServerKind.VLLM
    if listed.context is None:
        try:
            await server.get(f"{server.address.root}/api/version", _Version)
        except RemoteFailure:
            return ServerKind.OTHER
        return ServerKind.OLLAMA
    return ServerKind.OTHER


async def _context(server: RemoteServer, listed: _Listed, kind: ServerKind) -> int | None:
    if kind is ServerKind.OLLAMA:
        return await _ollama_context(server, listed.id)
    if kind is ServerKind.LLAMA_SERVER and listed.context is None:
        url = f"{server.address.root}/props"
        return (await server.get(url, _Properties)).default_generation_settings.n_ctx
    return listed.context


async def _ollama_context(server: RemoteServer, name: str) -> int:
    """Return what Ollama gives the model, which only one that is loaded has for certain."""
    root = server.address.root
    shown = await server.post(f"{root}/api/show", {"model": name}, _Shown)
    await server.post(f"{root}/api/generate", {"model": name, "stream": False}, _Lenient)
    running = (await server.get(f"{root}/api/ps", _AllRunning)).models
    given = next((each.context_length for each in running if name in {each.name, each.model}), None)
    return given or _parameter(shown.parameters, "num_ctx") or _OLLAMA_TOKENS


def _parameter(parameters: str, name: str) -> int | None:
    """Return a number of a model's parameters, which stand one a line, as in ``num_ctx 8192``."""
    lines = (line.split() for line in parameters.splitlines())
    values = (words[1] for words in lines if len(words) > 1 and words[0] == name)
    return next((int(value) for value in values if value.isdecimal()), None)


async def _counting(server: RemoteServer, name: str, kind: ServerKind) -> Counting:
    """Return the server's own count where it has one; a router before it may not let us through."""
    counting = _server_counting(server, name, kind)
    if counting is None:
        return EstimatedCounting()
    try:
        await counting.text("x")
        await counting.prompt((Message(Role.USER, "x"),))
    except RemoteFailure as failure:
        if failure.transience is not None:
            raise
        return EstimatedCounting()
    return counting


def _server_counting(server: RemoteServer, name: str, kind: ServerKind) -> ServerCounting | None:
    base, root = server.address.base, server.address.root

    async def llama_text(text: str) -> int:
        body = {"model": name, "content": broken_control_strings(text)}
        return (await server.post(f"{root}/tokenize", body, _Count)).total

    async def llama_prompt(messages: Sequence[Message]) -> int:
        body = {"model": name, "messages": wire_messages(messages)}
        return (await server.post(f"{base}/chat/completions/input_tokens", body, _Count)).total

    async def vllm_text(text: str) -> int:
        body = {"model": name, "prompt": broken_control_strings(text), "add_special_tokens": False}
        return (await server.post(f"{root}/tokenize", body, _Count)).total

    async def vllm_prompt(messages: Sequence[Message]) -> int:
        body = {"model": name, "messages": wire_messages(messages), "add_generation_prompt": True}
        return (await server.post(f"{root}/tokenize", body, _Count)).total

    if kind is ServerKind.LLAMA_SERVER:
        return ServerCounting(llama_text, llama_prompt)
    if kind is ServerKind.VLLM:
        return ServerCounting(vllm_text, vllm_prompt)
    return None


def wire_messages(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Return messages as they are sent: nothing in them can be taken for a control token."""
    return [
        {"role": message.role.value, "content": broken_control_strings(message.text)} for message in messages
    ]
