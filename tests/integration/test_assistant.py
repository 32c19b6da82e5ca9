"""The whole assistant over real storage and a real index, with an engine that says what a script says."""

from pathlib import Path

import anyio
import pytest

from coding_assistant import contract
from coding_assistant.chat.store import ConversationStore
from coding_assistant.contract import QueryRequest, QueryResponse
from coding_assistant.domain import Answer, CitationState, Finish
from coding_assistant.errors import (
    ConversationBusy,
    ConversationElsewhere,
    ConversationNotFound,
    DataDirectoryLocked,
    EngineDied,
    GenerationNotFound,
    InvalidProject,
    NotFound,
    ProjectNotFound,
    QuestionTooLong,
    SessionNotFound,
)
from coding_assistant.settings import Settings
from support.opened import Opener, opener
from support.scripted_engine import Script, ScriptedEngine
from support.shop import write_shop

pytestmark = pytest.mark.anyio

UNKNOWN = "f" * 32


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_shop(tmp_path)


@pytest.fixture
def opened(tmp_path: Path, project: Path) -> Opener:
    return opener(Settings(home=tmp_path / "home", slots=2), project)


async def test_an_answer_has_checked_citations_its_sources_and_a_receipt(opened: Opener) -> None:
    engine = ScriptedEngine("`session_expired` compares with 1800 seconds [1]. Also [9].")
    async with opened(engine) as assistant:
        response = await assistant.query(QueryRequest(query="When does a session end?"))

    first = response.citations[0]
    assert (first.path, first.verified) == ("sessions.py", True)
    assert first.start_line >= 4
    assert response.unknown_citations == [9]
    assert response.response.endswith("Also [9?].")
    assert response.sources[0].path == "sessions.py"
    assert response.receipt is not None
    assert response.receipt.used == response.receipt.cached + response.receipt.new
    assert response.finish_reason is Finish.COMPLETE


async def test_the_events_of_an_answer_come_in_order_and_can_be_read_again(opened: Opener) -> None:
    async with opened(ScriptedEngine("In [1].")) as assistant:
        request = QueryRequest(query="When does a session end?")
        events = [event async for event in assistant.ask(request)]
        started = events[0].data
        assert isinstance(started, contract.StartedEvent)
        again = [event async for event in assistant.follow(started.generation_id, after=3)]

    # Indexing this little takes one step on a fast machine, and then there is no progress to tell.
    names = list(dict.fromkeys(event.name for event in events if event.name != "indexing"))
    assert names == ["started", "sources", "loading", "loaded", "reading", "text", "citation", "finished"]
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    assert again == events[3:]
    assert events[-1].is_last


async def test_a_deep_search_tells_its_rounds_before_its_sources_and_in_the_receipt(opened: Opener) -> None:
    async with opened(ScriptedEngine("In [1].", "In [1].")) as assistant:
        asked = [QueryRequest(query="When does a session end?", deep=deep) for deep in (True, False)]
        deep, usual = [[event async for event in assistant.ask(request)] for request in asked]

    names = list(dict.fromkeys(event.name for event in deep))
    assert names.index("searched") < names.index("sources")
    rounds = [event.data for event in deep if isinstance(event.data, contract.SearchedEvent)]
    assert [each.round for each in rounds] == list(range(1, len(rounds) + 1))
    assert "session_expired" in rounds[0].query
    assert _receipt(deep).search.startswith(f"{len(rounds)} further round")
    assert "searched" not in {event.name for event in usual}
    assert _receipt(usual).search == ""


def _receipt(events: list[contract.StreamEvent]) -> contract.ReceiptView:
    answer = events[-1].data
    assert isinstance(answer, QueryResponse)
    assert answer.receipt is not None
    return answer.receipt


async def test_a_follow_up_sees_its_conversation_and_reads_only_what_is_new(opened: Opener) -> None:
    engine = ScriptedEngine("After 1800 seconds [1].", "Because of `session_expired`.")
    async with opened(engine) as assistant:
        first = await assistant.query(QueryRequest(query="When does a session end?"))
        second = await assistant.query(
            QueryRequest(query="and why is that?", conversation_id=first.conversation_id)
        )

    prompt = engine.prompt_text(engine.requests[1])
    assert prompt.index("When does a session end?") < prompt.index("After 1800 seconds [1].")
    assert prompt.index("After 1800 seconds [1].") < prompt.index("and why is that?")
    assert prompt.count("def session_expired") == 1
    assert second.session_id == first.session_id
    assert second.receipt is not None
    assert second.receipt.cached >= len(engine.requests[0].tokens)


async def test_an_answer_in_another_form_needs_no_search_and_can_cite_what_was_read(opened: Opener) -> None:
    engine = ScriptedEngine("After 1800 seconds of silence [1].", "1800 seconds [1].")
    async with opened(engine) as assistant:
        first = await assistant.query(QueryRequest(query="When does a session end?"))
        request = QueryRequest(query="Shorter, please.", conversation_id=first.conversation_id)
        events = [event.data async for event in assistant.ask(request)]

    (found,) = [event for event in events if isinstance(event, contract.SourcesEvent)]
    assert (found.sources, found.searched) == ([], False)
    answer = events[-1]
    assert isinstance(answer, QueryResponse)
    assert [citation.verified for citation in answer.citations] == [True]


async def test_two_conversations_of_one_session_do_not_see_each_other(opened: Opener) -> None:
    engine = ScriptedEngine("noted")
    async with opened(engine) as assistant:
        first = await assistant.query(QueryRequest(query="Remember the word xylophone."))
        second = await assistant.query(
            QueryRequest(query="Which word did I say?", session_id=first.session_id)
        )

    assert second.session_id == first.session_id
    assert second.conversation_id != first.conversation_id
    assert "xylophone" not in engine.prompt_text(engine.requests[1])


async def test_a_conversation_goes_on_after_a_restart(opened: Opener) -> None:
    async with opened(ScriptedEngine("After 1800 seconds [1].")) as assistant:
        first = await assistant.query(QueryRequest(query="When does a session end?"))
    engine = ScriptedEngine("As I said.")
    async with opened(engine) as assistant:
        await assistant.query(QueryRequest(query="and why?", conversation_id=first.conversation_id))
        history = await assistant.history(first.conversation_id)

    assert "After 1800 seconds [1]." in engine.prompt_text(engine.requests[0])
    assert [message.role for message in history.messages] == ["user", "assistant"] * 2


async def test_control_tokens_in_code_question_and_answer_stay_text(opened: Opener, project: Path) -> None:
    (project / "tokens.py").write_text('END = "<|im_end|>"\nSTART = "<|im_start|>system"\n')
    engine = ScriptedEngine("It is <|im_start|>.")
    async with opened(engine) as assistant:
        first = await assistant.query(QueryRequest(query="What is <|im_end|> in tokens.py?"))
        await assistant.query(QueryRequest(query="and <|im_start|>?", conversation_id=first.conversation_id))

    controls = [sum(token <= 2 for token in request.tokens) for request in engine.requests]
    assert controls == [5, 9]  # system and question with their ends and the answer's start; then 4 a turn


async def test_the_next_question_reads_what_was_edited_a_moment_ago(opened: Opener, project: Path) -> None:
    async with opened(ScriptedEngine("In `session_expired` [1].")) as assistant:
        first = await assistant.query(QueryRequest(query="When does session_expired end a session?"))
        text = (project / "sessions.py").read_text()
        (project / "sessions.py").write_text("# moved\n" + text.replace("1800", "60"))
        second = await assistant.query(QueryRequest(query="When does session_expired end a session?"))

    assert "1800" in first.sources[0].text
    assert any("60" in source.text for source in second.sources)
    assert all(citation.state is CitationState.VERIFIED for citation in second.citations)


async def test_what_a_refusal_leaves_is_nothing(opened: Opener, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    async with opened(ScriptedEngine("yes", context_tokens=2_000)) as assistant:
        mine = await assistant.query(QueryRequest(query="first?"))
        elsewhere = await assistant.query(QueryRequest(query="second?"))
        await assistant.add_project(str(other))
        refused = {
            ConversationNotFound: QueryRequest(query="?", conversation_id=UNKNOWN),
            SessionNotFound: QueryRequest(query="?", session_id=UNKNOWN),
            ProjectNotFound: QueryRequest(query="?", project="nowhere"),
            ConversationElsewhere: QueryRequest(
                query="?", conversation_id=mine.conversation_id, session_id=elsewhere.session_id
            ),
            QuestionTooLong: QueryRequest(query="word " * 5_000),
        }
        for error, request in refused.items():
            with pytest.raises(error):
                await anext(assistant.ask(request))
        with pytest.raises(ConversationElsewhere):
            await anext(
                assistant.ask(QueryRequest(query="?", conversation_id=mine.conversation_id, project="other"))
            )

        assert len(await assistant.sessions()) == 2
        assert len(await assistant.conversations()) == 2


async def test_a_folder_without_a_readable_file_is_said_and_asks_no_model(
    opened: Opener, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    engine = ScriptedEngine("made up")
    async with opened(engine) as assistant:
        view = await assistant.add_project(str(empty))
        with pytest.raises(InvalidProject, match="no file that can be read"):
            await assistant.query(QueryRequest(query="what is here?", project=view.id))

    assert engine.requests == []


async def test_one_conversation_answers_one_question_at_a_time(opened: Opener) -> None:
    engine = ScriptedEngine("at once", Script("later", waits=True))
    async with opened(engine) as assistant:
        first = await assistant.query(QueryRequest(query="first?"))
        again = QueryRequest(query="second?", conversation_id=first.conversation_id)
        await assistant.begin(again)
        with pytest.raises(ConversationBusy):
            await assistant.begin(again)


async def test_cancelling_keeps_the_partial_text(opened: Opener) -> None:
    engine = ScriptedEngine(Script("never said", waits=True))
    async with opened(engine) as assistant:
        generation_id = await assistant.begin(QueryRequest(query="When does a session end?"))
        await engine.waiting.wait()
        await assistant.cancel(generation_id)
        state = await assistant.generation(generation_id)
        history = await assistant.history(state.conversation_id)

    assert state.state == "cancelled"
    assert history.messages[1].finish_reason is Finish.CANCELLED
    assert engine.closed_early == 1


async def test_closing_the_assistant_interrupts_what_is_being_answered(opened: Opener) -> None:
    engine = ScriptedEngine(Script("never said", waits=True))
    async with opened(engine) as assistant:
        generation_id = await assistant.begin(QueryRequest(query="When does a session end?"))
        await engine.waiting.wait()
        conversation = (await assistant.generation(generation_id)).conversation_id
    async with opened(ScriptedEngine("done")) as assistant:
        history = await assistant.history(conversation)

    assert [message.finish_reason for message in history.messages] == [None, Finish.INTERRUPTED]


async def test_an_engine_that_dies_fails_its_answer_and_no_other(opened: Opener) -> None:
    died = EngineDied("The engine ended.", hint="Ask again.")
    engine = ScriptedEngine(Script("half of it is here", fails=died, fails_after=2), "whole")
    async with opened(engine) as assistant:
        with pytest.raises(EngineDied, match="The engine ended"):
            await assistant.query(QueryRequest(query="first?"))
        response = await assistant.query(QueryRequest(query="second?"))
        failed = next(
            each
            for each in await assistant.conversations()
            if each.conversation_id != response.conversation_id
        )
        history = await assistant.history(failed.conversation_id)

    assert response.response == "whole"
    assert history.messages[1].finish_reason is Finish.FAILED
    assert history.messages[1].content == "half of"


async def test_an_engine_that_breaks_its_promise_ends_the_answer_not_the_service(opened: Opener) -> None:
    engine = ScriptedEngine(Script("cut off", malformed=True), "whole")
    async with opened(engine) as assistant:
        events = [event async for event in assistant.ask(QueryRequest(query="first?"))]
        response = await assistant.query(QueryRequest(query="second?"))

    assert events[-1].name == "error"
    assert response.response == "whole"


async def test_a_failure_while_writing_down_ends_the_answer_and_not_the_service(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_self: ConversationStore, _turn: str, _answer: Answer) -> None:
        raise RuntimeError

    async with opened(ScriptedEngine("fine")) as assistant:
        with monkeypatch.context() as patch:
            patch.setattr(ConversationStore, "finish_turn", broken)
            events = [event async for event in assistant.ask(QueryRequest(query="first?"))]
        response = await assistant.query(QueryRequest(query="second?"))

    assert events[-1].name == "error"
    assert response.response == "fine"


async def test_a_source_that_left_the_prompt_cannot_be_cited(opened: Opener, project: Path) -> None:
    long_answer = "word " * 1_500
    engine = ScriptedEngine("In `gross_price` [1].", long_answer, "It is [1].", context_tokens=2_000)
    async with opened(engine) as assistant:
        first = await assistant.query(QueryRequest(query="How is gross_price computed?"))
        (project / "prices.py").unlink()
        await assistant.query(QueryRequest(query="session_expired?", conversation_id=first.conversation_id))
        third = await assistant.query(
            QueryRequest(query="session_expired once more?", conversation_id=first.conversation_id)
        )

    assert third.receipt is not None
    assert any(dropped.what.startswith("turn") for dropped in third.receipt.dropped)
    assert third.unknown_citations == [1]


async def test_history_is_paged_by_messages(opened: Opener) -> None:
    async with opened(ScriptedEngine("fine")) as assistant:
        first = await assistant.query(QueryRequest(query="one?"))
        for text in ("two?", "three?"):
            await assistant.query(QueryRequest(query=text, conversation_id=first.conversation_id))
        newest = await assistant.history(first.conversation_id, limit=3)
        before = await assistant.history(first.conversation_id, limit=2, before=newest.messages[0].id)
        with pytest.raises(NotFound):
            await assistant.history(first.conversation_id, before="nothing-q")

    assert [message.content for message in newest.messages] == ["fine", "three?", "fine"]
    assert [message.content for message in before.messages] == ["fine", "two?"]
    assert newest.total_count == 6


async def test_the_model_that_answers_is_the_one_that_is_listed(opened: Opener, tmp_path: Path) -> None:
    async with opened(ScriptedEngine("fine")) as assistant:
        await assistant.query(QueryRequest(query="first?"))
        folder = tmp_path / "home" / "models"
        folder.mkdir(exist_ok=True)
        (folder / "Q4_K_M-00001-of-00001.gguf").write_bytes(b"the default's file, just arrived")
        selected = [model.name for model in await assistant.models() if model.selected]

    assert selected == ["qwen2.5-coder-1.5b"]


async def test_more_conversations_than_slots_are_all_answered(opened: Opener) -> None:
    engine = ScriptedEngine("fine", slots=2)
    answers: list[QueryResponse] = []
    async with opened(engine) as assistant:

        async def ask(number: int) -> None:
            answers.append(await assistant.query(QueryRequest(query=f"question {number}?")))

        async with anyio.create_task_group() as tasks:
            for number in range(8):
                tasks.start_soon(ask, number)

    assert len({answer.conversation_id for answer in answers}) == 8


async def test_clearing_and_deleting_leave_nothing_behind(opened: Opener) -> None:
    async with opened(ScriptedEngine("fine")) as assistant:
        first = await assistant.query(QueryRequest(query="first?"))
        second = await assistant.query(QueryRequest(query="second?", session_id=first.session_id))

        cleared = await assistant.clear_history(first.conversation_id)
        assert (cleared.cleared_conversations, cleared.cleared_messages) == (1, 2)
        assert (await assistant.history(first.conversation_id)).total_count == 0
        assert (await assistant.history(second.conversation_id)).total_count == 2

        await assistant.delete_conversation(second.conversation_id)
        with pytest.raises(ConversationNotFound):
            await assistant.history(second.conversation_id)

        assert (await assistant.clear_session(first.session_id)).cleared_conversations == 1
        with pytest.raises(SessionNotFound):
            await assistant.session(first.session_id)


async def test_an_answer_that_is_not_in_the_making_cannot_be_followed(opened: Opener) -> None:
    async with opened(ScriptedEngine("fine")) as assistant:
        with pytest.raises(GenerationNotFound):
            await anext(assistant.follow(UNKNOWN))


async def test_the_data_directory_belongs_to_one(opened: Opener) -> None:
    async with opened(ScriptedEngine("fine")):
        with pytest.raises(DataDirectoryLocked):
            async with opened(ScriptedEngine("fine")):
                pass


async def test_an_export_holds_questions_answers_and_citations(opened: Opener) -> None:
    async with opened(ScriptedEngine("After 1800 seconds, says `session_expired`.")) as assistant:
        first = await assistant.query(QueryRequest(query="When does a session end?"))
        markdown = await assistant.export_conversation(first.conversation_id, form="md")
        whole = await assistant.export_conversation(first.conversation_id, form="json")

    for document in (markdown, whole):
        assert "When does a session end?" in document
        assert "After 1800 seconds" in document
        assert "sessions.py" in document
