import itertools
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import PurePosixPath

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.chat.prompt import (
    Budget,
    ComposedPrompt,
    TurnCost,
    compose,
    first_kept_turn,
    number_sources,
    render_conversation,
    render_source,
    system_text,
)
from coding_assistant.domain import (
    Answer,
    Chunk,
    ChunkKind,
    ContextLine,
    Finish,
    Hit,
    Role,
    Source,
    Turn,
)
from coding_assistant.errors import QuestionTooLong
from support.scripted_engine import ScriptedEngine

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def hit(path: str, text: str = "one\ntwo", *, start: int = 1) -> Hit:
    return Hit(Chunk(PurePosixPath(path), start, start + text.count("\n"), text), 1.0)


def source(number: int, path: str = "a.py", text: str = "one\ntwo", *, start: int = 1) -> Source:
    chunk = hit(path, text, start=start).chunk
    return Source(number, chunk, chunk.digest)


def turn(
    number: int, *, question: str = "why?", answer: str | None = "so", sources: Sequence[Source] = ()
) -> Turn:
    said = None if answer is None else Answer(answer, Finish.COMPLETE, "model", NOW)
    return Turn(f"{number:032x}", "c" * 32, number, question, NOW, tuple(sources), said)


def composed(
    past: Sequence[Turn], question: str, sources: Sequence[Source] = (), *, limit: int = 2_000
) -> ComposedPrompt:
    async def run() -> ComposedPrompt:
        return await compose(
            ScriptedEngine(),
            system="Answer.",
            past=past,
            question=question,
            sources=tuple(sources),
            budget=Budget(limit=limit, reserved=limit // 4),
        )

    return anyio.run(run)


def test_a_source_carries_its_number_its_place_its_symbol_and_the_files_own_line_numbers() -> None:
    chunk = Chunk(PurePosixPath("src/a.py"), 41, 42, "def run():\n    pass", "python", "App.run")

    assert render_source(Source(3, chunk, chunk.digest)) == (
        "[3] src/a.py:41-42 (App.run)\n41: def run():\n42:     pass"
    )


def test_a_source_is_shown_with_its_context_and_an_ellipsis_for_what_is_left_out() -> None:
    above = (ContextLine(3, "class App(Base):"), ContextLine(40, "    def run(\r"))
    below = (ContextLine(50, "    def stop(self):"),)
    chunk = Chunk(PurePosixPath("a.py"), 41, 42, "a\nb", context=(*above, *below))

    assert render_source(Source(1, chunk, chunk.digest)).split("\n")[1:] == [
        "3: class App(Base):",
        "…",
        "40:     def run(",
        "41: a",
        "42: b",
        "…",
        "50:     def stop(self):",
    ]


def test_of_the_blank_lines_between_cells_an_ellipsis_is_left() -> None:
    chunk = Chunk(PurePosixPath("a.ipynb"), 5, 12, "# %%\nx\n\ny\n\n\n\n# %%", kind=ChunkKind.CELL)

    shown = render_source(Source(1, chunk, chunk.digest)).split("\n")[1:]

    assert shown == ["5: # %%", "6: x", "7: ", "8: y", "…", "12: # %%"]


def test_a_follow_up_only_adds_to_what_was_sent() -> None:
    first = turn(1, sources=[source(1)])
    second = render_conversation("s", [first], "and then?", [source(2, "b.py")])

    assert second[:2] == render_conversation("s", [], first.question, first.sources)
    assert [message.role for message in second] == [Role.SYSTEM, Role.USER, Role.ASSISTANT, Role.USER]


def test_a_source_already_shown_is_referred_to_and_not_sent_again() -> None:
    last = render_conversation("s", [turn(1, sources=[source(1)])], "more?", [source(1), source(2, "b.py")])[
        -1
    ]

    assert "a.py" not in last.text
    assert "b.py" in last.text
    assert "[1]" in last.text


def test_the_same_chunk_keeps_its_number_and_a_changed_one_gets_a_new_one() -> None:
    past = [turn(1, sources=[source(1, "a.py"), source(2, "b.py")])]

    numbered = number_sources([hit("b.py"), hit("a.py", "new text"), hit("c.py")], past, token_budget=500)

    assert [(each.number, str(each.chunk.path)) for each in numbered] == [
        (2, "b.py"),
        (3, "a.py"),
        (4, "c.py"),
    ]


def test_the_best_hit_is_taken_even_when_it_is_over_the_budget() -> None:
    numbered = number_sources([hit("a.py", "x" * 9_000), hit("b.py", "y" * 9_000)], [], token_budget=100)

    assert [str(each.chunk.path) for each in numbered] == ["a.py"]


def test_the_receipt_adds_up_to_the_prompt() -> None:
    prompt = composed([turn(1, sources=[source(1)])], "what now?", [source(1), source(2, "b.py")])

    assert prompt.receipt.used == len(prompt.tokens)
    assert {part.name for part in prompt.receipt.sections} == {
        "system",
        "history",
        "sources",
        "question",
        "format",
    }
    assert prompt.receipt.dropped == ()


def test_turns_that_no_longer_fit_are_named_on_the_receipt() -> None:
    past = [turn(number, answer="word " * 80) for number in range(1, 9)]

    receipt = composed(past, "what now?", limit=1_000).receipt

    assert [each.what for each in receipt.dropped][:2] == ["turn 1", "turn 2"]
    assert all(each.tokens > 80 for each in receipt.dropped)


def test_a_source_whose_first_showing_was_dropped_is_shown_again_in_full() -> None:
    shown = source(1, text="alpha\nbeta")
    past = [turn(1, answer="word " * 400, sources=[shown]), turn(2, answer="word " * 400)]

    prompt = composed(past, "again?", [shown], limit=1_000)

    assert "turn 1" in {each.what for each in prompt.receipt.dropped}
    assert {part.name: part.tokens for part in prompt.receipt.sections}["sources"] > 0


def test_a_turn_without_an_answer_is_left_out_and_said() -> None:
    dropped = composed([turn(1, answer=None), turn(2)], "what now?").receipt.dropped

    assert [(each.what, each.reason) for each in dropped] == [("turn 1", "it has no answer")]


def test_a_question_that_can_never_fit_is_refused_with_the_numbers() -> None:
    with pytest.raises(QuestionTooLong, match=r"takes 4,\d\d\d tokens.*context of 1,000 less 250"):
        composed([], "word " * 4_000, limit=1_000)


def test_the_projects_name_and_the_models_own_instructions_make_the_system_text() -> None:
    assert system_text("flask", instructions="Be kind.") == "Be kind.\nThe project is called flask."


words = st.integers(min_value=0, max_value=60).map(lambda count: "word " * count + "end")
turns = st.lists(st.tuples(words, words, st.lists(st.integers(1, 6), max_size=3, unique=True)), max_size=12)


@given(turns, words, st.integers(min_value=300, max_value=900))
def test_no_prompt_exceeds_its_budget(
    spoken: list[tuple[str, str, list[int]]], question: str, limit: int
) -> None:
    past = [
        turn(
            number,
            question=asked,
            answer=answer,
            sources=[source(each, f"{each}.py", "line\n" * 9) for each in shown],
        )
        for number, (asked, answer, shown) in enumerate(spoken, start=1)
    ]

    prompt = composed(past, question, [source(7, "g.py", "line\n" * 20)], limit=limit)

    assert len(prompt.tokens) <= limit - limit // 4


costs = st.builds(
    TurnCost,
    question=st.integers(1, 40),
    answer=st.integers(0, 60),
    sources=st.lists(
        st.tuples(st.integers(1, 30), st.just(15)), max_size=3, unique_by=lambda pair: pair[0]
    ).map(tuple),
)


@given(st.lists(costs, min_size=1, max_size=25), st.integers(150, 600))
def test_the_cut_never_moves_back_as_a_conversation_grows(spoken: list[TurnCost], budget: int) -> None:
    starts = [first_kept_turn(spoken[: end + 1], front=20, budget=budget) for end in range(len(spoken))]

    assert starts == sorted(starts)


@given(st.lists(costs, min_size=2, max_size=25), st.integers(600, 900))
def test_a_cut_frees_enough_that_the_next_turn_does_not_cut_again(
    spoken: list[TurnCost], budget: int
) -> None:
    starts = [first_kept_turn(spoken[: end + 1], front=20, budget=budget) for end in range(len(spoken))]
    cuts = [after > before for before, after in itertools.pairwise(starts)]

    assert not any(first and second for first, second in itertools.pairwise(cuts))
