"""Models over HTTP: which there are, which are in memory, and which one a conversation goes on with."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from coding_assistant.assistant import AsyncAssistant
from coding_assistant.client import RemoteAssistant
from coding_assistant.contract import ConversationPatch, QueryRequest, QueryResponse
from coding_assistant.errors import EngineBusy, ModelMissing, ModelUnknown
from coding_assistant.settings import Settings
from support.asgi import Answer
from support.cramped_engine import CrampedEngine, Memory
from support.http_server import InProcess, in_process, served
from support.scripted_engine import Script
from support.small_gguf import write_gguf

# The first is what the settings choose where nothing is set and no default's file is there.
USUAL, OTHER = "qwen2.5-coder-1.5b", "codellama-7b"


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[InProcess]:
    memory = Memory(room=1)
    with in_process(tmp_path, CrampedEngine(USUAL, memory), CrampedEngine(OTHER, memory)) as application:
        yield application


def body(answer: Answer) -> dict[str, object]:
    found: dict[str, object] = json.loads(answer.body)
    return found


def test_a_model_is_loaded_shown_and_unloaded(shop: InProcess) -> None:
    before = body(shop.json("GET", f"/models/{USUAL}"))
    loaded = body(shop.json("POST", f"/models/{USUAL}/load"))
    again = shop.json("POST", f"/models/{USUAL}/load")
    listed = {each["name"]: each for each in json.loads(shop.json("GET", "/models").body)}
    gone = body(shop.json("POST", f"/models/{USUAL}/unload"))

    assert (before["selected"], before["loaded"], before["last_used"]) == (True, False, None)
    assert (loaded["loaded"], loaded["loading"]) == (True, False)
    assert loaded["memory_bytes"]
    assert loaded["last_used"]
    assert again.status == 200
    assert [name for name, each in listed.items() if each["loaded"]] == [USUAL]
    assert (gone["loaded"], gone["memory_bytes"]) == (False, None)
    assert shop.json("POST", f"/models/{USUAL}/unload").status == 200


def test_one_model_makes_way_for_another(shop: InProcess) -> None:
    shop.json("POST", f"/models/{USUAL}/load")
    assert body(shop.json("POST", f"/models/{OTHER}/load"))["loaded"]
    assert not body(shop.json("GET", f"/models/{USUAL}"))["loaded"]


@pytest.mark.parametrize("action", ["", "/load", "/unload"])
def test_an_unknown_model_is_not_found_and_one_like_it_is_named(shop: InProcess, action: str) -> None:
    answer = shop.json("POST" if action else "GET", f"/models/codelama-7b{action}")
    assert (answer.status, body(answer)["code"]) == (404, "model_unknown")
    assert OTHER in str(body(answer)["hint"])


@pytest.mark.parametrize(
    "name", ["/nowhere/a.gguf", "/" + "x" * 300 + ".gguf", "~nobody/a.gguf", "\0.gguf", ""]
)
def test_a_path_that_leads_nowhere_is_refused(shop: InProcess, name: str) -> None:
    for action in ("load", "unload"):
        answer = shop.json("POST", f"/models/{quote(name, safe='')}/{action}")
        assert answer.status in {404, 422, 503}
        assert body(answer)["code"] in {"model_unknown", "model_missing", "invalid_text"}


def test_a_question_names_its_model_and_the_conversation_keeps_it(shop: InProcess) -> None:
    asked = {"query": "When does a session end?", "project": shop.project, "model": OTHER}
    answer = body(shop.json("POST", "/chat/query", asked))
    conversation = f"/chat/conversation/{answer['conversation_id']}"
    kept = body(shop.json("GET", conversation))
    changed = body(shop.json("PATCH", conversation, {"model": None}))
    unknown = shop.json("PATCH", conversation, {"model": "codelama-7b"})
    refused = shop.json("POST", "/chat/query", asked | {"model": "codelama-7b"})
    absent = shop.json("PATCH", conversation, {"model": "llama3.1-8b"})
    unanswered = shop.json("POST", "/chat/query", asked | {"model": "llama3.1-8b"})

    assert (answer["model"], kept["model"], changed["model"]) == (OTHER, OTHER, None)
    assert (unknown.status, refused.status) == (404, 404)
    assert (absent.status, body(absent)["code"]) == (unanswered.status, "model_missing")
    assert body(shop.json("GET", conversation))["model"] is None


def test_when_a_model_was_used_stays_as_it_was_until_it_is_used_again(shop: InProcess) -> None:
    used = body(shop.json("POST", f"/models/{USUAL}/load"))["last_used"]
    shop.json("GET", "/models")

    assert body(shop.json("GET", f"/models/{USUAL}"))["last_used"] == used


@pytest.mark.anyio
async def test_what_other_programs_have_is_listed_without_being_opened_further(tmp_path: Path) -> None:
    store = tmp_path / "studio"
    store.mkdir()
    write_gguf(store / "small.gguf")
    write_gguf(store / "embedding.gguf", architecture="bert")
    (store / "broken.gguf").write_bytes(b"broken")
    settings = Settings.model_validate({"home": tmp_path / "home", "model_stores": f"lmstudio={store}"})
    async with AsyncAssistant.open(settings) as assistant:
        listed = {each.name: each for each in await assistant.models()}
        asked = await assistant.model("lmstudio:small")

    found = [name for name in listed if name.startswith("lmstudio:")]
    assert found == ["lmstudio:small"]
    assert listed["lmstudio:small"].installed
    assert listed["lmstudio:small"].memory is None
    assert asked.memory is not None
    assert asked.context_length == listed["lmstudio:small"].context_length


@pytest.mark.anyio
async def test_a_remote_client_has_the_same_calls(tmp_path: Path) -> None:
    memory = Memory(room=1)
    busy, other = CrampedEngine(USUAL, memory, Script(waits=True)), CrampedEngine(OTHER, memory)
    async with served(tmp_path, busy, other) as server, RemoteAssistant(server.url) as remote:
        assert (await remote.load_model(OTHER)).loaded
        assert (await remote.model(OTHER)).loaded
        assert not (await remote.unload_model(OTHER)).loaded
        with pytest.raises(ModelUnknown):
            await remote.model("codelama-7b")
        with pytest.raises(ModelMissing):
            await remote.load_model("llama3.1-8b")
        refused: list[EngineBusy] = []
        asked = QueryRequest(query="When does a session end?", project=server.project, model=USUAL)
        async for event in remote.ask(asked):
            if event.name == "reading" and not refused:
                await busy.waiting.wait()
                with pytest.raises(EngineBusy) as refusal:
                    await remote.unload_model(USUAL)
                refused.append(refusal.value)
                busy.go_on()
        assert refused[0].retry_after_seconds
        assert isinstance(event.data, QueryResponse)
        chosen = ConversationPatch(model=OTHER)
        view = await remote.change_conversation(event.data.conversation_id, chosen)
        renamed = await remote.change_conversation(view.conversation_id, ConversationPatch(title="mine"))
        assert (view.model, renamed.model) == (OTHER, OTHER)
