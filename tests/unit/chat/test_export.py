import json
from dataclasses import replace
from pathlib import Path

from coding_assistant.chat.export import FORMAT, ConversationDocument, as_json, as_markdown
from coding_assistant.domain import (
    Citation,
    CitationState,
    Conversation,
    Finish,
    Project,
    Summary,
    SummaryOrigin,
    Turn,
)
from support.kept import NOON, said, source

ID = "0123456789abcdef" * 2
CONVERSATION = Conversation(ID, "a" * 32, "b" * 32, "Payments", NOON, NOON)
PROJECT = Project("b" * 32, Path("/somewhere/shop"), "shop")
COMMIT = "1a2b3c4d" * 5


def document(*turns: Turn, summaries: tuple[Summary, ...] = ()) -> ConversationDocument:
    return ConversationDocument(CONVERSATION, PROJECT, turns, summaries)


def turn(question: str = "Who pays?", *, commit: str = COMMIT) -> Turn:
    cited = Citation(source(1), 3, 3, CitationState.VERIFIED)
    answer = replace(said("The customer [1].", tokens=(1, 2), vocabulary="v"), citations=(cited,))
    return Turn("c" * 32, ID, 1, question, NOON, (source(1), source(2)), answer, commit)


def test_markdown_pins_what_is_cited_to_the_commit() -> None:
    assert as_markdown(document(turn())) == (
        "# Payments\n\nProject: shop · 2026-05-04 12:00 UTC\n\n"
        "## Who pays?\n\nThe customer [1].\n\n"
        "- [1] `shop/pay.py:3-3 @ 1a2b3c4` (verified)\n\n"
        "Sources: [1] `shop/pay.py:3-4 @ 1a2b3c4`, [2] `shop/pay.py:3-4 @ 1a2b3c4`\n\n"
        "*a-model, complete*\n"
    )


def test_markdown_without_a_repository_names_lines_alone() -> None:
    assert "`shop/pay.py:3-3` (verified)" in as_markdown(document(turn(commit="")))


def test_a_question_of_many_lines_is_whole_below_its_heading() -> None:
    text = as_markdown(document(turn("Why this?\n\n    Traceback\n    ValueError")))
    assert "## Why this?\n\nWhy this?\n\n    Traceback\n    ValueError\n" in text


def test_markdown_says_how_an_answer_ended() -> None:
    failed = replace(said("", finish=Finish.FAILED), failure="The engine died.")
    text = as_markdown(document(replace(turn(), answer=failed), replace(turn(), answer=None)))
    assert "*(no text)*" in text
    assert "*a-model, failed: The engine died.*" in text
    assert "*(not answered yet)*" in text


def test_markdown_tells_a_summary_behind_the_turns_that_it_stands_for() -> None:
    turns = [replace(turn(f"Question {number}?"), number=number) for number in (1, 2, 4)]
    summaries = (
        Summary(1, "They talked.", SummaryOrigin.EXTRACT, NOON),
        Summary(3, "They talked:\n\n- of tills", SummaryOrigin.MODEL, NOON),
    )
    text = as_markdown(document(*turns, summaries=summaries))
    by_rule = (
        "\n> **From here on, the model reads a summary made by rule in place of turn 1:**\n"
        ">\n> They talked.\n\n"
    )
    by_model = (
        "\n> **From here on, the model reads a summary that it wrote in place of turns 1 to 3:**\n"
        ">\n> They talked:\n>\n> - of tills\n\n"
    )
    parts = ["## Question 1?", by_rule, "## Question 2?", by_model, "## Question 4?"]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_json_is_all_that_is_kept() -> None:
    summary = Summary(1, "They talked.", SummaryOrigin.EXTRACT, NOON)
    fields = json.loads(as_json(document(turn(), summaries=(summary,))))
    assert fields["format"] == FORMAT
    assert fields["summaries"][0]["text"] == "They talked."
    (kept,) = fields["turns"]
    assert (kept["commit"], kept["answer"]["tokens"], kept["answer"]["vocabulary"]) == (COMMIT, [1, 2], "v")
    assert kept["sources"][0]["chunk"]["text"] == source(1).chunk.text
