import io
import os
import sys
from pathlib import Path

import pytest

from coding_assistant.chat.attachments import MOST_ATTACHED_CHARACTERS
from coding_assistant.cli.attaching import TypedFile, attachments, is_piped, piped_text
from coding_assistant.cli.screen import Screen
from coding_assistant.contract import Attachment
from coding_assistant.errors import AttachmentTooLarge, InvalidAttachment


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path.resolve() / "shop"
    (root / "src").mkdir(parents=True)
    (root / "src" / "a.py").write_text("x = 1\n")
    (root / "src" / "odd:3.py").write_text("x = 1\n")
    monkeypatch.chdir(root / "src")
    return root


@pytest.mark.parametrize(
    ("typed", "lines"),
    [("a.py", (None, None)), ("a.py:3", (3, 3)), ("a.py:3-9", (3, 9)), ("./a.py", (None, None))],
)
def test_a_path_is_relative_to_the_working_directory_and_may_have_lines(
    project: Path, typed: str, lines: tuple[int | None, int | None]
) -> None:
    attached = TypedFile.parse(typed).within(project)

    assert attached == Attachment(path="src/a.py", start_line=lines[0], end_line=lines[1])


def test_an_absolute_path_and_a_colon_in_a_name_are_understood(project: Path) -> None:
    assert TypedFile.parse(f"{project}/src/a.py:2").within(project).path == "src/a.py"
    assert TypedFile.parse("odd:3.py").within(project).start_line is None


@pytest.mark.parametrize("typed", ["no.py", "no.py:3", ".", "", "~nobody-here/a.py", "x" * 5_000, "a\0b"])
@pytest.mark.usefixtures("project")
def test_a_file_that_is_not_there_is_told_before_anything_is_loaded(typed: str) -> None:
    with pytest.raises(InvalidAttachment, match="There is no file"):
        TypedFile.parse(typed)


def test_a_file_outside_of_the_project_is_refused_also_through_a_link(project: Path, tmp_path: Path) -> None:
    (tmp_path / "b.py").write_text("x = 1\n")
    (project / "away").symlink_to(tmp_path)
    for typed in (str(tmp_path / "b.py"), str(project / "away" / "b.py")):
        with pytest.raises(InvalidAttachment, match="outside"):
            TypedFile.parse(typed).within(project)


def test_what_is_piped_in_comes_behind_the_files(project: Path) -> None:
    files = [TypedFile.parse("a.py")]

    assert [each.path or each.name for each in attachments(files, project, "a diff")] == [
        "src/a.py",
        "standard input",
    ]
    assert attachments([], project) == ()


def piped(monkeypatch: pytest.MonkeyPatch, data: bytes) -> str:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    return piped_text(Screen(io.StringIO()))


def test_piped_text_is_read_as_it_is_and_blanks_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert piped(monkeypatch, b" a\n\n") == " a\n\n"
    assert piped(monkeypatch, b" \n") == ""


def test_a_pipe_that_never_ends_is_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AttachmentTooLarge):
        piped(monkeypatch, b"x" * (4 * MOST_ATTACHED_CHARACTERS + 10))


class Terminal(io.StringIO):
    """A stream that a person looks at."""

    def isatty(self) -> bool:
        return True


def test_a_pipe_on_which_nothing_comes_is_told_and_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Side(io.StringIO):
        def write(self, text: str) -> int:
            if "Waiting" in text:
                os.write(writing, b"a diff")
                os.close(writing)
            return super().write(text)

    reading, writing = os.pipe()
    with os.fdopen(reading) as silent:
        monkeypatch.setattr(sys, "stdin", silent)
        assert piped_text(Screen(Side()), silent_seconds=0.0) == "a diff"


def test_an_empty_pipe_is_told_to_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    terminal = Terminal()
    assert not piped_text(Screen(terminal))
    assert "Nothing was piped in" in terminal.getvalue()


def test_a_device_is_no_pipe_and_a_file_is_one(monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    with Path("/dev/null").open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        assert not is_piped()
    with (project / "src" / "a.py").open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert is_piped()
