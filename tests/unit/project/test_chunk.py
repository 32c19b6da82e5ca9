from pathlib import Path, PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coding_assistant.domain import Chunk, ChunkKind, SourceFile, text_digest
from coding_assistant.project.chunk import TARGET_CHARACTERS, chunk, chunk_by_lines, split_lines
from coding_assistant.project.grammars import GRAMMARS
from coding_assistant.project.languages import language_of

FIXTURES = Path(__file__).parents[2] / "fixtures" / "languages"
EXAMPLES = sorted(path for path in FIXTURES.iterdir() if path.suffix != ".outline")
LONGEST = TARGET_CHARACTERS * 3 // 2


def source(text: str, language: str | None, *, name: str = "file") -> SourceFile:
    return SourceFile(PurePosixPath(name), text, text_digest(text), language)


def example_file(path: Path) -> SourceFile:
    return source(path.read_text(), language_of(PurePosixPath(path.name)), name=path.name)


def assert_tiles(file: SourceFile, chunks: list[Chunk]) -> None:
    """Every line that is not blank is in exactly one chunk, in order, and the texts are the lines."""
    lines = file.text.split("\n")
    covered: list[int] = []
    for each in chunks:
        assert each.text == "\n".join(lines[each.start_line - 1 : each.end_line])
        assert lines[each.start_line - 1].strip()
        assert lines[each.end_line - 1].strip()
        assert each.language == file.language
        covered.extend(range(each.start_line, each.end_line + 1))
    assert covered == sorted(set(covered))
    filled = {number for number, line in enumerate(lines, start=1) if line.strip()}
    assert filled <= set(covered)


def places(text: str) -> list[tuple[int, int, str | None]]:
    return [(each.start_line, each.end_line, each.symbol) for each in chunk(source(text, "python"))]


# --- Every language ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_a_file_is_cut_as_a_person_would_cut_it(path: Path) -> None:
    """Compare with the outline beside the file: start-end, kind, symbol."""
    file = example_file(path)
    chunks = chunk(file)
    assert_tiles(file, chunks)
    outline = [
        f"{each.start_line}-{each.end_line} {each.kind} {each.symbol or ''}".rstrip() for each in chunks
    ]
    assert outline == path.with_name(f"{path.name}.outline").read_text().splitlines()


def test_every_grammar_has_an_example() -> None:
    assert {language_of(PurePosixPath(path.name)) for path in EXAMPLES} >= set(GRAMMARS)


FRAGMENTS = [line for path in EXAMPLES for line in path.read_text().split("\n")]
LINES = st.sampled_from(FRAGMENTS) | st.text(max_size=30)
TEXTS = st.tuples(st.lists(LINES, max_size=40), st.sampled_from(["\n", "\r\n", "\n\n", "\x0c\n"])).map(
    lambda parts: parts[1].join(parts[0])
)
LANGUAGES = st.sampled_from([*sorted(GRAMMARS), "markdown", "rst", "sql", None])


@given(text=TEXTS, language=LANGUAGES, target=st.sampled_from([40, 200, TARGET_CHARACTERS]))
def test_chunks_tile_any_text_in_any_language(text: str, language: str | None, target: int) -> None:
    file = source(text, language)
    assert_tiles(file, chunk(file, target_characters=target))
    assert_tiles(file, chunk_by_lines(file, target_characters=target))


@given(text=TEXTS, language=LANGUAGES)
@example(
    text=f"#!/bin/bash\r\n    }}\r\n{'0' * 22}\r\n{'x' * 106}\r\n#!/bin/bash\r\n#!/bin/bash", language="bash"
)
def test_no_chunk_is_longer_than_it_must(text: str, language: str | None) -> None:
    for each in chunk(source(text, language), target_characters=100):
        assert len(each.text) <= 150 or each.start_line == each.end_line


# --- Lines --------------------------------------------------------------------------------------------


def test_lines_end_at_line_feeds_and_nowhere_else() -> None:
    text = "a\r\nb\x0c\u2028c\rd\n\ne"
    assert split_lines(text) == ["a\r", "b\x0c\u2028c\rd", "", "e"]
    assert split_lines("") == []
    assert split_lines("\n") == [""]
    (only,) = chunk(source(text, "python"))
    assert (only.start_line, only.end_line) == (1, 4)


@pytest.mark.parametrize("text", ["", "\n", " \n\t\n", "\x0c"])
def test_a_blank_file_has_no_chunks(text: str) -> None:
    assert chunk(source(text, "python")) == []


def test_windows_line_ends_change_no_line_number() -> None:
    unix = (FIXTURES / "python.py").read_text()
    windows = unix.replace("\n", "\r\n")
    assert places(unix) == places(windows)


# --- Sizes ----------------------------------------------------------------------------------------------


def test_a_long_function_is_cut_between_statements_under_one_name() -> None:
    body = "\n".join(
        f"    if values[{n}]:\n        total += values[{n}]  # the {n}th value" for n in range(100)
    )
    chunks = chunk(source(f"def add(values):\n    total = 0\n{body}\n    return total\n", "python"))
    assert len(chunks) > 4
    assert {(each.symbol, each.kind) for each in chunks} == {("add", ChunkKind.FUNCTION)}
    assert all(each.text.startswith(("def add", "    if ", "    return")) for each in chunks)
    assert all(len(each.text) <= LONGEST for each in chunks)


def test_a_function_a_little_over_the_target_stays_whole() -> None:
    body = "\n".join(f"    call_number_{n}()" for n in range(50))
    (only,) = chunk(source(f"def f():\n{body}\n", "python"))
    assert TARGET_CHARACTERS < len(only.text) <= LONGEST


def test_functions_in_a_long_function_have_chunks_of_their_own() -> None:
    inner = "\n".join(f"  function part{n}() {{\n    {'work();' * 30}\n  }}" for n in range(10))
    chunks = chunk(source(f"(function () {{\n  function outer() {{\n{inner}\n  }}\n}})();\n", "javascript"))
    symbols = [each.symbol for each in chunks]
    assert symbols == [f"outer.part{n}" for n in range(10)]


def test_neighbouring_one_liners_share_a_chunk() -> None:
    text = "\n\n\n".join(f"class Error{n}(Exception):\n    pass" for n in range(20))
    chunks = chunk(source(text, "python"))
    assert len(chunks) == 1
    assert chunks[0].kind is ChunkKind.MODULE


def test_a_line_that_is_too_long_does_not_drag_others_along() -> None:
    file = source("short\n" * 300 + "x" * 5_000 + "\n" + "short\n" * 300, None)
    chunks = chunk_by_lines(file)
    assert_tiles(file, chunks)
    assert max(len(each.text) for each in chunks) < 5_000 + LONGEST


def test_prose_without_headings_is_cut_between_paragraphs() -> None:
    paragraph = "\n".join(["some words that fill a line of text rather well"] * 5)
    chunks = chunk(source("\n\n".join([paragraph] * 40), "markdown"))
    assert all(each.text.split("\n\n")[0] == paragraph for each in chunks)


def test_configuration_is_cut_at_its_top_level() -> None:
    text = "".join(f"service{n}:\n" + "".join(f"  option{m}: value\n" for m in range(20)) for n in range(20))
    assert all(each.text.startswith("service") for each in chunk(source(text, "yaml")))


# --- Damage -------------------------------------------------------------------------------------------------


def test_a_file_with_syntax_errors_keeps_the_names_that_can_be_told() -> None:
    filler = "".join(f"    value_{n} = compute_the_value_of({n})\n" for n in range(10))
    text = f"def before():\n{filler}\n\ndef broken(:\n{filler}\n\nclass ((\n\ndef after():\n{filler}"
    file = source(text, "python")
    chunks = chunk(file)
    assert_tiles(file, chunks)
    assert {"before", "after"} <= {each.symbol for each in chunks}


def test_deep_nesting_is_walked_without_recursion() -> None:
    depth = 3_000
    file = source("\n".join(["x = ("] + ["("] * depth + [")"] * depth + [")"]), "python")
    assert_tiles(file, chunk(file))


def test_names_do_not_grow_with_nesting() -> None:
    depth = 200
    text = "\n".join(
        f"{' ' * n}class C{n}:\n{' ' * n} x = 'a field to fill the class with text'" for n in range(depth)
    )
    assert max(len(each.symbol or "") for each in chunk(source(text, "python"))) < 100


def test_a_header_may_be_c_or_cpp() -> None:
    text = "class Widget {\n public:\n  void draw();\n" + "  int field_with_a_long_name;\n" * 10 + "};\n"
    chunks = chunk(source(text, "c", name="widget.h"))
    assert [(each.symbol, each.kind) for each in chunks] == [("Widget", ChunkKind.CLASS)]
