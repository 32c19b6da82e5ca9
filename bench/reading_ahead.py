"""How much sooner an answer begins when its sources are read while the question is typed.

    python bench/reading_ahead.py --project DIR --model FILE [--typing-seconds 8] [--questions N]

Each question begins a conversation of its own, four times, the order turned round from one to the next:
nothing is read ahead; the question is typed to its half, then whole, and read ahead after each; it is asked
in the middle of that; and what was typed was another question. Prints the medians of the time to the first
token, and of the tokens that were left to read.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path

import httpx2

from conversations_bench.service import Service, product_service, running

QUESTIONS = Path(__file__).parent / "conversations" / "questions.json"
ANSWER_TOKENS = 8
PATIENCE = httpx2.Timeout(600.0)

Typing = Callable[[httpx2.Client, str, str, float], None]
"""Types a question, or another one, for so many seconds."""


def nothing(_http: httpx2.Client, _question: str, _other: str, _seconds: float) -> None:
    """Ask at once."""


def typed(http: httpx2.Client, question: str, _other: str, seconds: float) -> None:
    """Type the first half, then the rest."""
    for text in (question[: len(question) // 2], question):
        http.post("/chat/prefetch", json={"text": text}).raise_for_status()
        time.sleep(seconds / 2)


def in_the_middle(http: httpx2.Client, question: str, _other: str, _seconds: float) -> None:
    """Ask while the model reads ahead."""
    http.post("/chat/prefetch", json={"text": question}).raise_for_status()
    time.sleep(1.0)


def wrong(http: httpx2.Client, _question: str, other: str, seconds: float) -> None:
    """Type another question than is asked then, and ask while that is being read."""
    http.post("/chat/prefetch", json={"text": other}).raise_for_status()
    time.sleep(seconds / 2)


WAYS: Mapping[str, Typing] = {
    "not read ahead": nothing,
    "typed, then asked": typed,
    "asked in the middle": in_the_middle,
    "another question typed": wrong,
}


def first_questions(count: int) -> list[str]:
    """Return questions that stand alone: those that begin the conversations of the benchmark, and others."""
    conversations: dict[str, list[str]] = json.loads(QUESTIONS.read_text(encoding="utf-8"))
    long = (each for asked in conversations.values() for each in asked if len(each.split()) > 8)  # noqa: PLR2004  -- shorter ones lean on others
    return list(islice(long, count))


def measure(
    service: Service, questions: Sequence[str], *, typing_seconds: float
) -> dict[str, list[tuple[float, int]]]:
    """Return for each way the time to the first token and the tokens read, question by question."""
    measured: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)
    with httpx2.Client(base_url=service.url, timeout=PATIENCE, trust_env=False) as http:
        session = ask(http, "What is this project?", None)["session_id"]
        for position, question in enumerate(questions):
            other = questions[(position + len(questions) // 2) % len(questions)]
            for name in list(WAYS)[:: -1 if position % 2 else 1]:
                WAYS[name](http, question, other, typing_seconds)
                answer = ask(http, question, str(session))
                receipt, timings = answer["receipt"], answer["timings"]
                if not isinstance(receipt, dict) or not isinstance(timings, dict):
                    raise TypeError("an answer came without its receipt")
                measured[name].append((float(timings["first_token"]), int(receipt["new"])))
    return measured


def ask(http: httpx2.Client, question: str, session: str | None) -> dict[str, object]:
    """Ask in a conversation of its own and return the response."""
    body = {"query": question, "max_tokens": ANSWER_TOKENS, "temperature": 0, "session_id": session}
    answer = http.post("/chat/query", json={name: value for name, value in body.items() if value is not None})
    answer.raise_for_status()
    response: dict[str, object] = answer.json()
    return response


def show(measured: Mapping[str, Sequence[tuple[float, int]]]) -> None:
    """Print the medians, and each beside what it costs to read nothing ahead."""
    base = measured["not read ahead"]
    sys.stdout.write(
        "| | first token s | tokens to read | ratio of the first |\n| --- | ---: | ---: | ---: |\n"
    )
    for name, each in measured.items():
        seconds = statistics.median(first for first, _ in each)
        tokens = statistics.median(read for _, read in each)
        ratio = statistics.median(mine / plain for (mine, _), (plain, _) in zip(each, base, strict=True))
        sys.stdout.write(f"| {name} | {seconds:.1f} | {tokens:,.0f} | {ratio:.2f} |\n")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--project", type=Path, required=True)
    parser.add_argument("--model", required=True, help="a .gguf file")
    parser.add_argument("--typing-seconds", type=float, default=8.0)
    parser.add_argument("--questions", type=int, default=6)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        service = product_service(home=home, project=arguments.project, model=arguments.model, settings={})
        with running(service):
            show(
                measure(
                    service, first_questions(arguments.questions), typing_seconds=arguments.typing_seconds
                )
            )


if __name__ == "__main__":
    main()
