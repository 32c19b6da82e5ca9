"""The catalog's large models by name, end to end: under the catalog's file names, with random weights.

What they say is nonsense; that they load, stream, stop at the family's end token and keep a conversation
warm, also over a restart, is the product's doing.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx2
import pytest

from conversations_bench.service import Service, product_service
from support.family_model import LLAMA2, LLAMA3, PHI3, Family, write_family_model
from support.http_server import make_project
from support.terminal import Command

CATALOG = {
    "phi3-mini": ("Q4_K_M-00001-of-00001.gguf", PHI3),
    "codellama-7b": ("codellama-7b-merged-Q4_K_M.gguf", LLAMA2),
    "llama3.1-8b": ("llama-3.1-8b-instruct-q4_k_m.gguf", LLAMA3),
}
MANY_TOKENS = 400
"""The models end by themselves long before."""


@pytest.fixture(params=CATALOG)
def service(request: pytest.FixtureRequest, tmp_path: Path, llama_cpp_models: Path) -> Iterator[Service]:
    file_name, family = CATALOG[request.param]
    home = home_with(tmp_path, file_name, family, llama_cpp_models)
    served = product_service(home=home, project=make_project(tmp_path), model=request.param, settings={})
    try:
        yield served.start()
    finally:
        served.stop()


def home_with(folder: Path, file_name: str, family: Family, models: Path) -> Path:
    home = folder / "home"
    (home / "models").mkdir(parents=True)
    write_family_model(home / "models" / file_name, family, models)
    return home


def ask(service: Service, question: str, conversation_id: str | None = None) -> Mapping[str, object]:
    """Ask, and return the ``finished`` event."""
    body = {"query": question, "conversation_id": conversation_id, "stream": True, "max_tokens": MANY_TOKENS}
    with (
        httpx2.Client(base_url=service.url, timeout=60, trust_env=False) as http,
        http.stream("POST", "/chat/query", json=body) as response,
    ):
        assert response.is_success, response.read()
        events = [(event.event, json.loads(event.data)) for event in httpx2.EventSource(response)]
    kinds = [name for name, _ in events]
    assert kinds[0] == "started"
    assert kinds[-1] == "finished", events[-1]
    text = "".join(data["text"] for name, data in events if name == "text")
    finished: Mapping[str, object] = events[-1][1]
    assert finished["response"] == text.strip()
    return finished


def counted(finished: Mapping[str, object], what: str) -> int:
    """Return a count of tokens from the answer's receipt."""
    receipt = finished["receipt"]
    assert isinstance(receipt, dict)
    return int(receipt[what])


def test_it_loads_streams_stops_and_holds_a_conversation_over_a_restart(service: Service) -> None:
    first = ask(service, "When does a session expire?")
    assert first["finish_reason"] == "complete"
    conversation = str(first["conversation_id"])
    second = ask(service, "And who renews it?", conversation)
    assert second["finish_reason"] == "complete"
    service.stop()
    service.start()
    third = ask(service, "What is now?", conversation)
    assert third["finish_reason"] == "complete"
    # Each time all that was read before is there already, but for the few tokens where an answer begins.
    assert counted(second, "cached") > counted(first, "used") - 16
    assert counted(third, "cached") > counted(second, "used") - 16


def test_the_model_is_chosen_by_the_environment(tmp_path: Path, llama_cpp_models: Path) -> None:
    file_name, family = CATALOG["phi3-mini"]
    home = home_with(tmp_path, file_name, family, llama_cpp_models)
    command = Command(home=home, directory=make_project(tmp_path))
    ended = command.run("ask", "When does a session expire?", "--json", settings={"MODEL_NAME": "phi3-mini"})
    assert ended.status == 0, ended.side
    assert json.loads(ended.output)["model"] == "phi3-mini"
