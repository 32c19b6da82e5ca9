"""The product as one object; the only place where its parts are wired."""

from coding_assistant.assistant.assistant import AsyncAssistant
from coding_assistant.assistant.folders import index_folder, next_change, search_folder
from coding_assistant.assistant.remote import remains_elsewhere
from coding_assistant.assistant.sizing import memory_plan
from coding_assistant.assistant.wiring import (
    chosen_model,
    make_embedder,
    make_engine,
    make_llama_engine,
    open_catalog,
    open_project_code,
)

__all__ = [
    "AsyncAssistant",
    "chosen_model",
    "index_folder",
    "make_embedder",
    "make_engine",
    "make_llama_engine",
    "memory_plan",
    "next_change",
    "open_catalog",
    "open_project_code",
    "remains_elsewhere",
    "search_folder",
]
