"""The HTTP application: the routes behind the guard, over an assistant that somebody else opened."""

from collections.abc import Collection
from importlib.metadata import version
from typing import Any

import anyio
from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from coding_assistant.assistant import AsyncAssistant
from coding_assistant.contract import MAX_IMPORT_BYTES
from coding_assistant.web.guard import Guard
from coding_assistant.web.openapi import REFUSALS, operation_id, referenced_schemas
from coding_assistant.web.problems import UnexpectedErrors, answer_with_problems
from coding_assistant.web.routes import (
    chat,
    conversations,
    docs,
    generations,
    health,
    models,
    projects,
    search,
    sessions,
)
from coding_assistant.web.stopping import EndsWithServer

ROUTERS = (
    chat.router,
    sessions.router,
    conversations.router,
    generations.router,
    search.router,
    projects.router,
    models.router,
    health.router,
    docs.router,
)

DESCRIPTION = "A private coding assistant for your own code, on your own machine."

# The framework can export requests and exceptions, and the environment can switch that on.
NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}


class App(FastAPI):
    """The framework's application with the whole OpenAPI document."""

    def openapi(self) -> dict[str, Any]:
        """Return the document, with the schemas of problems and events."""
        document = super().openapi()
        document["components"]["schemas"] |= referenced_schemas()
        return document


def create_app(assistant: AsyncAssistant, *, allowed_hosts: Collection[str] = ()) -> FastAPI:
    """Return the application; whoever opened the assistant closes it after the last request.

    ``allowed_hosts`` are values of the Host header, port included, that are served beside loopback's own.
    Setting ``app.state.stopping`` ends what is still being served.
    """
    app = App(
        title="coding-assistant",
        description=DESCRIPTION,
        version=version("coding-assistant"),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses=REFUSALS,
        generate_unique_id_function=operation_id,
        telemetry=NO_TELEMETRY,
    )
    app.state.assistant = assistant
    app.state.stopping = anyio.Event()
    answer_with_problems(app)
    for router in ROUTERS:
        app.include_router(router)
    app.add_middleware(UnexpectedErrors)
    app.add_middleware(EndsWithServer)
    app.add_middleware(  # the last added is the first to see a request
        Guard, allowed_hosts=allowed_hosts, body_bytes={conversations.IMPORT_PATH: MAX_IMPORT_BYTES}
    )
    return app
