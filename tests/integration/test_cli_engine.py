"""``engine`` as a user meets it: what there is, and a build that cannot be."""

import json
import signal
from pathlib import Path

import pytest

from coding_assistant.inference.engine_speeds import EngineSpeed, EngineSpeeds
from support.stand_in_llama_server import Behaviour, install
from support.terminal import Command
from support.tiny_model import TinyModel


@pytest.fixture
def command(tmp_path: Path) -> Command:
    home = tmp_path / "home"
    home.mkdir()
    return Command(home=home, directory=tmp_path)


@pytest.fixture
def empty(tmp_path: Path) -> str:
    """A search path on which nothing lies."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return str(folder)


def test_what_there_is_is_shown_with_what_it_leaves_of_the_processor(command: Command, empty: str) -> None:
    ended = command.run("engine", "show", "--json", settings={"PATH": empty})

    told = json.loads(ended.output)
    assert told["used"] == "bundled"
    assert "engine build" in told["reason"]
    [bundled] = told["engines"]
    assert bundled["version"].startswith("b")
    assert bundled["features"]
    assert not set(bundled["features"]) & set(bundled["left_unused"])
    assert bundled["is_used"]


def test_what_was_measured_is_shown_with_its_day(command: Command, empty: str) -> None:
    model, settings = "smollm2-135m", {"PATH": empty}
    told = json.loads(command.run("engine", "show", "--json", settings=settings).output)
    speed = EngineSpeed(reading=152.4, writing=35.1, measured_at="2026-11-23T01:00:00+00:00")
    speeds = EngineSpeeds(command.home / "engine-speeds.json")
    speeds.add(f"bundled {told['engines'][0]['version']}", model, speed)

    shown = command.run("engine", "show", "--model", model, settings=settings)
    of_another = command.run("engine", "show", "--model", "phi3-mini", settings=settings)

    assert "152/s" in shown.output
    assert f"with {model}, measured on 2026-11-23" in shown.output
    assert "152/s" not in of_another.output
    assert "engine show --measure" in of_another.output


def test_what_there_is_needs_no_model_where_a_server_elsewhere_answers(command: Command, empty: str) -> None:
    url = "https://models.example.org/v1"
    settings = {"CODING_ASSISTANT_ENGINE": "openai", "CODING_ASSISTANT_OPENAI_BASE_URL": url}

    ended = command.run("engine", "show", settings={"PATH": empty, **settings})

    assert ended.status == 0
    assert f"The server at {url} answers" in ended.output


def test_an_engine_that_is_named_and_absent_is_shown_with_its_fault(command: Command, empty: str) -> None:
    settings = {"PATH": empty, "CODING_ASSISTANT_LLAMA_SERVER": "absent/llama-server"}

    ended = command.run("engine", "show", settings=settings)

    [row] = [line for line in ended.output.splitlines() if line.startswith("*")]
    assert "bundled" in row
    assert "named: There is no such file." in ended.output
    assert "The bundled engine runs instead." in ended.output


def test_what_stands_in_for_an_engine_is_not_measured_in_its_place(command: Command, tmp_path: Path) -> None:
    template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: "
    model = TinyModel("tiny", chat_template=template).write(tmp_path)
    broken = install(tmp_path / "opt", Behaviour(signal_at_load=signal.SIGSEGV))
    settings = {"CODING_ASSISTANT_LLAMA_SERVER": str(broken)}

    ended = command.run("engine", "show", "--measure", "--model", str(model), "--json", settings=settings)

    assert ended.status == 0, ended.side
    [named] = [each for each in json.loads(ended.output)["engines"] if each["kind"] == "named"]
    assert named["speeds"] == {}
    assert "could not load the model" in ended.side


def test_without_a_compiler_a_build_says_what_to_install(command: Command, empty: str) -> None:
    ended = command.run("engine", "build", settings={"PATH": empty, "CXX": ""})

    assert ended.status == 3
    assert ended.side.startswith("error: ")
    assert "apt-get install g++" in ended.side


def test_a_kind_of_gpu_that_there_is_not_is_a_usage_error(command: Command, tmp_path: Path) -> None:
    compiler = tmp_path / "c++"
    compiler.write_text("#!/bin/sh\necho compiler 1.0\n")
    compiler.chmod(0o755)

    ended = command.run("engine", "build", "--gpu", "voodoo", settings={"CXX": str(compiler)})

    assert ended.status == 2
    assert "cuda, rocm, vulkan, metal" in ended.side
