import os
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coding_assistant.domain import Chunk, ChunkKind, ContextLine, SourceFile, text_digest
from coding_assistant.project.chunk import TARGET_CHARACTERS, chunk, chunk_by_lines, split_lines
from coding_assistant.project.grammars import GRAMMARS
from coding_assistant.project.heads import MOST_CONTEXT_LINES
from coding_assistant.project.languages import language_of
from coding_assistant.project.walk import find, read

FIXTURES = Path(__file__).parents[2] / "fixtures" / "languages"
EXAMPLES = sorted(path for path in FIXTURES.iterdir() if path.suffix != ".outline")
LONGEST = TARGET_CHARACTERS * 3 // 2


def source(text: str, language: str | None, *, name: str = "file") -> SourceFile:
    return SourceFile(PurePosixPath(name), text, text_digest(text), language)


def example_file(path: Path) -> SourceFile:
    found = find(FIXTURES, PurePosixPath(path.name))
    assert found is not None
    file = read(FIXTURES, found)
    assert isinstance(file, SourceFile)
    return file


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


def assert_context_is_of_the_file(file: SourceFile, chunks: list[Chunk]) -> None:
    """Context lines are lines of the file outside the chunk, in order, cut only where they say so."""
    lines = file.text.split("\n")
    for each in chunks:
        numbers = [line.line for line in each.context]
        assert numbers == sorted(set(numbers))
        assert not set(numbers) & set(range(each.start_line, each.end_line + 1))
        for line in each.context:
            assert lines[line.line - 1].startswith(line.text.removesuffix(" …"))
        above = [line for line in each.context if line.line < each.start_line]
        assert len(above) <= MOST_CONTEXT_LINES


def listing(each: Chunk) -> str:
    title = f"{each.start_line}-{each.end_line} {each.kind} {each.symbol or ''}".rstrip()
    context = (f"    {line.line}: {line.text}" for line in each.context)
    return "".join(f"{line}\n" for line in (title, *context))


def places(text: str) -> list[tuple[int, int, str | None]]:
    return [(each.start_line, each.end_line, each.symbol) for each in chunk(source(text, "python"))]


# --- Every language ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_a_file_is_cut_as_a_person_would_cut_it(path: Path) -> None:
    """Compare with the outline beside the file: start-end, kind, symbol, and below them the context.

    After a change that is meant, write the outlines anew with UPDATE_OUTLINES=1, and read the difference.
    """
    file = example_file(path)
    chunks = chunk(file)
    assert_tiles(file, chunks)
    assert_context_is_of_the_file(file, chunks)
    outline = "".join(map(listing, chunks))
    expected = path.with_name(f"{path.name}.outline")
    if os.environ.get("UPDATE_OUTLINES"):
        expected.write_text(outline)
    assert outline == expected.read_text()


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
    for each in (file, replace(file, path=PurePosixPath("a.ipynb"))):
        chunks = chunk(each, target_characters=target)
        assert_tiles(each, chunks)
        assert_context_is_of_the_file(each, chunks)
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


# --- Context --------------------------------------------------------------------------------------------


def test_a_piece_of_a_long_function_carries_its_signature_and_its_class() -> None:
    body = "\n".join(f"        self.total += values[{n}] * weights[{n}]" for n in range(60))
    text = f"class Sum(Base):\n    def add(\n        self, values, weights\n    ):\n{body}\n"
    first, *others = [each for each in chunk(source(text, "python")) if each.symbol == "Sum.add"]
    assert [line.line for line in first.context] == [1]
    assert {each.context for each in others} == {
        (
            ContextLine(1, "class Sum(Base):"),
            ContextLine(2, "    def add("),
            ContextLine(3, "        self, values, weights"),
            ContextLine(4, "    ):"),
        )
    }


def test_a_long_head_is_cut_and_says_so() -> None:
    bases = ",\n".join(f"    Base{n}" for n in range(9))
    fields = "\n".join(f"    field_{n} = 'a text that fills the class'" for n in range(60))
    *_, last = chunk(source(f"class Wide(\n{bases}\n):\n{fields}\n", "python"))
    assert [line.text for line in last.context] == ["class Wide(", "    Base0,", "    Base1, …"]
    *_, last = chunk(source(f"class Long({'Base, ' * 90}):\n{fields}\n", "python"))
    (head,) = last.context
    assert len(head.text) <= 242
    assert head.text.endswith(" …")


def test_annotations_and_comments_are_no_part_of_a_head() -> None:
    fields = "\n".join(f"    int field{n} = {n};" for n in range(40))
    text = (
        f'@Entity\n@Table(\n  name = "words"\n)\npublic class Word // a word\n{{\n{fields}\n'
        f"    void say() {{ {'talk(); ' * 50} }}\n}}\n"
    )
    *_, last = chunk(source(text, "java"))
    assert [line.text for line in last.context] == ["public class Word // a word"]


def test_the_head_of_a_large_class_lists_its_members() -> None:
    body = "        self.work()\n" * 10
    methods = "".join(f"    def method{n}(self):\n{body}\n" for n in range(20))
    head, *_ = chunk(source(f"class Many:\n    field = 1\n\n{methods}", "python"))
    assert head.kind is ChunkKind.CLASS
    listed = [line.text for line in head.context]
    assert listed == [*(f"    def method{n}(self):" for n in range(11)), "    def method11(self): …"]


def test_members_of_nested_classes_come_in_the_order_of_the_file() -> None:
    body = "            work()\n" * 30
    inner = f"    class Inner:\n        def one(self):\n{body}        def two(self):\n{body}"
    text = f"class Outer:\n{inner}    def three(self):\n{body}    def four(self): pass\n"
    head, *_ = chunk(source(text, "python"))
    listed = [line.text.split()[1] for line in head.context if line.line > head.end_line]
    assert listed == sorted(listed, key=["one(self):", "two(self):", "three(self):", "four(self):"].index)


def test_what_stands_at_the_top_of_a_file_has_no_context() -> None:
    chunks = chunk(source("import os\n\n\ndef f():\n    return os.sep\n", "python"))
    assert all(each.context == () for each in chunks)


# --- Notebooks --------------------------------------------------------------------------------------------


def notebook(*cells: str, gap: int = 7) -> str:
    return ("\n" * (gap + 1)).join(cells)


def test_cells_share_a_chunk_but_for_those_with_an_output_between() -> None:
    cells = [
        f"# %%\nstep_{n} = run({n})\nprint(step_{n}, 'is done, and so is what was before it')"
        for n in range(3)
    ]
    together = chunk(source(notebook(*cells), "python", name="a.ipynb"))
    apart = chunk(source(notebook(*cells, gap=50), "python", name="a.ipynb"))
    assert [each.kind for each in together] == [ChunkKind.CELL]
    assert [each.text for each in apart] == cells


def test_a_cell_has_the_headings_above_it() -> None:
    cells = [
        "# %% [md]\n# Rain",
        f"# %% [md]\n## Totals\n{'By month and by year. ' * 10}",
        "# %%\n# no heading\n" + "count()\n" * 120,
    ]
    *_, last = chunk(source(notebook(*cells), "python", name="a.ipynb"))
    assert last.symbol == "Rain > Totals"
    assert [line.text for line in last.context] == ["# Rain", "## Totals"]


def test_a_command_in_a_cell_does_not_hide_its_definitions() -> None:
    text = "# %%\n%time\n!pip install x\ndef train(model):\n    return model.fit()"
    assert [each.symbol for each in chunk(source(text, "python", name="a.ipynb"))] == ["train"]
    text = "# %%\n%%bash\ndef train(model):\n    pass"
    assert [each.symbol for each in chunk(source(text, "python", name="a.ipynb"))] == [None]


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
