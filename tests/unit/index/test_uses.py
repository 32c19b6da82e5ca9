from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.domain import Chunk, ContextLine, Hit
from coding_assistant.index.uses import LINES_AROUND, UsesAsked, uses, uses_asked


def _hit(text: str, *, path: str = "a.py", line: int = 1, symbol: str | None = None) -> Hit:
    end = line + text.count("\n")
    return Hit(Chunk(PurePosixPath(path), line, end, text, "python", symbol), 1.0)


def _texts(name: str, *hits: Hit, heirs: bool = False, is_plain: bool = False) -> list[str]:
    return [hit.chunk.text for hit in uses(UsesAsked(name, heirs, is_plain), hits)]


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("Who calls matchInArray?", "matchInArray"),
        ("who uses get_env", "get_env"),
        ("Which functions call `send`?", "send"),
        ("What else uses Session.send()?", "send"),
        ("Where is ErrMismatch checked or set?", "ErrMismatch"),
        ("Where is the constant MAX_AGE used?", "MAX_AGE"),
        ("Where is the state GET_LENGTH used?", "GET_LENGTH"),
        ("Where do we use dump_string?", "dump_string"),
        ("callers of parseItem", "parseItem"),
        ("list all usages of parse_item in the tests", "parse_item"),
        ("And where is valid_dep? called", "valid_dep"),
    ],
)
def test_a_question_for_uses_is_recognised(question: str, name: str) -> None:
    assert uses_asked(question) == UsesAsked(name, heirs=False, is_plain=False)


@pytest.mark.parametrize(
    "question",
    [
        "Which classes extend BaseNode?",
        "What implements NodeVisitor?",
        "What are the subclasses of wait_base?",
        "Which types inherit from the class _Dict?",
    ],
)
def test_a_question_for_heirs_is_recognised(question: str) -> None:
    asked = uses_asked(question)
    assert asked is not None
    assert asked.heirs


@pytest.mark.parametrize("question", ["who calls dasherize?", "Where is hashsize used in the hash table?"])
def test_a_plain_word_is_taken_for_a_name_with_reserve(question: str) -> None:
    asked = uses_asked(question)
    assert asked is not None
    assert asked.is_plain


@pytest.mark.parametrize(
    "question",
    [
        "Session",
        "How does Session.send use the adapter?",
        "Which unit endings are used when memory is formatted for humans?",
        "Who calls it?",
        "Where is the substring search implemented, and which algorithm does it use?",
        "Why must load_auth be called after load_body, and where does the class that does so learn of hooks?",
        "",
    ],
)
def test_another_question_is_none(question: str) -> None:
    assert uses_asked(question) is None


def test_only_uses_are_returned() -> None:
    text = "from m import send\n\ndef send(x):\n    return x\n\n# send is good\n\nok = resend + sender"
    assert _texts("send", _hit(text)) == []


@pytest.mark.parametrize(
    ("symbol", "text"),
    [
        ("reader.fill", "static int fill(reader *r) {\n    return fill_more(r);\n}"),
        ("Sender.fill", "  fill(list, cb) {\n    return list;\n  }"),
        ("Router.fill", "func (r *Router) fill() *Route {\n\treturn nil\n}"),
        (None, "#define fill(n) (n)"),
        (None, "local function fill()\nend"),
        (None, "  def self.fill\n  end"),
    ],
)
def test_a_definition_is_no_use_in_any_language(symbol: str | None, text: str) -> None:
    assert _texts("fill", _hit(text, symbol=symbol)) == []


def test_a_use_is_shown_with_the_lines_around_it_and_what_it_stands_in() -> None:
    lines = ["class Client:", "    def go(self):", *["        step()"] * 9, "        if self.ready:"]
    lines += [
        "            a = 1",
        "            b = 2",
        "            c = 3",
        "            self.send(c)",
        "",
        "end",
        "x",
        "y",
    ]
    (hit,) = uses(UsesAsked("send", heirs=False, is_plain=False), [_hit("\n".join(lines), line=11)])
    assert hit.chunk.text.split("\n") == lines[12:19]
    assert (hit.chunk.start_line, hit.chunk.end_line) == (23, 29)


def test_the_function_that_a_use_stands_in_is_its_context() -> None:
    lines = ["def go(self):", *["    step()"] * 9, "    send(1)"]
    (hit,) = uses(UsesAsked("send", heirs=False, is_plain=False), [_hit("\n".join(lines), line=11)])
    assert hit.chunk.context == (ContextLine(11, "def go(self):"),)


def test_uses_close_by_are_one_and_far_apart_are_two() -> None:
    near = "send(1)\n\nsend(2)"
    far = "send(1)" + "\n" * (2 * LINES_AROUND + 2) + "send(2)"
    assert [len(_texts("send", _hit(text))) for text in (near, far)] == [1, 2]


def test_heirs_leave_mere_mentions_out() -> None:
    heir, mention = "class Fixed(Base):\n    pass", "x = Base()"
    assert _texts("Base", _hit(mention), _hit(heir), heirs=True) == [heir]


def test_without_heirs_every_use_is_better_than_nothing() -> None:
    assert _texts("Base", _hit("x = Base()"), heirs=True) == ["x = Base()"]


def test_a_plain_word_must_be_defined_somewhere() -> None:
    use, definition = _hit("x = retries"), _hit("def retries():\n    pass")
    assert _texts("retries", use, is_plain=True) == []
    assert _texts("retries", use, definition, is_plain=True) == ["x = retries"]


def test_a_rust_attribute_and_a_pointer_are_code() -> None:
    assert len(_texts("fill", _hit("#[fill(x)]"), _hit("*p = fill(q);"))) == 2


@given(
    st.lists(
        st.sampled_from(["    send(1)", "send()", "", "x = 1", "def send():", "\tif send:", "# send"]),
        min_size=1,
    ),
    st.integers(1, 50),
)
def test_what_is_returned_are_lines_of_the_file_that_hold_the_name(lines: list[str], start: int) -> None:
    last = 0
    for hit in uses(UsesAsked("send", heirs=False, is_plain=False), [_hit("\n".join(lines), line=start)]):
        chunk = hit.chunk
        assert chunk.text.split("\n") == lines[chunk.start_line - start : chunk.end_line - start + 1]
        assert "send" in chunk.text
        assert chunk.start_line > last
        assert all(line.line < chunk.start_line for line in chunk.context)
        assert all(line.text == lines[line.line - start].rstrip() for line in chunk.context)
        last = chunk.end_line
