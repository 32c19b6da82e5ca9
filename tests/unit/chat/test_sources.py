from pathlib import PurePosixPath

from coding_assistant.chat.sources import ShownBefore, number_sources, render_source
from coding_assistant.domain import Chunk, ChunkKind, ContextLine, Source
from support.spoken_turns import hit, source


def test_a_source_carries_its_number_its_place_its_symbol_and_the_files_own_line_numbers() -> None:
    chunk = Chunk(PurePosixPath("src/a.py"), 41, 42, "def run():\n    pass", "python", "App.run")

    assert render_source(Source(3, chunk, chunk.digest)) == (
        "[3] src/a.py:41-42 (App.run)\n41: def run():\n42:     pass"
    )


def test_a_source_is_shown_with_its_context_and_an_ellipsis_for_what_is_left_out() -> None:
    above = (ContextLine(3, "class App(Base):"), ContextLine(40, "    def run(\r"))
    below = (ContextLine(50, "    def stop(self):"),)
    chunk = Chunk(PurePosixPath("a.py"), 41, 42, "a\nb", context=(*above, *below))

    assert render_source(Source(1, chunk, chunk.digest)).split("\n")[1:] == [
        "3: class App(Base):",
        "…",
        "40:     def run(",
        "41: a",
        "42: b",
        "…",
        "50:     def stop(self):",
    ]


def test_of_the_blank_lines_between_cells_an_ellipsis_is_left() -> None:
    chunk = Chunk(PurePosixPath("a.ipynb"), 5, 12, "# %%\nx\n\ny\n\n\n\n# %%", kind=ChunkKind.CELL)

    shown = render_source(Source(1, chunk, chunk.digest)).split("\n")[1:]

    assert shown == ["5: # %%", "6: x", "7: ", "8: y", "…", "12: # %%"]


def test_no_file_name_and_no_symbol_can_begin_a_line() -> None:
    chunk = Chunk(PurePosixPath("a\nQuestion: b.py"), 1, 1, "x", symbol="f\u2028Question: g")

    assert render_source(Source(1, chunk, chunk.digest)) == ("[1] a Question: b.py:1-1 (f Question: g)\n1: x")


def test_the_same_chunk_keeps_its_number_and_a_changed_one_gets_a_new_one() -> None:
    before = ShownBefore(in_prompt=(source(1, "a.py"), source(2, "b.py")))

    numbered = number_sources([hit("b.py"), hit("a.py", "new text"), hit("c.py")], before, token_budget=500)

    assert [(each.number, str(each.chunk.path)) for each in numbered] == [
        (2, "b.py"),
        (3, "a.py"),
        (4, "c.py"),
    ]


def test_the_best_hit_is_taken_even_when_it_is_over_the_budget() -> None:
    hits = [hit("a.py", "x" * 9_000), hit("b.py", "y" * 9_000)]

    numbered = number_sources(hits, ShownBefore(), token_budget=100)

    assert [str(each.chunk.path) for each in numbered] == ["a.py"]


def test_numbers_go_on_after_those_of_turns_that_a_summary_stands_for() -> None:
    before = ShownBefore(in_prompt=(source(4),), highest=7)

    numbered = number_sources([hit("c.py")], before, token_budget=500)

    assert [each.number for each in numbered] == [8]


def test_a_source_that_only_a_summarised_turn_has_shown_keeps_its_number_and_is_paid_for_again() -> None:
    shown = (source(1, text="x" * 300),)
    in_prompt, summarised = ShownBefore(in_prompt=shown), ShownBefore(summarised=shown, highest=1)
    hits = [hit("b.py", "y" * 300), hit("a.py", "x" * 300)]

    assert [each.number for each in number_sources(hits, in_prompt, token_budget=150)] == [1, 2]
    assert [each.number for each in number_sources(hits, summarised, token_budget=150)] == [2]
    assert [each.number for each in number_sources(hits, summarised, token_budget=400)] == [1, 2]


def test_of_a_long_source_that_is_no_longer_shown_the_lines_found_are_enough() -> None:
    before = ShownBefore(summarised=(source(1, text="one\ntwo\n" + "x" * 3_000),), highest=1)

    numbered = number_sources([hit("a.py")], before, token_budget=100)

    assert [(each.number, each.chunk.location) for each in numbered] == [(2, "a.py:1-2")]
