import subprocess
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from coding_assistant.chat.edits import proposed_edits, unified_diff
from coding_assistant.domain import Chunk, ChunkKind, ProposedEdits, Source

PAY = """\
import math

RATE = 0.19


class Till:
    \"\"\"Where money is.\"\"\"

    def __init__(self):
        self.money = 0

    @property
    def is_empty(self):
        return self.money == 0

    def take(self, amount):
        self.money += amount


def gross(net):
    return net * RATE


def net(gross):
    return gross / RATE
"""
PATH = PurePosixPath("src/pay.py")


def shown(text: str = PAY, path: PurePosixPath = PATH, *, lines: tuple[int, int] | None = None) -> Source:
    whole = Chunk(path, 1, text.count("\n") + 1, text, kind=ChunkKind.ATTACHED)
    chunk = whole.part(*lines) if lines else whole
    return Source(1, chunk, chunk.digest)


def proposed(code: str, text: str = PAY, *, info: str = "python") -> ProposedEdits:
    return proposed_edits(f"Here it is:\n```{info}\n{code}\n```\n", [shown(text)], {PATH: text})


def applied(tmp_path: Path, diff: str, before: str = PAY, path: PurePosixPath = PATH) -> str:
    """Return the file as the real git leaves it."""
    file = tmp_path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(before.encode())
    git = ["git", "apply", "--whitespace=nowarn", "-"]
    ended = subprocess.run(git, cwd=tmp_path, input=diff.encode(), capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr.decode()
    return file.read_bytes().decode()


def test_a_new_version_of_a_function_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    edits = proposed("def gross(net, rate=RATE):\n    return math.ceil(net * (1 + rate))")

    after = applied(tmp_path, edits.diff)
    assert edits.unplaced == ()
    assert after == PAY.replace(
        "def gross(net):\n    return net * RATE",
        "def gross(net, rate=RATE):\n    return math.ceil(net * (1 + rate))",
    )


def test_a_method_that_is_written_without_its_class_is_indented_as_in_the_file(tmp_path: Path) -> None:
    edits = proposed("def take(self, amount):\n    if amount:\n        self.money += amount")

    expected = "    def take(self, amount):\n        if amount:\n            self.money += amount\n"
    assert applied(tmp_path, edits.diff) == PAY.replace(
        "    def take(self, amount):\n        self.money += amount\n", expected
    )


def test_a_class_with_one_of_its_methods_changes_that_one_and_keeps_the_others(tmp_path: Path) -> None:
    edits = proposed("class Till:\n    def take(self, amount):\n        self.money += abs(amount)")

    assert applied(tmp_path, edits.diff) == PAY.replace("+= amount", "+= abs(amount)")


def test_a_decorated_method_is_replaced_with_its_decorator_or_keeps_it(tmp_path: Path) -> None:
    for decorator in ("@property\n", ""):
        edits = proposed(f"{decorator}def is_empty(self):\n    return not self.money")
        assert applied(tmp_path, edits.diff) == PAY.replace("self.money == 0", "not self.money")


def test_lines_without_a_definition_are_placed_by_their_first_and_last(tmp_path: Path) -> None:
    edits = proposed("import math\nimport sys\n\nRATE = 0.19")

    assert applied(tmp_path, edits.diff) == PAY.replace("import math\n", "import math\nimport sys\n")


def test_two_blocks_change_one_file_in_one_diff(tmp_path: Path) -> None:
    answer = "```py\ndef gross(net):\n    return 1\n```\n```py\ndef net(gross):\n    return 2\n```"
    edits = proposed_edits(answer, [shown()], {PATH: PAY})

    after = applied(tmp_path, edits.diff)
    assert ("return 1" in after, "return 2" in after, edits.diff.count("diff --git")) == (True, True, 1)


def test_of_several_definitions_of_a_name_the_one_is_meant_that_the_model_was_shown(tmp_path: Path) -> None:
    text = (
        "class A:\n    def run(self):\n        return 1\n\n\nclass B:\n    def run(self):\n        return 2\n"
    )
    answer = "```python\ndef run(self):\n    return 3\n```"

    edits = proposed_edits(answer, [shown(text, lines=(6, 8))], {PATH: text})

    assert applied(tmp_path, edits.diff, text) == text.replace("return 2", "return 3")
    assert "several" in proposed("def run(self):\n    return 3", text).unplaced[0]


@pytest.mark.parametrize(
    "text", [PAY.replace("\n", "\r\n"), PAY.rstrip("\n")], ids=["CRLF", "no last line feed"]
)
def test_line_ends_stay_as_they_are(tmp_path: Path, text: str) -> None:
    edits = proposed("def net(gross):\n    return gross", text)

    assert applied(tmp_path, edits.diff, text) == text.replace("gross / RATE", "gross")


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("def gross(net):\n    # ... existing code\n    return 1", "leaves lines out"),
        ("def vat(net):\n    return 1", "defines vat, which src/pay.py does not"),
        ("import os\n\ndef gross(net):\n    return os", "`import os`, which stands nowhere"),
        ("class Till:\n    pass", "defines Till without __init__, is_empty, take"),
        ("print('hello')\nprint('you')", "shares no run of lines"),
        ("def gross(net):\n    return net * RATE", "says what src/pay.py says already"),
        ("", "is empty"),
    ],
)
def test_what_cannot_be_placed_is_told_and_is_in_no_diff(code: str, why: str) -> None:
    edits = proposed(code)

    assert edits.diff == ""
    (reason,) = edits.unplaced
    assert reason.startswith("Code block 1 ")
    assert why in reason


def test_a_block_for_a_file_that_was_not_shown_is_not_placed() -> None:
    edits = proposed("def gross(net):\n    return 1", info="python tests/test_pay.py")

    assert "is for tests/test_pay.py" in edits.unplaced[0]


def test_nothing_is_changed_beside_a_secret_that_was_redacted() -> None:
    text = 'KEY = "[REDACTED]"\n\ndef gross(net):\n    return 1\n'

    assert "secret" in proposed("def gross(net):\n    return 2", text).unplaced[0]


def test_an_answer_without_code_proposes_nothing() -> None:
    assert proposed_edits("It is `gross`.", [shown()], {PATH: PAY}) == ProposedEdits()


LINES = st.lists(
    st.sampled_from(["a", "b", "  c", "", "\td\r", "+e", "-f", "é", "\x0cg", "@@ h"]), max_size=12
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(before=["a"] * 9, after=["a"] * 10, ends=(True, False), name="a.py")
@given(
    before=LINES,
    after=LINES,
    ends=st.tuples(st.booleans(), st.booleans()),
    name=st.sampled_from(["a.py", "d e/x y.py", 'q"t.py', "ü.py"]),
)
def test_git_makes_the_new_text_of_the_old_one(
    tmp_path: Path, before: list[str], after: list[str], ends: tuple[bool, bool], name: str
) -> None:
    old, new = ("\n".join(lines) + "\n" * end for lines, end in zip((before, after), ends, strict=True))
    diff = unified_diff(PurePosixPath(name), old, new)

    assert (diff == "") is (old == new)
    if diff:
        assert applied(tmp_path, diff, old, PurePosixPath(name)) == new


@given(answer=st.text(alphabet=st.sampled_from("`~#. \ndefclass:(){}x"), max_size=200))
def test_whatever_the_answer_is_nothing_fails(answer: str) -> None:
    edits = proposed_edits(f"```python\n{answer}", [shown()], {PATH: PAY})
    assert isinstance(edits, ProposedEdits)
