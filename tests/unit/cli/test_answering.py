import io
from dataclasses import dataclass, field

import pytest

from coding_assistant.cli.answering import AnswerView, follow
from coding_assistant.cli.bridge import bridge
from coding_assistant.cli.connection import Connection
from coding_assistant.cli.screen import Screen
from coding_assistant.contract import (
    CitationEvent,
    ErrorEvent,
    EventData,
    IndexingEvent,
    LoadedEvent,
    LoadingEvent,
    NamedPlaceView,
    QueryRequest,
    QueryResponse,
    ReadingEvent,
    ReasoningEvent,
    RetractedEvent,
    SearchedEvent,
    SourcesEvent,
    TextEvent,
    VainSearchView,
)
from coding_assistant.domain import Finish, Indexed
from coding_assistant.errors import EngineDied, OnlyThoughts
from support import views
from support.answering_calls import AnsweringCalls

REQUEST = QueryRequest(query="Where is it decided?")


def loaded(*, notice: str) -> LoadedEvent:
    return LoadedEvent(
        model="a-model", program="native", program_version="b1", layers=33, offloaded_layers=0, notice=notice
    )


BEFORE_TEXT: list[EventData] = [
    views.STARTED,
    IndexingEvent(what=Indexed.FILES, done=1, total=2),
    LoadingEvent(model="a-model"),
    loaded(notice=""),
    SourcesEvent(sources=[views.source()]),
    ReadingEvent(done=10, total=100, cached=0, remaining_seconds=3.0),
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@dataclass
class Shown:
    """What an answer left on the two streams."""

    output: io.StringIO = field(default_factory=io.StringIO)
    side: io.StringIO = field(default_factory=io.StringIO)
    streams_text: bool = True

    def answer(self, calls: AnsweringCalls) -> QueryResponse:
        view = AnswerView(Screen(self.output), Screen(self.side), root=None, streams_text=self.streams_text)
        with bridge() as crossing:
            response = follow(Connection(calls, crossing), REQUEST, view, Screen(self.side))
        view.conclude(response, verbose=False)
        return response


def test_a_pipe_gets_the_answer_its_citations_and_the_receipt_and_nothing_else() -> None:
    said: list[EventData] = [TextEvent(text="It is decided "), TextEvent(text="in `decide` [1].")]
    finished = views.response(unknown=[7])
    shown = Shown()
    response = shown.answer(
        AnsweringCalls([*BEFORE_TEXT, *said, CitationEvent(citation=views.citation()), finished])
    )
    assert response == finished
    assert shown.side.getvalue() == ""
    assert shown.output.getvalue().splitlines() == [
        "It is decided in `decide` [1].",
        "",
        "Citations",
        "  [1] src/deciding.py:3-4  decide  ✓ verified",
        "  [7] ✗ no such source",
        "",
        "left out: src/other.py:1-9 (400 tokens), no room",
        "a-model · read 1,860 tokens, 1,240 cached · first token 4.1 s · total 6.1 s · 20 tokens/s",
    ]


ROUND = SearchedEvent(round=2, query=["Policy", "decide_later"], found=3)


def test_a_person_sees_each_round_of_a_deep_search_and_a_pipe_how_far_it_went() -> None:
    finished = views.response()
    assert finished.receipt is not None
    deep = finished.receipt.model_copy(update={"search": "2 further rounds"})
    told: list[EventData] = [views.STARTED, ROUND, finished.model_copy(update={"receipt": deep})]
    person, pipe = Shown(side=Terminal()), Shown()
    person.answer(AnsweringCalls(told))
    pipe.answer(AnsweringCalls(told))

    assert "Round 2: 3 excerpts more by the names Policy, decide_later" in person.side.getvalue()
    assert pipe.side.getvalue() == ""
    assert "searched deeper: 2 further rounds\n" in pipe.output.getvalue()


THOUGHT: list[EventData] = [ReasoningEvent(text="Hm, "), ReasoningEvent(text="let me see.")]


def test_a_notice_of_the_load_is_told_beside_the_answer_also_to_a_pipe() -> None:
    shown = Shown()
    notice = loaded(notice="The native engine is not used.")
    told: list[EventData] = [notice, TextEvent(text="Yes."), views.response()]
    shown.answer(AnsweringCalls([views.STARTED, *told, views.response()]))

    assert shown.side.getvalue() == "The native engine is not used.\n"
    assert "native engine" not in shown.output.getvalue()


def test_a_person_sees_the_thoughts_apart_from_the_answer() -> None:
    shown = Shown(side=Terminal())
    shown.answer(AnsweringCalls([*BEFORE_TEXT, *THOUGHT, TextEvent(text="It is so."), views.response()]))

    assert "Thinking" in shown.side.getvalue()
    assert "Hm, " in shown.side.getvalue()
    assert "let me see." in shown.side.getvalue()
    assert shown.output.getvalue().startswith("It is so.\n")


def test_a_pipe_gets_no_thoughts() -> None:
    shown = Shown()
    shown.answer(AnsweringCalls([*BEFORE_TEXT, *THOUGHT, TextEvent(text="It is so."), views.response()]))

    assert shown.side.getvalue() == ""
    assert "let me see" not in shown.output.getvalue()


def test_thoughts_without_an_answer_end_their_line_before_the_error() -> None:
    shown = Shown(side=Terminal())
    failed = ErrorEvent(code="only_thoughts", detail="The model was still thinking.", hint="")
    with pytest.raises(OnlyThoughts):
        shown.answer(AnsweringCalls([*BEFORE_TEXT, *THOUGHT, failed]))

    assert shown.side.getvalue().endswith("\n")


def test_without_streaming_the_text_comes_once() -> None:
    shown = Shown(streams_text=False)
    shown.answer(AnsweringCalls([*BEFORE_TEXT, TextEvent(text="It is"), views.response("It is so.")]))
    assert shown.output.getvalue().startswith("It is so.\n")


def test_a_person_sees_the_sources_before_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    shown = Shown(side=Terminal())
    shown.answer(AnsweringCalls([*BEFORE_TEXT, TextEvent(text="It is."), views.response()]))
    side = shown.side.getvalue()
    assert "src/deciding.py:3-4" in side
    assert "Reading" in side
    assert "10 of 100 tokens" in side


def test_a_failed_answer_raises_its_error_and_keeps_the_text_on_its_own_line() -> None:
    shown = Shown()
    failed = ErrorEvent(code="engine_died", detail="The engine died.", hint="Ask again.")
    with pytest.raises(EngineDied, match="The engine died"):
        shown.answer(AnsweringCalls([views.STARTED, TextEvent(text="It is"), failed]))
    assert shown.output.getvalue() == "It is\n"


def test_ctrl_c_stops_the_answer_and_keeps_what_there_is() -> None:
    cancelled = views.response("It is", finish=Finish.CANCELLED, citations=[])
    calls = AnsweringCalls([views.STARTED, TextEvent(text="It is")], after_cancel=cancelled, presses=1)
    shown = Shown()
    assert shown.answer(calls).finish_reason is Finish.CANCELLED
    assert calls.cancelled == [views.STARTED.generation_id]
    assert "It is\nStopped by you" in shown.output.getvalue()


def test_ctrl_c_before_there_is_an_answer_ends_the_command() -> None:
    calls = AnsweringCalls([], presses=1)
    with pytest.raises(KeyboardInterrupt):
        Shown().answer(calls)
    assert calls.cancelled == []


def shown_of(*told: EventData, finished: QueryResponse, streams_text: bool = True) -> str:
    shown = Shown(streams_text=streams_text)
    shown.answer(AnsweringCalls([views.STARTED, *told, finished]))
    return shown.output.getvalue()


TAKEN_BACK: list[EventData] = [
    TextEvent(text="It is `made_up`."),
    RetractedEvent(names=["made_up"]),
    TextEvent(text="It was not found."),
]


def test_a_text_that_was_taken_back_is_told_apart_from_the_one_that_holds() -> None:
    shown = shown_of(*TAKEN_BACK, finished=views.response("It was not found."))

    assert shown.startswith(
        "It is `made_up`.\nTaken back, for the project has no `made_up`. Once more:\n\nIt was not found.\n"
    )


def test_without_streaming_only_the_answer_that_holds_is_shown() -> None:
    shown = shown_of(*TAKEN_BACK, finished=views.response("It was not found."), streams_text=False)

    assert shown.startswith("It was not found.\n")
    assert "made_up" not in shown


def test_names_that_are_nowhere_are_told_below_the_answer() -> None:
    response = views.response().model_copy(update={"unverified_names": ["made_up", "MadeUp"]})

    assert "\nNot in the project: `made_up`, `MadeUp`\n\nCitations\n" in shown_of(finished=response)


def test_an_answer_that_finds_nothing_comes_with_what_was_searched_and_what_is_near() -> None:
    near = NamedPlaceView(name="decide", path="src/deciding.py", line=3)
    searched = VainSearchView(files=214, words=["redis", "cache"], nearest=[near])
    response = views.response("It was not found.", citations=[]).model_copy(
        update={"not_found": True, "searched": searched}
    )
    shown = shown_of(finished=response)

    assert (
        "Searched 214 files for: redis, cache\nNearest in the project\n  decide  src/deciding.py:3" in shown
    )
    assert "No citations" not in shown


def test_a_citation_that_was_inferred_says_so() -> None:
    inferred = views.citation().model_copy(update={"inferred": True})

    assert "✓ verified, inferred" in shown_of(finished=views.response(citations=[inferred]))
