"""Models of other programs and of one's own, as the command line shows and takes them."""

import json
from pathlib import Path

import pytest
import typer

from coding_assistant.cli.app import app
from coding_assistant.contract import QueryResponse
from coding_assistant.errors import CodingAssistantError
from coding_assistant.inference.catalog import DEFAULT_MODEL, STARTER_MODEL
from support.other_programs import in_ollama
from support.small_gguf import write_gguf
from support.terminal import Command


@pytest.fixture
def stores(tmp_path: Path) -> dict[str, str]:
    """Two stores that can be read and one that cannot, as the setting that names them."""
    studio = tmp_path / "studio"
    studio.mkdir()
    small = write_gguf(studio / "small.gguf")
    in_ollama(tmp_path / "ollama", "registry.example/library/small/1b", small.read_bytes())
    write_gguf(studio / "projector.gguf", architecture="clip")
    write_gguf(studio / "embedding.gguf", architecture="bert")
    write_gguf(studio / "base.gguf", chat_template=None)
    (studio / "broken.gguf").write_bytes(b"broken")
    setting = f"ollama={tmp_path / 'ollama'}, lmstudio={studio}, jan={small}"
    return {"CODING_ASSISTANT_MODEL_STORES": setting}


def test_the_list_shows_what_other_programs_have(command: Command, stores: dict[str, str]) -> None:
    ended = command.run("models", "list", settings=stores)

    assert ended.status == 0
    for expected in ("ollama:small:1b", "lmstudio:small", "Not listed: Jan's models in"):
        assert expected in ended.output
    assert (
        "what cannot answer: broken or unreadable file (1), embedding model (1), vision projector (1)."
        in ended.output
    )
    assert "lmstudio:projector" not in ended.output
    listed = json.loads(command.run("models", "list", "--json", settings=stores).output)
    kinds = {each["name"]: each["kind"] for each in listed if "kind" in each}
    assert kinds["ollama:small:1b"] == "chat model"
    assert kinds["lmstudio:embedding"] == "embedding model"
    assert kinds["lmstudio:broken"] is None


def test_a_found_model_is_shown_by_its_name(command: Command, stores: dict[str, str]) -> None:
    ended = command.run("models", "show", "ollama:small:1b", settings=stores)

    assert ended.status == 0
    assert "sha256-" in ended.output
    assert command.run("models", "show", "ollama:smal:1b", settings=stores).status == 2


def test_a_model_is_added_by_name_and_taken_away_again(command: Command, stores: dict[str, str]) -> None:
    options = [
        "--context-length",
        "512",
        "--temperature",
        "0.5",
        "--stop",
        "###",
        "--system-prompt",
        "Be brief.",
    ]
    added = command.run("models", "add", "mine", "lmstudio:small", *options, settings=stores)
    shown = command.run("models", "show", "mine", "--json")

    assert added.status == 0
    facts = json.loads(shown.output)
    assert (facts["context_length"], facts["temperature"], facts["stop_tokens"]) == (512, 0.5, ["###"])
    assert facts["file"].endswith("studio/small.gguf")
    assert facts["max_tokens"] == 256

    removed = command.run("models", "remove", "mine")
    assert "Its file stays" in removed.output
    assert Path(facts["file"]).is_file()
    assert command.run("models", "show", "mine").status == 2


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([DEFAULT_MODEL, "lmstudio:small"], "already"),
        (["mine", "lmstudio:projector"], "vision projector"),
        (["mine", "lmstudio:embedding"], "embedding model"),
        (["mine", "lmstudio:base"], "--prompt-format"),
        (["mine", "lmstudio:small", "--prompt-format", "vicuna"], "--prompt-format cannot be that"),
        (
            ["mine", "lmstudio:small", "--temperature", "9"],
            "--temperature cannot be that: it must be at most 2.",
        ),
        (["mine", "lmstudio:small", "--stop", ""], "--stop cannot be that"),
        (["mine", "lmstudio:small", "--max-tokens", "9999"], "do not go together"),
        (["my model", "lmstudio:small"], "cannot be the name"),
        (["mine", "ollama:nothing"], "models list"),
        (["mine", "nothing.gguf"], "There is no file"),
    ],
)
def test_what_cannot_answer_or_cannot_be_is_not_added(
    stores: dict[str, str], tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**stores, "CODING_ASSISTANT_HOME": str(tmp_path / "home")}.items():
            patch.setenv(name, value)
        with pytest.raises(CodingAssistantError) as caught:
            typer.main.get_command(app).main(["models", "add", *arguments], standalone_mode=False)

    assert complaint in caught.value.message + caught.value.hint
    assert not (tmp_path / "home" / "models.toml").exists()


def test_a_base_model_is_added_with_the_family_that_it_was_trained_as(
    command: Command, stores: dict[str, str]
) -> None:
    arguments = ["models", "add", "mine", "lmstudio:base", "--prompt-format", "chatml"]

    assert command.run(*arguments, settings=stores).status == 0
    assert 'prompt_format = "chatml"' in (command.home / "models.toml").read_text()


@pytest.mark.parametrize("arguments", [["--conversation", "abcdef"], ["-c"]])
def test_a_conversation_that_is_not_there_is_told_before_a_model_is_fetched(
    command: Command, arguments: list[str]
) -> None:
    ended = command.run("--pull-if-none", "ask", "why?", *arguments)

    assert ended.status == 1
    assert "conversation" in ended.side
    assert "Getting" not in ended.side
    assert not list((command.home / "models").iterdir())


@pytest.mark.model
def test_a_folder_that_is_not_there_is_told_before_a_model_is_fetched(
    command: Command, tmp_path: Path
) -> None:
    ended = command.run("--pull-if-none", "ask", "why?", "--project", str(tmp_path / "nope"))

    assert ended.status == 2
    assert "does not exist" in ended.side
    assert "Getting" not in ended.side


def test_a_model_that_is_here_answers_before_another_is_fetched(command: Command, smollm2: Path) -> None:
    assert command.run("models", "add", "mine", str(smollm2)).status == 0
    question = ["--pull-if-none", "ask", "When does a session expire?", "--max-tokens", "4"]

    response = QueryResponse.model_validate_json(command.run(*question, "--json").output)
    seen = command.run_in_terminal(*question, typed="")

    assert response.model == "mine"
    told = (
        f"mine answers, since neither {DEFAULT_MODEL}, the default, nor {STARTER_MODEL}, the starter, is here"
    )
    assert told in seen.output


def test_a_file_that_broke_off_is_listed_as_damaged_with_what_replaces_it(command: Command) -> None:
    models = command.home / "models"
    models.mkdir(parents=True)
    file = write_gguf(models / "SmolLM2-135M-Instruct.Q4_1.gguf")
    file.write_bytes(file.read_bytes()[:-1])

    listed = command.run("models", "list")
    as_json = {each["name"]: each for each in json.loads(command.run("models", "list", "--json").output)}

    [row] = [line for line in listed.output.splitlines() if " smollm2-135m " in line]
    assert "damaged" in row.split()
    assert "`coding-assistant models pull smollm2-135m` gets it again" in listed.output
    assert "truncated" in as_json["smollm2-135m"]["damage"]
    assert as_json["phi3-mini"]["damage"] == ""


def test_the_list_says_which_file_a_model_is_where_that_is_called_otherwise(command: Command) -> None:
    models = command.home / "models"
    models.mkdir(parents=True)
    write_gguf(models / "Phi-3-mini-128k-instruct-Q4_K_M.gguf")

    listed = command.run("models", "list")
    shown = command.run("models", "show", "codellama-7b")

    assert "  Phi-3-mini-128k-instruct-Q4_K_M.gguf  phi3-mini, phi3-mini-long\n" in listed.output
    assert "not here; looked for as " in shown.output
