from collections.abc import Sequence
from pathlib import PurePosixPath

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.chat.compaction import (
    TurnCost,
    extracted_summary,
    first_kept,
    render_summary,
    summary_limit,
    window_tokens,
)
from coding_assistant.chat.facts import statements
from coding_assistant.domain import (
    Answer,
    Chunk,
    Citation,
    CitationState,
    Finish,
    Source,
    Summary,
    SummaryOrigin,
    Turn,
)
from support.spoken_turns import NOW, summary, turn


async def count(text: str) -> int:
    return len(text.split())


def extract(turns: Sequence[Turn], previous: Summary | None = None, *, most_tokens: int = 200) -> Summary:
    async def run() -> Summary:
        return await extracted_summary(count, turns, previous=previous, most_tokens=most_tokens, now=NOW)

    return anyio.run(run)


@pytest.mark.parametrize(("context", "limit"), [(512, 150), (4_096, 409), (32_768, 600)])
def test_a_summary_takes_a_tenth_of_the_context_within_bounds(context: int, limit: int) -> None:
    assert summary_limit(context) == limit


def test_the_older_half_makes_way_and_a_source_is_paid_for_once() -> None:
    past = [TurnCost(10, 10, ((1, 30),)) for _ in range(4)]

    assert window_tokens(past) == 4 * 20 + 30
    assert first_kept(past, new=TurnCost(10), summary=20, room=200) == 2
    assert first_kept(past, new=None, summary=20, room=200) == 2


def test_the_last_turn_stays_if_it_fits_at_all() -> None:
    past = [TurnCost(10, 10), TurnCost(10, 60)]

    assert first_kept(past, new=TurnCost(10), summary=10, room=100) == 1
    assert first_kept(past, new=TurnCost(10), summary=10, room=80) == 2


def test_a_summary_tells_what_was_stated_asked_answered_and_cited() -> None:
    chunk = Chunk(PurePosixPath("net/client.py"), 4, 9, "x\n" * 5)
    cited = (Citation(Source(1, chunk, chunk.digest), 5, 6, CitationState.VERIFIED),)
    said = "Good question. The limit is `MAX_RETRIES`, which is 5 [1]. Nothing else matters here."
    first = turn(
        1,
        question="Hi, my port is 8123. Where is the retry limit set?",
        said=Answer(said, Finish.COMPLETE, "model", NOW, cited),
    )

    made = extract([first])

    assert (made.last_turn, made.origin, made.made_at) == (1, SummaryOrigin.EXTRACT, NOW)
    assert render_summary(made) == (
        "What was said before (turn 1):\n"
        "- The user said: Hi, my port is 8123.\n"
        "- Turn 1: Where is the retry limit set? MAX_RETRIES, 5. (net/client.py:5-6)"
        " The limit is `MAX_RETRIES`, which is 5."
    )


def test_the_summary_before_is_folded_in_and_the_turns_are_counted_from_the_first() -> None:
    before = Summary(
        3, "- The user said: my port is 8123\n- Turn 2: Where is `run`?", SummaryOrigin.EXTRACT, NOW
    )

    made = extract([turn(4, question="And we use Redis.")], before)

    assert render_summary(made).splitlines() == [
        "What was said before (turns 1 to 4):",
        "- The user said: my port is 8123",
        "- Turn 2: Where is `run`?",
        "- The user said: And we use Redis.",
        "- Turn 4",
    ]


def test_when_room_is_short_what_the_user_stated_stays_and_the_newest_first() -> None:
    turns = [
        turn(number, question=f"My port is {number}. Where is it?", said=f"It is {number} in `a.py`.")
        for number in range(1, 9)
    ]

    lines = extract(turns, most_tokens=34).text.splitlines()

    assert lines == [f"- The user said: My port is {number}." for number in (7, 8)]


def test_what_was_stated_twice_is_kept_once() -> None:
    turns = [turn(number, question="My port is 8123.") for number in (4, 5)]
    before = summary(3, "- The user said: My port is 8123.")

    assert extract(turns, before).text.count("8123") == 1


sentences = st.sampled_from(
    [
        "My port is 8123.",
        "We deploy on Fridays with `nomad` 1.7.",
        "Remember that staging is called kestrel.",
        "Where is the limit set?",
        "thanks a lot",
        "The branch is billing-v2.",
        "def f(): return {}",
    ]
)
messages = st.lists(sentences, min_size=1, max_size=3).map(" ".join)
conversations = st.lists(st.tuples(messages, messages), min_size=1, max_size=8).map(
    lambda spoken: [
        turn(number, question=question, said=said) for number, (question, said) in enumerate(spoken, start=1)
    ]
)


@given(conversations, st.integers(0, 150), st.integers(0, 7))
def test_no_summary_exceeds_its_bound(turns: list[Turn], most_tokens: int, cut: int) -> None:
    before = extract(turns[:cut], most_tokens=150) if turns[:cut] else None

    made = extract(turns[cut:], before, most_tokens=most_tokens)

    assert not made.text or len(render_summary(made).split()) <= most_tokens
    assert made == extract(turns[cut:], before, most_tokens=most_tokens)


@given(conversations, st.integers(1, 7))
def test_what_the_user_stated_survives_every_folding_while_there_is_room(turns: list[Turn], cut: int) -> None:
    first = extract(turns[:cut], most_tokens=400)

    made = extract(turns[cut:], first, most_tokens=400)

    stated = {each.text for turn in turns for each in statements(turn.question) if each.is_fact}
    assert all(f"The user said: {text}" in made.text for text in stated)
