from collections.abc import Sequence
from dataclasses import replace

import anyio
import pytest

from coding_assistant.chat.compaction import render_summary
from coding_assistant.chat.receipt import Budget
from coding_assistant.chat.rendering import ConversationText, render_conversation
from coding_assistant.chat.summaries import summary_from, summary_request, turns_to_summarise
from coding_assistant.domain import Role, Summary, SummaryOrigin, Turn
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
