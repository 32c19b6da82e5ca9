"""A server process from outside: how it stops, and what it writes down."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

import support.scripted_server_process
from coding_assistant.chat.store import ConversationStore
from coding_assistant.contract import StartedEvent
from coding_assistant.data_directory import DataDirectory
from coding_assistant.domain import Finish, Turn
from support.http_server import make_project

PROGRAM = Path(support.scripted_server_process.__file__)
CANARY = "quetzalcoatl"


@dataclass
class Server:
    process: subprocess.Popen[str]
    http: httpx2.Client
    home: Path

    def end(self, how: signal.Signals) -> tuple[str, str]:
        """Send a signal; return what was printed and what was logged until the end."""
        self.process.send_signal(how)
        return self.process.communicate(timeout=30)

    def kept_turns(self) -> list[Turn]:
        store = ConversationStore.open(DataDirectory(self.home).conversations_file)
        try:
            return [turn for each in store.conversations() for turn in store.turns(each.id)]
        finally:
            store.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path) as server:
        yield server


@contextmanager
def running(folder: Path) -> Iterator[Server]:
    home = folder / "home"
    environment = os.environ | {"PYTHONPATH": str(PROGRAM.parent.parent)}
    with subprocess.Popen(
        [sys.executable, PROGRAM, home, make_project(folder)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            with httpx2.Client(base_url=url, timeout=30, trust_env=False) as http:
                yield Server(process, http, home)
        finally:
            process.kill()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_stopping_ends_a_stream_and_keeps_its_question(server: Server, how: signal.Signals) -> None:
    asking = {"query": "When does a session expire?", "stream": True}
    with server.http.stream("POST", "/chat/query", json=asking) as response:
        events = iter(httpx2.EventSource(response))
        started = StartedEvent.model_validate_json(next(events).data)
        printed, _logged = server.end(how)
        last = list(events)[-1]
    assert (last.event, "server_stopping" in last.data) == ("error", True)
    assert (printed.strip(), server.process.returncode) == ("stopped", 0)
    (turn,) = server.kept_turns()
    assert (turn.conversation_id, turn.question) == (started.conversation_id, asking["query"])
    assert turn.answer is not None
    assert turn.answer.finish is Finish.INTERRUPTED


def test_a_kill_in_the_middle_of_an_answer_loses_no_question(tmp_path: Path) -> None:
    asking = {"query": "When does a session expire?", "stream": True}
    with running(tmp_path) as server, server.http.stream("POST", "/chat/query", json=asking) as response:
        events = iter(httpx2.EventSource(response))
        started = StartedEvent.model_validate_json(next(events).data)
        while next(events).event != "reading":
            pass
        server.process.kill()
    with running(tmp_path) as again:
        kept = {"conversation_id": started.conversation_id}
        messages = again.http.get("/chat/history", params=kept).json()["messages"]
        follow_up = again.http.get("/chat/context", params=kept).json()

    assert [message["content"] for message in messages] == [asking["query"], ""]
    assert messages[1]["finish_reason"] == "interrupted"
    assert follow_up["last_query"] == asking["query"]


def test_stopping_answers_who_waits_for_a_whole_answer(server: Server) -> None:
    with ThreadPoolExecutor(1) as waiting:
        question = waiting.submit(server.http.post, "/chat/query", json={"query": "When?"})
        while not server.http.get("/chat/conversations").json():
            pass
        printed, _logged = server.end(signal.SIGTERM)
        response = question.result()
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    assert b"server_stopping" in response.content
    assert printed.strip() == "stopped"


def test_the_log_holds_nothing_that_was_written_or_searched(server: Server) -> None:
    asking = {"query": f"Where is the {CANARY}?", "stream": True}
    with server.http.stream("POST", "/chat/query", json=asking) as response:
        next(iter(httpx2.EventSource(response)))
    for method, path in [
        ("GET", f"/search?q={CANARY}"),
        ("GET", f"/chat/conversations?containing={CANARY}"),
        ("GET", f"/nowhere/{CANARY}?{CANARY}={CANARY}"),
        ("POST", f"/search?q={CANARY}"),
    ]:
        server.http.request(method, path)
    server.http.post("/chat/query", json={"query": [CANARY], CANARY: CANARY})
    server.http.post("/chat/query", json={"query": CANARY, "project": CANARY})
    server.http.post("/projects", json={"root": f"/{CANARY}"})
    server.http.get("/healthz", headers={"Host": CANARY})
    printed, logged = server.end(signal.SIGTERM)
    assert CANARY not in printed + logged
