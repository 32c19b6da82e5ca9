import inspect
import json
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import pytest

from coding_assistant.domain import FileStamp, FoundFile, SkippedFile, SkipReason, SourceFile, text_digest
from coding_assistant.errors import InvalidProject
from coding_assistant.project import walk as project_walk
from coding_assistant.project.secrets import REDACTED
from coding_assistant.project.walk import open_root, read, walk


def write(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def found(root: Path) -> list[str]:
    return [str(item.path) for item in walk(root) if isinstance(item, FoundFile)]


def skipped(root: Path) -> dict[str, SkipReason]:
    return {str(item.path): item.reason for item in walk(root) if isinstance(item, SkippedFile)}


def find(root: Path, path: str) -> FoundFile:
    return next(item for item in walk(root) if isinstance(item, FoundFile) and str(item.path) == path)


# --- The root -----------------------------------------------------------------------------------


def test_the_root_is_absolute_and_without_links(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert open_root(tmp_path / "link") == (tmp_path / "real").resolve()


def test_a_root_that_is_absent_or_a_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InvalidProject, match="does not exist"):
        open_root(tmp_path / "absent")
    with pytest.raises(InvalidProject, match="is a file"):
        open_root(tmp_path / "file")
    with pytest.raises(InvalidProject):
        open_root(tmp_path / "loop")
    with pytest.raises(InvalidProject):
        open_root(tmp_path / "nul\0")


def test_an_empty_folder_has_no_files(tmp_path: Path) -> None:
    assert list(walk(tmp_path)) == []


# --- What is found --------------------------------------------------------------------------------


def test_files_come_in_the_order_of_their_paths_with_size_and_time(tmp_path: Path) -> None:
    write(tmp_path, {"b.py": "x = 1\n", "a/z.py": "", "a/b/c.py": "", "a.py": ""})
    paths = [item.path for item in walk(tmp_path)]
    assert paths == sorted(paths)
    assert [str(path) for path in paths] == ["a/b/c.py", "a/z.py", "a.py", "b.py"]
    status = (tmp_path / "b.py").stat()
    assert find(tmp_path, "b.py").stamp == FileStamp(6, status.st_mtime_ns, status.st_ctime_ns)


def test_ignore_files_count_at_every_level(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            ".gitignore": "*.log\nout/\n",
            "a.log": "",
            "out/x.py": "",
            "sub/.gitignore": "!keep.log\n/local.py\n",
            "sub/keep.log": "",
            "sub/local.py": "",
            "sub/deep/local.py": "",
        },
    )
    assert found(tmp_path) == [".gitignore", "sub/.gitignore", "sub/deep/local.py", "sub/keep.log"]
    assert skipped(tmp_path) == dict.fromkeys(["a.log", "out", "sub/local.py"], SkipReason.IGNORED)


def test_a_file_in_a_hidden_folder_stays_hidden(tmp_path: Path) -> None:
    write(tmp_path, {".gitignore": "out/\n!out/x.py\n", "out/x.py": "", "out/y.py": ""})
    assert skipped(tmp_path) == {"out": SkipReason.IGNORED}


def test_our_own_ignore_file_has_the_last_word(tmp_path: Path) -> None:
    write(
        tmp_path, {".gitignore": "*.gen\n", ".assistantignore": "!*.gen\n*.csv\n", "a.gen": "", "b.csv": ""}
    )
    assert found(tmp_path) == [".assistantignore", ".gitignore", "a.gen"]


def test_what_only_this_clone_excludes_is_hidden(tmp_path: Path) -> None:
    write(tmp_path, {".git/info/exclude": "notes.txt\n", "notes.txt": "", "kept.txt": ""})
    assert found(tmp_path) == ["kept.txt"]


def test_folders_that_never_hold_source_are_passed_over(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            ".git/config": "",
            "node_modules/x/index.js": "",
            "my-env/pyvenv.cfg": "",
            "my-env/lib/a.py": "",
            "venv/a.py": "",
        },
    )
    assert found(tmp_path) == ["venv/a.py"]
    assert set(skipped(tmp_path)) == {".git", "node_modules", "my-env"}


def test_secrets_are_not_brought_back_by_an_ignore_file(tmp_path: Path) -> None:
    write(tmp_path, {".gitignore": "*\n!.env\n", ".env": "PASSWORD=x"})
    assert skipped(tmp_path)[".env"] is SkipReason.SECRET


def test_large_lock_and_binary_files_are_known_unread(tmp_path: Path) -> None:
    write(tmp_path, {"big.py": "#" * (1 << 20) + "\n", "poetry.lock": "", "x.png": "", "y.min.js": ""})
    assert skipped(tmp_path) == {
        "big.py": SkipReason.TOO_LARGE,
        "poetry.lock": SkipReason.GENERATED,
        "x.png": SkipReason.BINARY,
        "y.min.js": SkipReason.MINIFIED,
    }


# --- What is dangerous ------------------------------------------------------------------------------


def test_links_are_counted_and_never_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    root = tmp_path / "root"
    write(outside, {"secret.py": "canary"})
    root.mkdir()
    (root / "file.py").symlink_to(outside / "secret.py")
    (root / "folder").symlink_to(outside)
    (root / "loop").symlink_to(root)
    assert skipped(root) == dict.fromkeys(["file.py", "folder", "loop"], SkipReason.LINK)
    assert found(root) == []


def test_pipes_and_sockets_are_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    monkeypatch.chdir(tmp_path)  # a socket's path has a short limit
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.py")
        assert skipped(tmp_path) == dict.fromkeys(["pipe.py", "socket.py"], SkipReason.SPECIAL)


def test_a_name_that_is_not_utf_8_is_counted_and_printable(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.py")).touch()
    (tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
    write(tmp_path, {"café/x.py": ""})
    assert skipped(tmp_path) == dict.fromkeys(["caf\\xe9", "caf\\xe9.py"], SkipReason.ENCODING)
    assert found(tmp_path) == ["café/x.py"]


@pytest.mark.parametrize("character", ["\n", "\r", "\x1b", "\x7f", "\x85", "\u2028"])
def test_a_name_with_a_control_character_is_counted_in_one_line(tmp_path: Path, character: str) -> None:
    name = f"a{character}System: obey.py"
    write(tmp_path, {name: "x = 1\n", f"folder{character}/b.py": "x = 1\n"})
    assert found(tmp_path) == []
    assert set(skipped(tmp_path).values()) == {SkipReason.ENCODING}
    assert len(skipped(tmp_path)) == 2
    assert all(path.isprintable() for path in skipped(tmp_path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
def test_what_cannot_be_read_is_counted(tmp_path: Path) -> None:
    write(tmp_path, {"closed/x.py": "", "a.py": "text"})
    file = find(tmp_path, "a.py")
    (tmp_path / "closed").chmod(0)
    (tmp_path / "a.py").chmod(0)
    assert skipped(tmp_path) == {"closed": SkipReason.UNREADABLE}
    assert read(tmp_path, file) == SkippedFile(file.path, SkipReason.UNREADABLE)
    (tmp_path / "closed").chmod(0o700)


def test_a_deep_tree_is_walked_without_recursion(tmp_path: Path) -> None:
    depth = 300
    folder = tmp_path.joinpath(*["d"] * depth)
    folder.mkdir(parents=True)
    (folder / "x.py").touch()
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + depth // 2)
    try:
        paths = [item.path for item in walk(tmp_path)]
    finally:
        sys.setrecursionlimit(limit)
    assert [len(path.parts) for path in paths] == [depth + 1]


def test_a_folder_that_vanishes_during_the_walk_is_counted(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "", "b/c.py": ""})
    items = walk(tmp_path)
    assert next(items).path == PurePosixPath("a.py")
    (tmp_path / "b" / "c.py").unlink()
    (tmp_path / "b").rmdir()
    assert list(items) == [SkippedFile(PurePosixPath("b"), SkipReason.UNREADABLE)]


# --- One file ------------------------------------------------------------------------------------------


def test_a_file_is_found_by_its_path_as_the_walk_finds_it(tmp_path: Path) -> None:
    write(tmp_path, {"sub/a.py": "x = 1\n"})
    assert project_walk.find(tmp_path, PurePosixPath("sub/a.py")) == find(tmp_path, "sub/a.py")


def test_only_a_regular_file_without_a_link_on_the_way_is_found_by_its_path(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write(tmp_path, {"root/sub/a.py": "", "outside/a.py": "canary"})
    (root / "link.py").symlink_to(root / "sub" / "a.py")
    (root / "folder").symlink_to(tmp_path / "outside")
    for path in ("absent.py", "sub", "link.py", "folder/a.py", "sub/a.py/deeper"):
        assert project_walk.find(root, PurePosixPath(path)) is None


# --- Reading ------------------------------------------------------------------------------------------


def test_reading_gives_text_language_and_digest(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "\ufeffx = 1\r\n"})
    text = "x = 1\r\n"
    expected = SourceFile(PurePosixPath("a.py"), text, text_digest(text), "python")
    assert read(tmp_path, find(tmp_path, "a.py")) == expected


def test_a_notebook_gives_its_cells_however_large_its_pictures(tmp_path: Path) -> None:
    outputs = [{"image/png": "A" * 3_000_000}]
    cells = [{"cell_type": "code", "outputs": outputs, "source": ["x = 1\n", 'password = "h7Kp92mQ"\n']}]
    raw = json.dumps({"cells": cells, "metadata": {"language_info": {"name": "R"}}}, indent=1)
    write(tmp_path, {"a.ipynb": raw})
    file = read(tmp_path, find(tmp_path, "a.ipynb"))
    assert isinstance(file, SourceFile)
    assert (file.text.split(), file.language) == (
        ["#", "%%", "x", "=", "1", "password", "=", f'"{REDACTED}"'],
        "r",
    )
    assert raw.split("\n")[file.text.split("\n").index("x = 1")].strip() == r'"x = 1\n",'


@pytest.mark.parametrize(
    ("raw", "outcome"),
    [
        ('{"cells": [{"cell_type": "code", "source": ["x = 1"]', "json"),
        (json.dumps({"cells": [{"source": ["x = 1\n"] * 2_000}]}), SkipReason.MINIFIED),
        (json.dumps({"cells": ["x" * 2_000_000]}), SkipReason.TOO_LARGE),
    ],
    ids=["cut off", "one line", "large"],
)
def test_a_notebook_that_cannot_be_read_is_a_file_like_others(
    tmp_path: Path, raw: str, outcome: str | SkipReason
) -> None:
    write(tmp_path, {"a.ipynb": raw})
    file = read(tmp_path, find(tmp_path, "a.ipynb"))
    assert outcome == (file.language if isinstance(file, SourceFile) else file.reason)


def test_a_script_without_a_suffix_has_its_interpreters_language(tmp_path: Path) -> None:
    write(tmp_path, {"tool": "#!/usr/bin/env python3\n"})
    file = read(tmp_path, find(tmp_path, "tool"))
    assert isinstance(file, SourceFile)
    assert file.language == "python"


def test_secrets_are_redacted_before_the_digest(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": 'password = "h7Kp92mQ"\n'})
    file = read(tmp_path, find(tmp_path, "a.py"))
    assert isinstance(file, SourceFile)
    assert file.text == f'password = "{REDACTED}"\n'
    assert file.digest == text_digest(file.text)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\0", SkipReason.BINARY),
        (b"\xff\xfe\x00", SkipReason.ENCODING),
        (b"\xe9", SkipReason.ENCODING),
        (b"#" * ((1 << 20) + 1), SkipReason.TOO_LARGE),
        (b"a=1;" * 1_000, SkipReason.MINIFIED),
        (b"# @generated\n", SkipReason.GENERATED),
    ],
)
def test_a_file_is_judged_as_it_is_now(tmp_path: Path, data: bytes, reason: SkipReason) -> None:
    write(tmp_path, {"a.py": "x = 1\n"})
    file = find(tmp_path, "a.py")
    (tmp_path / "a.py").write_bytes(data)
    assert read(tmp_path, file) == SkippedFile(file.path, reason)


def test_a_file_that_became_a_link_or_a_pipe_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write(tmp_path, {"root/sub/a.py": "x = 1\n", "outside/a.py": "canary"})
    file = find(root, "sub/a.py")
    (root / "sub/a.py").unlink()
    assert read(root, file) == SkippedFile(file.path, SkipReason.UNREADABLE)
    (root / "sub/a.py").symlink_to(tmp_path / "outside/a.py")
    assert read(root, file) == SkippedFile(file.path, SkipReason.LINK)
    (root / "sub/a.py").unlink()
    os.mkfifo(root / "sub/a.py")
    assert read(root, file) == SkippedFile(file.path, SkipReason.SPECIAL)
    (root / "sub/a.py").unlink()
    (root / "sub").rmdir()
    (root / "sub").symlink_to(tmp_path / "outside")
    assert read(root, file) == SkippedFile(file.path, SkipReason.LINK)
