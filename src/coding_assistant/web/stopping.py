"""No request outlives the server's wish to stop.

Event streams end by themselves. Whatever else is being worked on, such as a question whose asker waits for
the whole answer, gets a moment to finish and is then told to come back.
"""

from http import HTTPStatus

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from coding_assistant.contract import ErrorEvent
from coding_assistant.web.problems import problem_response

GRACE_SECONDS = 2.0
"""A search or a write takes less; an answer that is not finished by then would take long."""

RETRY_AFTER_SECONDS = 5

STOPPING = ErrorEvent(
    code="server_stopping",
    detail="The server is stopping.",
    hint="What there is of an answer is kept in its conversation.",
)


class EndsWithServer:
    """Serve requests until ``app.state.stopping`` is set, and end those that linger after it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        stopping: anyio.Event = scope["app"].state.stopping
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        async def end(serving: anyio.CancelScope) -> None:
            await stopping.wait()
            await anyio.sleep(GRACE_SECONDS)
            if not started:
                serving.cancel()

        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as serving:
                tasks.start_soon(end, serving)
                await self._app(scope, receive, watch)
            tasks.cancel_scope.cancel()
        if serving.cancelled_caught:
            response = problem_response(
                scope,
                HTTPStatus.SERVICE_UNAVAILABLE,
                code=STOPPING.code,
                detail=STOPPING.detail,
                hint=STOPPING.hint,
                headers={"retry-after": str(RETRY_AFTER_SECONDS)},
            )
            await response(scope, receive, send)
