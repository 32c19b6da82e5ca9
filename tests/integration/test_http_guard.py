"""What a page on another origin, or a rebound name, can do: nothing, on any route."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.asgi import HOST, Answer
from support.http_server import InProcess, in_process
from support.routes import KnownRoute, known_routes
from support.scripted_engine import ScriptedEngine

HOSTS = ["127.0.0.1:8000", "localhost:8000", "evil.example", "127.0.0.1:9", "localhost:8000@evil.example", ""]
ORIGINS = [None, "http://127.0.0.1:8000", "null", "http://evil.example", "http://localhost:3000"]
SITES = [None, "same-origin", "none", "cross-site", "same-site"]
TYPES = ["application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None]

OWN_ORIGINS = {None, "http://127.0.0.1:8000"}
OWN_SITES = {None, "same-origin", "none"}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    with in_process(tmp_path_factory.mktemp("guard"), ScriptedEngine("Thirty minutes [1].")) as house:
        yield house


@pytest.fixture(scope="module")
def values(house: InProcess) -> dict[str, str]:
    """Ids that exist, so that only the guard stands between a request and its effect."""
    answer = json.loads(house.json("POST", "/chat/query", {"query": "When does a session expire?"}).body)
    return {
        "conversation_id": answer["conversation_id"],
        "session_id": answer["session_id"],
        "generation_id": answer["message_id"].removesuffix("-a"),
        "project": house.project,
        "name": "qwen2.5-coder-1.5b",
    }


def body_for(route: KnownRoute, values: dict[str, str], folder: Path) -> bytes | None:
    bodies: dict[str, dict[str, str]] = {
        "/chat/query": {"query": "When does a session expire?"},
        "/chat/prefetch": {"text": "When does a session exp"},
        "/chat/import": {"format": "coding-assistant conversation 1"},
        "/chat/session/clear": {"session_id": values["session_id"]},
        "/projects": {"root": str(folder)},
        "/chat/conversation/{conversation_id}": {"title": "Taken"},
    }
    return json.dumps(bodies[route.path]).encode() if route.takes_body else None


def state(house: InProcess) -> list[bytes]:
    return [house.json("GET", path).body for path in ("/projects", "/chat/sessions", "/chat/conversations")]


def is_refused(answer: Answer) -> bool:
    problem = json.loads(answer.body)
    return answer.status in {403, 415, 421} and problem["code"] in {
        "host_refused",
        "origin_refused",
        "unsupported_media_type",
    }


def test_no_hostile_request_is_served_on_any_route(
    house: InProcess, values: dict[str, str], tmp_path: Path
) -> None:
    before = state(house)
    tried = 0
    for route in known_routes(house.app):
        body = body_for(route, values, tmp_path)
        types = TYPES if route.takes_body else ["application/json"]
        for host, origin, site, content_type in itertools.product(HOSTS, ORIGINS, SITES, types):
            is_friendly = host == "127.0.0.1:8000" and origin in OWN_ORIGINS and site in OWN_SITES
            if host == "localhost:8000" and origin is None and site in OWN_SITES:
                is_friendly = True
            if is_friendly and content_type == "application/json":
                continue
            named = [
                ("host", host),
                ("origin", origin),
                ("sec-fetch-site", site),
                ("content-type", content_type),
            ]
            headers = [(name, value) for name, value in named if value is not None]
            answer = house.call(route.method, route.target(values), headers, body)
            assert is_refused(answer), (route, headers, answer)
            tried += 1
    assert tried > 5_000
    assert state(house) == before


def test_friends_are_served_on_every_route(house: InProcess, values: dict[str, str], tmp_path: Path) -> None:
    """The same requests from a friend do have their effect; otherwise the test above proves nothing."""
    routes = list(known_routes(house.app))
    harmless_first = sorted(
        routes, key=lambda route: (route.method == "DELETE", route.path.endswith("clear"))
    )
    for route in harmless_first:
        headers = [HOST, ("content-type", "application/json")]
        target = route.target(values)
        query = {"/search": "q=session", "/chat/history": "conversation_id={conversation_id}"}
        query["/chat/context"] = query["/chat/history"]
        query["/chat/search"] = query["/search"]
        if route.path in query:
            target += "?" + query[route.path].format_map(values)
        answer = house.call(route.method, target, headers, body_for(route, values, tmp_path))
        expected = {"/nowhere": {404}, "/chat/import": {422}}.get(route.path, {200, 202, 204, 404})
        assert answer.status in expected, (route, answer)
        if route.method != "DELETE" and "clear" not in route.path and route.path != "/nowhere":
            assert answer.status != 404, (route, answer)


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "TRACE", "CONNECT", "HEAD"])
def test_no_route_answers_a_question_for_leave(house: InProcess, method: str) -> None:
    asked = [HOST, ("access-control-request-method", "POST")]
    answer = house.call(method, "/chat/query", asked)
    assert answer.status == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]
