import pytest

from coding_assistant.chat.unverified_names import are_the_point, project_names, retry_note


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        ("It is `RedisBytecodeCache`, in `bccache.py`.", ("RedisBytecodeCache",)),
        ("Call copy_to_clipboard or HASH_LOCK.", ("copy_to_clipboard", "HASH_LOCK")),
        ("Use `Version.bump()`, then HTTPServer.", ("HTTPServer", "bump")),
        ("It is a LIFO in JavaScript, see `len(x)` and `RuntimeError`.", ()),
        ("`__init__` and `key in table` are plain.", ()),
        ("```python\nmy_cache = make_cache()\nmy_cache.get_it(key)\n```", ("make_cache", "get_it")),
        ("```python\ndef new_helper(a):\n    return a\n\nnew_helper(1)\n```", ()),
        ("", ()),
    ],
)
def test_only_names_that_a_project_must_have_made_count(answer: str, names: tuple[str, ...]) -> None:
    assert project_names(answer) == names


def test_a_name_of_the_first_sentence_is_the_point() -> None:
    answer = "It is `made_up`. It calls `real_one` and `real_two`."

    assert are_the_point(["made_up"], answer)
    assert not are_the_point(["made_up"], "It is `real_one`. It calls `real_two`, `made_up`.")
    assert are_the_point(["made_up", "other_one"], "It is there. See `made_up`, `other_one`, `real_one`.")


def test_an_example_is_not_the_point() -> None:
    assert not are_the_point(["their_own"], "```python\ntheir_own(1)\n```\nIt is `real_one`.")


def test_a_full_stop_in_code_ends_no_sentence() -> None:
    assert are_the_point(["made_up"], "In `app. py` it is `made_up`. `a_b`, `c_d`.")


def test_the_note_says_what_does_not_exist_and_what_to_do() -> None:
    assert retry_note(["a_b"]).startswith("Note: `a_b` does not exist in this project.")
    assert retry_note(["a_b", "c_d"]).startswith("Note: `a_b` and `c_d` do not exist in this project.")
