import json

from coding_assistant.data_directory import DataDirectory
from support.terminal import Command, press_ctrl_c


def test_search_prints_places_and_as_json_one_object_a_line(command: Command) -> None:
    printed = command.run_alone("search", "session expired")
    assert printed.status == 0
    assert "sessions.py:" in printed.output
    assert "\x1b" not in printed.output
    assert printed.side == ""

    lines = command.run("search", "session expired", "-n", "1", "--json").output.splitlines()
    (hit,) = map(json.loads, lines)
    assert list(hit) == [
        "path",
        "start_line",
        "end_line",
        "symbol",
        "kind",
        "language",
        "score",
        "why",
        "text",
    ]
    assert hit["path"] == "sessions.py"


def test_search_works_while_another_command_holds_the_conversations(command: Command) -> None:
    with DataDirectory(command.home).hold("chat"):
        assert command.run("search", "session").status == 0


def test_a_folder_that_is_not_there(command: Command) -> None:
    ended = command.run("search", "x", "--project", "nowhere")
    assert ended.status == 2
    assert "nowhere" in ended.side


def test_index_counts_and_its_status_changes_nothing(command: Command) -> None:
    assert command.run("index", "--status").status == 3
    (command.directory / "picture.png").write_bytes(b"\x89PNG\0\0")
    report = json.loads(command.run("index", "--json").output)
    assert (report["files"], report["changed"]) == (1, 1)
    assert report["skipped"] == {"binary": 1}
    state = json.loads(command.run("index", "--status", "--json").output)
    assert (state["files"], state["skipped"]) == (1, {"binary": 1})
    assert "1 file" in command.run("index", "--status").output


def test_the_status_tells_of_the_embedder_and_changes_no_vector(command: Command) -> None:
    assert command.run("index").status == 0
    without = {"CODING_ASSISTANT_EMBEDDER": "none"}
    assert "vectors: none, words only" in command.run("index", "--status", settings=without).output
    state = json.loads(command.run("index", "--status", "--json").output)
    assert state["chunks"] > 0
    assert (state["embedder"], state["embedded"]) == ("static", state["chunks"])
    assert f"vectors: static, {state['chunks']} of" in command.run("index", "--status").output


def test_an_empty_search_is_refused(command: Command) -> None:
    ended = command.run("search", " ")
    assert ended.status == 2
    assert "The query is empty." in ended.side


def test_the_status_names_what_is_not_as_it_should_be(command: Command) -> None:
    for number in range(25):
        (command.directory / f"latin{number:02}.py").write_bytes(b"name = '\xe9'\n")
    (command.directory / "picture.png").write_bytes(b"\x89PNG\0\0")
    assert command.run("index").status == 0
    printed = command.run("index", "--status").output
    assert "latin00.py" in printed
    assert "not UTF-8" in printed
    assert "latin24.py" not in printed
    assert "5 more" in printed
    assert "picture.png" not in printed
    problems = json.loads(command.run("index", "--status", "--json").output)["problems"]
    assert len(problems) == 26
    assert {"path": "latin24.py", "reason": "not UTF-8"} in problems
    assert {"path": "picture.png", "reason": "binary"} in problems


def test_a_reader_that_leaves_is_no_error(command: Command) -> None:
    with command.started("search", "session", "-n", "100") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(timeout=60) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_an_index_that_watches_reports_each_change_on_a_line_until_ctrl_c(command: Command) -> None:
    (command.directory / ".gitignore").write_text("built/\n")
    with command.started("index", "--watch", "--json") as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["files"] == 2
        (command.directory / "basket.py").write_text("def add(item):\n    return item\n")
        report = json.loads(process.stdout.readline())
        assert (report["files"], report["changed"]) == (3, 1)
        (command.directory / "basket.py").unlink()
        report = json.loads(process.stdout.readline())
        assert (report["files"], report["removed"]) == (2, 1)
        press_ctrl_c(process)
        output, side = process.communicate(timeout=60)
    assert (process.returncode, output, side) == (0, "", "")


def test_watching_and_asking_for_the_status_exclude_each_other(command: Command) -> None:
    assert command.run("index", "--watch", "--status").status == 2
