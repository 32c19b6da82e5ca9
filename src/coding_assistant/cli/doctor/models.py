"""The model that would answer: its file, where that is from, and the prompt format that it is used with."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from coding_assistant.cli.doctor.findings import Check, Fact, Finding, Verdict
from coding_assistant.domain import ModelSpec
from coding_assistant.errors import InvalidModel
from coding_assistant.inference import prompt_format
from coding_assistant.inference.catalog import Catalog, download_name, has_size_of, own_place
from coding_assistant.inference.found_models import is_found_name
from coding_assistant.inference.gguf import GgufHeader, Vocabulary, first_part, read_vocabulary
from coding_assistant.inference.memory import size_in_words
from coding_assistant.inference.model_kinds import require_answers
from coding_assistant.inference.prompt_format import PromptFormat
from coding_assistant.inference.thinking import thought_style
from coding_assistant.inference.used_format import used_format


class Whose(StrEnum):
    """Where a model's file is from, as far as its name and place tell."""

    DOWNLOAD = "a download"
    EITHER = "a download or your own file"
    OWN = "your own file"
    OTHER_PROGRAM = "another program's, used in place"


@dataclass(frozen=True, slots=True)
class PresentModel:
    """A model whose file is here, and can be read."""

    spec: ModelSpec
    file: Path
    header: GgufHeader
    whose: Whose


@dataclass(frozen=True, slots=True)
class ReadFormat:
    """How a model is spoken to, and its vocabulary."""

    prompt_format: PromptFormat
    vocabulary: Vocabulary

    @property
    def end(self) -> str:
        """What stands behind an answer: what the model has to write, unseen, for its answer to end."""
        after = self.prompt_format.answer_to_question
        controls = [name for name in self.prompt_format.controls if name in after]
        return min(controls, key=after.index, default="")


def present_model(catalog: Catalog, spec: ModelSpec) -> PresentModel:
    """Return the model with its header. Raises what loading it would raise for its file."""
    file = catalog.require_file(spec)
    header = catalog.header_of(spec)
    require_answers(file.name, header.kind, header.architecture, spec.prompt_format)
    return PresentModel(spec, file, header, _whose(catalog, spec, file))


def model_file(catalog: Catalog, model: PresentModel) -> Finding:
    """Tell which file it is, compare its size with the catalog's, and name the other models that are here."""
    spec, size = model.spec, model.header.file_bytes
    others = [each.name for each in catalog.specs if each.name != spec.name and catalog.file_of(each)]
    also = f"; also here: {', '.join(others)}" if others else ""
    detail = f"{spec.name}, {size_in_words(size)}, {model.whose}: {model.file}{also}"
    facts: dict[str, Fact] = {
        "name": spec.name,
        "file": str(model.file),
        "file_bytes": size,
        "whose": model.whose.name.lower(),
        "others": others,
    }
    differs = spec.size_bytes is not None and not has_size_of(spec, size)
    if differs and model.whose is Whose.DOWNLOAD:
        detail += f"; the catalog's has {size_in_words(spec.size_bytes or 0)}"
        return Finding(Check.MODEL, Verdict.FAIL, detail, _pull_again(model), facts)
    if spec.notice:
        return Finding(Check.MODEL, Verdict.WARN, detail, spec.notice, facts)
    return Finding(Check.MODEL, Verdict.OK, detail, facts=facts)


def checksum(model: PresentModel) -> Finding:
    """Compare all of a download with the catalog's SHA-256. Reads the file: seconds a gigabyte."""
    expected = model.spec.sha256
    if expected is None or model.whose in (Whose.OWN, Whose.OTHER_PROGRAM):
        return Finding(
            Check.CHECKSUM, Verdict.OK, f"{model.whose}: there is nothing that it would have to equal"
        )
    with model.file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    facts: dict[str, Fact] = {"sha256": found, "expected": expected}
    if found == expected:
        return Finding(Check.CHECKSUM, Verdict.OK, "every byte is the catalog's (SHA-256)", facts=facts)
    if model.whose is Whose.EITHER:
        advice = f"All is well if you put the file there yourself. If not: {_pull_again(model)}"
        return Finding(Check.CHECKSUM, Verdict.WARN, "not the catalog's file (SHA-256)", advice, facts)
    detail = "damaged: its SHA-256 is not the catalog's"
    return Finding(Check.CHECKSUM, Verdict.FAIL, detail, _pull_again(model), facts)


async def read_format(model: PresentModel) -> ReadFormat:
    """Return how the model is spoken to. Raises what loading it would raise for its template."""
    vocabulary = read_vocabulary(model.file)
    found = await used_format(model.spec, model.header.chat_template or "", vocabulary)
    names = frozenset(vocabulary.tokens)
    for name in found.controls:
        if name not in names:
            raise InvalidModel(
                f"The model has no token {name}, which the prompt format {found.name} needs.",
                hint="Set prompt_format of this model to auto, or to its own family.",
            )
    return ReadFormat(found, vocabulary)


def format_in_use(model: PresentModel, read: ReadFormat) -> Finding:
    """Tell the format, why it is that one, and where an answer ends. Raises as ``read_format``."""
    name = read.prompt_format.name
    if model.spec.prompt_format != prompt_format.AUTO:
        why = f"{name}, as the entry of {model.spec.name} sets it"
    elif name in prompt_format.FAMILIES:
        why = f"{name}: the file's own template writes the same"
    else:
        why = "the file's own template, which writes as no family known here"
    thoughts = thought_style(read.vocabulary, model.header.chat_template, read.prompt_format.cue)
    thinking = f"; it may think first, up to {thoughts.closing}" if thoughts else ""
    end = read.end or " or ".join(read.prompt_format.stop)
    ends = f"; an answer ends at {end}" if end else ""
    facts: dict[str, Fact] = {
        "name": name,
        "set_to": model.spec.prompt_format,
        "end": end,
        "thinks": thoughts is not None,
    }
    return Finding(Check.PROMPT_FORMAT, Verdict.OK, why + ends + thinking, facts=facts)


def _whose(catalog: Catalog, spec: ModelSpec, file: Path) -> Whose:
    own = own_place(spec, catalog.models_folder)
    download = catalog.models_folder / download_name(spec) if spec.origins else None
    if file in (own, first_part(own)) and not is_found_name(spec.name):
        return Whose.EITHER if file == download else Whose.OWN
    return Whose.DOWNLOAD if file == download else Whose.OTHER_PROGRAM


def _pull_again(model: PresentModel) -> str:
    return f"Delete {model.file}, then `coding-assistant models pull {model.spec.name}`"
