"""The packages that questions are about: which release, from which registry, and their files' lines."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, TypeAdapter

from answers_bench.questions import Place, Question
from coding_assistant.project.chunk import split_lines
from retrieval_bench.corpora import Corpus, Registry

_REGISTRIES = {
    "pypi": Registry.PYPI,
    "npm": Registry.NPM,
    "debian source": Registry.DEBIAN_SOURCE,
    "debian": Registry.DEBIAN,
}


class UnknownPackage(Exception):
    """A package cannot be had as its row says, or lacks what is asked about."""


class _Row(BaseModel):
    """A package as a list of packages has it. ``get`` are the commands that a person would type."""

    registry: str
    name: str
    package: str
    version: str
    language: str
    folder: str
    deb_version: str = ""
    get: list[str] = []

    def corpus(self) -> Corpus:
        """Return it as the benchmarks fetch it."""
        registry = self._registry()
        of_debian = registry in (Registry.DEBIAN, Registry.DEBIAN_SOURCE)
        return Corpus(
            name=self.package,
            language=self.language,
            registry=registry,
            package=self.name,
            version=self.deb_version if of_debian and self.deb_version else self.version,
            folder=self._folder_in_package(),
        )

    def _registry(self) -> Registry:
        said = self.registry.lower().replace("-", " ")
        for beginning, registry in _REGISTRIES.items():
            if said.startswith(beginning):
                return registry
        raise UnknownPackage(f"{self.package}: no client is known for the registry {self.registry!r}.")

    def _folder_in_package(self) -> str:
        """Return the folder without the one that the row's own command unpacks to."""
        for command in self.get:
            *first, target = command.split()
            if first[:2] == ["dpkg", "-x"] and self.folder.startswith(f"{target}/"):
                return self.folder.removeprefix(f"{target}/")
        return self.folder


_ROWS = TypeAdapter(list[_Row])


def read_packages(file: Path) -> dict[str, Corpus]:
    """Return the packages of a list by name. Raises ``UnknownPackage``."""
    return {row.package: row.corpus() for row in _ROWS.validate_json(file.read_bytes())}


class Package:
    """A package that lies on the disk."""

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self.root = root
        self._lines = cache(self._read_lines)

    def text(self, place: Place) -> str | None:
        """Return the lines of a place; None unless the package has every one of them."""
        lines = self._lines(place.path)
        if not 1 <= place.start <= place.end <= len(lines):
            return None
        return "\n".join(lines[place.start - 1 : place.end])

    def require_gold(self, questions: Sequence[Question]) -> None:
        """Raise ``UnknownPackage`` if the package is not the release that the questions are about."""
        for question in questions:
            for place in question.gold:
                if question.package == self.name and self.text(place) is None:
                    raise UnknownPackage(f"{question.id}: {self.root.name} has no {place}.")

    def _read_lines(self, path: PurePosixPath) -> Sequence[str]:
        file = self.root / path
        if path.is_absolute() or ".." in path.parts or not file.is_file():
            return ()
        return split_lines(file.read_text(encoding="utf-8", errors="replace"))


def place_of(said: Mapping[str, object]) -> Place:
    """Return the place of a source or a citation as the API has them."""
    return _PLACE.validate_python(
        {"path": said["path"], "start": said["start_line"], "end": said["end_line"]}, strict=False
    )


_PLACE = TypeAdapter(Place)
