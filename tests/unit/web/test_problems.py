import json
import logging
from collections.abc import Iterator
from http import HTTPStatus
from typing import Annotated

import pytest
from fastapi import FastAPI, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from coding_assistant import errors
from coding_assistant.web.problems import (
    MAX_FAULTS,
    STATUSES,
    Problem,
    UnexpectedErrors,
    answer_with_problems,
    status_of,
)
from support.asgi import HOST, Answer, call, scope_of

pytestmark = pytest.mark.anyio

CANARY = "canary-7f3a"


def classes(root: type[errors.CodingAssistantError]) -> Iterator[type[errors.CodingAssistantError]]:
    yield root
    for each in root.__subclasses__():
        yield from classes(each)


def refuse(text: str) -> str:
    raise errors.InvalidText(f"The text has {len(text)} characters.", hint="Send less.")


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str | None = None
    size: Annotated[float, Field(ge=0, le=2)] = 0
    refused: Annotated[str, AfterValidator(refuse)] | None = None


def make_app() -> FastAPI:
    app = FastAPI()
    answer_with_problems(app)
    app.add_middleware(UnexpectedErrors)

    @app.post("/body")
    async def body(body: Body, limit: Annotated[int, Query(le=100)] = 1) -> float:
        return limit * body.size

    @app.get("/raise/{code}")
    async def fail(code: str) -> None:
        raise next(each for each in classes(errors.CodingAssistantError) if each.code == code)(
            "It is \ud800 so.", hint="Do otherwise."
        )

    @app.get("/fault")
    async def fault() -> None:
        raise ValueError(CANARY)

    return app


async def get(target: str) -> Answer:
    return await call(make_app(), scope_of("GET", target, [HOST]))


async def post(body: bytes, target: str = "/body") -> Answer:
    return await call(
        make_app(), scope_of("POST", target, [HOST, ("content-type", "application/json")]), [body]
    )


def problem_of(answer: Answer) -> Problem:
    assert answer.headers["content-type"] == "application/problem+json"
    problem = Problem.model_validate_json(answer.body)
    assert problem.status == answer.status
    return problem


@pytest.mark.parametrize("error_class", list(classes(errors.CodingAssistantError)))
def test_every_class_has_the_status_of_its_family(error_class: type[errors.CodingAssistantError]) -> None:
    families = [each for each in error_class.__mro__ if each in STATUSES]
    assert families[0] is not errors.CodingAssistantError or error_class is errors.CodingAssistantError


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.ConversationNotFound(""), 404),
        (errors.ModelUnknown(""), 404),
        (errors.QuestionTooLong(""), 422),
        (errors.ConversationElsewhere(""), 409),
        (errors.ModelMissing(""), 503),
        (errors.EngineBusy(""), 503),
        (errors.NotEnoughMemory(""), 503),
        (errors.DatabaseDamaged(""), 500),
        (errors.DiskFull(""), 507),
    ],
)
def test_statuses(error: errors.CodingAssistantError, status: int) -> None:
    assert status_of(error) == HTTPStatus(status)


async def test_an_error_becomes_a_problem() -> None:
    answer = await get("/raise/conversation_not_found?q=private")
    assert problem_of(answer) == Problem(
        type="urn:coding-assistant:problem:conversation_not_found",
        title="Conversation not found",
        status=404,
        detail="It is \\ud800 so.",
        code="conversation_not_found",
        hint="Do otherwise.",
        instance="/raise/conversation_not_found",
    )


async def test_who_comes_too_early_is_told_when_to_come_back() -> None:
    answer = await get("/raise/engine_busy")
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"{", "body.1"),
        (b"null", "body"),
        (b"[]", "body"),
        (b'{"name": NaN}', "body.name"),
        (b'{"name": 1}', "body.name"),
        (b'{"size": NaN}', "body.size"),
        (b'{"size": -Infinity}', "body.size"),
        (b'{"size": 1e999}', "body.size"),
        (b'{"size": ' + b"9" * 4000 + b"}", "body.size"),
        (b'{"nmae": "x"}', "body.nmae"),
        ('{"n\u00e4me": "x"}'.encode(), "body.n\\xe4me"),
        (b'{"\\ud800": "x"}', "body"),
    ],
)
async def test_a_wrong_body_is_told_by_its_field(body: bytes, field: str) -> None:
    problem = problem_of(await post(body))
    assert (problem.status, problem.code) == (422, "invalid_request")
    assert [fault.field for fault in problem.errors] == [field]


async def test_a_wrong_query_is_told_by_its_name() -> None:
    problem = problem_of(await post(b"{}", "/body?limit=101"))
    assert [fault.field for fault in problem.errors] == ["query.limit"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": "\xff"}',
        b'{"size": ' + b"9" * 5000 + b"}",
        b'{"name": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    ],
)
async def test_what_no_reader_of_json_takes_is_refused(body: bytes) -> None:
    problem = problem_of(await post(body))
    assert (problem.status, problem.code) == (400, "body_unreadable")


async def test_nothing_of_the_body_is_echoed() -> None:
    answer = await post(json.dumps({"name": [CANARY], "size": CANARY}).encode())
    assert answer.status == 422
    assert CANARY.encode() not in answer.body


async def test_many_faults_are_counted_and_long_names_are_cut() -> None:
    body = {f"{number:03}" * 1000: 0 for number in range(1000)}
    answer = await post(json.dumps(body).encode())
    problem = problem_of(answer)
    assert len(problem.errors) == MAX_FAULTS
    assert f"{1000 - MAX_FAULTS} more" in problem.detail
    assert len(answer.body) < 10_000


async def test_an_error_of_ours_raised_by_a_field_keeps_its_code() -> None:
    problem = problem_of(await post(b'{"refused": "abc"}'))
    assert (problem.status, problem.code) == (422, "invalid_text")
    assert problem.detail == "The text has 3 characters."


async def test_unknown_routes_and_methods_are_problems() -> None:
    missing = problem_of(await get("/nowhere"))
    assert (missing.status, missing.code, missing.instance) == (404, "route_not_found", "/nowhere")
    wrong = await get("/body")
    assert (problem_of(wrong).code, wrong.headers["allow"]) == ("method_not_allowed", "POST")


async def test_a_fault_of_ours_is_told_and_logged_without_its_message(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = await get("/fault")
    assert problem_of(answer).code == "internal"
    assert "ValueError" in caplog.text
    assert "test_problems.py" in caplog.text
    assert CANARY not in caplog.text.replace("raise ValueError(CANARY)", "")
