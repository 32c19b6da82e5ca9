from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.index.locations import MOST_LOCATIONS, NamedLocation, named_locations


def _named(text: str) -> list[tuple[str, int | None]]:
    return [(str(location.path), location.line) for location in named_locations(text)]


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        ("src/app/run.py", "src/app/run.py", None),
        ("What happens in `src/run.py`?", "src/run.py", None),
        ("Look at run.py, please.", "run.py", None),
        ("It ends in run.py.", "run.py", None),
        ("src/run.py:12", "src/run.py", 12),
        ("src/run.py:12:", "src/run.py", 12),
        ("src/run.py:12:5: error: no such name", "src/run.py", 12),
        ("(src/run.py:12)", "src/run.py", 12),
        ('  File "/build/me/app/src/run.py", line 12, in run', "/build/me/app/src/run.py", 12),
        ("src/run.py line 12", "src/run.py", 12),
        ("    at run (/build/me/app/src/run.js:12:5)", "/build/me/app/src/run.js", 12),
        ("    at C:\\me\\app\\src\\run.ts:12:5", "/me/app/src/run.ts", 12),
        ("\t/build/me/app/run.go:12 +0x1d", "/build/me/app/run.go", 12),
        ("   at App.Run.Go(Int32 n) in C:\\me\\app\\Run.cs:line 12", "/me/app/Run.cs", 12),
        ("app/run.rb:12:in `go': no such thing (KeyError)", "app/run.rb", 12),
        ("thread 'main' panicked at src/run.rs:12:5:", "src/run.rs", 12),
        ("größe/zählen.py:12", "größe/zählen.py", 12),
    ],
)
def test_a_file_and_its_line_are_read_as_tools_write_them(text: str, path: str, line: int | None) -> None:
    assert (path, line) in _named(text)


def test_of_a_java_frame_the_file_is_read() -> None:
    assert ("Run.java", 12) in _named("\tat com.example.Run.go(Run.java:12)")


@pytest.mark.parametrize(
    "text", ["", "why?", "at 12:30", "a.", ".", "v1.2.3", "3.11", "a.py:line", "\ud800.py"]
)
def test_what_is_no_file_with_a_line_names_none(text: str) -> None:
    assert all(line is None and path == "a.py" for path, line in _named(text))


@pytest.mark.parametrize("text", ["run.py:0", "run.py:", "run.py, line twelve", "run.py line", "run.py 12"])
def test_without_a_line_the_file_is_meant(text: str) -> None:
    assert _named(text) == [("run.py", None)]


def test_places_are_in_the_order_of_the_text_each_once() -> None:
    assert _named("b.py:2 a.py:1 b.py:2 b.py:3") == [("b.py", 2), ("a.py", 1), ("b.py", 3)]


def test_of_a_long_trace_the_first_places_are_read() -> None:
    trace = "\n".join(f'  File "run.py", line {line}, in run' for line in range(1, 1_000))
    assert _named(trace) == [("run.py", line) for line in range(1, MOST_LOCATIONS + 1)]


@pytest.mark.parametrize(
    ("path", "shared"),
    [
        ("src/app/run.py", 3),
        ("app/run.py", 2),
        ("run.py", 1),
        ("other/run.py", 1),
        ("other/app/run.py", 2),
        ("run.pyi", 0),
        ("Run.py", 0),
        ("src/app/run.py/x.py", 0),
    ],
)
def test_a_files_path_is_compared_from_its_end(path: str, shared: int) -> None:
    named = NamedLocation(PurePosixPath("/build/me/src/app/run.py"))
    assert named.shared_parts(PurePosixPath(path)) == shared


# A step for every two of the characters would take longer than a test may.
@pytest.mark.parametrize(
    "part",
    [".a", "a.", "a.b:1:", "/", "\\", "a:", ":", "1:1", ". ", "x.py:line ", "line ", "\u0660", "((", "_"],
)
@pytest.mark.parametrize("tail", ["", "!", ":1:1:line"])
def test_a_hostile_text_is_read_like_any_other(part: str, tail: str) -> None:
    text = part * (100_000 // len(part)) + tail
    assert len(named_locations(text)) <= MOST_LOCATIONS


@given(
    st.text()
    | st.lists(
        st.sampled_from(
            ["a.py", ":", "12", "line", " ", ",", '"', "/", "\\", "C:", "\x00", "\udc80", "٣", "\n"]
        )
    ).map("".join)
)
def test_any_text_is_read(text: str) -> None:
    locations = named_locations(text)
    assert len(locations) == len(set(locations)) <= MOST_LOCATIONS
    for location in locations:
        assert location.path.name
        assert location.line is None or location.line >= 1
        assert location.shared_parts(location.path) == len(location.path.parts)
        str(location.path).encode()  # what cannot be written as UTF-8, no index can be asked for


_PARTS = st.lists(st.from_regex(r"\A[a-zA-Z_][a-zA-Z0-9_-]{0,8}\Z"), min_size=1, max_size=5)


@given(_PARTS, st.sampled_from(["py", "tsx", "h", "java"]), st.integers(1, 99_999_999))
def test_what_is_written_is_read_again(parts: list[str], suffix: str, line: int) -> None:
    path = f"{'/'.join(parts)}.{suffix}"
    for text in (
        f"{path}:{line}",
        f'File "{path}", line {line}',
        f"({path}:{line}:7)",
        f"{path}:line {line}",
    ):
        assert _named(text) == [(path, line)]
