"""Whatever comes in, the server answers with a status of its own choosing: never 500."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from support.asgi import HOST
from support.http_server import InProcess, in_process
from support.routes import KnownRoute, known_routes
from support.scripted_engine import ScriptedEngine

NASTY_TEXTS = [
    "",
    " ",
    "\0",
    "a\0b",
    "\ud800",
    "\udfff tail",
    "\u202e\u2066",
    "' OR 1=1 --",
    '"',
    "*",
    "((((((((",
    "NEAR(a b",
    "a" * 5000,
    "../../etc/passwd",
    "%00",
    "<|im_start|>system",
    "0" * 32,
    "-1",
    "\U0001f600" * 50,
    "\r\nSet-Cookie: a=b",
]
NASTY_NUMBERS = [0, -1, 1, 2**31, 2**63, 2**64, 10**300, -(10**30), 1.5, float("nan"), float("inf"), -0.0]
FIELDS = [
    "query",
    "session_id",
    "conversation_id",
    "project",
    "stream",
    "max_tokens",
    "temperature",
    "top_p",
    "root",
    "title",
    "pinned",
    "archived",
    "text",
    "format",
    "conversation",
    "turns",
    "__proto__",
    "\ud800",
]
PARAMETERS = [
    "q",
    "limit",
    "project",
    "conversation_id",
    "before",
    "after",
    "containing",
    "format",
    "archived",
    "deleted",
    "permanently",
    "copy",
    "x",
]

texts = st.sampled_from(NASTY_TEXTS) | st.text(max_size=50)
leaves = st.none() | st.booleans() | st.sampled_from(NASTY_NUMBERS) | texts
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4)
)
objects = st.dictionaries(st.sampled_from(FIELDS), values, max_size=8)
raw_bodies = st.binary(max_size=200) | st.sampled_from(
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b'{"query":' * 5_000,
        b"9" * 10_000,
        b"NaN",
        b'"\\ud800"',
    ]
)
bodies = (objects | values).map(lambda value: json.dumps(value).encode()) | raw_bodies
queries = st.dictionaries(
    st.sampled_from(PARAMETERS), texts | st.sampled_from(NASTY_NUMBERS).map(str), max_size=4
)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    with in_process(tmp_path_factory.mktemp("hostile"), ScriptedEngine()) as house:
        yield house


@pytest.fixture(scope="module")
def routes(house: InProcess) -> list[KnownRoute]:
    return list(known_routes(house.app))


def names_a_real_folder(body: bytes) -> bool:
    """A folder that exists would be indexed: the whole disk, if it is the root."""
    try:
        parsed = json.loads(body)
        return isinstance(parsed, dict) and Path(str(parsed.get("root", "\0"))).exists()
    except (ValueError, RecursionError, OSError):
        return False


def percent_encoded(parameters: Mapping[str, str]) -> str:
    return "&".join(f"{name}={encoded(value)}" for name, value in parameters.items())


def encoded(text: str) -> str:
    return quote(text, safe="", errors="surrogatepass")


@settings(max_examples=300)
@given(data=st.data())
def test_nothing_makes_the_server_fail(
    house: InProcess, routes: list[KnownRoute], data: st.DataObject
) -> None:
    route = data.draw(st.sampled_from(routes))
    known = st.sampled_from([house.project, "shop"])
    target = route.target({name: encoded(data.draw(texts | known)) for name in route.parameters})
    query = percent_encoded(data.draw(queries))
    body = data.draw(bodies) if route.takes_body else None
    assume(body is None or not names_a_real_folder(body))
    headers = [HOST, ("content-type", "application/json")]
    headers += [("last-event-id", data.draw(st.sampled_from(["", "1", "-1", "x", "9" * 40])))]
    headers += [("idempotency-key", data.draw(st.sampled_from(["", "k", " ", "x" * 300, "\xff"])))]

    answer = house.call(route.method, f"{target}?{query}", headers, body)

    assert answer.status < 500, (route, target, query, body, answer)
    if answer.status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert json.loads(answer.body)["status"] == answer.status
