"""How fast an answer comes through our API, beside the bare engine writing as much behind as long a prompt.

What a token costs to write depends on how many stand before it, not on which: so the engine is given tokens
of the very sources and question, to the length of the product's prompt. Pairs take turns in who goes first.
"""

from collections.abc import Sequence
from itertools import cycle, islice

import httpx2

from conversations_bench.arms import tokens_of
from conversations_bench.client import Completion, Exchange, ask, complete_tokens, connect
from conversations_bench.layouts import SYSTEM, render_source
from conversations_bench.results import DecodingPair
from conversations_bench.service import Service

FEWEST_TOKENS = 16
"""A shorter answer says nothing of a speed."""


async def decoding_pairs(
    ours: Service, bare: Service, questions: Sequence[str], *, answer_tokens: int
) -> list[DecodingPair]:
    """Ask each question in a conversation of its own, and have the bare engine write as much."""
    pairs = []
    async with connect(ours.url) as product, connect(bare.url) as engine:
        for number, question in enumerate(questions):
            body = {"query": question, "max_tokens": answer_tokens, "temperature": 0.0}
            exchange = await ask(product, body)
            used, written = _counts(exchange)
            if written < FEWEST_TOKENS:
                continue
            tokens = await _tokens_of_length(engine, exchange, question, used)
            if number % 2:
                done = await complete_tokens(engine, tokens, written_tokens=written)
                exchange = await ask(product, body)
                used, written = _counts(exchange)
            else:
                done = await complete_tokens(engine, tokens, written_tokens=written)
            pairs.append(_pair(exchange, used, written, done))
    return pairs


def _pair(exchange: Exchange, used: int, written: int, done: Completion) -> DecodingPair:
    return DecodingPair(
        prompt_tokens=used,
        written_tokens=written,
        ours_per_second=(written - 1) / exchange.writing_seconds,
        bare_per_second=(done.written_tokens - 1) / done.writing_seconds,
    )


def _counts(exchange: Exchange) -> tuple[int, int]:
    """Return the tokens of the prompt and of the answer."""
    match exchange.events[-1].data:
        case {"receipt": {"used": int(used)}, "timings": {"written_tokens": int(written)}}:
            return used, written
    raise ValueError("the answer came without its counts")


async def _tokens_of_length(
    engine: httpx2.AsyncClient, exchange: Exchange, question: str, length: int
) -> list[int]:
    found = exchange.named("sources")[0].data["sources"]
    sources = [render_source(source) for source in found] if isinstance(found, list) else []
    tokens = await tokens_of(engine, "\n\n".join((SYSTEM, *sources, question)))
    return list(islice(cycle(tokens), length))
