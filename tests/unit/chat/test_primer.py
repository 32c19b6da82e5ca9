from pathlib import PurePosixPath

from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.chat.primer import HEADING, MainFile, main_symbols, primer
from coding_assistant.chat.sources import CHARACTERS_PER_TOKEN
from coding_assistant.domain import Chunk


def chunk(text: str, *, path: str = "README.md", start: int = 1, symbol: str | None = None) -> Chunk:
    return Chunk(PurePosixPath(path), start, start + text.count("\n"), text, symbol=symbol)


def test_it_tells_what_the_project_is_and_what_its_main_files_define() -> None:
    readme = [chunk("# Shop\n\n[![build](a.svg)](b)\n<p align=center>\nSells things.\n=====")]
    files = [
        MainFile(PurePosixPath("shop/till.py"), ("Till", "open_till")),
        MainFile(PurePosixPath("shop/cart.py")),
    ]

    assert primer(readme, files) == (
        f"{HEADING}\n\nREADME.md:1-5\n1: # Shop\n5: Sells things.\n\n"
        "shop/cart.py\nshop/till.py: Till, open_till"
    )


def test_with_nothing_to_tell_it_is_empty() -> None:
    assert primer([], []) == ""


def test_the_files_that_matter_most_are_shown_when_not_all_have_room() -> None:
    files = [MainFile(PurePosixPath(f"{name}.py"), ("symbol" * 5,) * 3) for name in "zcba"]

    text = primer([], files, most_tokens=110)

    assert [line[:4] for line in text.splitlines()[2:]] == ["c.py", "z.py"]


def test_symbols_are_the_largest_owners_in_the_order_of_the_file() -> None:
    chunks = [
        chunk("x", symbol="small"),
        chunk("x" * 50, symbol="Till"),
        chunk("x" * 50, symbol="Till.open"),
        chunk("x" * 70, symbol="run"),
        chunk("x" * 900),
    ]

    assert main_symbols(chunks, limit=2) == ("Till", "run")


@given(
    st.lists(st.text(max_size=300), max_size=4),
    st.lists(
        st.tuples(st.text(min_size=1, max_size=40), st.lists(st.text(max_size=30), max_size=4)), max_size=9
    ),
    st.integers(60, 300),
)
def test_whatever_a_project_holds_stays_within_the_bound_on_lines_with_places(
    texts: list[str], named: list[tuple[str, list[str]]], most_tokens: int
) -> None:
    files = [MainFile(PurePosixPath("src", path.replace("/", "")), tuple(names)) for path, names in named]

    text = primer([chunk(text) for text in texts], files, most_tokens=most_tokens)

    assert len(text) <= most_tokens * CHARACTERS_PER_TOKEN
    assert all(
        line == HEADING or line.startswith(("src", "README.md:")) or line.split(":")[0].isdigit()
        for line in text.splitlines()
        if line
    )
