import pytest

from coding_assistant.project.ignore import is_ignored, parse_rules


def ignored(patterns: str, path: str, *, depth: int = 0) -> bool:
    is_folder = path.endswith("/")
    rules = [parse_rules(patterns, depth=depth)]
    return is_ignored(rules, path.rstrip("/").split("/"), is_folder=is_folder)


@pytest.mark.parametrize(
    ("patterns", "path"),
    [
        ("*.log", "deep/down/a.log"),
        ("build/", "sub/build/"),
        ("/top", "top"),
        ("a/b", "a/b"),
        ("a/**/z", "a/z"),
        ("a/**/z", "a/b/c/z"),
        ("**/z", "z"),
        ("a/**", "a/b"),
        ("*", "anything"),
        ("[a-c]x", "bx"),
        ("[!a-c]x", "dx"),
        ("[]]x", "]x"),
        ("[[:digit:]]x", "7x"),
        (r"\#x", "#x"),
        (r"\!x", "!x"),
        ("x\\ ", "x "),
        ("x  ", "x"),
        ("x\r", "x"),
        ("\ufeffx", "x"),
    ],
)
def test_a_pattern_hides_what_it_names(patterns: str, path: str) -> None:
    assert ignored(patterns, path)


@pytest.mark.parametrize(
    ("patterns", "path"),
    [
        ("build/", "build"),
        ("/top", "sub/top"),
        ("a/b", "sub/a/b"),
        ("a/**", "a/"),
        ("*.log\n!keep.log", "keep.log"),
        ("*.LOG", "a.log"),
        ("a*b", "a/b"),
        ("?", "ab"),
        ("# x", "x"),
        ("!", "!"),
        ("/", "x"),
        ("", "x"),
        ("[a", "a"),
        ("[[:nonsense:]]", "n"),
        ("x\\", "x"),
    ],
)
def test_a_pattern_hides_nothing_else(patterns: str, path: str) -> None:
    assert not ignored(patterns, path)


def test_the_innermost_rules_have_the_last_word() -> None:
    rules = [parse_rules("*.log", depth=0), parse_rules("!a.log", depth=1)]
    assert not is_ignored(rules, ["sub", "a.log"], is_folder=False)
    assert is_ignored(rules, ["sub", "b.log"], is_folder=False)


def test_a_pattern_is_relative_to_the_folder_of_its_file() -> None:
    assert ignored("/x", "sub/x", depth=1)
    assert not ignored("/x", "sub/more/x", depth=1)


def test_a_pattern_made_to_be_slow_is_not() -> None:
    # 30 stars on 255 letters: an expression that goes back over its choices does not end in a lifetime.
    assert not ignored("*a" * 30 + "*b", "a" * 255)
    assert not ignored("**/" * 40 + "b", "/".join("a" * 200))
