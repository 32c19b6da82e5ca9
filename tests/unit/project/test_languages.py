from pathlib import PurePosixPath

import pytest

from coding_assistant.project.languages import language_named, language_of, language_of_shebang


@pytest.mark.parametrize(
    ("path", "language"),
    [
        ("a/b.py", "python"),
        ("Main.KT", "kotlin"),
        ("include/x.h", "c"),
        ("x.hpp", "cpp"),
        ("page.d.ts", "typescript"),
        ("page.tsx", "tsx"),
        ("Makefile", "make"),
        ("Dockerfile.dev", "dockerfile"),
        ("CMakeLists.txt", "cmake"),
        ("docs/README.md", "markdown"),
        (".bashrc", "bash"),
        ("LICENSE", None),
        ("x.unheard-of", None),
    ],
)
def test_a_file_name_tells_the_language(path: str, language: str | None) -> None:
    assert language_of(PurePosixPath(path)) == language


@pytest.mark.parametrize(
    ("first_line", "language"),
    [
        ("#!/bin/sh", "bash"),
        ("#!/usr/bin/env python3.11", "python"),
        ("#!/usr/bin/env -S LC_ALL=C node --trace", "javascript"),
        ("#! /usr/bin/ruby -w", "ruby"),
        ("#!", None),
        ("#!/usr/bin/env", None),
        ("print('hello')", None),
    ],
)
def test_a_script_names_its_interpreter(first_line: str, language: str | None) -> None:
    assert language_of_shebang(f"{first_line}\nrest\n") == language


@pytest.mark.parametrize(
    ("name", "language"),
    [("python", "python"), ("Julia", "julia"), ("R", "r"), ("C++", "cpp"), ("sagemath", None), ("", None)],
)
def test_a_kernel_may_call_a_language_by_another_name(name: str, language: str | None) -> None:
    assert language_named(name) == language
