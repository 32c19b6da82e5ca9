import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.project.notebooks import CODE_MARK, PROSE_MARK, Notebook, read_notebook


def cell(kind: str, text: str, **more: object) -> dict[str, object]:
    return {
        "cell_type": kind,
        "metadata": {},
        **more,
        "source": [f"{line}\n" for line in text.split("\n")[:-1]] + text.split("\n")[-1:],
    }


def document(*cells: dict[str, object], **metadata: object) -> str:
    return json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4}, indent=1, ensure_ascii=False)


def filled(notebook: Notebook | None) -> list[str]:
    assert notebook is not None
    return [line for line in notebook.text.split("\n") if line]


def test_every_line_of_a_cell_stands_where_it_stands_in_the_file() -> None:
    raw = document(cell("markdown", "# Title\n\nText."), cell("code", 'print("a\\tb")\nreturn'))
    notebook = read_notebook(raw)
    assert notebook is not None
    rows, raw_rows = notebook.text.split("\n"), raw.split("\n")
    assert len(rows) == len(raw_rows)
    for text in ("# Title", "Text.", 'print("a\\tb")', "return"):
        assert json.dumps(text)[1:-1] in raw_rows[rows.index(text)]


def test_a_mark_above_each_cell_says_what_it_is() -> None:
    raw = document(cell("markdown", "Words."), cell("code", "x = 1"), cell("raw", "as it is"))
    assert filled(read_notebook(raw)) == [PROSE_MARK, "Words.", CODE_MARK, "x = 1", PROSE_MARK, "as it is"]


def test_outputs_pictures_and_metadata_are_left_out() -> None:
    outputs = [{"data": {"image/png": "iVBOR" * 1_000, "source": ["not", "ours"]}, "text": ["printed\n"]}]
    raw = document(
        cell("code", "plot()", outputs=outputs, attachments={"source": ["nor this"]}), source=["no"]
    )
    assert filled(read_notebook(raw)) == [CODE_MARK, "plot()"]


def test_a_cell_may_be_written_as_one_string() -> None:
    raw = document({"cell_type": "code", "metadata": {}, "source": "x = 1"})
    assert filled(read_notebook(raw)) == [CODE_MARK, "x = 1"]


@pytest.mark.parametrize(
    ("metadata", "language"),
    [
        ({"language_info": {"name": "julia"}}, "julia"),
        ({"kernelspec": {"display_name": "R", "language": "R"}}, "R"),
        ({}, ""),
    ],
)
def test_the_kernel_names_the_language(metadata: dict[str, object], language: str) -> None:
    notebook = read_notebook(document(cell("code", "x"), **metadata))
    assert notebook is not None
    assert notebook.language == language


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "{}",
        "no JSON",
        document(),
        document(cell("code", "")),
        document(cell("code", "x = 1\ny = 2"))[:-3],
        json.dumps({"cells": [cell("code", "x = 1\ny = 2")]}),
        document({"cell_type": "code", "source": "two lines\nin one string"}),
        document(cell("code", "x")).replace('"x"', r'"\x"'),
        "[" * 200_000,
        '{"cells": [' + "{}," * 600_000,
    ],
    ids=[
        "empty",
        "no cells",
        "no JSON",
        "no cell",
        "empty cell",
        "cut off",
        "one line",
        "one string",
        "bad escape",
        "nested",
        "huge",
    ],
)
def test_what_has_no_line_for_each_line_is_no_notebook(raw: str) -> None:
    assert read_notebook(raw) is None


def test_half_a_surrogate_pair_and_nul_become_characters() -> None:
    raw = document(cell("code", "a = 1")).replace('"a = 1"', r'"\ud800 \u0000 \ud83d\ude00"')
    assert filled(read_notebook(raw)) == [CODE_MARK, "? \ufffd 😀"]


lines = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0\n"), max_size=20)


@given(st.lists(st.tuples(st.sampled_from(["code", "markdown"]), st.lists(lines, max_size=5)), max_size=6))
def test_what_was_written_is_what_is_read(cells: list[tuple[str, list[str]]]) -> None:
    raw = document(*(cell(kind, "".join(f"{line}\n" for line in text)) for kind, text in cells))
    expected = [
        line
        for kind, text in cells
        if any(map(str.strip, text))
        for line in (CODE_MARK if kind == "code" else PROSE_MARK, *text)
        if line
    ]
    assert not expected or filled(read_notebook(raw)) == expected


@given(st.text(st.sampled_from('{}[]":,\\ \ncellsou') | st.characters(), max_size=200))
def test_any_text_may_be_asked_about(text: str) -> None:
    notebook = read_notebook(text)
    assert notebook is None or notebook.text.count("\n") == text.count("\n")
