import sqlite3
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from coding_assistant.terms import (
    MOST_QUERY_TERMS,
    STOP_WORDS,
    index_terms,
    query_terms,
    stem,
)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("HandlerStack", "handlerstack handler stack"),
        ("handler_stack", "handlerstack handler stack"),
        ("HTTPServerError", "httpservererror http server error"),
        ("utf8", "utf8 utf 8"),
        ("MAX_RANGE = 100_000", "maxrange max range 100000 100 000"),
        ("__init__", "init"),
        ("Größe straße_nummer", "größe straßenummer straße nummer"),
        ("f(x) -> y", "f x y"),
        ("", ""),
        ("_ __", ""),
    ],
)
def test_index_terms_hold_each_name_whole_and_its_parts(text: str, terms: str) -> None:
    assert index_terms(text).split() == terms.split()


def test_runs_too_long_for_a_name_are_no_terms() -> None:
    assert index_terms(f"key = {'a1' * 200}").split() == ["key"]


@given(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True))
def test_a_name_in_a_question_asks_for_terms_that_its_code_has(name: str) -> None:
    assert set(query_terms(f"where is `{name}` used").terms) <= {*index_terms(name).split(), "used"}


@pytest.mark.parametrize(
    ("question", "names"),
    [
        ("where is HandlerStack built?", {"HandlerStack"}),
        ("what does max_content_length limit", {"max_content_length"}),
        ("how does `send` work", {"send"}),
        ("is session.send() retried", {"session.send"}),
        ("what is in src/flask/app.py", {"app.py"}),
        ("who calls std::move", {"std.move"}),
        ("what do .refine and @route add", {"refine", "route"}),
        ("Redirects are followed. Which are not?", set()),
        ("request/response cycle, e.g. in 3.11", set()),
        ("how does HTTP work", set()),
        ("Session", {"Session"}),
        ("session", {"session"}),
    ],
)
def test_names_in_a_question_are_recognised_by_their_shape(question: str, names: set[str]) -> None:
    assert set(query_terms(question).names) == names


def test_question_words_carry_no_weight() -> None:
    assert query_terms("Where is the place where it is decided how a cookie is stored?").words == (
        "place",
        "decided",
        "cookie",
        "stored",
    )


def test_a_stop_word_that_is_written_as_code_is_kept() -> None:
    assert "with" in query_terms("what does `with` do").names
    assert "in" in query_terms("what calls is_in_set").terms


@pytest.mark.parametrize("question", ["", " \n", "?!", "\x00", "what is it", '"', "()", "\ud800"])
def test_a_question_without_content_matches_nothing(question: str) -> None:
    assert query_terms(question).expression == ""


def test_a_long_question_keeps_its_names() -> None:
    question = " ".join(f"word{letter}" for letter in map(chr, range(0x4E00, 0x4E00 + 500))) + " see max_age"
    terms = query_terms(question)
    assert len(terms.terms) == MOST_QUERY_TERMS
    assert (terms.names, terms.terms[0]) == (("max_age",), "maxage")


def test_a_pasted_file_is_cut_to_what_can_be_ranked() -> None:
    terms = query_terms(" ".join(f"some_name_{number}.attribute()" for number in range(3_000)))
    assert len(terms.names) == len(terms.words) == MOST_QUERY_TERMS


@pytest.mark.parametrize("part", ["1.", "a.", "12.a.", "é.", "_::", "`", "A", "a`1.", ".1", "()"])
@pytest.mark.parametrize("end", ["", "ab", "!", "`"])
def test_a_question_made_to_be_slow_is_not(part: str, end: str) -> None:
    # With a pattern that goes back over what it has read, this would not end within the test's time limit.
    terms = query_terms(part * 5_000 + end).terms
    assert len(terms) <= MOST_QUERY_TERMS


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("redirects", "redirect"),
        ("redirected", "redirecting"),
        ("dependencies", "dependency"),
        ("classes", "class"),
        ("caches", "cached"),
        ("parsing", "parse"),
        ("stopped", "stop"),
    ],
)
def test_forms_of_a_word_have_one_stem(one: str, other: str) -> None:
    assert stem(one) == stem(other)


@pytest.mark.parametrize("word", ["class", "string", "is", "bus", "as", "process", "ring"])
def test_what_only_looks_like_an_ending_stays(word: str) -> None:
    assert stem(word) == word


def test_stop_words_are_lower_case() -> None:
    assert all(word == word.lower() for word in STOP_WORDS)


_HOSTILE = st.one_of(
    st.text(),
    st.text(alphabet=st.characters(codec=None)),
    st.text(alphabet="\"'()*^:+-{}NEAR/ \x00_aAB0\\.`#é"),
    st.lists(st.sampled_from(["AND", "OR", "NOT", "NEAR(", '"', "body:", "*", "\x00", "x"])).map(" ".join),
)


@pytest.fixture(scope="module")
def terms_table() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE terms USING fts5 (body)")
    connection.execute("INSERT INTO terms VALUES ('x near body')")
    yield connection
    connection.close()


@settings(max_examples=200)
@given(text=_HOSTILE)
@example(text='"' * 3)
@example(text="NEAR(" * 100)
@example(text="a\x00b")
def test_no_question_is_a_syntax_error(terms_table: sqlite3.Connection, text: str) -> None:
    expression = query_terms(text).expression
    if expression:
        terms_table.execute("SELECT rowid FROM terms WHERE terms MATCH ?", (expression,)).fetchall()
