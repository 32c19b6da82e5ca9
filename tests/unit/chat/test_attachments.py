from pathlib import Path, PurePosixPath

import pytest

from coding_assistant.chat.attachments import (
    MOST_ATTACHED_CHARACTERS,
    AttachedFile,
    AttachedText,
    attached_chunks,
    lines_left_out,
    room_for_found,
    search_text,
    with_lines,
    without_attached,
)
from coding_assistant.domain import Chunk, ChunkKind, Source, SourceOrigin
from coding_assistant.errors import AttachmentTooLarge, InvalidAttachment
from support.spoken_turns import hit

DIFF = """\
diff --git a/src/pay.py b/src/pay.py
index 1..2 100644
--- a/src/pay.py
+++ b/src/pay.py
@@ -10,7 +10,9 @@ def gross(net):
     rate = 0.19
-    return round_up(net * rate)
+    return round_half(net * rate)
"""

TRACE = """\
Traceback (most recent call last):
  File "/usr/lib/python3/runpy.py", line 3, in run
    go()
  File "/srv/shop/shop/src/pay.py", line 12, in gross
    return rate[net]
KeyError: 'net'
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "shop"
    (root / "src").mkdir(parents=True)
    (root / "src" / "pay.py").write_text("".join(f"line_{number} = {number}\n" for number in range(1, 31)))
    (root / ".env").write_text("TOKEN=1\n")
    (root / ".gitignore").write_text("build/\n*.log\n")
    (root / "build").mkdir()
    (root / "build" / "made.py").write_text("x = 1\n")
    (root / "run.log").write_text("started\n")
    (root / "picture.png").write_bytes(b"\x89PNG\r\n")
    (root / "link.py").symlink_to(root / "src" / "pay.py")
    (tmp_path / "outside.py").write_text("secret = 1\n")
    (root / "away").symlink_to(tmp_path)
    return root


def one(root: Path, path: str, *lines: int) -> Chunk:
    (chunk,) = attached_chunks(root, [AttachedFile(path, *lines)])
    return chunk


def test_lines_of_a_file_keep_their_numbers(project: Path) -> None:
    chunk = one(project, "src/pay.py", 10, 12)

    assert (chunk.location, chunk.text) == ("src/pay.py:10-12", "line_10 = 10\nline_11 = 11\nline_12 = 12")
    assert (chunk.kind, chunk.language) == (ChunkKind.ATTACHED, "python")


@pytest.mark.parametrize(("lines", "location"), [((), "1-30"), ((7,), "7-7"), ((28, 99), "28-30")])
def test_all_lines_one_line_or_as_many_as_there_are(
    project: Path, lines: tuple[int, ...], location: str
) -> None:
    assert one(project, "src/pay.py", *lines).location == f"src/pay.py:{location}"


def test_an_absolute_path_inside_the_project_is_as_good(project: Path) -> None:
    assert one(project, str(project / "src" / "pay.py")).path == PurePosixPath("src/pay.py")


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../outside.py", "src/../../outside.py", "away/outside.py", "link.py", "", ".", "a\0b"],
)
def test_nothing_outside_is_read_and_no_link_is_followed(project: Path, path: str) -> None:
    with pytest.raises(InvalidAttachment):
        one(project, path)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        (".env", "holds secrets"),
        ("build/made.py", "hidden by an ignore file"),
        ("run.log", "hidden by an ignore file"),
        ("picture.png", "no text"),
        ("away/outside.py", "link"),
        ("src", "no file src"),
        ("nowhere.py", "no file nowhere.py"),
    ],
)
def test_what_is_not_indexed_is_refused_with_its_reason_and_what_to_do(
    project: Path, path: str, why: str
) -> None:
    with pytest.raises(InvalidAttachment, match=why) as refused:
        one(project, path)

    assert refused.value.hint


def test_lines_that_are_not_there_are_refused_with_the_number_that_are(project: Path) -> None:
    with pytest.raises(InvalidAttachment, match="30 lines"):
        one(project, "src/pay.py", 31, 40)


def test_secrets_of_an_attached_file_are_redacted_and_those_of_a_given_text_are_the_users_own(
    project: Path,
) -> None:
    key = "AKIA" + "Q7XW2ZPL4MNB8VCT"
    (project / "src" / "keys.py").write_text(f'access = "{key}"\n')

    file, text = attached_chunks(project, [AttachedFile("src/keys.py"), AttachedText("note", key)])

    assert key not in file.text
    assert text.text == key


def test_a_text_is_given_and_in_no_file(project: Path) -> None:
    (chunk,) = attached_chunks(project, [AttachedText("standard input", DIFF)])

    assert chunk.location == "standard input:1-8"
    assert Source(1, chunk, chunk.digest).origin is SourceOrigin.GIVEN


def test_too_much_is_refused_with_numbers(project: Path) -> None:
    with pytest.raises(AttachmentTooLarge, match=f"{MOST_ATTACHED_CHARACTERS:,}"):
        attached_chunks(project, [AttachedText("log", "x" * (MOST_ATTACHED_CHARACTERS + 1))])


def given(text: str) -> Chunk:
    return Chunk(PurePosixPath("standard input"), 1, text.count("\n") + 1, text, kind=ChunkKind.GIVEN)


def test_a_diff_is_searched_for_by_the_places_and_names_that_it_changes() -> None:
    words = search_text("Review this", [given(DIFF)]).split()

    assert words[:2] == ["Review", "this"]
    assert "src/pay.py:14" in words
    assert {"`gross`", "`round_up`", "`round_half`"} <= set(words)


def test_a_trace_is_searched_for_by_its_frames_innermost_first_and_by_what_was_raised() -> None:
    _, places, raised = search_text("Why?", [given(TRACE)]).split("\n")

    assert places.split()[0] == "/srv/shop/shop/src/pay.py:12"
    assert raised == "KeyError: 'net'"


def test_code_is_searched_for_by_what_it_calls_and_does_not_define() -> None:
    code = Chunk(PurePosixPath("a.py"), 5, 7, "def pay(x):\n    check(x)\n    send_all(x)\n    pay(x)")
    attached = Chunk(code.path, 5, 8, code.text, kind=ChunkKind.ATTACHED)

    assert search_text("Explain this", [attached]) == "Explain this\n`check` `send_all`"


def test_a_trace_leaves_room_for_the_code_that_it_names_and_a_file_only_what_is_left() -> None:
    attached = Chunk(PurePosixPath("a.py"), 1, 1, "x", kind=ChunkKind.ATTACHED)

    assert room_for_found(1000, [given(TRACE)], taken=5000) == 500
    assert room_for_found(1000, [attached], taken=400) == 600
    assert room_for_found(1000, [given("just words")], taken=10) == 500
    assert room_for_found(1000, [given("just words")], taken=700) == 300
    assert room_for_found(1000, [attached], taken=5000) <= 0


def test_what_the_attachment_shows_already_is_not_found_once_more() -> None:
    attached = Chunk(PurePosixPath("a.py"), 1, 90, "x", kind=ChunkKind.ATTACHED)

    assert [str(each.chunk.path) for each in without_attached([hit("a.py"), hit("b.py")], [attached])] == [
        "b.py"
    ]


@pytest.mark.parametrize(
    ("text", "kept", "left_out"),
    [(DIFF, "standard input:1-3", "standard input:4-9"), (TRACE, "standard input:5-7", "standard input:1-4")],
    ids=["of a diff the beginning stays", "of a trace the end"],
)
def test_a_text_that_is_too_long_is_cut_between_lines_and_the_rest_is_named(
    text: str, kept: str, left_out: str
) -> None:
    chunk = given(text)
    source = Source(1, chunk, chunk.digest)

    shown = with_lines(source, 3)

    assert shown.chunk.location == kept
    assert lines_left_out(source, shown).chunk.location == left_out
