import hashlib
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from coding_assistant.cli.doctor import models
from coding_assistant.cli.doctor.findings import Verdict
from coding_assistant.cli.doctor.models import PresentModel, Whose, present_model
from coding_assistant.domain import HubFile, ModelSpec
from coding_assistant.errors import InvalidModel, ModelBroken, ModelMissing
from coding_assistant.inference.catalog import Catalog
from support.model_specs import PLAIN_SPEC
from support.small_gguf import write_gguf
from support.tiny_model import PHI3_CONTROLS, TinyModel

HUB = HubFile("somebody/model", "0" * 40, "theirs.gguf")
ENTRY = replace(PLAIN_SPEC, filename="mine.gguf", prompt_format="llama2", origins=(HUB,))


def present(folder: Path, name: str, spec: ModelSpec = ENTRY) -> tuple[Catalog, PresentModel]:
    write_gguf(folder / name)
    catalog = Catalog((spec,), folder)
    return catalog, present_model(catalog, spec)


def with_facts_of(file: Path, spec: ModelSpec = ENTRY) -> ModelSpec:
    content = file.read_bytes()
    return replace(spec, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize(
    ("spec", "name", "whose"),
    [
        (ENTRY, "mine.gguf", Whose.OWN),
        (ENTRY, "theirs.gguf", Whose.DOWNLOAD),
        (replace(ENTRY, filename="theirs.gguf"), "theirs.gguf", Whose.EITHER),
        (replace(ENTRY, origins=()), "mine.gguf", Whose.OWN),
    ],
)
def test_a_files_name_tells_whose_it_is(tmp_path: Path, spec: ModelSpec, name: str, whose: Whose) -> None:
    catalog, model = present(tmp_path, name, spec)
    finding = models.model_file(catalog, model)

    assert model.whose is whose
    assert finding.verdict is Verdict.OK
    assert whose.value in finding.detail
    assert str(tmp_path / name) in finding.detail


def test_a_download_of_another_size_is_a_failure_and_a_file_of_ones_own_is_not(tmp_path: Path) -> None:
    spec = replace(ENTRY, size_bytes=5_000_000)
    catalog, downloaded = present(tmp_path, "theirs.gguf", spec)
    finding = models.model_file(catalog, downloaded)
    assert finding.verdict is Verdict.FAIL
    assert "models pull mine" in finding.advice

    catalog, own = present(tmp_path, "mine.gguf", spec)
    assert models.model_file(catalog, own).verdict is Verdict.OK


def test_the_other_models_that_are_here_are_named(tmp_path: Path) -> None:
    _, model = present(tmp_path, "mine.gguf")
    write_gguf(tmp_path / "second.gguf")
    catalog = Catalog((ENTRY, replace(PLAIN_SPEC, name="second", filename="second.gguf")), tmp_path)

    assert "also here: second" in models.model_file(catalog, model).detail


def test_a_whole_download_equals_the_catalogs(tmp_path: Path) -> None:
    spec = with_facts_of(write_gguf(tmp_path / "theirs.gguf"))
    _, model = present(tmp_path, "theirs.gguf", spec)

    assert models.checksum(model).verdict is Verdict.OK


@pytest.mark.parametrize(
    ("name", "filename", "verdict"),
    [
        ("theirs.gguf", "mine.gguf", Verdict.FAIL),
        ("theirs.gguf", "theirs.gguf", Verdict.WARN),
        ("mine.gguf", "mine.gguf", Verdict.OK),
    ],
)
def test_other_bytes_are_a_fault_of_downloads_alone(
    tmp_path: Path, name: str, filename: str, verdict: Verdict
) -> None:
    _, model = present(tmp_path, name, replace(ENTRY, filename=filename, sha256="0" * 64))
    finding = models.checksum(model)

    assert finding.verdict is verdict
    assert ("models pull mine" in finding.advice) == (verdict is not Verdict.OK)


def test_a_file_that_is_missing_or_broken_is_refused_as_a_load_would(tmp_path: Path) -> None:
    catalog = Catalog((ENTRY,), tmp_path)
    with pytest.raises(ModelMissing):
        present_model(catalog, ENTRY)
    (tmp_path / "mine.gguf").write_bytes(b"GGUF, and nothing else")
    with pytest.raises(ModelBroken):
        present_model(catalog, ENTRY)


def tiny(folder: Path, model: TinyModel, prompt_format: str) -> PresentModel:
    spec = replace(PLAIN_SPEC, filename=model.write(folder).name, prompt_format=prompt_format)
    return present_model(Catalog((spec,), folder), spec)


def test_the_format_is_named_with_why_and_where_answers_end(tmp_path: Path) -> None:
    model = tiny(tmp_path, TinyModel("Phi-3", PHI3_CONTROLS, end="<|end|>"), "phi3")
    finding = models.format_in_use(model, anyio.run(models.read_format, model))

    assert finding.verdict is Verdict.OK
    assert finding.detail == "phi3, as the entry of mine sets it; an answer ends at <|end|>"


def test_a_template_that_writes_as_a_family_does_is_recognised(tmp_path: Path) -> None:
    template = (
        "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
    )
    tokens = TinyModel("Phi-3", PHI3_CONTROLS, chat_template=template, end="<|end|>")
    model = tiny(tmp_path, tokens, "auto")
    finding = models.format_in_use(model, anyio.run(models.read_format, model))

    assert finding.facts["name"] == "phi3"
    assert "template" in finding.detail


def test_a_format_that_the_vocabulary_lacks_tokens_for_is_refused(tmp_path: Path) -> None:
    model = tiny(tmp_path, TinyModel("plain"), "chatml")

    with pytest.raises(InvalidModel, match=r"<\|im_start\|>"):
        anyio.run(models.read_format, model)
