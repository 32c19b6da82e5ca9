import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from coding_assistant.inference.found_models import (
    FoundModels,
    ModelStore,
    StoreKind,
    is_found_name,
    store_of,
    usual_stores,
)
from support.model_specs import PLAIN_SPEC
from support.other_programs import in_hub, in_ollama

WEIGHTS = b"GGUF and so on"


def names(kind: StoreKind, folder: Path) -> list[str]:
    return [model.name for model in FoundModels([ModelStore(kind, folder)]).models]


def test_ollamas_models_have_ollamas_names_and_digests(tmp_path: Path) -> None:
    blob = in_ollama(tmp_path, "registry.example/library/qwen2.5-coder/1.5b", WEIGHTS)
    in_ollama(tmp_path, "registry.example/library/qwen3/latest", b"GGUF too")
    in_ollama(tmp_path, "registry.example/somebody/phi/mini", b"GGUF as well")
    in_ollama(tmp_path, "models.example/team/own/v1", b"GGUF again")
    found = FoundModels([ModelStore(StoreKind.OLLAMA, tmp_path)])

    assert [model.name for model in found.models] == [
        "ollama:models.example/team/own:v1",
        "ollama:qwen2.5-coder:1.5b",
        "ollama:qwen3:latest",
        "ollama:somebody/phi:mini",
    ]
    coder = found.get("ollama:qwen2.5-coder:1.5b")
    assert coder is not None
    assert (coder.path, coder.size_bytes) == (blob, len(WEIGHTS))
    assert f"sha256-{coder.sha256}" == blob.name
    assert found.get("ollama:qwen3") == found.get("ollama:qwen3:latest") is not None
    assert found.at(blob) == coder


@pytest.mark.parametrize(
    "manifest",
    [b"", b"{", b"[]", b'{"layers": 3}', b'{"layers": [{"mediaType": "m"}]}', b"\xff\xfe", b"[" * 500_000],
)
def test_a_broken_manifest_hides_nothing_else(tmp_path: Path, manifest: bytes) -> None:
    in_ollama(tmp_path, "registry.example/library/good/1b", WEIGHTS)
    broken = tmp_path / "manifests" / "registry.example" / "library" / "broken" / "1b"
    broken.parent.mkdir()
    broken.write_bytes(manifest)

    assert names(StoreKind.OLLAMA, tmp_path) == ["ollama:good:1b"]


def test_a_pipe_in_a_store_is_not_waited_for(tmp_path: Path) -> None:
    in_ollama(tmp_path, "registry.example/library/good/1b", WEIGHTS)
    os.mkfifo(tmp_path / "manifests" / "registry.example" / "library" / "good" / "2b")

    assert names(StoreKind.OLLAMA, tmp_path) == ["ollama:good:1b"]


def test_a_manifest_names_no_file_outside_and_none_that_is_gone(tmp_path: Path) -> None:
    blob = in_ollama(tmp_path, "registry.example/library/gone/1b", WEIGHTS)
    blob.unlink()
    (tmp_path / "secret").write_bytes(WEIGHTS)
    escaping = tmp_path / "manifests" / "registry.example" / "library" / "evil" / "1b"
    escaping.parent.mkdir()
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": "sha256-../../secret"}
    escaping.write_text(json.dumps({"layers": [layer]}))

    assert names(StoreKind.OLLAMA, tmp_path) == []


def test_lm_studios_models_are_named_by_their_folders_and_parts_are_one(tmp_path: Path) -> None:
    folder = tmp_path / "publisher" / "model"
    folder.mkdir(parents=True)
    for number in (1, 2, 3):
        (folder / f"big-{number:05}-of-00003.gguf").write_bytes(WEIGHTS)
    (folder / "small.GGUF").write_bytes(WEIGHTS)
    (folder / "readme.md").write_text("no model")
    found = FoundModels([ModelStore(StoreKind.LM_STUDIO, tmp_path)])

    assert {model.name: model.size_bytes for model in found.models} == {
        "lmstudio:publisher/model/big": 3 * len(WEIGHTS),
        "lmstudio:publisher/model/small": len(WEIGHTS),
    }
    assert found.models[0].path.name == "big-00001-of-00003.gguf"


def test_jans_models_are_named_by_their_folder(tmp_path: Path) -> None:
    for place in ("janhq/Jan-v1/model.gguf", "old/file-q4.gguf"):
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).write_bytes(WEIGHTS)

    assert names(StoreKind.JAN, tmp_path) == ["jan:janhq/Jan-v1", "jan:old/file-q4"]


def test_the_hub_cache_tells_repositories_and_digests_and_the_newest_revision_counts(tmp_path: Path) -> None:
    in_hub(tmp_path, "org/repo", "1" * 40, "sub/file.gguf", b"GGUF old")
    newest = in_hub(tmp_path, "org/repo", "2" * 40, "sub/file.gguf", WEIGHTS)
    (model,) = FoundModels([ModelStore(StoreKind.HUB, tmp_path)]).models

    assert (model.name, model.path, model.size_bytes) == ("hf:org/repo/sub/file", newest, len(WEIGHTS))
    assert model.sha256 == newest.resolve().name


def test_a_link_to_a_file_that_is_gone_is_passed_over(tmp_path: Path) -> None:
    in_hub(tmp_path, "org/repo", "1" * 40, "file.gguf", WEIGHTS).resolve().unlink()

    assert names(StoreKind.HUB, tmp_path) == []


def test_weights_are_known_by_their_digest_or_else_by_size_and_name(tmp_path: Path) -> None:
    blob = in_ollama(tmp_path / "ollama", "registry.example/library/m/1b", WEIGHTS)
    digest = blob.name.removeprefix("sha256-")
    (tmp_path / "lmstudio").mkdir()
    (tmp_path / "lmstudio" / "Weights.gguf").write_bytes(WEIGHTS)
    ollama, studio = [
        FoundModels([ModelStore(kind, tmp_path / kind)]) for kind in (StoreKind.OLLAMA, StoreKind.LM_STUDIO)
    ]
    spec = replace(PLAIN_SPEC, sha256=digest, size_bytes=len(WEIGHTS))

    assert [found.weights_of(spec, ["weights.gguf"]) for found in (ollama, studio)] == [
        ollama.models[0],
        studio.models[0],
    ]
    assert ollama.weights_of(replace(spec, sha256="0" * 64), ["weights.gguf"]) is None
    assert studio.weights_of(spec, ["other.gguf"]) is None
    assert studio.weights_of(replace(spec, size_bytes=3), ["weights.gguf"]) is None


def test_a_store_that_cannot_be_read_is_a_line_and_the_others_are_listed(tmp_path: Path) -> None:
    in_ollama(tmp_path / "ollama", "registry.example/library/m/1b", WEIGHTS)
    no_folder = tmp_path / "file"
    no_folder.write_text("not a folder")
    stores = [
        ModelStore(StoreKind.LM_STUDIO, no_folder),
        ModelStore(StoreKind.JAN, tmp_path / "absent"),
        ModelStore(StoreKind.OLLAMA, tmp_path / "ollama"),
    ]
    found = FoundModels(stores)

    assert [model.name for model in found.models] == ["ollama:m:1b"]
    (complaint,) = found.complaints
    assert str(no_folder) in complaint
    assert "LM Studio" in complaint


def test_the_usual_places_follow_each_programs_own_variables() -> None:
    home = Path("/home/me")
    usual = {(store.kind, store.folder) for store in usual_stores({}, home, "linux")}
    variables = {
        "OLLAMA_MODELS": "/big/ollama",
        "HF_HOME": "/big/hf",
        "XDG_CACHE_HOME": "/big/cache",
        "LLAMA_CACHE": "/big/llama",
    }
    moved = {(store.kind, store.folder) for store in usual_stores(variables, home, "linux")}

    assert usual >= {
        (StoreKind.OLLAMA, home / ".ollama/models"),
        (StoreKind.OLLAMA, Path("/usr/share/ollama/.ollama/models")),
        (StoreKind.LM_STUDIO, home / ".lmstudio/models"),
        (StoreKind.HUB, home / ".cache/huggingface/hub"),
        (StoreKind.JAN, home / ".local/share/Jan/data/llamacpp/models"),
        (StoreKind.LLAMA_CPP, home / ".cache/llama.cpp"),
    }
    assert moved >= {
        (StoreKind.OLLAMA, Path("/big/ollama")),
        (StoreKind.HUB, Path("/big/hf/hub")),
        (StoreKind.LLAMA_CPP, Path("/big/llama")),
    }
    hub = usual_stores({"HF_HUB_CACHE": "/hub"}, home, "darwin")
    assert ModelStore(StoreKind.HUB, Path("/hub")) in hub
    assert ModelStore(StoreKind.LLAMA_CPP, home / "Library/Caches/llama.cpp") in hub
    assert any(store.kind is StoreKind.JAN for store in usual_stores({}, home, "win32"))


def test_a_store_and_a_models_name_are_read_as_they_are_written() -> None:
    assert store_of("hf=/data/hub") == ModelStore(StoreKind.HUB, Path("/data/hub"))
    for wrong in ("/data/hub", "hub=/data", "hf=", ""):
        with pytest.raises(ValueError, match="is not one of ollama"):
            store_of(wrong)
    assert is_found_name("ollama:qwen3:4b")
    assert not any(map(is_found_name, ["ollama", "ollama:", "C:\\models\\m.gguf", "qwen3:4b"]))
