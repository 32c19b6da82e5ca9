"""From settings to parts: which model, which engine, which index file."""

import hashlib
import os
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from anyio import to_thread

from coding_assistant.assistant.remote import make_remote_engine, remote_model
from coding_assistant.assistant.sizing import sized
from coding_assistant.chat.project_code import ProjectCode
from coding_assistant.data_directory import DataDirectory
from coding_assistant.domain import ModelSpec
from coding_assistant.embedding.sentence_transformers import SentenceTransformersEmbedder
from coding_assistant.embedding.static import StaticEmbedder
from coding_assistant.inference.catalog import Catalog
from coding_assistant.inference.engine_programs import ProgramSearch
from coding_assistant.inference.found_models import FoundModels
from coding_assistant.inference.gguf_embedder import GgufEmbedder
from coding_assistant.inference.llama import EngineOptions, LlamaEngine, default_threads
from coding_assistant.inference.starting import GpuOptions
from coding_assistant.project import walk
from coding_assistant.protocols import Embedder, Engine
from coding_assistant.settings import NO_EMBEDDER, OPENAI, SENTENCE_TRANSFORMERS, STATIC_EMBEDDER, Settings

EMBEDDER_LOG = "embedder.log"

_NOT_IN_FILE_NAMES = re.compile(r"[^\w.-]")


def open_catalog(settings: Settings) -> Catalog:
    """Return the catalog with the user's own entries."""
    return Catalog.load(
        user_file=settings.models_file,
        models_folder=settings.models,
        found=FoundModels(settings.model_stores or ()),
    )


def chosen_model(catalog: Catalog, settings: Settings) -> ModelSpec:
    """Return the model to use, with the settings that override its entry."""
    if settings.engine == OPENAI:
        return sized(remote_model(settings), catalog, settings)
    spec = catalog.choose(settings.model_name)
    return replace(
        sized(spec, catalog, settings),
        n_threads=settings.n_threads or spec.n_threads,
        n_gpu_layers=spec.n_gpu_layers if settings.n_gpu_layers is None else settings.n_gpu_layers,
    )


def make_engine(catalog: Catalog, spec: ModelSpec, settings: Settings) -> Engine:
    """Return the engine for a model, not yet loaded; ``ModelMissing`` when it is to run here and is not."""
    if spec.address:
        return make_remote_engine(spec, settings)
    return make_llama_engine(catalog, spec, settings)


def make_llama_engine(catalog: Catalog, spec: ModelSpec, settings: Settings) -> LlamaEngine:
    """Return the engine that runs a model here, not loaded; ``ModelMissing`` when its file is not here."""
    directory = DataDirectory(settings.home)
    directory.prepare()
    file = catalog.require_file(spec)
    return LlamaEngine(
        spec,
        file,
        EngineOptions(
            slots=spec.slots,
            shrinks=spec.shrinks,
            batch_tokens=settings.batch_tokens,
            threads=spec.n_threads,
            programs=program_search(settings),
            gpu=GpuOptions(spec.n_gpu_layers, settings.main_gpu, settings.require_gpu),
            context_tokens=spec.context_length,
            log_file=directory.logs / engine_log(spec),
            snapshot_folder=directory.snapshots if settings.snapshot_megabytes else None,
            replacement=catalog.replacement_of(spec, file),
        ),
    )


def engine_log(spec: ModelSpec) -> str:
    """Return the name of a model's log: why an engine ended is read from it, so each has its own."""
    return f"engine-{_NOT_IN_FILE_NAMES.sub('_', spec.name)}.log"


def program_search(settings: Settings) -> ProgramSearch:
    """Return where the programs lie that can run a model, and which of them is wanted."""
    return ProgramSearch(
        settings.llama_server, DataDirectory(settings.home).engines, os.environ.get("PATH", "")
    )


def make_embedder(settings: Settings) -> Embedder | None:
    """Return what the settings name to make vectors, its model not yet loaded; None for no vectors.

    Raises ``ModelMissing``, ``ModelBroken``, ``InvalidModel``, ``SystemLacks`` or ``DataDirectoryUnusable``.
    """
    if settings.embedder == NO_EMBEDDER:
        return None
    if settings.embedder == STATIC_EMBEDDER:
        return StaticEmbedder.load()
    # The other half is for whoever asks meanwhile. A small model is no faster with two threads than with one:
    # a chunk took 57 ms of processor time with one, 111 ms with two.
    threads = max(1, default_threads() // 2)
    library, _, model = settings.embedder.partition(":")
    if library == SENTENCE_TRANSFORMERS:
        return SentenceTransformersEmbedder(model, threads=threads)
    directory = DataDirectory(settings.home)
    directory.prepare()
    file = open_catalog(settings).file_named(settings.embedder)
    return GgufEmbedder(file, threads=threads, log_file=directory.logs / EMBEDDER_LOG)


def project_code(settings: Settings, root: Path, embedder: Embedder | None) -> ProjectCode:
    """Return the code of a folder, with its index file under a name made from the folder's path."""
    name = hashlib.sha256(str(root).encode(errors="surrogateescape")).hexdigest()[:32]
    return ProjectCode(root, DataDirectory(settings.home).indexes / f"{name}.sqlite3", embedder=embedder)


@asynccontextmanager
async def open_project_code(settings: Settings, folder: Path) -> AsyncGenerator[ProjectCode, None]:
    """Open a folder's code alone, for searching and indexing without conversations or their lock.

    Raises ``InvalidProject`` or ``DataDirectoryUnusable``.
    """
    DataDirectory(settings.home).prepare()
    embedder = make_embedder(settings)
    code = project_code(settings, walk.open_root(folder), embedder)
    try:
        yield code
    finally:
        await code.close()
        if embedder:
            await to_thread.run_sync(embedder.close)
