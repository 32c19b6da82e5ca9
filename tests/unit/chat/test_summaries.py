from collections.abc import Sequence
from dataclasses import replace

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.chat.compaction import render_summary
from coding_assistant.chat.receipt import Budget
from coding_assistant.chat.rendering import ConversationText, render_conversation
from coding_assistant.chat.summaries import summary_from, summary_request, turns_to_summarise
from coding_assistant.domain import ContextLine, Role, Source, Summary, SummaryOrigin, Turn
from support.scripted_engine import ScriptedEngine
from support.spoken_turns import NOW, source, summary, turn

BUDGET = Budget(limit=1_600, reserved=400)
TURNS = [
    turn(1, question="My port is 8123. Where is the limit?", said="`LIMIT` is 5, in `net/client.py` [1]."),
    turn(2, question="And the timeout?", said="`TIMEOUT` is 30 seconds [2]."),
]


def due(conversation: ConversationText, *, budget: Budget = BUDGET) -> list[int]:
    async def run() -> list[int]:
        turns = await turns_to_summarise(ScriptedEngine(), conversation, budget=budget, vocabulary="")
        return [turn.number for turn in turns]

    return anyio.run(run)


def made(written: str, *, turns: Sequence[Turn] = TURNS, previous: Summary | None = None) -> Summary:
    async def run() -> Summary:
        conversation = ConversationText("s", turns, previous)
        return await summary_from(ScriptedEngine(), written, conversation, turns, budget=BUDGET, now=NOW)

    return anyio.run(run)


def test_a_summary_is_due_at_seven_tenths_and_leaves_half() -> None:
    past = [turn(number, said="word " * 90) for number in range(1, 10)]

    assert due(ConversationText("s", past[:7])) == []
    numbers = due(ConversationText("s", past))
    assert numbers == list(range(1, len(numbers) + 1))
    assert 4 <= len(numbers) <= 6
    assert due(ConversationText("s", past, summary(len(numbers)))) == []


def test_the_last_turn_is_never_summarised_while_it_fits() -> None:
    assert due(ConversationText("s", [turn(1), turn(2, said="word " * 900)])) == [1]


def test_a_context_that_is_full_to_the_brim_has_no_room_to_ask_for_a_summary() -> None:
    past = [turn(number, said="word " * 300) for number in range(1, 5)]

    assert due(ConversationText("s", past)) == []
    assert due(ConversationText("s", past), budget=Budget(limit=2_000, reserved=800)) == [1, 2, 3]


def test_what_asks_for_a_summary_begins_as_the_conversation_stands() -> None:
    conversation = ConversationText("s", TURNS, sources=(source(1),))

    request = summary_request(conversation, TURNS[:1], budget=BUDGET, vocabulary="")

    standing = render_conversation(replace(conversation, sources=()), vocabulary="")
    assert request[:-1] == standing[:-1]
    assert request[-1].role is Role.USER
    assert "Where is the limit?" in request[-1].text
    assert "32 words" in request[-1].text


def test_the_models_words_stand_before_what_the_rule_keeps_in_any_case() -> None:
    summary = made(
        "Sure, here is the summary:\n\n`LIMIT` is 5 and set in `net/client.py`. Then we spoke of time."
    )

    assert (summary.last_turn, summary.origin) == (2, SummaryOrigin.MODEL)
    assert render_summary(summary) == (
        "What was said before (turns 1 to 2):\n"
        "- `LIMIT` is 5 and set in `net/client.py`.\n"
        "- The user said: My port is 8123.\n"
        "- Turn 1: Where is the limit? LIMIT, 5, net/client.py.\n"
        "- Turn 2: And the timeout? TIMEOUT, 30. `TIMEOUT` is 30 seconds."
    )


def test_sentences_that_nobody_said_or_that_cannot_be_checked_are_left_out() -> None:
    text = made(
        "The `RETRY_LIMIT` is 5. The user's port is 8124. Much more was discussed. It takes 30 at most."
    ).text

    assert "RETRY_LIMIT" not in text
    assert "8124" not in text
    assert "discussed" not in text
    assert "It takes 30 at most." in text


@pytest.mark.parametrize(
    "written",
    [
        "The retry limit of `foo` is 42.",
        "The retry limit of `foo` is 30.",
        "The retry limit of `foo` is 2.",
        "The retry limit of `foo` is 1.",
        "The retry limit of `foo` is 9.",
        "The retry limit of `fo` is 300.",
    ],
    ids=[
        "a line's number",
        "a part",
        "a source's number",
        "a point's number",
        "a turn's number",
        "a name's part",
    ],
)
def test_a_number_that_only_counts_and_a_part_of_a_name_were_said_by_nobody(written: str) -> None:
    code = source(2, text="x = foo()\n" * 60)
    asked = [turn(10, question="How often?", said="1. The limit of `foo` is 300 [2].", sources=[code])]
    before = summary(9, "- Turn 9: Where is it? `bar`. (a.py:42-42)")

    assert made(written, turns=asked, previous=before).origin is SummaryOrigin.EXTRACT
    assert made("The limit of `foo` is 300 [2].", turns=asked, previous=before).origin is SummaryOrigin.MODEL


def test_the_path_and_the_head_of_a_source_were_read_too() -> None:
    chunk = replace(
        source(1, "net/client.py").chunk,
        symbol="Client.get",
        context=(ContextLine(1, "class Client(Base_2):"),),
    )
    asked = [turn(1, said="so", sources=[Source(1, chunk, chunk.digest)])]

    told = made("In `net/client.py` there is `Client.get` of `Base_2`.", turns=asked)

    assert told.origin is SummaryOrigin.MODEL


_VALUES = st.one_of(
    st.integers(-20, 400).map(str),
    st.sampled_from(["1.5", "1.50", ".5", "1,500", "10:30", "30s", "0x1F", "1e-5", "3-5"]),
)
_NAMES = st.sampled_from(
    [
        "retry",
        "retry_limit",
        "max_retry_limit",
        "RETRY",
        "LIMIT_2",
        "Limit2",
        "subnet/net.py",
        "net/net.py",
        "utf-8",
        "utf-80",
    ]
)
_SAID = st.lists(st.tuples(_NAMES, _VALUES), max_size=4)


@given(_SAID, _SAID, _SAID, st.lists(st.tuples(_NAMES, _VALUES), min_size=1, max_size=6))
def test_of_a_reply_stay_the_sentences_all_of_whose_names_and_numbers_were_said(
    asked: list[tuple[str, str]],
    answered: list[tuple[str, str]],
    read: list[tuple[str, str]],
    written: list[tuple[str, str]],
) -> None:
    code = "\n".join(f"{name} = {value}" for name, value in read)
    past = turn(
        7,
        question=f"Why {' and '.join(f'`{name}` {value}' for name, value in asked)}?",
        said="\n".join(
            f"{place}. Set `{name}` to {value} [8]." for place, (name, value) in enumerate(answered, 1)
        ),
        sources=[source(8, "a.py", code, start=9)],
    )
    said = {word.casefold() for pair in (*asked, *answered, *read) for word in pair}

    told = {pair: f"We heard that `{pair[0]}` got {pair[1]}." for pair in written}
    lines = made(" ".join(told.values()), turns=[past]).text.splitlines()

    for (name, value), sentence in told.items():
        assert (f"- {sentence}" in lines) == ({name.casefold(), value.casefold()} <= said)


def test_what_the_user_stated_is_not_said_twice() -> None:
    assert made("The user's port is 8123. It takes 30 at most.").text.count("8123") == 1


@pytest.mark.parametrize("written", ["", "   ", "Sure!", "It is 99.", "```python\nx\n```"])
def test_a_reply_that_says_nothing_true_gives_a_summary_by_rule(written: str) -> None:
    summary = made(written)

    assert summary.origin is SummaryOrigin.EXTRACT
    assert "My port is 8123." in summary.text


def test_what_the_summary_before_held_is_not_lost() -> None:
    before = Summary(
        1, "- The user said: We use `nomad`.\n- The cache lives in `/var/cache`.", SummaryOrigin.MODEL, NOW
    )

    text = made("The `TIMEOUT` is 30.", turns=TURNS[1:], previous=before).text

    assert "We use `nomad`." in text
    assert "/var/cache" in text


def test_a_reply_without_end_is_bounded() -> None:
    summary = made(
        "`LIMIT` is 5 in this place, said in other words again. " * 40 + "The `TIMEOUT` is 30. " * 3
    )

    assert len(anyio.run(ScriptedEngine().tokenize, render_summary(summary))) <= 160
