"""OpenAIEngine: a model that a server elsewhere runs, behind ``protocols.Engine``.

For vLLM, SGLang, llama-server, Ollama and whatever else speaks the OpenAI API. Such servers have no slots of
ours: what they keep of a prompt, they keep as they see fit. They are sent messages, never tokens: only so a
server applies the model's own template, its parser for thoughts and its end tokens.
"""

import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

import anyio

from coding_assistant.domain import (
    EngineEvent,
    EngineInfo,
    GenerationRequest,
    Message,
    PromptRead,
    ReasoningPiece,
)
from coding_assistant.errors import InvalidRequest
from coding_assistant.inference.remote_address import RemoteAddress
from coding_assistant.inference.remote_answers import REFUSING, Chunk, RemoteWriting
from coding_assistant.inference.remote_models import ServedModel, ServerKind, examine, wire_messages
from coding_assistant.inference.remote_retries import Retries, patiently
from coding_assistant.inference.remote_server import RemoteFailure, RemoteServer
from coding_assistant.inference.thinking import ThoughtStyle, apart

_STAND_IN: Final = 0

# Of most models, where the server has no parser for what they think. Many templates end with the opening
# mark, which then is in no answer.
_THOUGHTS: Final = ThoughtStyle("<think>", "</think>", may_begin_open=True)

_UNTOLD_THOUGHTS: Final = (
    "The server does not tell the model's thoughts from its answer, so that they show as the answer until"
    " they end. Start it with its parser for them: vLLM and SGLang with --reasoning-parser, llama-server with"
    " --reasoning-format auto."
)


@dataclass(frozen=True, slots=True)
class RemoteOptions:
    """How to use a server.

    ``slots`` is how many answers are asked of it at once. ``patience_seconds`` bounds how long it may make no
    progress with an answer, and how long one that is busy or loading is asked again. ``context_tokens`` is
    the context where the server does not say; where it does, the lesser counts. ``cache_salt`` keeps what
    vLLM caches apart from other users'. ``pause_seconds`` is the first pause before a call is made again.
    """

    slots: int
    patience_seconds: float
    context_tokens: int | None = None
    cache_salt: str = ""
    pause_seconds: float = 0.5


@dataclass(frozen=True, slots=True)
class _Loaded:
    server: RemoteServer
    model: ServedModel
    info: EngineInfo


class OpenAIEngine:
    """A model that runs elsewhere: ``protocols.Engine``."""

    def __init__(self, name: str, address: RemoteAddress, api_key: str, options: RemoteOptions) -> None:
        self._name = name
        self._address = address
        self._api_key = api_key
        self._options = options
        self._server: RemoteServer | None = None
        self._loaded: _Loaded | None = None
        self._loading = anyio.Lock()

    @property
    def name(self) -> str:
        """The name that the model was asked for by."""
        return self._name

    @property
    def is_loaded(self) -> bool:
        """Whether the server was found to have the model, and has not been lost since."""
        return self._loaded is not None

    async def load(self) -> EngineInfo:
        """Ask the server for the model unless that was done."""
        return (await self._ready()).info

    async def tokenize(self, text: str) -> tuple[int, ...]:
        """Return as many stand-ins as the text has tokens."""
        counting = (await self._ready()).model.counting
        return (_STAND_IN,) * await patiently(lambda: counting.text(text), self._retries())

    async def encode(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Return as many stand-ins as the prompt has tokens."""
        counting = (await self._ready()).model.counting
        return (_STAND_IN,) * await patiently(lambda: counting.prompt(messages), self._retries())

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[EngineEvent, None]:
        """Have the messages answered. Closing the generator closes the connection.

        Until the first word a call that may yet succeed is made again; after it, none is.
        """
        self._require_slot(request.slot)
        loaded = await self._ready()
        _require_messages_with_room(request, loaded.info)
        retries = self._retries()
        while True:
            writing = RemoteWriting(len(request.tokens))
            try:
                async with aclosing(apart(self._answer(loaded, request, writing), _THOUGHTS)) as events:
                    async for event in events:
                        if isinstance(event, ReasoningPiece) and event.takes_text_back:
                            self._note_untold_thoughts()
                            yield replace(event, text=f"{event.text}\n\n({_UNTOLD_THOUGHTS})\n\n")
                        else:
                            yield event
            except RemoteFailure as failure:
                pause = None if writing.has_begun else retries.pause_after(failure)
                if pause is None:
                    self._note_loss(failure)
                    raise failure.reason from failure
            else:
                return
            await anyio.sleep(pause)

    async def read(self, tokens: Sequence[int], *, slot: int) -> AsyncGenerator[PromptRead, None]:
        """Read nothing: what a shared server reads ahead for one user, all others wait for."""
        del tokens
        self._require_slot(slot)
        nothing: tuple[PromptRead, ...] = ()
        for read in nothing:
            yield read

    async def save_slot(self, slot: int, name: str) -> int:
        """Return 0: what a server keeps cannot be had from it."""
        del name
        self._require_slot(slot)
        return 0

    async def restore_slot(self, slot: int, name: str) -> int:
        """Return 0, as there are no snapshots."""
        del name
        self._require_slot(slot)
        return 0

    async def erase_slot(self, slot: int) -> None:
        """Do nothing: a server may keep what it has read until it needs the room."""
        self._require_slot(slot)

    async def close(self) -> None:
        """Close all connections. A later call asks the server again."""
        async with self._loading:
            self._loaded = None
            server, self._server = self._server, None
            if server is not None:
                await server.close()

    async def _ready(self) -> _Loaded:
        async with self._loading:
            if self._loaded is None:
                self._loaded = await patiently(self._examine, self._retries())
            return self._loaded

    async def _examine(self) -> _Loaded:
        options = self._options
        if self._server is None:
            self._server = RemoteServer(
                self._address, self._api_key, patience_seconds=options.patience_seconds
            )
        model = await examine(self._server, self._name, stated_tokens=options.context_tokens)
        info = EngineInfo(
            self._name,
            model.context_tokens,
            options.slots,
            run=uuid.uuid4().hex,
            counts_exactly=model.counting.is_exact,
            reads_ahead=False,
            notice=model.notice,
        )
        return _Loaded(self._server, model, info)

    async def _answer(
        self, loaded: _Loaded, request: GenerationRequest, writing: RemoteWriting
    ) -> AsyncGenerator[EngineEvent, None]:
        """Make one call and follow its answer to the end."""
        async with aclosing(loaded.server.stream(self._body(loaded.model, request), Chunk)) as chunks:
            async for chunk in chunks:
                if chunk.complaint is not None:
                    raise loaded.server.says_no(chunk.complaint)
                for event in writing.events(chunk):
                    yield event
        if writing.finish_reason is None:
            raise loaded.server.broke_off()
        if writing.finish_reason in REFUSING:
            raise loaded.server.says_no(f"it ended the answer with {writing.finish_reason}")
        if writing.read_tokens is not None:
            loaded.model.counting.learn(request.messages, writing.read_tokens)
        for event in writing.ending():
            yield event

    def _body(self, model: ServedModel, request: GenerationRequest) -> dict[str, object]:
        body: dict[str, object] = {
            "model": model.name,
            "messages": wire_messages(request.messages),
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if request.stop:
            body["stop"] = list(request.stop)
        if model.kind is ServerKind.LLAMA_SERVER:
            body["return_progress"] = True
        if model.kind is ServerKind.VLLM and self._options.cache_salt:
            body["cache_salt"] = self._options.cache_salt
        return body

    def _note_untold_thoughts(self) -> None:
        """Have the model's notice say it from now on."""
        loaded = self._loaded
        if loaded is not None and _UNTOLD_THOUGHTS not in loaded.info.notice:
            notice = f"{loaded.info.notice} {_UNTOLD_THOUGHTS}".strip()
            self._loaded = replace(loaded, info=replace(loaded.info, notice=notice))

    def _note_loss(self, failure: RemoteFailure) -> None:
        """Have the next call ask again what the server has: another one may have taken its place."""
        if failure.transience is not None and not failure.transience.is_answering:
            self._loaded = None

    def _retries(self) -> Retries:
        options = self._options
        return Retries(patience_seconds=options.patience_seconds, pause_seconds=options.pause_seconds)

    def _require_slot(self, slot: int) -> None:
        if not 0 <= slot < self._options.slots:
            raise InvalidRequest(f"There is no slot {slot}: the engine has {self._options.slots}.")


def _require_messages_with_room(request: GenerationRequest, info: EngineInfo) -> None:
    """Refuse what cannot be answered before any of it is sent."""
    if not request.messages:
        raise InvalidRequest("A server elsewhere is sent messages, and the request has none.")
    if len(request.tokens) >= info.context_tokens:
        raise InvalidRequest(
            f"The prompt has {len(request.tokens):,} tokens, the context holds {info.context_tokens:,}.",
            hint="Ask about less at once, or give the model a longer context on its server.",
        )
