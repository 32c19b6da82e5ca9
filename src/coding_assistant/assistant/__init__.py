"""The product as one object; the only place where its parts are wired."""

from coding_assistant.assistant.assistant import AsyncAssistant
from coding_assistant.assistant.folders import index_folder, next_change, search_folder
from coding_assistant.assistant.wiring import (
    chosen_model,
    make_embedder,
    make_engine,
    open_catalog,
    open_project_code,
)

__all__ = [
    "AsyncAssistant",
    "chosen_model",
    "index_folder",
    "make_embedder",
    "make_engine",
    "next_change",
    "open_catalog",
    "open_project_code",
    "search_folder",
]
