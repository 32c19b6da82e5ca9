import pytest

from coding_assistant.chat.lacking_words import lacking_note, telling_words


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("Which class stores compiled templates in Redis?", ("Redis",)),
        ("which class stores templates in redis", ("redis",)),
        ("Which option awaits hooks that are coroutines?", ("awaits", "coroutines")),
        ("What happens when `retry_budget` runs out?", ("retry_budget",)),
        ("What does Version::to_calver return?", ("Version", "to_calver")),
        ("Does it persist to localStorage?", ("localStorage",)),
        ("What is the longest pause?", ()),
        ("Which files does it read? And I, how do I stop it?", ()),
        ("First it works. Then it stops. Why?", ()),
        ("What if somebody asks for '../secret.html'?", ()),
        ("", ()),
    ],
)
def test_names_of_things_and_words_of_the_trade_tell(question: str, words: tuple[str, ...]) -> None:
    assert telling_words(question) == words


def test_the_note_is_one_line_and_names_few() -> None:
    assert lacking_note(()) == ""
    assert lacking_note(("Redis",)).startswith('Note: the word "Redis" occurs nowhere in this project')
    many = lacking_note(("one", "two", "three", "four"))
    assert many.startswith('Note: the words "one" and "two" and "three" occur nowhere in this project')
    assert "\n" not in many
