"""The corpora: which release of which package stands for a project, and where it lies once it is fetched."""

import tomllib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

TABLE = Path(__file__).with_name("corpora.toml")


class Registry(StrEnum):
    """Where a package comes from, and so by which client."""

    PYPI = "pypi"
    NPM = "npm"
    DEBIAN = "debian"
    DEBIAN_SOURCE = "debian-source"


class Scope(StrEnum):
    """How much of a corpus is indexed."""

    ROOT = "root"
    WHOLE = "whole"


@dataclass(frozen=True, slots=True)
class Corpus:
    """A project of the benchmarks and the release that stands for it."""

    name: str
    language: str
    registry: Registry
    package: str
    version: str
    folder: str = ""
    benchmark_root: str = ""

    def place(self, cache: Path) -> Path:
        """Return the folder of the fetched project, whether or not it is there."""
        return cache / "corpora" / f"{self.name}-{self.version.replace(':', '_')}"

    def indexed_folder(self, scope: Scope) -> str:
        """Return the folder, relative to the project, that is indexed."""
        return self.benchmark_root if scope is Scope.ROOT else ""


def read_corpora(table: Path = TABLE) -> dict[str, Corpus]:
    """Return the corpora by name."""
    rows = tomllib.loads(table.read_text())
    return {
        name: Corpus(name, **{**row, "registry": Registry(row["registry"])}) for name, row in rows.items()
    }
