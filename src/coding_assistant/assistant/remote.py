"""The model of a server elsewhere, from the settings: its entry, and its engine."""

from typing import Final

from coding_assistant.data_directory import DataDirectory
from coding_assistant.domain import ModelSpec
from coding_assistant.errors import InvalidSetting
from coding_assistant.inference.cache_salt import kept_salt
from coding_assistant.inference.remote_address import RemoteAddress
from coding_assistant.protocols import Engine
from coding_assistant.settings import AUTOMATIC, OPENAI, Settings

# Until the server has said how much context there is.
_CONTEXT_TOKENS: Final = 4_096

# Twice that of models here: those on larger machines think before they answer, and that counts. Half of the
# context is the most anyway.
_LONGEST_REPLY_TOKENS: Final = 2_048


def remote_model(settings: Settings) -> ModelSpec:
    """Return the entry of the model that the settings name; raises ``InvalidSetting``.

    A model that is chosen for one run or one question goes before ``openai_model``.
    """
    address = _address(settings)
    name = settings.model_name or settings.openai_model
    if not name:
        raise InvalidSetting(
            f"The settings do not name a model of {address.base}.",
            hint=f"Set openai_model to one of those that {address.base}/models lists.",
        )
    return ModelSpec(
        name=name,
        filename="",
        context_length=_stated_tokens(settings) or _CONTEXT_TOKENS,
        max_tokens=_LONGEST_REPLY_TOKENS,
        temperature=0.2,
        top_p=0.95,
        n_threads=None,
        n_gpu_layers=0,
        system_prompt="",
        stop_tokens=(),
        prompt_format="auto",
        title=f"{name}, run by {address.host}",
        address=address.base,
        notice=address.notice,
    )


def make_remote_engine(spec: ModelSpec, settings: Settings) -> Engine:
    """Return the engine for a server's model; nothing is asked of the server yet.

    Raises ``InvalidSetting`` or ``DataDirectoryUnusable``.
    """
    # The client's library takes 0.4 s and 30 MB, which nobody else is to pay.
    from coding_assistant.inference.openai_engine import OpenAIEngine, RemoteOptions  # noqa: PLC0415

    directory = DataDirectory(settings.home)
    directory.prepare()
    secret = settings.openai_api_key
    return OpenAIEngine(
        spec.name,
        _address(settings),
        secret.get_secret_value() if secret else "",
        RemoteOptions(
            slots=spec.slots,
            patience_seconds=settings.patience_seconds,
            context_tokens=_stated_tokens(settings),
            cache_salt=kept_salt(directory.cache_salt_file),
        ),
    )


def remains_elsewhere(settings: Settings) -> str:
    """Return what is left of a deleted text on the model's server, as a sentence; empty where nothing is."""
    if settings.engine != OPENAI:
        return ""
    try:
        host = _address(settings).host
    except InvalidSetting:  # to where nothing can have been sent
        return ""
    return f"What {host} has cached of it stays there until that server needs the room."


def _address(settings: Settings) -> RemoteAddress:
    if not settings.openai_base_url:
        raise InvalidSetting(
            "The engine is openai, and no server is named.",
            hint="Set openai_base_url, as in http://127.0.0.1:8080/v1, or engine to llama.cpp.",
        )
    return RemoteAddress.parse(settings.openai_base_url)


def _stated_tokens(settings: Settings) -> int | None:
    """Return how much context the user says, or allows, a conversation to have."""
    allowed = None if settings.context_tokens == AUTOMATIC else settings.context_tokens
    return min(filter(None, (settings.openai_context_tokens, allowed)), default=None)
