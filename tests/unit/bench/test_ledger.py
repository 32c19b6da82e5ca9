from collections.abc import Mapping

from endurance_bench.ledger import Ledger


def told(*questions: str, finished: int) -> Ledger:
    """Return the ledger of an asker who heard of all questions and of the first so many answers."""
    ledger = Ledger()
    for number, question in enumerate(questions):
        ledger.hear(ledger.send(question), "started", {"conversation_id": "c", "message_id": f"{question}-a"})
        if number < finished:
            ledger.hear(question, "finished", {"response": f"about {question}"})
    return ledger


def turn(question: str, answer: str | None = None) -> list[Mapping[str, object]]:
    said = f"about {question}" if answer is None else answer
    return [
        {"id": f"{question}-q", "role": "user", "content": question},
        {"id": f"{question}-a", "role": "assistant", "content": said},
    ]


def test_a_history_that_says_what_was_acknowledged_breaks_nothing() -> None:
    assert told("one", "two", finished=2).violations([*turn("one"), *turn("two")]) == []


def test_an_interrupted_answer_may_say_anything() -> None:
    assert told("one", "two", finished=1).violations([*turn("one"), *turn("two", "abo")]) == []


def test_a_question_that_nobody_acknowledged_may_be_there_or_not() -> None:
    ledger = told("one", finished=1)
    ledger.send("two")
    assert ledger.unacknowledged() == ["two"]
    assert ledger.violations(turn("one")) == []
    assert ledger.violations([*turn("one"), *turn("two", "")]) == []


def test_a_lost_question_is_told() -> None:
    assert told("one", "two", finished=1).violations(turn("one")) == ["acknowledged and lost: two"]


def test_a_doubled_question_is_told() -> None:
    copy = [{**message, "id": f"{message['id']}-2"} for message in turn("one")]
    assert told("one", finished=0).violations([*turn("one"), *copy])[0] == "asked once, kept 2 times: one"


def test_another_conversations_question_is_told() -> None:
    assert told("one", finished=1).violations([*turn("other"), *turn("one")]) == ["never asked: other"]


def test_a_changed_order_is_told() -> None:
    (violation,) = told("one", "two", finished=2).violations([*turn("two"), *turn("one")])
    assert "order" in violation


def test_a_question_left_without_an_answer_is_told() -> None:
    (violation,) = told("one", finished=0).violations(turn("one")[:1])
    assert "do not take turns" in violation


def test_a_finished_answer_that_came_out_otherwise_is_told() -> None:
    (violation,) = told("one", finished=1).violations(turn("one", "abo"))
    assert violation == "the answer is not the one that was finished: one"


def test_an_answer_under_another_id_is_told() -> None:
    question, answer = turn("one")
    (violation,) = told("one", finished=1).violations([question, {**answer, "id": "x"}])
    assert violation == "the answer has another id than was said: one"
