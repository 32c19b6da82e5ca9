from collections.abc import Awaitable, Callable

import pytest

from coding_assistant.errors import EngineFailed
from coding_assistant.inference.server_client import ServerClient
from support.scripted_server import json_answer, scripted_server

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.tokenize("x"),
        lambda client: client.context_tokens(),
        lambda client: client.busy_slots(),
        lambda client: client.save_slot(0, "name"),
        lambda client: client.restore_slot(0, "name"),
    ],
)
async def test_an_answer_of_another_shape_is_a_failure_of_the_engine(
    call: Callable[[ServerClient], Awaitable[object]],
) -> None:
    async with scripted_server([json_answer({"another": "shape"})]) as server:
        client = ServerClient(server.url, "key", patience_seconds=10.0)
        try:
            with pytest.raises(EngineFailed, match="not understood"):
                await call(client)
        finally:
            await client.close()
