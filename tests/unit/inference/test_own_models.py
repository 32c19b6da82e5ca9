from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.errors import InvalidSetting, ModelUnknown
from coding_assistant.inference.catalog import Catalog
from coding_assistant.inference.own_models import add_entry, remove_entry

BEFORE = """# my models

[models.phi3-mini]
temperature = 0.0  # colder

# the big one
[models."big.one"]
filename = "/data/big.gguf"
system_prompt = '''
[models.mine]
is not a table here'''
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "models.toml"
    file.write_text(BEFORE, encoding="utf-8")
    return file


def load(file: Path) -> Catalog:
    return Catalog.load(user_file=file, models_folder=file.parent)


def test_an_entry_is_added_behind_what_is_there_and_taken_out_again(file: Path) -> None:
    add_entry(file, "own", {"filename": "/data/m.gguf", "top_p": 0.5, "stop_tokens": ['a"b', "\\n"]})

    assert file.read_text().startswith(BEFORE)
    spec = load(file).get("own")
    assert (spec.path, spec.top_p, spec.stop_tokens) == (Path("/data/m.gguf"), 0.5, ('a"b', "\\n"))

    remove_entry(file, "own")
    assert file.read_text().rstrip() == BEFORE.rstrip()


def test_an_entry_is_taken_out_with_its_origins_and_the_comments_of_others_stay(file: Path) -> None:
    hub = {"kind": "hub", "repository": "a/b", "revision": "r", "filename": "f.gguf"}
    origin = "\n".join(
        ["[[models.phi3-mini.origins]]", *(f'{key} = "{value}"' for key, value in hub.items()), ""]
    )
    file.write_text(BEFORE.replace("# the big one", origin + "\n# the big one"), encoding="utf-8")

    remove_entry(file, "phi3-mini")

    left = file.read_text()
    assert "hub" not in left
    assert "colder" not in left
    assert "# my models" in left
    assert "# the big one" in left
    assert load(file).get("big.one").system_prompt.startswith("[models.mine]")


def test_a_file_is_made_for_the_first_entry(tmp_path: Path) -> None:
    file = tmp_path / "home" / "models.toml"

    add_entry(file, "mine", {"filename": "mine.gguf"})

    assert load(file).get("mine").filename == "mine.gguf"
    assert [each.name for each in file.parent.iterdir()] == ["models.toml"]


@pytest.mark.parametrize(
    ("name", "fields", "complaint"),
    [
        ("my model", {"filename": "m.gguf"}, "cannot be the name"),
        ("mine", {"filename": "../m.gguf"}, "filename"),
        ("mine", {"filename": "m.gguf", "temperature": 9}, "temperature"),
        ("mine", {"filename": "m.gguf", "max_tokens": 9_999}, "max_tokens"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    file: Path, name: str, fields: dict[str, str | int], complaint: str
) -> None:
    with pytest.raises(InvalidSetting, match=complaint):
        add_entry(file, name, fields)
    assert file.read_text() == BEFORE


def test_an_entry_that_is_not_there_cannot_be_removed(file: Path) -> None:
    with pytest.raises(ModelUnknown):
        remove_entry(file, "nobody")


def test_a_way_of_writing_that_lines_do_not_show_is_left_to_the_user(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    for text in ('models.mine = {filename = "m.gguf"}\n', BEFORE + '[models.mine]\nfilename = "m.gguf"\n'):
        file.write_text(text, encoding="utf-8")

        with pytest.raises(InvalidSetting, match="cannot be changed safely"):
            remove_entry(file, "mine")
        assert file.read_text() == text


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back_as_it_was(text: str, tmp_path: Path) -> None:
    file = tmp_path / "any.toml"
    file.unlink(missing_ok=True)

    add_entry(file, "mine", {"filename": "m.gguf", "system_prompt": text})

    assert load(file).get("mine").system_prompt == text


def test_a_path_that_is_no_text_is_refused_in_words_and_nothing_is_left(file: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"filename .*no UTF-8"):
        add_entry(file, "own", {"filename": "/data/\udc80.gguf"})

    assert file.read_text() == BEFORE
    assert list(file.parent.iterdir()) == [file]


def test_what_another_process_is_writing_is_not_written_over(file: Path) -> None:
    others = file.with_name(f"{file.name}.new")
    others.write_text("another's draft")

    add_entry(file, "own", {"filename": "/data/m.gguf"})

    assert others.read_text() == "another's draft"
    assert set(file.parent.iterdir()) == {file, others}
