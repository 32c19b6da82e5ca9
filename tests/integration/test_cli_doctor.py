"""The whole ``doctor``: odd data directories, its report, its JSON."""

import json
import re
import socket
from pathlib import Path

import anyio
import pytest

from coding_assistant.cli.doctor.findings import Check
from coding_assistant.data_directory import DataDirectory
from support.remote_stand_in import MODEL, Vendor, remote_stand_in
from support.small_gguf import write_gguf
from support.terminal import Command, Ended
from support.tiny_model import TinyModel

QUICK = [
    *("versions", "system", "settings", "data directory", "conversations", "disk", "port"),
    *("processor", "engine", "gpu", "model", "memory", "prompt format", "embedder", "index"),
]
FULL = [*QUICK[:-2], "checksum", *QUICK[-2:], "load", "round trip", "answer", "speed"]
STYLES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def findings(ended: Ended) -> dict[str, dict[str, object]]:
    return {each["what"]: each for each in json.loads(ended.output)}


def failed(found: dict[str, dict[str, object]]) -> set[str]:
    return {what for what, finding in found.items() if finding["verdict"] == "fail"}


def test_without_a_model_it_says_how_to_get_one(command: Command) -> None:
    ended = command.run("doctor", "--json")
    found = findings(ended)

    assert ended.status == 3
    assert failed(found) == {"model"}
    assert "coding-assistant models pull qwen2.5-coder-1.5b" in str(found["model"]["advice"])
    assert found["memory"]["verdict"] in {"ok", "warn"}
    assert {each["what"] for each in found.values()} <= set(Check)


def test_a_damaged_model_is_found_before_it_is_loaded(command: Command) -> None:
    file = command.directory / "mine.gguf"
    write_gguf(file)
    file.write_bytes(file.read_bytes()[:-500])
    ended = command.run("doctor", "--json", "--full", "--model", str(file))
    found = findings(ended)

    assert ended.status == 3
    assert failed(found) == {"model"}
    assert "truncated" in str(found["model"]["detail"])
    assert "load" not in found


def test_a_template_that_cannot_be_followed_is_found_before_it_is_loaded(command: Command) -> None:
    file = TinyModel("mine", chat_template="{% if %}").write(command.directory)
    found = findings(command.run("doctor", "--json", "--full", "--model", str(file)))

    assert failed(found) == {"prompt format"}
    assert found["prompt format"]["advice"]
    assert "load" not in found


def test_damaged_conversations_are_left_as_they_are(command: Command) -> None:
    directory = DataDirectory(command.home)
    directory.prepare()
    directory.conversations_file.write_bytes(b"no database at all" * 1_000)
    found = findings(command.run("doctor", "--json"))

    assert "conversations" in failed(found)
    assert ".recover" in str(found["conversations"]["advice"])
    assert directory.conversations_file.read_bytes() == b"no database at all" * 1_000


def test_a_port_that_is_taken_is_a_warning(command: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        found = findings(command.run("doctor", "--json", settings={"CODING_ASSISTANT_PORT": port}))

    assert found["port"]["verdict"] == "warn"


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("config.toml", "slots = 2\nport = 99999\n", 2),
        ("config.toml", "# mine\n\nprot = 8001\n", 3),
        (".env", "CODING_ASSISTANT_SLOTS=2\n\nCODING_ASSISTANT_PORT=x\n", 3),
    ],
)
def test_what_is_wrong_with_a_settings_file_is_told_with_its_line(
    command: Command, name: str, content: str, line: int
) -> None:
    DataDirectory(command.home).prepare()
    (command.home / name).write_text(content)
    ended = command.run("doctor", "--json")
    found = findings(ended)

    assert ended.status == 3
    told = f"{found['settings']['detail']} {found['settings']['advice']}"
    assert f"{name}, line {line}" in told


def test_a_server_elsewhere_is_asked_and_named(command: Command) -> None:
    async def examined() -> tuple[Ended, Ended]:
        async with remote_stand_in(Vendor.VLLM) as remote:
            settings = {
                "CODING_ASSISTANT_ENGINE": "openai",
                "CODING_ASSISTANT_OPENAI_BASE_URL": remote.url,
                "CODING_ASSISTANT_OPENAI_MODEL": MODEL,
            }
            there = await anyio.to_thread.run_sync(lambda: command.run("doctor", "--json", settings=settings))
            settings["CODING_ASSISTANT_OPENAI_MODEL"] = "another"
            missing = await anyio.to_thread.run_sync(
                lambda: command.run("doctor", "--json", settings=settings)
            )
        return there, missing

    there, missing = anyio.run(examined)

    assert there.status == 0
    assert findings(there)["server"]["verdict"] == "ok"
    assert "code go to 127.0.0.1" in str(findings(there)["server"]["detail"])
    assert "memory" not in findings(there)
    assert failed(findings(missing)) == {"server"}


def test_a_person_reads_wrapped_lines_with_the_advice_below(command: Command) -> None:
    ended = command.run_in_terminal("doctor", typed="")
    screen = STYLES.sub("", ended.output).replace("\r", "\n")

    assert "→ Run `coding-assistant models pull qwen2.5-coder-1.5b`" in screen
    assert "Not ready: 1 failure" in screen
    assert all(len(line) <= 100 for line in screen.splitlines() if "/" not in line)


@pytest.mark.model
def test_the_quick_checks_of_a_model_that_works(command: Command, smollm2: Path) -> None:
    ended = command.run_alone("doctor", "--json", "--model", str(smollm2))

    assert ended.status == 0, ended.output
    assert list(findings(ended)) == QUICK
    assert "an answer ends at <|im_end|>" in str(findings(ended)["prompt format"]["detail"])


@pytest.mark.model
def test_all_checks_of_a_model_that_works(command: Command, smollm2: Path) -> None:
    found = findings(ended := command.run("doctor", "--json", "--full", "--model", str(smollm2)))

    assert ended.status == 0, ended.output
    assert list(found) == FULL
    assert found["round trip"]["verdict"] == "ok"
    assert all(set(finding) == {"what", "verdict", "detail", "advice", "facts"} for finding in found.values())
    speeds = found["speed"]["facts"]
    assert isinstance(speeds, dict)
    assert speeds["reading_tokens_per_second"] > 0
