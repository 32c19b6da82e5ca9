"""What is remembered of a long conversation: facts planted in its first turns are asked for later.

    python bench/remembering.py MODEL.gguf [--talk NAME] [--json FILE]

Each talk of ``remembering_talks`` is a conversation about code in which the user states five facts and five
more stand in answers, all within the first six turns. They are asked for while those turns are in the context
as they were; after compaction by rule; and after compaction with the model's own summary. Temperature 0. What
is counted is whether the answer holds the fact, and whether the summary does.
"""

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import anyio

from coding_assistant.chat.compaction import summary_limit
from coding_assistant.chat.prompt import compose
from coding_assistant.chat.receipt import Budget
from coding_assistant.chat.rendering import ConversationText, system_text
from coding_assistant.chat.summaries import summary_from, summary_request, turns_to_summarise
from coding_assistant.domain import (
    Answer,
    Chunk,
    Finish,
    GenerationRequest,
    Source,
    Summary,
    TextPiece,
    Turn,
)
from coding_assistant.inference.catalog import Catalog
from coding_assistant.inference.llama import EngineOptions, LlamaEngine

TALKS = Path(__file__).parent / "remembering_talks"
CONTEXT_TOKENS = 4_096
REPLY_TOKENS = 1_200
ANSWER_TOKENS = 48
PLANTED_TURNS = 6
NOW = datetime(2026, 1, 1, tzinfo=UTC)
BUDGET = Budget(limit=CONTEXT_TOKENS, reserved=REPLY_TOKENS)


@dataclass(frozen=True, slots=True)
class Fact:
    """Something said early; any of ``expect`` in an answer shows that it is remembered."""

    said_by: str
    ask: str
    expect: tuple[str, ...]

    def is_in(self, text: str) -> bool:
        """Return whether the text holds the fact."""
        return any(word.lower() in text.lower() for word in self.expect)


@dataclass(frozen=True, slots=True)
class Talk:
    """A conversation, and what is to be remembered of it."""

    name: str
    system: str
    turns: tuple[Turn, ...]
    facts: tuple[Fact, ...]

    @classmethod
    def read(cls, file: Path) -> "Talk":
        """Read a talk from its file."""
        talk = json.loads(file.read_text(encoding="utf-8"))
        turns = tuple(_turn(number, each) for number, each in enumerate(talk["turns"], start=1))
        facts = tuple(Fact(each["said_by"], each["ask"], tuple(each["expect"])) for each in talk["facts"])
        return cls(file.stem, system_text(talk["project"]), turns, facts)

    def text(self, turns: int, summary: Summary | None = None) -> ConversationText:
        """Return the conversation up to a turn."""
        return ConversationText(self.system, self.turns[:turns], summary)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether one fact was remembered in one state of a conversation."""

    talk: str
    state: str
    said_by: str
    question: str
    answer: str
    is_remembered: bool
    is_in_summary: bool | None


class Asker:
    """Asks the model in one slot."""

    def __init__(self, engine: LlamaEngine) -> None:
        self.engine = engine

    async def write(self, tokens: Sequence[int], *, most_tokens: int) -> str:
        """Return what the model writes behind the tokens."""
        request = GenerationRequest(tuple(tokens), slot=0, max_tokens=most_tokens, temperature=0.0, top_p=1.0)
        text = ""
        async with aclosing(self.engine.generate(request)) as events:
            async for event in events:
                if isinstance(event, TextPiece):
                    text += event.text
        return text

    async def recall(self, talk: Talk, state: str, text: ConversationText) -> list[Outcome]:
        """Ask for every fact, each as the next question of the conversation as it stands."""
        outcomes = []
        for fact in talk.facts:
            prompt = await compose(
                self.engine, replace(text, question=fact.ask), budget=BUDGET, vocabulary="", now=NOW
            )
            answer = await self.write(prompt.tokens, most_tokens=ANSWER_TOKENS)
            summary = prompt.summary or text.summary
            in_summary = fact.is_in(summary.text) if summary else None
            outcome = Outcome(
                talk.name, state, fact.said_by, fact.ask, answer, fact.is_in(answer), in_summary
            )
            outcomes.append(outcome)
            print(f"{talk.name:10} {state:10} {outcome.is_remembered!s:5} {fact.ask} {answer!r}", flush=True)
        if outcomes and summary:
            print(f"\n{summary.text}\n", flush=True)
        return outcomes

    async def model_summary(self, talk: Talk) -> tuple[Summary, int]:
        """Return the summary that the model makes as soon as one is due, and after how many turns."""
        for turns in range(PLANTED_TURNS, len(talk.turns)):
            text = talk.text(turns)
            due = await turns_to_summarise(self.engine, text, budget=BUDGET, vocabulary="")
            if due:
                request = summary_request(text, due, budget=BUDGET, vocabulary="")
                tokens = await self.engine.encode(request)
                written = await self.write(tokens, most_tokens=summary_limit(BUDGET.limit))
                print(f"\n{written}\n", flush=True)
                return await summary_from(self.engine, written, text, due, budget=BUDGET, now=NOW), turns
        raise SystemExit(f"{talk.name} never fills the context")


def _turn(number: int, each: dict[str, object]) -> Turn:
    match each:
        case {
            "question": str(question),
            "answer": str(said),
            "source": [str(path), int(start), str(symbol), str(code)],
        }:
            end = start + code.count("\n")
            chunk = Chunk(PurePosixPath(path), start, end, code, "python", symbol)
            answer = Answer(said, Finish.COMPLETE, "written", NOW)
            source = Source(number, chunk, chunk.digest)
            return Turn(f"{number:032x}", "c" * 32, number, question, NOW, (source,), answer)
    raise SystemExit(f"turn {number} is not written as the others are")


async def remember(asker: Asker, talk: Talk) -> list[Outcome]:
    """Ask for the facts of a talk in each state."""
    outcomes = await asker.recall(talk, "whole", talk.text(PLANTED_TURNS + 1))
    # The questions after the last turn are what fills the context: compaction by rule comes with them.
    outcomes += await asker.recall(talk, "by rule", talk.text(len(talk.turns)))
    summary, _ = await asker.model_summary(talk)
    outcomes += await asker.recall(talk, "by model", talk.text(len(talk.turns), summary))
    return outcomes


def report(outcomes: Sequence[Outcome]) -> None:
    """Print the shares."""
    groups: defaultdict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        groups[outcome.state, outcome.said_by].append(outcome)
        groups[outcome.state, "all"].append(outcome)
    print(f"\n{'state':10} {'said by':8} {'facts':>5} {'answered':>9} {'in summary':>11}")
    for (state, said_by), group in groups.items():
        answered = statistics.mean(each.is_remembered for each in group)
        held = [each.is_in_summary for each in group if each.is_in_summary is not None]
        shown = f"{statistics.mean(held):.2f}" if held else "-"
        print(f"{state:10} {said_by:8} {len(group):5} {answered:9.2f} {shown:>11}")


async def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("model", help="a GGUF file")
    parser.add_argument("--talk", action="append", help="only this talk; may be given several times")
    parser.add_argument("--json", type=Path, help="write every outcome to this file")
    options = parser.parse_args()
    catalog = Catalog.load(user_file=None, models_folder=Path(options.model).parent)
    spec = catalog.choose(options.model)
    engine = LlamaEngine(
        spec, catalog.require_file(spec), EngineOptions(slots=1, context_tokens=CONTEXT_TOKENS)
    )
    talks = [Talk.read(file) for file in sorted(TALKS.glob("*.json"))]
    outcomes = []
    try:
        for talk in talks:
            if not options.talk or talk.name in options.talk:
                outcomes += await remember(Asker(engine), talk)
    finally:
        await engine.close()
    report(outcomes)
    if options.json:
        rows = [{name: getattr(each, name) for name in Outcome.__slots__} for each in outcomes]
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    anyio.run(main)
