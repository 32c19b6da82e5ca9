"""The API's description: complete, true to itself, and shown without asking another host."""

import json
import re
from collections.abc import Iterator

import pytest

from coding_assistant.contract import EVENT_TYPES
from support.asgi import HOST
from support.http_server import InProcess, in_process
from support.scripted_engine import ScriptedEngine

ADDRESS = re.compile(r"(?:src|href|url)\s*[=:]\s*\"([^\"]+)\"")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    with in_process(tmp_path_factory.mktemp("docs"), ScriptedEngine()) as house:
        yield house


def text(house: InProcess, path: str) -> str:
    answer = house.call("GET", path, [HOST])
    assert answer.status == 200
    return answer.body.decode()


def references(part: object) -> Iterator[str]:
    if isinstance(part, dict):
        yield from (value for key, value in part.items() if key == "$ref")
        part = list(part.values())
    if isinstance(part, list):
        for each in part:
            yield from references(each)


def test_the_page_is_made_of_what_this_server_serves(house: InProcess) -> None:
    page = text(house, "/docs")
    addresses = ADDRESS.findall(page) + ADDRESS.findall(text(house, "/docs/start.js"))
    assert len(addresses) == 5
    for address in addresses:
        assert address == "data:," or text(house, address)
    assert "<script>" not in page
    assert "style=" not in page


def test_the_page_is_told_to_allow_no_other_host_and_no_inline_script(house: InProcess) -> None:
    policy = house.call("GET", "/docs", [HOST]).headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


def test_nothing_but_the_page_s_own_files_lies_beside_it(house: InProcess) -> None:
    for path in ("/docs/__init__.py", "/docs/..%2fmain.py", "/docs/favicon-32x32.png"):
        assert house.call("GET", path, [HOST]).status == 404


def test_every_reference_of_the_description_leads_somewhere(house: InProcess) -> None:
    document = json.loads(text(house, "/openapi.json"))
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references(document)) <= known


def test_every_operation_is_described_and_its_refusals_are_problems(house: InProcess) -> None:
    document = json.loads(text(house, "/openapi.json"))
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["description"], path
            for status, answer in operation["responses"].items():
                if status == "default" or (int(status) >= 400 and (path, status) != ("/readyz", "503")):
                    assert list(answer["content"]) == ["application/problem+json"], (path, status)


@pytest.mark.parametrize("path", ["/chat/query", "/chat/generation/{generation_id}/events"])
def test_a_stream_s_events_have_schemas(house: InProcess, path: str) -> None:
    document = json.loads(text(house, "/openapi.json"))
    (operation,) = document["paths"][path].values()
    events = operation["responses"]["200"]["content"]["text/event-stream"]["schema"]["x-events"]
    assert set(events) == set(EVENT_TYPES)


def test_the_start_page_says_where_things_are(house: InProcess) -> None:
    for path in ("docs", "openapi", "ready"):
        assert text(house, json.loads(text(house, "/"))[path])
