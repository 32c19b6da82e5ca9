import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.domain import Message, Role
from coding_assistant.inference.remote_counts import EstimatedCounting, pieces_of

pytestmark = pytest.mark.anyio

PROMPT = (Message(Role.SYSTEM, "You are brief."), Message(Role.USER, "def f(x): return x\n" * 100))


# As Qwen2.5 and SmolLM2 read them, the more of both.
@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("def f(x):\n        return x\n" * 10, 90),
        ('{"a":[1,2,3,44,555,6666]}' * 5, 114),
        ("deadbeef01234567" * 10, 110),
        (
            "\u8fd9\u662f\u4e00\u4e2a\u5173\u4e8e\u4ee3\u7801\u7684\u95ee\u9898\uff0c\u8bf7\u56de\u7b54\u3002"
            * 5,
            110,
        ),
        ("\U0001f389\U0001f680" * 10, 60),
    ],
    ids=["code", "numbers", "hexadecimal", "Chinese", "signs"],
)
def test_an_estimate_is_not_below_what_models_read_and_not_far_above(text: str, tokens: int) -> None:
    assert tokens <= pieces_of(text) <= 2.5 * tokens


@given(st.text(), st.text())
def test_a_longer_text_counts_more_and_none_more_than_its_bytes(text: str, more: str) -> None:
    assert pieces_of(text) <= pieces_of(text + more) + 1
    assert pieces_of(text) <= len(text.encode())
    # The parts of a prompt stand on lines of their own.
    assert pieces_of(f"{text}\n{more}") <= pieces_of(f"{text}\n") + pieces_of(more)


async def test_a_prompt_that_was_longer_corrects_at_once() -> None:
    counting = EstimatedCounting()
    before = await counting.prompt(PROMPT)
    counting.learn(PROMPT, 2 * before)

    assert await counting.prompt(PROMPT) >= 2 * before
    assert await counting.text("x = 1") > pieces_of("x = 1")


async def test_shorter_ones_correct_after_several_and_never_below_the_longest() -> None:
    counting = EstimatedCounting()
    before = await counting.prompt(PROMPT)
    counting.learn(PROMPT, before // 2)
    after_one = await counting.prompt(PROMPT)
    for read in (before // 3, before // 4):
        counting.learn(PROMPT, read)
    after_three = await counting.prompt(PROMPT)

    assert after_one == before
    assert before // 2 <= after_three < before


async def test_a_short_prompt_teaches_nothing() -> None:
    counting = EstimatedCounting()
    short = (Message(Role.USER, "Hello"),)
    before = await counting.prompt(short)
    counting.learn(short, 200)

    assert await counting.prompt(short) == before


@given(st.lists(st.integers(min_value=256, max_value=20_000), min_size=1, max_size=30))
async def test_whatever_was_read_the_next_estimate_of_it_is_not_below_the_latest(read: list[int]) -> None:
    counting = EstimatedCounting()
    for tokens in read:
        counting.learn(PROMPT, tokens)

    assert await counting.prompt(PROMPT) >= read[-1]
