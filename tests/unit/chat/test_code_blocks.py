from pathlib import PurePosixPath

import pytest

from coding_assistant.chat.code_blocks import CodeBlock, code_blocks, definitions
from coding_assistant.domain import Chunk, Source


def shown(path: str, text: str) -> Source:
    chunk = Chunk(PurePosixPath(path), 1, text.count("\n") + 1, text)
    return Source(1, chunk, chunk.digest)


def test_a_block_has_the_language_and_the_path_of_its_fence() -> None:
    answer = "So:\n```python src/a.py\nx = 1\n```\nand\n~~~\ny\n~~~\n"

    assert code_blocks(answer) == (
        CodeBlock("python", "x = 1", PurePosixPath("src/a.py")),
        CodeBlock("", "y"),
    )


@pytest.mark.parametrize(
    "line",
    [
        "# src/a.py",
        "// src/a.py",
        "/* src/a.py */",
        "# File: src/a.py",
        "src/a.py",
        "src/a.py:3-9 (attached to the question)",
        "[2] src/a.py:3-9",
    ],
)
def test_a_first_line_that_is_only_a_path_says_the_file_and_is_no_code(line: str) -> None:
    (block,) = code_blocks(f"```\n{line}\nx = 1\n```")

    assert (block.path, block.text) == (PurePosixPath("src/a.py"), "x = 1")


def test_a_block_without_a_path_is_of_the_only_source_that_defines_what_it_defines() -> None:
    sources = [shown("a.py", "def pay():\n    pass"), shown("b.py", "def run():\n    pass")]

    (block,) = code_blocks("```python\ndef run():\n    return 1\n```", sources)

    assert block.path == PurePosixPath("b.py")


def test_a_path_without_its_folders_is_that_of_the_source_and_one_that_leads_out_is_none() -> None:
    sources = [shown("src/shop/a.py", "x")]

    named, led_out = code_blocks("```py a.py\nx\n```\n```py ../../etc/a.py\nx\n```", sources)

    assert (named.path, led_out.path) == (PurePosixPath("src/shop/a.py"), None)


def test_line_numbers_that_were_copied_from_a_source_are_taken_off() -> None:
    (block,) = code_blocks("```python\na.py:41-42\n41: def run():\n\n42:     pass\n```")

    assert block.text == "def run():\n\n    pass"


@pytest.mark.parametrize(
    "body", ["x = 1", "x = 1\n# ... rest of the code\n```", "x\n// existing code here\n```", "# …\n```"]
)
def test_code_that_breaks_off_or_says_that_lines_are_left_out_is_not_complete(body: str) -> None:
    (block,) = code_blocks(f"```python\n{body}")

    assert not block.is_complete


def test_an_empty_body_in_python_is_complete() -> None:
    (block,) = code_blocks("```python\ndef run():\n    ...\n```")

    assert block.is_complete


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("class A(B):\n    @property\n    async def x(self) -> int:\n        return 1\n", {"A": 4, "x": 2}),
        ("function go(a) {\n  run(a);\n}\nlet f = (x) => {\n  g();\n};\n", {"go": 3, "f": 3}),
        ("func (s *T) Name(a int) error {\n\treturn nil\n}\n", {"Name": 3}),
        ("pub fn run(x: u8) -> bool\n{\n    true\n}\n", {"run": 4}),
        ("static int add(int a,\n               int b) {\n  return a;\n}\nint mul(int a) {\n}\n", {"mul": 2}),
        ("if (x) {\n}\nreturn foo(x);\n'''A class of things'''\nclass of things\n", {}),
        ("def long(\n    a,\n    b,\n) -> int:\n    return a\nx = 1\n", {"long": 5}),
        ("def each\n  1\nend\n", {"each": 3}),
    ],
)
def test_definitions_are_read_off_the_indentation(code: str, names: dict[str, int]) -> None:
    assert {each.name: each.end - each.head for each in definitions(code.split("\n"))} == names
