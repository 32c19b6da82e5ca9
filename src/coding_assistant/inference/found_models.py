"""Models that other programs have on this machine, to be used where they lie.

Ollama, LM Studio, Jan, llama.cpp and the Hugging Face cache keep GGUF files under folders of their own. Their
names and sizes are read here, and the digests where a store tells them by a file's name; their prompt
settings are not, for the GGUF file has its own. Knows nothing of the environment: which folders there are is
said by the caller.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ValidationError

from coding_assistant.domain import ModelSpec

_MOST_ENTRIES: Final = 20_000
"""Of a store: some 0.2 s. A folder with more is hardly one of models alone."""

_MOST_MANIFEST_BYTES: Final = 1_000_000
_DIGEST: Final = re.compile(r"sha256[:-](?P<hex>[0-9a-f]{64})")
_HEX: Final = re.compile(r"[0-9a-f]{64}")
_FIRST_PART: Final = re.compile(r"(?P<stem>.+)-00001-of-(?P<count>\d{5})$")
_LATER_PART: Final = re.compile(r".+-\d{5}-of-\d{5}$")


class StoreKind(StrEnum):
    """A program that keeps models; also what the names of its models begin with."""

    OLLAMA = "ollama"
    LM_STUDIO = "lmstudio"
    HUB = "hf"
    JAN = "jan"
    LLAMA_CPP = "llama.cpp"

    @property
    def program(self) -> str:
        """The program's name for the user."""
        return _PROGRAMS[self]


_PROGRAMS: Final = {
    StoreKind.OLLAMA: "Ollama",
    StoreKind.LM_STUDIO: "LM Studio",
    StoreKind.HUB: "Hugging Face",
    StoreKind.JAN: "Jan",
    StoreKind.LLAMA_CPP: "llama.cpp",
}


@dataclass(frozen=True, slots=True)
class ModelStore:
    """A folder in which a program keeps its models."""

    kind: StoreKind
    folder: Path


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model of another program; ``sha256`` where the store tells it. Bytes are of all parts."""

    name: str
    path: Path
    store: StoreKind
    size_bytes: int
    sha256: str | None = None


class StoreUnreadable(Exception):
    """A store cannot be read, or not all of it; the message says why."""


class FoundModels:
    """The models of all stores, looked for when first asked about and then remembered."""

    def __init__(self, stores: Sequence[ModelStore] = ()) -> None:
        self._stores = tuple(stores)

    @cached_property
    def _findings(self) -> tuple[tuple[FoundModel, ...], tuple[str, ...]]:
        by_name: dict[str, FoundModel] = {}
        complaints: list[str] = []
        for store in self._stores:
            try:
                for model in _SCANNERS[store.kind](store):
                    by_name.setdefault(model.name, model)
            except (StoreUnreadable, OSError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                complaints.append(f"{store.kind.program}'s models in {store.folder}: {reason}")
        return tuple(sorted(by_name.values(), key=lambda model: model.name)), tuple(complaints)

    @property
    def models(self) -> tuple[FoundModel, ...]:
        """All that were found, by name."""
        return self._findings[0]

    @property
    def complaints(self) -> tuple[str, ...]:
        """A line for each store that could not be read, or not to its end."""
        return self._findings[1]

    def get(self, name: str) -> FoundModel | None:
        """Return the model of this name; Ollama's ``:latest`` may be left out."""
        names = (name, f"{name}:latest")
        return next((model for model in self.models if model.name in names), None)

    def at(self, path: Path) -> FoundModel | None:
        """Return the model whose file this is."""
        return next((model for model in self.models if model.path == path), None)

    def weights_of(self, spec: ModelSpec, file_names: Sequence[str]) -> FoundModel | None:
        """Return the model with the weights of a catalog entry: by digest, else by exact size and name."""
        names = {name.lower() for name in file_names}
        for model in self.models:
            if model.sha256 is not None:
                if model.sha256 == spec.sha256:
                    return model
            elif model.size_bytes == spec.size_bytes and model.path.name.lower() in names:
                return model
        return None


def store_of(text: str) -> ModelStore:
    """Return the store that ``ollama=/folder`` names; raises ``ValueError`` in words."""
    kind, equals, folder = text.partition("=")
    if not equals or kind not in set(StoreKind) or not folder:
        raise ValueError(f"{text!r} is not one of {', '.join(StoreKind)}, an equals sign and a folder")
    return ModelStore(StoreKind(kind), Path(folder).expanduser())


def is_found_name(name: str) -> bool:
    """Tell a name that a store's model could have, ``ollama:qwen3:4b``."""
    kind, colon, rest = name.partition(":")
    return bool(colon and rest) and kind in set(StoreKind)


def usual_stores(environment: Mapping[str, str], home: Path, platform: str) -> tuple[ModelStore, ...]:
    """Return where the programs keep their models by default, or where their variables say.

    ``platform`` is as in ``sys.platform``. Whether a folder exists is not asked.
    """
    cache = Path(environment.get("XDG_CACHE_HOME") or home / ".cache")
    data = Path(environment.get("XDG_DATA_HOME") or home / ".local" / "share")
    hub = environment.get("HF_HUB_CACHE") or Path(environment.get("HF_HOME") or cache / "huggingface") / "hub"
    ollama = environment.get("OLLAMA_MODELS")
    folders: list[tuple[StoreKind, str | Path]] = [
        (StoreKind.OLLAMA, ollama or home / ".ollama" / "models"),
        (StoreKind.LM_STUDIO, home / ".lmstudio" / "models"),
        (StoreKind.LM_STUDIO, home / ".cache" / "lm-studio" / "models"),
        (StoreKind.HUB, hub),
        (StoreKind.JAN, home / "jan" / "models"),
    ]
    jan = Path("Jan", "data", "llamacpp", "models")
    if platform == "darwin":
        folders += [
            (StoreKind.JAN, home / "Library" / "Application Support" / jan),
            (StoreKind.LLAMA_CPP, home / "Library" / "Caches" / "llama.cpp"),
        ]
    elif platform == "win32":
        folders += [
            (StoreKind.JAN, environment.get("APPDATA", home / "AppData" / "Roaming") / jan),
            (
                StoreKind.LLAMA_CPP,
                environment.get("LOCALAPPDATA", home / "AppData" / "Local") / Path("llama.cpp"),
            ),
        ]
    else:
        folders += [
            (
                StoreKind.OLLAMA,
                "/usr/share/ollama/.ollama/models",
            ),  # the service's, as its installer makes it
            (StoreKind.JAN, data / jan),
            (StoreKind.LLAMA_CPP, cache / "llama.cpp"),
        ]
    if environment.get("LLAMA_CACHE"):
        folders = [each for each in folders if each[0] is not StoreKind.LLAMA_CPP]
        folders.append((StoreKind.LLAMA_CPP, environment["LLAMA_CACHE"]))
    return tuple(ModelStore(kind, Path(folder)) for kind, folder in folders)


# --- Ollama: a manifest for each name, blobs by their digests -------------------------------------


class _Layer(BaseModel):
    mediaType: str  # noqa: N815  -- the manifest's own word
    digest: str


class _Manifest(BaseModel):
    layers: list[_Layer] = []


_MODEL_LAYER: Final = "application/vnd.ollama.image.model"
_OLLAMA_LIBRARY: Final = "library"


def _in_ollama(store: ModelStore) -> Iterator[FoundModel]:
    manifests = store.folder / "manifests"
    for file in _files(manifests):
        digest = _model_digest(file)
        blob = _blob(store.folder / "blobs", digest) if digest else None
        if digest and blob:
            name = _ollama_name(manifests, file.relative_to(manifests).parts)
            yield FoundModel(f"{store.kind}:{name}", blob, store.kind, blob.stat().st_size, digest)


def _ollama_name(manifests: Path, parts: Sequence[str]) -> str:
    """Return ``model:tag`` as Ollama writes it, with what is not the default before it.

    The default host is the one that has a library.
    """
    *place, tag = parts
    if place and (manifests / place[0] / _OLLAMA_LIBRARY).is_dir():
        del place[0]
    if place[:1] == [_OLLAMA_LIBRARY]:
        del place[0]
    return f"{'/'.join(place)}:{tag}"


def _model_digest(manifest: Path) -> str | None:
    """Return the digest of a manifest's model; None where there is none, or no manifest."""
    if not manifest.is_file():  # to open a pipe would wait for whoever writes into it
        return None
    try:
        with manifest.open("rb") as file:
            layers = _Manifest.model_validate_json(file.read(_MOST_MANIFEST_BYTES)).layers
    except (OSError, ValidationError):
        return None
    found = (_DIGEST.fullmatch(layer.digest) for layer in layers if layer.mediaType == _MODEL_LAYER)
    return next((match["hex"] for match in found if match), None)


def _blob(folder: Path, digest: str) -> Path | None:
    names = (f"sha256-{digest}", f"sha256:{digest}")  # the second until 2024
    return next((folder / name for name in names if (folder / name).is_file()), None)


# --- The others: GGUF files in folders ------------------------------------------------------------


def _in_folders(store: ModelStore) -> Iterator[FoundModel]:
    """Find files that are named by their folders, ``lmstudio:publisher/model/file``."""
    for file in _files(store.folder):
        if name := _model_name(file):
            folder = file.relative_to(store.folder).parent
            yield _found(store, (folder / name).as_posix(), file)


def _in_jan(store: ModelStore) -> Iterator[FoundModel]:
    """Find files as Jan names them: by the folder, in which the file is always ``model.gguf``."""
    for file in _files(store.folder):
        name = _model_name(file)
        folder = file.relative_to(store.folder).parent
        if name == "model" and folder.name:
            yield _found(store, folder.as_posix(), file)
        elif name:
            yield _found(store, (folder / name).as_posix(), file)


def _in_hub(store: ModelStore) -> Iterator[FoundModel]:
    """Find the files of each repository's newest revision; a link's target is named by its digest."""
    for repository in sorted(store.folder.glob("models--*")):
        snapshots = [each for each in (repository / "snapshots").glob("*") if each.is_dir()]
        for snapshot in sorted(snapshots, key=lambda each: each.stat().st_mtime, reverse=True):
            for file in _files(snapshot):
                if name := _model_name(file):
                    folder = file.relative_to(snapshot).parent
                    whole = "/".join((*repository.name.split("--")[1:], (folder / name).as_posix()))
                    yield _found(store, whole, file)


_SCANNERS: Final = {
    StoreKind.OLLAMA: _in_ollama,
    StoreKind.LM_STUDIO: _in_folders,
    StoreKind.HUB: _in_hub,
    StoreKind.JAN: _in_jan,
    StoreKind.LLAMA_CPP: _in_folders,
}


def _found(store: ModelStore, name: str, file: Path) -> FoundModel:
    target = file.resolve().name if file.is_symlink() else ""
    digest = target if _HEX.fullmatch(target) else None
    size = sum(part.stat().st_size for part in _parts(file))
    return FoundModel(f"{store.kind}:{name}", file, store.kind, size, digest)


def _model_name(file: Path) -> str:
    """Return a GGUF file's name without what every name has; empty for what is listed under another."""
    if file.suffix.lower() != ".gguf" or not file.is_file():  # a link may lead to a file that is gone
        return ""
    if match := _FIRST_PART.fullmatch(file.stem):
        return match["stem"]
    return "" if _LATER_PART.fullmatch(file.stem) else file.stem


def _parts(file: Path) -> Iterator[Path]:
    """Yield the files that are there of a model."""
    match = _FIRST_PART.fullmatch(file.stem)
    if match is None:
        yield file
        return
    yield from file.parent.glob(f"{_escaped(match['stem'])}-*-of-{match['count']}{file.suffix}")


def _escaped(name: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", name)


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder in order; nothing for a folder that is not there.

    Raises ``StoreUnreadable`` at a folder that may not be read, and behind the most entries.
    """
    if not folder.exists():
        return
    entries = 0
    for parent, folders, files in os.walk(folder, onerror=_refuse):
        folders.sort()
        entries += len(folders) + len(files)
        if entries > _MOST_ENTRIES:
            raise StoreUnreadable(f"it has more than {_MOST_ENTRIES:,} entries, and the rest is not listed.")
        yield from (Path(parent, name) for name in sorted(files))


def _refuse(error: OSError) -> None:
    raise StoreUnreadable(f"{error.filename} cannot be read: {error.strerror}.") from error
