from dataclasses import replace
from datetime import timedelta

import pytest

from coding_assistant.chat.receipt import Budget, cold_reason, forecast, turn_tokens
from coding_assistant.chat.rendering import ConversationText, models_answering
from coding_assistant.domain import Receipt, ReceiptSection, Timings, Turn
from support.spoken_turns import NOW, answer, source, summary, turn

BUDGET = Budget(limit=1_000, reserved=200)


def counted(number: int, *, read: int, written: int = 0, kept: int = 0, said: str = "so") -> Turn:
    """Return a turn whose prompt was so long, 30 tokens of which were its own, and its answer.

    The engine told at its end that it had written so many tokens, and so many of them were kept.
    """
    sections = (
        ReceiptSection("system", read - 30),
        ReceiptSection("sources", 20),
        ReceiptSection("question", 10),
    )
    given = answer(said, tokens=range(kept), vocabulary="v")
    receipt = Receipt(1_000, 200, sections)
    return turn(number, said=replace(given, receipt=receipt, timings=Timings(written_tokens=written)))


def test_what_the_engine_counted_for_the_last_answer_is_what_the_next_question_finds() -> None:
    found = forecast(ConversationText("s", [counted(1, read=400, written=100)]), budget=BUDGET)

    assert (found.held, found.room, found.is_exact, found.is_compaction_near) == (500, 300, True, False)
    assert (found.limit, found.reserved, found.summarised) == (1_000, 200, 0)


def test_of_an_answer_that_was_stopped_its_own_tokens_are_counted() -> None:
    found = forecast(ConversationText("s", [counted(1, read=400, kept=90)]), budget=BUDGET)

    assert (found.held, found.is_exact) == (490, True)


@pytest.mark.parametrize(
    ("stopped", "least"),
    [(counted(1, read=400, said="word " * 60), 100), (counted(1, read=400, written=1, said=""), 0)],
    ids=["its tokens are not known", "it has no words"],
)
def test_where_nothing_was_counted_of_an_answer_the_forecast_is_an_estimate(
    stopped: Turn, least: int
) -> None:
    found = forecast(ConversationText("s", [stopped]), budget=BUDGET)

    assert not found.is_exact
    assert least < found.held < least + 20


def test_compaction_is_near_when_little_room_is_left() -> None:
    found = forecast(ConversationText("s", [counted(1, read=500, written=100)]), budget=BUDGET)

    assert found.is_compaction_near


def test_a_summary_made_since_the_last_answer_makes_another_prompt_which_is_estimated() -> None:
    past = [counted(1, read=700, written=50), counted(2, read=800, written=50)]
    newer = replace(summary(1), made_at=NOW + timedelta(seconds=1))

    found = forecast(ConversationText("s" * 300, past, newer), budget=BUDGET)

    assert not found.is_exact
    assert 100 < found.held < 200
    assert found.summarised == 1


def test_a_new_conversation_holds_the_system_text() -> None:
    assert forecast(ConversationText("s" * 300), budget=BUDGET).held > 90


def test_a_turn_counts_what_it_added_by_its_receipt_or_by_its_length() -> None:
    assert turn_tokens(counted(1, read=400, written=100)) == 130
    assert turn_tokens(counted(1, read=400, kept=90)) == 120
    assert turn_tokens(counted(1, read=400, said="x" * 300)) == 130
    assert turn_tokens(turn(1, said="x" * 300, sources=[source(1)])) > 100


def test_who_never_read_a_conversation_is_not_said_to_have_forgotten_it() -> None:
    refused = turn(1, said=replace(answer(""), model="m"))
    answered = turn(2, said=replace(answer("so"), model="m"))

    def reason(*past: Turn, model: str) -> str:
        return cold_reason(models_answering(past), model=model, is_warm=False)

    assert reason(refused, model="m") == ""
    assert reason(answered, model="other") == "other has not read this conversation yet."
    assert (
        reason(refused, answered, model="m") == "What m had read of this conversation is not kept any more."
    )
