import json

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send

from coding_assistant.web.guard import MAX_BODY_BYTES, SECURITY_HEADERS, Guard
from support.asgi import HOST, Answer, call, scope_of

pytestmark = pytest.mark.anyio

OWN_HOSTS = ["127.0.0.1:8000", "localhost:8000", "[::1]:8000", "LocalHost:8000"]
HOSTILE_HOSTS = [
    "",
    "127.0.0.1",
    "127.0.0.1:8001",
    "127.0.0.1:8000@evil.example",
    "127.0.0.1:8000.evil.example",
    "127.0.0.1.nip.io:8000",
    "localhost.evil.example:8000",
    "evil.example",
    "evil.example:8000",
    "localhost/x?:8000",
    "localhost:8000/docs",
    "0.0.0.0:8000",
    "[::]:8000",
    "2130706433:8000",
    "127.1:8000",
    "127.0.0.1:8000, evil.example",
    " 127.0.0.1:8000",
    "localhost:08000",
]
JSON = ("content-type", "application/json")


class Inner:
    """Remembers what it was given and answers with a policy of its own."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.afterwards: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        message = await receive()
        self.bodies.append(message["body"])
        headers = [(b"content-security-policy", b"its own")] if scope["path"] == "/own" else []
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"served"})
        self.afterwards.append((await receive())["type"])


@pytest.fixture
def inner() -> Inner:
    return Inner()


async def get(inner: Inner, *headers: tuple[str, str], path: str = "/", scheme: str = "http") -> Answer:
    return await call(Guard(inner), scope_of("GET", path, headers, scheme=scheme))


async def post(inner: Inner, *headers: tuple[str, str], chunks: list[bytes]) -> Answer:
    return await call(Guard(inner), scope_of("POST", "/", [HOST, *headers]), chunks)


def code_of(answer: Answer) -> object:
    return json.loads(answer.body)["code"]


@pytest.mark.parametrize("host", OWN_HOSTS)
async def test_serves_its_own_names(inner: Inner, host: str) -> None:
    assert (await get(inner, ("host", host))).status == 200


@pytest.mark.parametrize("host", HOSTILE_HOSTS)
async def test_refuses_every_other_host(inner: Inner, host: str) -> None:
    answer = await get(inner, ("host", host))
    assert (answer.status, code_of(answer), inner.bodies) == (421, "host_refused", [])


async def test_refuses_a_missing_host_and_two_hosts(inner: Inner) -> None:
    assert (await get(inner)).status == 421
    assert (await get(inner, HOST, ("host", "evil.example"))).status == 421
    assert inner.bodies == []


@given(st.text(st.characters(max_codepoint=255)).filter(lambda host: host.lower() not in OWN_HOSTS))
def test_refuses_whatever_else_a_host_may_be(host: str) -> None:
    inner = Inner()
    assert anyio.run(get, inner, ("host", host)).status == 421
    assert inner.bodies == []


async def test_the_default_port_need_not_be_named(inner: Inner) -> None:
    served = await call(Guard(inner), scope_of("GET", "/", [("host", "localhost")], port=80))
    assert served.status == 200


async def test_serves_a_host_that_the_user_allowed(inner: Inner) -> None:
    guard = Guard(inner, allowed_hosts=["Tunnel.example:9000"])
    served = await call(guard, scope_of("GET", "/", [("host", "tunnel.example:9000")]))
    refused = await call(guard, scope_of("GET", "/", [("host", "tunnel.example")]))
    assert (served.status, refused.status) == (200, 421)


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "null",
        "http://evil.example",
        "https://127.0.0.1:8000",
        "http://127.0.0.1:8001",
        "http://localhost:8000",
        "http://127.0.0.1:8000/",
        "http://127.0.0.1:8000@evil.example",
        "file://",
        "chrome-extension://abcdef",
    ],
)
async def test_refuses_every_other_origin(inner: Inner, origin: str) -> None:
    answer = await get(inner, HOST, ("origin", origin))
    assert (answer.status, code_of(answer), inner.bodies) == (403, "origin_refused", [])


async def test_refuses_a_second_origin(inner: Inner) -> None:
    own, other = ("origin", "http://127.0.0.1:8000"), ("origin", "http://evil.example")
    assert (await get(inner, HOST, own)).status == 200
    assert (await get(inner, HOST, own, other)).status == 403


@pytest.mark.parametrize(
    ("site", "status"),
    [
        ("same-origin", 200),
        ("none", 200),
        ("same-site", 403),
        ("cross-site", 403),
        ("", 403),
        ("Same-Origin, cross-site", 403),
    ],
)
async def test_serves_only_what_the_browser_calls_its_own(inner: Inner, site: str, status: int) -> None:
    assert (await get(inner, HOST, ("sec-fetch-site", site))).status == status


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "Application/JSON", "application/json; charset=utf-8", "application/json ;x=y"],
)
async def test_takes_a_json_body(inner: Inner, content_type: str) -> None:
    answer = await post(inner, ("content-type", content_type), ("content-length", "2"), chunks=[b"{}"])
    assert (answer.status, inner.bodies) == (200, [b"{}"])


@pytest.mark.parametrize(
    "types",
    [
        [],
        [""],
        ["text/plain"],
        ["text/plain; application/json"],
        ["application/x-www-form-urlencoded"],
        ["multipart/form-data; boundary=x"],
        ["text/json"],
        ["application/jsonp"],
        ["application/json, text/plain"],
        ["application/json", "text/plain"],
    ],
)
@pytest.mark.parametrize("length", [("content-length", "2"), ("transfer-encoding", "chunked")])
async def test_refuses_a_body_of_any_other_type(
    inner: Inner, types: list[str], length: tuple[str, str]
) -> None:
    headers = [("content-type", each) for each in types]
    answer = await post(inner, length, *headers, chunks=[b"{}"])
    assert (answer.status, code_of(answer), inner.bodies) == (415, "unsupported_media_type", [])


async def test_a_request_without_a_body_needs_no_type(inner: Inner) -> None:
    assert (await post(inner, ("content-length", "0"), chunks=[])).status == 200


async def test_takes_a_body_up_to_the_limit(inner: Inner) -> None:
    body = [b"x" * (MAX_BODY_BYTES - 1), b"y"]
    answer = await post(inner, JSON, ("transfer-encoding", "chunked"), chunks=body)
    assert (answer.status, inner.bodies) == (200, [b"".join(body)])


async def test_a_path_may_take_longer_bodies_than_the_others(inner: Inner) -> None:
    guard = Guard(inner, body_bytes={"/import": MAX_BODY_BYTES + 2})
    headers = [HOST, JSON, ("transfer-encoding", "chunked")]
    body = [b"x" * MAX_BODY_BYTES, b"y"]
    for path, more, status in [("/import", [], 200), ("/import", [b"yy"], 413), ("/import/", [], 413)]:
        answer = await call(guard, scope_of("POST", path, headers), [*body, *more])
        assert answer.status == status
    assert inner.bodies == [b"".join(body)]


async def test_counts_a_body_that_does_not_say_how_long_it_is(inner: Inner) -> None:
    endless = [b"x" * 65_536] * 100
    answer = await post(inner, JSON, ("transfer-encoding", "chunked"), chunks=endless)
    assert (answer.status, code_of(answer), inner.bodies) == (413, "body_too_large", [])


@pytest.mark.parametrize("length", [str(MAX_BODY_BYTES + 1), "9" * 400])
async def test_refuses_an_announced_length_without_reading(inner: Inner, length: str) -> None:
    answer = await post(inner, JSON, ("content-length", length), chunks=[b"{}"])
    assert (answer.status, inner.bodies) == (413, [])


async def test_the_reader_s_leaving_is_still_told_after_the_body(inner: Inner) -> None:
    await post(inner, JSON, ("content-length", "2"), chunks=[b"{}"])
    assert inner.afterwards == ["http.disconnect"]


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "evil.example"])
async def test_labels_every_answer(inner: Inner, host: str) -> None:
    answer = await get(inner, ("host", host))
    assert {name: answer.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS


async def test_an_answer_may_bring_its_own_policy(inner: Inner) -> None:
    answer = await get(inner, HOST, path="/own")
    assert answer.headers.getlist("content-security-policy") == ["its own"]


async def test_a_refusal_closes_the_connection(inner: Inner) -> None:
    answer = await get(inner, ("host", "evil.example"))
    assert answer.headers["connection"] == "close"


async def test_refuses_a_websocket(inner: Inner) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await Guard(inner)({**scope_of("GET", "/", [HOST]), "type": "websocket"}, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]
