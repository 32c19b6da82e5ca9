from collections.abc import Sequence
from dataclasses import replace

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.chat.prompt import ComposedPrompt, common_front, compose, opening_of_turn
from coding_assistant.chat.receipt import Budget
from coding_assistant.chat.rendering import ConversationText, render_conversation, system_text
from coding_assistant.domain import ChunkKind, Role, Source, Turn
from coding_assistant.errors import QuestionTooLong
from support.scripted_engine import CONTROL_TOKENS, ScriptedEngine
from support.spoken_turns import NOW, answer, source, summary, turn

VOCABULARY = "of the tests"
SYSTEM = "Answer."
QUESTION_ENDS = CONTROL_TOKENS["<|im_end|>"]


def composed(conversation: ConversationText, *, limit: int = 2_000) -> ComposedPrompt:
    async def run() -> ComposedPrompt:
        return await compose(
            ScriptedEngine(),
            conversation,
            budget=Budget(limit=limit, reserved=limit // 4),
            vocabulary=VOCABULARY,
            now=NOW,
        )

    return anyio.run(run)


def asking(
    past: Sequence[Turn] = (), question: str = "what now?", sources: Sequence[Source] = ()
) -> ConversationText:
    return ConversationText(SYSTEM, past, question=question, sources=tuple(sources))


def text_of(prompt: ComposedPrompt, conversation: ConversationText) -> str:
    """Return what the conversation says as the prompt has it."""
    fitted = replace(conversation, summary=prompt.summary or conversation.summary, sources=prompt.sources)
    return "\n".join(message.text for message in render_conversation(fitted, vocabulary=VOCABULARY))


def sections(prompt: ComposedPrompt) -> dict[str, int]:
    return {section.name: section.tokens for section in prompt.receipt.sections}


def test_a_follow_up_only_adds_to_what_was_sent() -> None:
    first = asking(question="why?", sources=[source(1)])
    second = asking([turn(1, sources=[source(1)])], "and then?", [source(2, "b.py")])

    messages = render_conversation(second, vocabulary="")

    assert messages[:2] == render_conversation(first, vocabulary="")
    assert [message.role for message in messages] == [Role.SYSTEM, Role.USER, Role.ASSISTANT, Role.USER]


def test_a_source_already_shown_is_referred_to_and_not_sent_again() -> None:
    asked = asking([turn(1, sources=[source(1)])], "more?", [source(1), source(2, "b.py")])

    last = render_conversation(asked, vocabulary="")[-1]

    assert "a.py" not in last.text
    assert "b.py" in last.text
    assert "[1]" in last.text


def test_what_is_attached_stands_right_before_the_question_whatever_its_number() -> None:
    given = source(1, "mine")
    attached = replace(given, chunk=replace(given.chunk, kind=ChunkKind.GIVEN))
    conversation = asking(question="Is this right?", sources=(attached, source(2, "theirs")))

    text = text_of(composed(conversation), conversation)

    assert text.index("theirs") < text.index("mine") < text.index("Is this right?")


def test_an_answer_goes_in_as_the_tokens_that_were_written_whatever_became_of_its_text() -> None:
    marked = answer("It is in [9?].", tokens=[1_001, 1_002, 1_003], vocabulary=VOCABULARY)
    first = composed(asking(question="where?"))
    second = composed(asking([turn(1, question="where?", said=marked)]))

    assert second.tokens[: len(first.tokens) + 3] == (*first.tokens, 1_001, 1_002, 1_003)


def test_tokens_of_another_models_vocabulary_mean_nothing() -> None:
    foreign = answer("It is in [1].", tokens=[1_001], vocabulary="another's")

    prompt = composed(asking([turn(1, said=foreign)]))

    assert prompt.tokens == composed(asking([turn(1, said="It is in [1].")])).tokens


@pytest.mark.parametrize("said", [None, "", "\n"])
def test_a_question_that_got_no_answer_stays_where_it_was_read(said: str | None) -> None:
    first = composed(asking(question="where?", sources=[source(1)]))
    failed = turn(1, question="where?", said=said, sources=[source(1)])
    conversation = asking([failed], sources=[source(1), source(2, "b.py")])

    second = composed(conversation)

    read = first.tokens[: max(place for place, token in enumerate(first.tokens) if token == QUESTION_ENDS)]
    assert second.tokens[: len(read)] == read
    assert second.receipt.dropped == ()
    messages = render_conversation(conversation, vocabulary="")
    assert [message.role for message in messages] == [Role.SYSTEM, Role.USER]
    assert messages[1].text.endswith("\n\nSee also [1] above.\n\nQuestion: what now?")


def test_the_receipt_adds_up_to_the_prompt() -> None:
    past = [turn(1), turn(2, sources=[source(1)])]
    conversation = replace(
        asking(past, sources=[source(1), source(2, "b.py")]),
        system="Answer.\n\nIt is a shop.",
        primer="It is a shop.",
        summary=summary(1),
    )

    prompt = composed(conversation)

    assert prompt.receipt.used == len(prompt.tokens)
    assert all(tokens > 0 for tokens in sections(prompt).values())
    assert list(sections(prompt)) == [
        "system",
        "primer",
        "summary",
        "history",
        "sources",
        "question",
        "format",
    ]
    assert [(each.what, each.reason) for each in prompt.receipt.dropped] == [("turn 1", "in the summary")]


def test_a_conversation_that_is_too_long_is_compacted_once_and_says_so() -> None:
    past = [turn(number, question=f"My port is {number}.", said="word " * 80) for number in range(1, 9)]
    conversation = asking(past)

    prompt = composed(conversation, limit=1_000)

    assert prompt.summary is not None
    assert 1 < prompt.summary.last_turn < 8
    assert "My port is 1." in prompt.summary.text
    assert sections(prompt)["summary"] > 0
    assert [each.what for each in prompt.receipt.dropped] == [f"turns 1 to {prompt.summary.last_turn}"]
    kept = replace(conversation, summary=prompt.summary)
    assert composed(kept, limit=1_000).tokens == prompt.tokens


def test_after_a_compaction_the_prompt_only_grows_again() -> None:
    past = [turn(number, said="word " * 80) for number in range(1, 9)]
    first = composed(asking(past, "why?"), limit=1_000)
    longer = replace(asking([*past, turn(9, said="because")]), summary=first.summary)

    second = composed(longer, limit=1_000)

    assert second.summary is None
    assert second.tokens[: len(first.tokens)] == first.tokens


def test_the_last_turn_stays_whole_as_long_as_it_fits() -> None:
    past = [turn(1, said="word " * 300), turn(2, said="word " * 450)]

    prompt = composed(asking(past), limit=1_000)

    assert prompt.summary is not None
    assert prompt.summary.last_turn == 1


def test_sources_do_not_drive_the_last_turn_out() -> None:
    past = [turn(1, said="word " * 100), turn(2, said="word " * 100)]
    found = [source(number, f"{number}.py", "line\n" * 60) for number in range(1, 6)]

    prompt = composed(asking(past, sources=found), limit=1_000)

    assert prompt.summary is not None
    assert prompt.summary.last_turn == 1
    assert 0 < len(prompt.sources) < 5
    assert {each.what for each in prompt.receipt.dropped[1:]} == {
        f"source {left.chunk.location}" for left in found[len(prompt.sources) :]
    }


def test_a_source_that_only_summarised_turns_have_shown_is_shown_again_in_full() -> None:
    again = source(1, text="alpha\nbeta")
    past = [turn(1, said="word " * 400, sources=[again]), turn(2, said="word " * 400)]
    conversation = asking(past, sources=[again])

    prompt = composed(conversation, limit=1_000)

    assert prompt.summary is not None
    assert prompt.shown == (again,)
    assert "1: alpha" in text_of(prompt, conversation).split("Question: why?")[-1]


def test_a_question_that_can_never_fit_is_refused_with_the_numbers() -> None:
    with pytest.raises(QuestionTooLong, match=r"takes 4,\d\d\d tokens.*context of 1,000 less 250"):
        composed(asking(question="word " * 4_000), limit=1_000)


def test_the_projects_name_the_models_own_instructions_and_the_primer_make_the_system_text() -> None:
    assert system_text("flask", instructions="Be kind.", primer="It is small.") == (
        "Project: flask\n\nBe kind.\n\nIt is small."
    )


def test_the_common_front_begins_every_conversation_and_holds_the_system_text() -> None:
    front = anyio.run(common_front, ScriptedEngine(), SYSTEM)

    for conversation in (
        asking(),
        asking(sources=[source(1)]),
        replace(asking([turn(1)]), summary=summary(1)),
    ):
        assert composed(conversation).tokens[: len(front)] == front
    system = anyio.run(ScriptedEngine().tokenize, SYSTEM)
    assert any(front[start : start + len(system)] == system for start in range(len(front)))


def opening(conversation: ConversationText, *, limit: int = 2_000) -> tuple[int, ...]:
    async def run() -> tuple[int, ...]:
        budget = Budget(limit=limit, reserved=limit // 4)
        return await opening_of_turn(ScriptedEngine(), conversation, budget=budget, vocabulary=VOCABULARY)

    return anyio.run(run)


def test_what_is_read_ahead_begins_the_prompt_and_leaves_only_the_question() -> None:
    conversation = asking([turn(1)], "Where is it decided?", [source(1)])

    read = opening(replace(conversation, question=""))
    prompt = composed(conversation).tokens

    assert prompt[: len(read)] == read
    assert len(prompt) - len(read) < 12


def test_nothing_is_read_ahead_of_a_prompt_that_is_going_to_be_another_one() -> None:
    assert opening(asking([turn(1, said="word " * 1_600)])) == ()


words = st.integers(min_value=0, max_value=60).map(lambda count: "word " * count + "end")
turns = st.lists(st.tuples(words, words, st.lists(st.integers(1, 6), max_size=3, unique=True)), max_size=12)


@given(turns, words, st.integers(min_value=300, max_value=900), st.integers(0, 12))
def test_no_prompt_exceeds_its_budget(
    spoken: list[tuple[str, str, list[int]]], question: str, limit: int, summarised: int
) -> None:
    past = [
        turn(
            number,
            question=asked,
            said=said,
            sources=[source(each, f"{each}.py", "line\n" * 9) for each in shown],
        )
        for number, (asked, said, shown) in enumerate(spoken, start=1)
    ]
    conversation = replace(
        asking(past, question, [source(7, "g.py", "line\n" * 20)]),
        summary=summary(summarised, "- We use it. " * 40) if 0 < summarised < len(past) else None,
    )

    prompt = composed(conversation, limit=limit)

    assert len(prompt.tokens) <= limit - limit // 4
    assert prompt.receipt.used == len(prompt.tokens)


@given(turns, st.integers(min_value=400, max_value=900))
def test_a_conversation_asked_turn_by_turn_is_append_only_between_compactions(
    spoken: list[tuple[str, str, list[int]]], limit: int
) -> None:
    kept = None
    past: list[Turn] = []
    before: ComposedPrompt | None = None
    for number, (question, said, _) in enumerate(spoken, start=1):
        prompt = composed(replace(asking(past, question), summary=kept), limit=limit)
        if before is not None and prompt.summary is None:
            assert prompt.tokens[: len(before.tokens)] == before.tokens
        if prompt.summary is not None:
            assert prompt.summary.last_turn > (kept.last_turn if kept else 0)
        kept = prompt.summary or kept
        past.append(turn(number, question=question, said=said))
        before = prompt
