"""From settings to parts: which model, which engine, which index file."""

import hashlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from anyio import to_thread

from coding_assistant.chat.project_code import ProjectCode
from coding_assistant.data_directory import DataDirectory
from coding_assistant.domain import ModelSpec
from coding_assistant.embedding.sentence_transformers import SentenceTransformersEmbedder
from coding_assistant.embedding.static import StaticEmbedder
from coding_assistant.inference.catalog import Catalog
from coding_assistant.inference.gguf_embedder import GgufEmbedder
from coding_assistant.inference.llama import EngineOptions, LlamaEngine, default_threads
from coding_assistant.project import walk
from coding_assistant.protocols import Embedder
from coding_assistant.settings import NO_EMBEDDER, SENTENCE_TRANSFORMERS, STATIC_EMBEDDER, Settings

ENGINE_LOG = "engine.log"
EMBEDDER_LOG = "embedder.log"


def open_catalog(settings: Settings) -> Catalog:
    """Return the catalog with the user's own entries."""
    return Catalog.load(user_file=settings.models_file, models_folder=settings.models)


def chosen_model(catalog: Catalog, settings: Settings) -> ModelSpec:
    """Return the model to use, with the settings that override its entry."""
    spec = catalog.choose(settings.model_name)
    return replace(
        spec,
        context_length=settings.context_tokens or spec.context_length,
        n_threads=settings.n_threads or spec.n_threads,
        n_gpu_layers=spec.n_gpu_layers if settings.n_gpu_layers is None else settings.n_gpu_layers,
    )


def make_engine(catalog: Catalog, spec: ModelSpec, settings: Settings) -> LlamaEngine:
    """Return the engine for a model, not yet loaded; ``ModelMissing`` when its file is not here."""
    directory = DataDirectory(settings.home)
    directory.prepare()
    return LlamaEngine(
        spec,
        catalog.require_file(spec),
        EngineOptions(
            slots=settings.slots,
            batch_tokens=settings.batch_tokens,
            threads=spec.n_threads,
            gpu_layers=spec.n_gpu_layers,
            context_tokens=spec.context_length,
            log_file=directory.logs / ENGINE_LOG,
            snapshot_folder=directory.snapshots if settings.snapshot_megabytes else None,
        ),
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
    file = open_catalog(settings).existing_file(settings.embedder)
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
