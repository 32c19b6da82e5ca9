import json
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from anyio.abc import TaskStatus
from anyio.from_thread import BlockingPortal, start_blocking_portal

from coding_assistant.assistant import AsyncAssistant, open_catalog
from coding_assistant.contract import QueryResponse
from coding_assistant.data_directory import DataDirectory
from coding_assistant.errors import EngineDied
from coding_assistant.settings import Settings
from coding_assistant.web.server import serve
from support.scripted_engine import Script, ScriptedEngine, by_name, only
from support.terminal import Command, press_ctrl_c

HEAVY_MODULES = (
    "fastapi",
    "sqlalchemy",
    "xllamacpp",
    "huggingface_hub",
    "tree_sitter",
    "numpy",
    "uvicorn",
    "httpx2",
    "watchfiles",
)

ANSWER = "It expires after thirty minutes [1]."


@dataclass(frozen=True, slots=True)
class Running:
    """A server of the command's data directory, and the way into its event loop."""

    url: str
    portal: BlockingPortal


@contextmanager
def running_server(
    command: Command, engine: ScriptedEngine, *others: ScriptedEngine, fields: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """Serve the command's data directory; where there are other engines, each answers by its name."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = Settings.model_validate({"home": command.home, **(fields or {})})
    url = f"http://127.0.0.1:{port}"
    make_engine = by_name(engine, *others) if others else only(engine)
    opening = AsyncAssistant.open(settings, make_engine=make_engine, purpose="serve", url=url)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(opening) as assistant:

        async def serve_it(*, task_status: TaskStatus[str]) -> None:
            await serve(assistant, host="127.0.0.1", port=port, announce=task_status.started)

        serving, _ = portal.start_task(serve_it)
        try:
            yield Running(url, portal)
        finally:
            serving.cancel()


# --- Without anything -----------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["--help"], ["version"], ["ask", "--help"], ["models", "--help"]])
def test_what_needs_nothing_loads_nothing(command: Command, arguments: list[str]) -> None:
    ended = command.run_alone(*arguments, settings={"PYTHONPROFILEIMPORTTIME": "1"})
    assert ended.status == 0
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in ended.side.splitlines()}
    assert "coding_assistant" in loaded
    assert not loaded.intersection(HEAVY_MODULES)


@pytest.mark.parametrize("group", ["", "conversations", "engine", "models"])
def test_a_group_without_a_command_shows_its_help_and_is_no_error(command: Command, group: str) -> None:
    ended = command.run(*filter(None, [group]))

    assert (ended.status, ended.side) == (0, "")
    assert "Commands:" in ended.output


def test_every_command_explains_itself(command: Command) -> None:
    page = command.run("--help")
    for verb in [
        "ask",
        "chat",
        "search",
        "index",
        "serve",
        "conversations",
        "models",
        "backup",
        "restore",
        "doctor",
        "version",
    ]:
        assert f"\n  {verb} " in page.output
    assert "--pull-if-none" not in page.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["ask"],
        ["ask", "why?", "--max-tokens", "0"],
        ["ask", "why?", "-c", "--conversation", "abcd"],
        ["ask", ""],
        ["ask", "why\udcff?"],
        ["ask", "x" * 100_000],
        ["ask", "why?", "--model", "phi3-minni"],
        ["conversations", "show", "xyz"],
    ],
)
def test_wrong_usage_is_a_sentence_a_hint_and_two(command: Command, arguments: list[str]) -> None:
    ended = command.run(*arguments)
    assert ended.status == 2
    assert ended.output == ""
    assert ended.side.startswith("error: ")
    assert "\nhint: " in ended.side
    assert "Traceback" not in ended.side


def test_a_misspelt_setting_is_named(command: Command) -> None:
    ended = command.run_alone("search", "x", settings={"CODING_ASSISTANT_MODLE_NAME": "phi3-mini"})
    assert ended.status == 2
    assert "CODING_ASSISTANT_MODLE_NAME" in ended.side


def test_without_a_model_nobody_is_asked_and_three_says_what_to_do(command: Command) -> None:
    ended = command.run("ask", "When does a session expire?")
    assert ended.status == 3
    assert ended.output == ""
    assert "coding-assistant models pull qwen2.5-coder-1.5b" in ended.side


def test_a_person_is_asked_before_anything_is_downloaded(command: Command) -> None:
    ended = command.run_in_terminal("ask", "When does a session expire?", typed="n\n")
    assert ended.status == 3
    assert "1.1 GB from the package index" in ended.output
    assert "Download it? [Y/n]" in ended.output
    assert not list((command.home / "models").glob("*"))


def test_a_person_sees_sources_colours_and_links(command: Command) -> None:
    with running_server(command, ScriptedEngine(ANSWER)):
        ended = command.run_in_terminal("ask", "When does a session expire?", typed="")
    assert ended.status == 0
    assert "Sources" in ended.output
    assert f"file://{command.directory}/sessions.py" in ended.output


@pytest.mark.parametrize(
    "settings", [{"CODING_ASSISTANT_HOME": "~nosuchuser/x"}, {"CODING_ASSISTANT_PORT": "x"}]
)
def test_a_setting_that_cannot_be_used_is_a_sentence(command: Command, settings: dict[str, str]) -> None:
    ended = command.run("conversations", "list", settings=settings)
    assert ended.status == 2
    assert ended.side.startswith("error: ")
    assert next(iter(settings)) in ended.side
    assert "Traceback" not in ended.side


def test_the_doctor_examines_what_can_be_examined(command: Command) -> None:
    command.home.write_text("a file")
    ended = command.run(
        "doctor", "--json", settings={"CODING_ASSISTANT_MODELS_FOLDER": str(command.home / "x")}
    )
    assert ended.status == 3
    verdicts = {finding["what"]: finding["verdict"] for finding in json.loads(ended.output)}
    assert verdicts["data directory"] == "fail"
    assert {"disk", "model", "port", "index"} <= set(verdicts)


@pytest.mark.parametrize(
    ("embedder", "verdict", "part"),
    [
        ("static", "ok", "256 dimensions"),
        ("none", "ok", "words alone"),
        ("/nowhere/model.gguf", "fail", "/nowhere/model.gguf"),
    ],
)
def test_the_doctor_tries_the_embedder(command: Command, embedder: str, verdict: str, part: str) -> None:
    ended = command.run("doctor", "--json", settings={"CODING_ASSISTANT_EMBEDDER": embedder})
    (finding,) = (each for each in json.loads(ended.output) if each["what"] == "embedder")
    assert finding["verdict"] == verdict
    assert part in finding["detail"]
    assert bool(finding["advice"]) == (verdict == "fail")


def test_a_data_directory_that_cannot_be_used(command: Command) -> None:
    command.home.write_text("a file")
    ended = command.run("conversations", "list")
    assert ended.status in {1, 2}
    assert ended.side.startswith("error: ")
    assert str(command.home) in ended.side


# --- Through a running server ---------------------------------------------------------------------


def test_a_question_goes_to_the_running_server(command: Command) -> None:
    engine = ScriptedEngine(ANSWER)
    with running_server(command, engine):
        ended = command.run_alone("ask", "When does a session expire?")
        assert ended.status == 0
        assert ended.side == ""
        assert ended.output.startswith(ANSWER + "\n\nCitations\n  [1] sessions.py:")
        assert "verified" in ended.output
        assert "scripted · " in ended.output
    assert len(engine.requests) == 1


def test_as_json_an_answer_is_the_response_and_nothing_else(command: Command) -> None:
    with running_server(command, ScriptedEngine(ANSWER)):
        ended = command.run("ask", "-", "--json", given="When does a session expire?\n")
    assert (ended.status, ended.side) == (0, "")
    response = QueryResponse.model_validate_json(ended.output)
    assert response.response == ANSWER
    assert [citation.path for citation in response.citations] == ["sessions.py"]


def test_a_conversation_goes_on_and_can_be_looked_at(command: Command) -> None:
    engine = ScriptedEngine("First answer.", "Second answer.")
    with running_server(command, engine):
        command.run("ask", "When does a session expire?")
        again = json.loads(command.run("ask", "-c", "--json", "And why?").output)
        short = again["conversation_id"][:6]
        assert "First answer." in engine.prompt_text(engine.requests[1])

        shown = command.run("conversations", "show", short).output
        for expected in ("When does a session expire?", "First answer.", "And why?", "Second answer."):
            assert expected in shown
        command.run("conversations", "rename", short, "Expiry")
        assert "Expiry" in command.run("conversations", "list").output
        assert "Expiry" in command.run("conversations", "search", "Second").output
        assert "# Expiry" in command.run("conversations", "export", short).output
        assert command.run("conversations", "delete", short, "--permanently").status == 2
        assert command.run("conversations", "delete", short, "--permanently", "--yes").status == 0
        assert command.run("conversations", "show", short).status == 1


def test_reading_makes_no_folder_known(command: Command) -> None:
    with running_server(command, ScriptedEngine(ANSWER)) as running:
        assert command.run("conversations", "list").status == 0
        assert command.run("search", "session").status == 0
        assert command.run("index", "--status").status == 0
        assert command.run("conversations", "list", "--project", "nowhere").status == 2
        assert httpx2.get(f"{running.url}/projects", trust_env=False).json() == []
        command.run("ask", "When does a session expire?")
        assert "When does a session expire?" in command.run("conversations", "list").output


def test_a_folder_whose_name_is_no_unicode_is_refused_and_can_be_searched(
    command: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "\udcff"
    folder.mkdir()
    (folder / "a.py").write_text("def renew(): ...\n")
    with running_server(command, ScriptedEngine(ANSWER)):
        refused = command.run("ask", "why?", "--project", str(folder))
        assert (refused.status, refused.output) == (2, "")
        assert "not valid Unicode" in refused.side
        assert "a.py:1-1" in command.run("search", "renew", "--project", str(folder)).output


def test_a_failed_answer_is_explained_where_it_is_kept_and_nothing_else_is_printed(command: Command) -> None:
    failing = Script(ANSWER, fails=EngineDied("The engine died.", hint="Ask again."))
    with running_server(command, ScriptedEngine(failing, ANSWER)):
        ended = command.run("chat", given="When does a session expire?\nAnd why?\n/history\n")
        assert ended.side == "error: The engine died.\nhint: Ask again.\n"
        # One conversation: the answer that failed is in the history of the one that did not.
        assert ended.output.count("When does a session expire?") == 1
        assert "The answer failed" in ended.output
        assert "The engine died." in ended.output
        (listed,) = json.loads(command.run("conversations", "list", "--json").output)
        assert listed["message_count"] == 4


def test_ctrl_c_keeps_what_there_is_and_says_where(command: Command) -> None:
    engine = ScriptedEngine(Script(ANSWER, waits=True))
    with (
        running_server(command, engine) as running,
        command.started("ask", "When does a session expire?") as process,
    ):
        running.portal.call(engine.waiting.wait)
        press_ctrl_c(process)
        output, side = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "Stopped by you" in output
        shown = re.search(r"conversations show ([0-9a-f]+)", side)
        assert shown is not None
        kept = command.run("conversations", "show", shown[1])
        assert "When does a session expire?" in kept.output
    assert engine.closed_early == 1


def test_a_server_is_asked_for_another_model_and_the_conversation_goes_on_with_it(command: Command) -> None:
    usual, other = ScriptedEngine(name="qwen2.5-coder-1.5b"), ScriptedEngine(name="codellama-7b")
    with running_server(command, usual, other):
        first = QueryResponse.model_validate_json(command.run("ask", "when?", "--json").output)
        switched = QueryResponse.model_validate_json(
            command.run("ask", "why?", "-c", "--model", "codellama-7b", "--json").output
        )
        kept = command.run("ask", "and then?", "-c")
        unknown = command.run("ask", "why?", "--model", "codelama-7b")
    assert (first.model, switched.model) == ("qwen2.5-coder-1.5b", "codellama-7b")
    assert switched.conversation_id == first.conversation_id
    assert "codellama-7b · read" in kept.output
    assert unknown.status == 2
    assert "codellama-7b" in unknown.side


def test_where_a_server_has_its_model_elsewhere_each_command_says_so(command: Command) -> None:
    elsewhere = {
        "engine": "openai",
        "openai_base_url": "https://models.example.org/v1",
        "openai_model": "coder",
    }
    with running_server(command, ScriptedEngine(ANSWER), fields=elsewhere):
        asked = command.run("ask", "when?", "--json")
        chatted = command.run("chat", given="/model\n")
        conversation = QueryResponse.model_validate_json(asked.output).conversation_id
        deleted = command.run("conversations", "delete", conversation)
    for ended in (asked, chatted):
        assert "questions and code go to models.example.org" in ended.side
    assert [line.split()[:2] for line in chatted.output.splitlines()[1:]] == [["*", "coder"]]
    assert "models.example.org has cached" in deleted.output


def test_a_conversation_whose_model_is_gone_can_be_taken_back_to_the_usual_one(command: Command) -> None:
    usual, other = ScriptedEngine(name="qwen2.5-coder-1.5b"), ScriptedEngine(name="codellama-7b")
    with running_server(command, usual, other):
        command.run("ask", "why?", "--model", "codellama-7b")
    with running_server(command, usual, other):
        refused = command.run("ask", "and then?", "-c")
        chatted = command.run("chat", "-c", given="/model -\n/model codellama-8b\n")
    with running_server(command, usual, other):
        command.run("ask", "why?", "--model", "codellama-7b")
    with running_server(command, usual, other):
        back = command.run("ask", "and then?", "-c", "--model", "-")
        kept = command.run("ask", "and then?", "-c")
    assert refused.status == 3
    assert "goes on with codellama-7b, which is not here" in refused.side
    assert "`--model -`" in refused.side
    assert "which is not here" in chatted.side
    assert "From here on the usual model answers." in chatted.output
    for ended in (back, kept):
        assert f"{usual.name} · read" in ended.output


def test_the_model_is_switched_in_the_middle_of_a_chat(command: Command) -> None:
    usual, other = ScriptedEngine(name="qwen2.5-coder-1.5b"), ScriptedEngine(name="codellama-7b")
    settings = Settings(home=command.home)
    settings.models.mkdir(parents=True)
    (settings.models / open_catalog(settings).get("codellama-7b").filename).touch()
    lines = ["/model", "when?", "/model codellama-7b", "why?", "/model codelama-7b", "/model -", "and then?"]
    with running_server(command, usual, other):
        ended = command.run("chat", given="\n".join(lines) + "\n")
    assert len(usual.requests) == 2
    assert len(other.requests) == 1
    assert [line.split()[1] for line in ended.output.splitlines() if line.startswith("  *")] == [usual.name]
    assert "From here on codellama-7b answers." in ended.output
    assert "codellama-7b has not read this conversation yet." in ended.output
    assert "Did you mean codellama-7b?" in ended.side


def test_a_chat_reads_lines_and_commands(command: Command) -> None:
    typed = "/help\nWhen does a session expire?\n/sources 1\n/nonsense\n/context\n/new\n/quit\n"
    with running_server(command, ScriptedEngine(ANSWER)):
        ended = command.run("chat", given=typed)
    assert ended.status == 0
    for expected in ("/history", ANSWER, "def session_expired", "tokens", "new conversation"):
        assert expected in ended.output
    assert "There is no command /nonsense" in ended.side


def test_a_chat_says_how_to_ask_about_another_folder(command: Command) -> None:
    with running_server(command, ScriptedEngine(ANSWER)):
        ended = command.run("chat", given="/project my work\n")

    assert f"{command.directory}: " in ended.output
    assert "coding-assistant chat --project 'my work'" in ended.output


def test_a_folder_without_a_file_is_named_with_what_to_do(command: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with running_server(command, ScriptedEngine(ANSWER)):
        ended = command.run("ask", "why?", "--project", str(tmp_path / "empty"))

    assert f"{tmp_path / 'empty'} holds no file that can be read" in ended.side
    assert "--project DIR" in ended.side


def test_a_slip_in_a_folders_name_is_answered_with_the_nearest(command: Command) -> None:
    ended = command.run("ask", "why?", "--project", f"{command.directory}p")

    assert ended.status == 2
    assert f"Did you mean {command.directory}?" in ended.side


def test_going_on_passes_over_what_was_refused(command: Command, tmp_path: Path) -> None:
    with running_server(command, ScriptedEngine(ANSWER)):
        said = json.loads(command.run("ask", "When does a session expire?", "--json").output)
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(b"<html>")
    broken = {"MODEL_NAME": "smollm2-135m", "CODING_ASSISTANT_MODELS_FOLDER": str(weights)}
    refused = command.run("ask", "why?", settings=broken)
    with running_server(command, ScriptedEngine(ANSWER)):
        went_on = json.loads(command.run("ask", "and then?", "-c", "--json").output)

    assert "`coding-assistant models pull smollm2-135m`" in refused.side
    assert went_on["conversation_id"] == said["conversation_id"]


# --- Serving --------------------------------------------------------------------------------------


@pytest.fixture
def any_model(tmp_path: Path) -> dict[str, str]:
    """Settings with a model that is there; it is not loaded before the first question."""
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "SmolLM2-135M-Instruct.Q4_1.gguf").touch()
    return {"MODEL_NAME": "smollm2-135m", "CODING_ASSISTANT_MODELS_FOLDER": str(weights)}


def test_a_server_says_where_it_is_and_stops_at_ctrl_c(command: Command, any_model: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with command.start("serve", "--port", str(port), settings=any_model) as process:
        assert process.stderr is not None
        assert f"http://127.0.0.1:{port}" in process.stderr.readline()
        assert str(command.directory) in process.stderr.readline()
        assert "Models are run by the bundled engine" in process.stderr.readline()
        assert "sessions.py:" in command.run("search", "session expired").output
        press_ctrl_c(process)
        _, side = process.communicate(timeout=60)
    assert process.returncode == 0
    assert side.endswith("Stopped.\n")
    assert DataDirectory(command.home).holder() is None


def test_a_second_server_is_told_of_the_first(command: Command, any_model: dict[str, str]) -> None:
    with running_server(command, ScriptedEngine()) as running:
        ended = command.run("serve", "--port", running.url.rpartition(":")[2], settings=any_model)
    assert ended.status == 4
    assert running.url in ended.side


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # noqa: S104  -- it is to be refused
def test_an_address_that_cannot_be_had(command: Command, any_model: dict[str, str], host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = command.run("serve", "--host", host, "--port", port, settings=any_model)
    assert ended.status == 2
    assert ended.side.startswith("error: ")
    assert "\nhint: " in ended.side
    assert not DataDirectory(command.home).conversations_file.exists()


# --- With real weights ----------------------------------------------------------------------------


@pytest.mark.model
def test_a_model_is_recognised_loaded_and_asked(command: Command, smollm2: Path) -> None:
    ended = command.run("models", "check", str(smollm2))
    assert ended.status == 0
    for expected in ("llama", "0.13 billion", "layers", "8,192 tokens", "What is 2+2?", "tokens/s"):
        assert expected in ended.output


@pytest.mark.model
def test_a_question_without_a_server(command: Command, smollm2: Path) -> None:
    question = ["ask", "When does a session expire?", "--model", str(smollm2), "--max-tokens", "8"]
    response = QueryResponse.model_validate_json(command.run_alone(*question, "--json").output)
    assert response.response
    assert response.receipt is not None
    assert command.run("conversations", "show", response.conversation_id[:8]).status == 0
