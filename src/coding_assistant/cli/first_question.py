"""The tiny question that shows whether a model works, asked of an engine by itself, without an assistant."""

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager

from coding_assistant.domain import EngineEvent, GenerationRequest, Message, Role
from coding_assistant.protocols import Engine

QUESTION = "What is 2+2?"
ANSWER_TOKENS = 64
"""Ten times what the answer takes: whoever still writes then thinks, or does not know where to end."""


async def first_answer(
    engine: Engine, *, question: str = QUESTION, stop: tuple[str, ...] = ()
) -> AsyncGenerator[EngineEvent, None]:
    """Yield what a loaded engine answers; ``stop`` are texts that end the answer."""
    messages = (Message(Role.USER, question),)
    request = GenerationRequest(
        tokens=await engine.encode(messages),
        slot=0,
        max_tokens=ANSWER_TOKENS,
        temperature=0.0,
        top_p=1.0,
        stop=stop,
        messages=messages,
    )
    async with aclosing(engine.generate(request)) as events:
        async for event in events:
            yield event


@asynccontextmanager
async def closed_at_the_end(engine: Engine) -> AsyncGenerator[Engine, None]:
    """Close the engine whatever happens to it."""
    try:
        yield engine
    finally:
        await engine.close()
