"""The ways to ask that are compared: a bare engine with more or less to read, and the product end to end."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import BaseModel

from answers_bench.excerpts import Excerpt, gold_excerpts
from answers_bench.packages import Package, place_of
from answers_bench.plain_bm25 import PlainChunks
from answers_bench.prompts import Prompt
from answers_bench.questions import Place, Question
from answers_bench.results import Answered, ArmName, Cited
from conversations_bench.client import QuestionFailed, ask, complete_chat, connect
from conversations_bench.service import Service

WARM_UP = "Which files are there?"
"""Asked once about each package, so that no question pays for a cold disk or for the loading of weights."""


class Arm(Protocol):
    """One way to ask, around a server that is running."""

    async def warm_up(self, packages: Sequence[str]) -> None:
        """Ask something that is not measured."""
        ...

    async def ask(self, question: Question, *, commit: str) -> Answered:
        """Ask a question. Raises ``QuestionFailed``."""
        ...


class Reading:
    """What the bare engine is given to read; each package is cut and indexed once."""

    def __init__(self, packages: Mapping[str, Package]) -> None:
        self._packages = packages
        self._chunks: dict[str, PlainChunks] = {}

    def nothing(self, _question: Question) -> list[Excerpt]:
        """Return no excerpt."""
        return []

    def bm25(self, question: Question) -> list[Excerpt]:
        """Return what plain BM25 finds best."""
        if question.package not in self._chunks:
            self._chunks[question.package] = PlainChunks(self._packages[question.package])
        return self._chunks[question.package].best(question.question)

    def gold(self, question: Question) -> list[Excerpt]:
        """Return the gold lines; of what does not exist there are none, and BM25 finds the nearest."""
        if not question.gold:
            return self.bm25(question)
        return gold_excerpts(question, self._packages[question.package])


@dataclass(frozen=True, slots=True)
class Bare:
    """The engine's own server, asked through its chat completions, which use the model's own template."""

    name: ArmName
    service: Service
    answer_tokens: int
    reading: Callable[[Question], Sequence[Excerpt]]
    prompt: Prompt

    async def warm_up(self, packages: Sequence[str]) -> None:
        """Have the weights read from the disk, whatever the packages."""
        del packages
        async with connect(self.service.url) as http:
            await complete_chat(http, [{"role": "user", "content": WARM_UP}], max_tokens=1)

    async def ask(self, question: Question, *, commit: str) -> Answered:
        """Ask in a chat of its own; citations are the numbers that the answer writes."""
        excerpts = self.reading(question)
        async with connect(self.service.url) as http:
            done = await complete_chat(http, self.prompt(question, excerpts), max_tokens=self.answer_tokens)
        numbers = dict.fromkeys(int(number) for number in _CITED.findall(done.text))
        known = [number for number in numbers if 1 <= number <= len(excerpts)]
        cited = [excerpts[number - 1] for number in known]
        return Answered(
            arm=self.name,
            id=question.id,
            commit=commit,
            answer=done.text,
            shown=tuple(each.place for each in excerpts),
            citations=tuple(Cited(each.place, each.source.text) for each in cited),
            unknown_citations=tuple(number for number in numbers if number not in known) if excerpts else (),
            prompt_tokens=done.read_tokens + done.cached_tokens,
            cached_tokens=done.cached_tokens,
            written_tokens=done.written_tokens,
            first_token_seconds=done.first_token_seconds,
            total_seconds=done.total_seconds,
        )


_CITED = re.compile(r"\[(\d{1,3})\]")


class _Receipt(BaseModel):
    used: int = 0
    cached: int = 0


class _Timings(BaseModel):
    written_tokens: int


class _Finished(BaseModel):
    """The fields of a finished answer that count here; ``not_found`` only where the product has it."""

    response: str
    citations: list[dict[str, object]]
    sources: list[dict[str, object]]
    unknown_citations: list[int]
    not_found: bool | None = None
    receipt: _Receipt | None
    timings: _Timings


@dataclass(frozen=True, slots=True)
class Ours:
    """The product over HTTP: each question is the first of a new conversation."""

    service: Service
    packages: Mapping[str, Package]
    answer_tokens: int
    name: ArmName = field(default=ArmName.OURS, init=False)

    async def warm_up(self, packages: Sequence[str]) -> None:
        """Ask about each package, so that its index, its primer and the model are there."""
        async with connect(self.service.url) as http:
            for package in packages:
                await ask(http, self._body(WARM_UP, package, answer_tokens=1))

    async def ask(self, question: Question, *, commit: str) -> Answered:
        """Ask, and read the cited lines from the package as it lies on the disk."""
        async with connect(self.service.url) as http:
            exchange = await ask(
                http, self._body(question.question, question.package, answer_tokens=self.answer_tokens)
            )
        finished = _Finished.model_validate(exchange.events[-1].data)
        receipt = finished.receipt or _Receipt()
        package = self.packages[question.package]
        return Answered(
            arm=self.name,
            id=question.id,
            commit=commit,
            answer=finished.response,
            shown=tuple(place_of(source) for source in finished.sources),
            citations=tuple(_cited(place_of(each), package) for each in finished.citations),
            unknown_citations=tuple(finished.unknown_citations),
            not_found=_was_not_found(finished),
            prompt_tokens=receipt.used,
            cached_tokens=receipt.cached,
            written_tokens=finished.timings.written_tokens,
            first_token_seconds=exchange.first_token_seconds,
            total_seconds=exchange.total_seconds,
        )

    def _body(self, query: str, package: str, *, answer_tokens: int) -> dict[str, object]:
        return {
            "query": query,
            "project": self.packages[package].root.name,
            "max_tokens": answer_tokens,
            "temperature": 0.0,
        }


async def answer(arm: Arm, question: Question, *, name: ArmName, commit: str) -> Answered:
    """Ask a question; what the server refuses is kept as that."""
    try:
        return await arm.ask(question, commit=commit)
    except QuestionFailed as failure:
        return Answered(arm=name, id=question.id, commit=commit, failure=str(failure))


def _cited(place: Place, package: Package) -> Cited:
    return Cited(place, package.text(place))


def _was_not_found(finished: _Finished) -> bool | None:
    return finished.not_found if "not_found" in finished.model_fields_set else None
