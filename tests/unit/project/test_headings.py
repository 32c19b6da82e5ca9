from coding_assistant.project.headings import heading_outline, markdown_headings, rst_headings


def markdown(text: str) -> list[tuple[int, int, str]]:
    return [(each.row, each.level, each.title) for each in markdown_headings(text.split("\n"))]


def rst(text: str) -> list[tuple[int, int, str]]:
    return [(each.row, each.level, each.title) for each in rst_headings(text.split("\n"))]


def test_markdown_headings_of_both_kinds() -> None:
    text = "# One #\n\nTwo\n===\n\nThree\n---\n\n###### Six"
    assert markdown(text) == [(0, 1, "One"), (2, 1, "Two"), (5, 2, "Three"), (8, 6, "Six")]


def test_what_only_looks_like_a_markdown_heading() -> None:
    assert markdown("#hashtag\n\n    # code\n\n####### seven\n\n| a | b |\n---") == []


def test_fenced_code_has_no_headings() -> None:
    assert markdown("````sh\n# a comment\n```\n# another\n````\n# Real") == [(5, 1, "Real")]
    assert markdown("~~~\n# never closed") == []


def test_front_matter_has_no_headings() -> None:
    assert markdown("---\ntitle: x\n---\n# Real") == [(3, 1, "Real")]


def test_rst_levels_go_by_first_appearance() -> None:
    text = "=====\nTitle\n=====\n\nPart\n----\n\nDetail\n~~~~~~\n\nNext\n----"
    assert rst(text) == [(0, 1, "Title"), (4, 2, "Part"), (7, 3, "Detail"), (10, 2, "Next")]


def test_an_rst_underline_is_as_long_as_its_title() -> None:
    assert rst("A long title\n---\n\n---\n\ntext") == []


def test_a_section_is_known_by_the_headings_above_it() -> None:
    outline = heading_outline("markdown", ["intro", "# A", "## B", "# C"])
    assert [outline.regions[owner].symbol for owner in outline.owners] == [None, "A", "A > B", "C"]
