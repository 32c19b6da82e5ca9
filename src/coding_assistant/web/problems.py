"""Refusals on the wire: every error becomes an RFC 9457 problem, and every class of it one status.

A problem names what the refusal is about: a path, a name, a field. It never quotes a question, an answer
or code, for it is shown and pasted into reports.
"""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from coding_assistant import errors
from coding_assistant.contract import ErrorEvent

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

STATUSES: Mapping[type[errors.CodingAssistantError], HTTPStatus] = {
    errors.CodingAssistantError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.InvalidRequest: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.AttachmentTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.NotReady: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.Busy: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.EngineFailed: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.DownloadFailed: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.StorageFailed: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.DiskFull: HTTPStatus.INSUFFICIENT_STORAGE,
    errors.InternalFailure: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""The status of each family; a class without a line of its own has its nearest ancestor's."""

INTERNAL_FAULT = ErrorEvent(
    code="internal",
    detail="The program has a fault and could not answer.",
    hint="The server's log says where. Nothing that was acknowledged is lost.",
)
"""What a caller is told of an unexpected exception."""

MAX_FAULTS = 20
"""A body of 100,000 wrong fields is not answered with as many lines."""

MAX_FAULT_FIELD_CHARACTERS = 80


class Fault(BaseModel):
    """One field that is not as it should be."""

    field: str = Field(description="Where it is: `body.query`, `query.limit`.")
    message: str


class Problem(BaseModel):
    """An RFC 9457 problem: ``code`` is stable and is what programs compare."""

    type: str = Field(description="The problem's kind as a URN; it ends in the code.")
    title: str = Field(description="The problem's kind in words.")
    status: int
    detail: str = Field(description="What happened, as a sentence for the user.")
    code: str = Field(description="The problem's kind for programs; never changes.")
    hint: str = Field(description="What to do next; may be empty.")
    instance: str = Field(description="The path of the request.")
    errors: list[Fault] = Field(default=[], description="The fields at fault, when it is about fields.")


def status_of(error: errors.CodingAssistantError) -> HTTPStatus:
    """Return the status of an error: its own class's, or the nearest ancestor's."""
    return next(STATUSES[each] for each in type(error).__mro__ if each in STATUSES)


def problem_response(  # noqa: PLR0913  -- the fields of a problem, each by its name
    scope: Scope,
    status: HTTPStatus,
    *,
    code: str,
    detail: str,
    hint: str = "",
    faults: Sequence[Fault] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the answer that says what is wrong with the request in ``scope``."""
    problem = Problem(
        type=f"urn:coding-assistant:problem:{code}",
        title=code.replace("_", " ").capitalize(),
        status=status,
        detail=_encodable(detail),
        code=code,
        hint=_encodable(hint),
        instance=scope["path"],
        errors=list(faults),
    )
    return Response(
        problem.model_dump_json(exclude_defaults=True),
        status_code=status,
        headers=headers,
        media_type=MEDIA_TYPE,
    )


def answer_with_problems(app: FastAPI) -> None:
    """Have every refusal of the app, ours and the framework's, answered with a problem."""

    @app.exception_handler(errors.CodingAssistantError)
    async def refused(request: Request, error: errors.CodingAssistantError) -> Response:
        headers = None
        if isinstance(error, errors.Busy):
            headers = {"Retry-After": str(error.retry_after_seconds)}
        return problem_response(
            request.scope,
            status_of(error),
            code=error.code,
            detail=error.message,
            hint=error.hint,
            headers=headers,
        )

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        found = error.errors()
        faults = [Fault(field=_field(each["loc"]), message=each["msg"]) for each in found[:MAX_FAULTS]]
        more = len(found) - len(faults)
        also = f"; {more} more are not listed" if more else ""
        return problem_response(
            request.scope,
            HTTPStatus.UNPROCESSABLE_ENTITY,
            code=errors.InvalidRequest.code,
            detail=f"{faults[0].field}: {faults[0].message}{also}.",
            hint="The fields and their bounds are listed at /docs.",
            faults=faults,
        )

    @app.exception_handler(HTTPException)
    async def not_served(request: Request, error: HTTPException) -> Response:
        status = HTTPStatus(error.status_code)
        code, detail = _FRAMEWORK_REFUSALS.get(status, ("refused", f"{status.phrase}."))
        return problem_response(
            request.scope,
            status,
            code=code,
            detail=detail,
            hint="The routes are listed at /docs.",
            headers=error.headers,
        )


_FRAMEWORK_REFUSALS = {
    HTTPStatus.BAD_REQUEST: ("body_unreadable", "The body cannot be read as JSON."),
    HTTPStatus.NOT_FOUND: ("route_not_found", "There is nothing at this address."),
    HTTPStatus.METHOD_NOT_ALLOWED: ("method_not_allowed", "This address does not know this method."),
}


def _encodable(text: str) -> str:
    """Return the text with half surrogates, which no answer can carry, written out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _field(location: Sequence[str | int]) -> str:
    """Return where a fault is; a name that came in with the request is made printable and kept short."""
    path = ".".join(str(part) for part in location)
    printable = path.encode("ascii", "backslashreplace").decode("ascii")
    return printable[:MAX_FAULT_FIELD_CHARACTERS]


class UnexpectedErrors:
    """The last net: a fault of the program is answered with 500 and logged without its message.

    The message of an unexpected exception may quote what the user wrote; the places it passed do not.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception as error:  # noqa: BLE001  -- the last net
            log_unexpected(error)
            if not started:
                response = problem_response(
                    scope,
                    HTTPStatus.INTERNAL_SERVER_ERROR,
                    code=INTERNAL_FAULT.code,
                    detail=INTERNAL_FAULT.detail,
                    hint=INTERNAL_FAULT.hint,
                )
                await response(scope, receive, send)


def log_unexpected(error: BaseException) -> None:
    """Log what kind of fault happened and where, without its message, which may quote the user."""
    logger.error("unexpected %s\n%s", type(error).__name__, errors.places(error))
