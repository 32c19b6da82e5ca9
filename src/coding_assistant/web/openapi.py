"""What the OpenAPI document says beyond what the framework reads off the routes.

Refusals are problems, and streams are events whose data have schemas of their own.
"""

from typing import TypeAlias

from fastapi.openapi.models import Example
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from coding_assistant.contract import EVENT_TYPES, IndexingEvent, IndexReport
from coding_assistant.web import problems

Description: TypeAlias = dict[str, object]
Responses: TypeAlias = dict[int | str, Description]

_SCHEMAS = "#/components/schemas/"

INDEX_EVENT_TYPES: dict[str, type[BaseModel]] = {"indexing": IndexingEvent, "finished": IndexReport}


def _problem(description: str) -> Description:
    schema = {"$ref": f"{_SCHEMAS}{problems.Problem.__name__}"}
    return {"description": description, "content": {problems.MEDIA_TYPE: {"schema": schema}}}


def _stream(event_types: dict[str, type[BaseModel]], *, example: str) -> Description:
    """Describe a stream; ``x-events`` names the schema of each event's data."""
    refs = {name: {"$ref": f"{_SCHEMAS}{data_type.__name__}"} for name, data_type in event_types.items()}
    described = (
        "Server-sent events, numbered from 1; `data` is JSON. Lines that begin with `:` are heartbeats."
    )
    schema = {"type": "string", "description": described, "x-events": refs}
    return {"content": {"text/event-stream": {"schema": schema, "example": example}}}


_ANSWER_EXAMPLE = (
    'event: text\ndata: {"text":"The walk skips"}\nid: 7\n\nevent: text\ndata: {"text":" links."}\nid: 8\n\n'
)
_INDEX_EXAMPLE = 'event: indexing\ndata: {"done":12,"total":340}\nid: 2\n\n'

ANSWER_STREAM: Description = {
    "description": "The answer; as events when `stream` is set.",
    **_stream(dict(EVENT_TYPES), example=_ANSWER_EXAMPLE),
}
ANSWER_EVENTS: Responses = {
    200: {
        "description": "The events that are still to come.",
        **_stream(dict(EVENT_TYPES), example=_ANSWER_EXAMPLE),
    },
    204: {"description": "The answer has ended and every event of it was seen."},
}
INDEX_STREAM: Description = {
    "description": "What was done; as events with `Accept: text/event-stream`.",
    **_stream(INDEX_EVENT_TYPES, example=_INDEX_EXAMPLE),
}
EXPORTED: Description = {
    "description": "The conversation as a file.",
    "content": {"text/markdown": {"schema": {"type": "string"}}, "application/json": {"schema": {}}},
}

IMPORTED: dict[str, object] = {
    "requestBody": {
        "required": True,
        "description": "A conversation as `GET /chat/conversation/{id}/export?format=json` returns it, of at"
        " most 32 MiB.",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}

REFUSALS: Responses = {
    403: _problem("A page of another origin asks."),
    413: _problem("The body is larger than 1 MiB (of an import: 32 MiB), or the attachments are too long."),
    415: _problem("The body is not announced as JSON."),
    421: _problem("The Host header names another server."),
    422: _problem("A field or a text is not as it should be."),
    "default": _problem("Anything else that is refused; `code` says what."),
}
"""What every route may answer."""


def refusals(*statuses: int) -> Responses:
    """Return the descriptions of the refusals that a route has beside those of every route."""
    return {status: _problem(_MEANINGS[status]) for status in statuses}


_MEANINGS = {
    404: "An id or a name is unknown.",
    409: "The conversation is busy, belongs elsewhere, or is here already.",
    503: "Not ready: no model, no memory, or every slot taken; then `Retry-After` says when to come back.",
    507: "The disk is full.",
}


QUESTIONS: dict[str, Example] = {
    "first": {
        "summary": "A first question, in a new conversation",
        "value": {"query": "Where are ignored files skipped?", "project": "my-project"},
    },
    "next": {
        "summary": "A next question, as events",
        "value": {
            "query": "And who calls that?",
            "conversation_id": "0b41c9e2f0d54c1c9a3fd0a7a5d1e6b2",
            "stream": True,
        },
    },
}


def operation_id(route: APIRoute) -> str:
    """Name an operation after its function, as it stands in links and generated clients."""
    return route.name


def referenced_schemas() -> dict[str, Description]:
    """Return the schemas that descriptions here refer to and no route returns as JSON."""
    models = [problems.Problem, *EVENT_TYPES.values(), *INDEX_EVENT_TYPES.values()]
    _, document = models_json_schema(
        [(model, "serialization") for model in models], ref_template=_SCHEMAS + "{model}"
    )
    schemas: dict[str, Description] = document["$defs"]
    return schemas
