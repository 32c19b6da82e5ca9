import pytest

from conversations_bench.layouts import (
    LAYOUTS,
    Layout,
    Said,
    render_source,
    sources_around_question,
    sources_in_system_message,
)

PAST = (Said("first?", "yes"), Said("second?", "no"))
SOURCES = ("a.py:1-1\n1: x = 1", "b.py:2-2\n2: y = 2")


@pytest.mark.parametrize("layout", LAYOUTS.values())
def test_the_whole_history_is_sent_without_its_sources(layout: Layout) -> None:
    messages = layout(PAST, "third?", SOURCES)
    assert [message["role"] for message in messages] == ["system", *["user", "assistant"] * 2, "user"]
    assert [message["content"] for message in messages[1:-1]] == ["first?", "yes", "second?", "no"]


@pytest.mark.parametrize("layout", LAYOUTS.values())
def test_every_source_is_sent_once(layout: Layout) -> None:
    sent = "".join(message["content"] for message in layout(PAST, "third?", SOURCES))
    assert all(sent.count(source) == 1 for source in SOURCES)


def test_sources_in_the_system_message_change_the_prompt_from_its_beginning() -> None:
    first, *_ = sources_in_system_message(PAST, "third?", SOURCES)
    other, *_ = sources_in_system_message(PAST, "third?", SOURCES[:1])
    assert first != other


def test_sources_around_the_question_leave_all_before_it_as_it_was() -> None:
    before = sources_around_question(PAST, "third?", SOURCES)[:-1]
    assert before == sources_around_question(PAST, "third?", SOURCES[:1])[:-1]


def test_a_question_without_sources_stands_alone() -> None:
    assert sources_around_question((), "first?", ())[-1] == {"role": "user", "content": "first?"}


def test_a_source_is_rendered_with_its_place_and_line_numbers() -> None:
    source = {
        "path": "shop/cart.py",
        "start_line": 9,
        "end_line": 10,
        "symbol": "Cart.add",
        "text": "def add(self):\n    ...",
        "context": [{"line": 3, "text": "class Cart:"}],
    }
    assert render_source(source) == (
        "shop/cart.py:9-10 (Cart.add)\n3: class Cart:\n9: def add(self):\n10:     ..."
    )
