"""Attachments and diffs at the command line, asked of a running server."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from anyio.abc import TaskStatus
from anyio.from_thread import start_blocking_portal

from coding_assistant.assistant import AsyncAssistant
from coding_assistant.settings import Settings
from coding_assistant.web.server import serve
from support.scripted_engine import ScriptedEngine, only
from support.terminal import Command

CODE = "```python\ndef renew(session, now):\n    session.seen = now + 1\n```\n"


@contextmanager
def serving(command: Command, engine: ScriptedEngine) -> Iterator[None]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    opening = AsyncAssistant.open(
        Settings(home=command.home), make_engine=only(engine), purpose="serve", url=f"http://127.0.0.1:{port}"
    )
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(opening) as assistant:

        async def serve_it(*, task_status: TaskStatus[str]) -> None:
            await serve(assistant, host="127.0.0.1", port=port, announce=task_status.started)

        task, _ = portal.start_task(serve_it)
        try:
            yield
        finally:
            task.cancel()


def test_files_and_what_is_piped_in_go_with_the_question(command: Command) -> None:
    with serving(command, ScriptedEngine("It renews [1], and so does the text [2].")):
        asked = ("ask", "Explain this.", "--attach", "sessions.py:1-4", "--json")
        ended = command.run(*asked, given="what I saw in the log\n")

    assert ended.status == 0, ended.side
    sources = json.loads(ended.output)["sources"]
    assert [(each["path"], each["origin"]) for each in sources[:2]] == [
        ("sessions.py", "attached"),
        ("standard input", "given"),
    ]


def test_without_a_question_what_is_piped_in_is_the_question(command: Command) -> None:
    engine = ScriptedEngine("Yes.")
    with serving(command, engine):
        assert command.run("ask", given="Is this a question?\n").status == 0

    assert "Question: Is this a question?" in engine.prompt_text(engine.requests[0])


def test_a_given_text_is_told_from_a_file_in_the_citations(command: Command) -> None:
    with serving(command, ScriptedEngine("The log says so [1].")):
        ended = command.run("ask", "What is this?", given="the log\n")

    assert "[1] standard input:1-1  - given with the question" in ended.output.replace("·", "-")


def test_as_a_diff_the_output_is_the_diff_alone(command: Command) -> None:
    with serving(command, ScriptedEngine(f"So [1]:\n{CODE}")):
        ended = command.run("ask", "Add one.", "--attach", "sessions.py", "--diff")

    assert ended.status == 0, ended.side
    assert ended.output.startswith("diff --git a/sessions.py b/sessions.py\n")
    assert "+    session.seen = now + 1\n" in ended.output
    assert "So [1]:" in ended.side


def test_an_answer_that_makes_no_diff_fails_and_says_why(command: Command) -> None:
    with serving(command, ScriptedEngine("```python\ndef other():\n    pass\n```\n", "Nothing to change.")):
        unplaced = command.run("ask", "Add one.", "--attach", "sessions.py", "--diff")
        without_code = command.run("ask", "Add one.", "--attach", "sessions.py", "--diff")

    assert (unplaced.status, unplaced.output) == (1, "")
    assert "Code block 1 defines other, which sessions.py does not." in unplaced.side
    assert (without_code.status, "There is no code in it" in without_code.side) == (1, True)


def test_a_slip_in_an_attachment_costs_nothing(command: Command) -> None:
    ended = command.run("ask", "Explain this.", "--attach", "no.py:3")

    assert (ended.status, "There is no file 'no.py:3'." in ended.side) == (2, True)


def test_in_the_chat_a_file_is_attached_to_the_next_question_alone(command: Command) -> None:
    engine = ScriptedEngine("First [1].", "Second.")
    with serving(command, engine):
        ended = command.run("chat", given="/attach sessions.py:1-4\nExplain this.\nAnd now?\n/quit\n")

    assert "Attached to the next question: sessions.py:1-4" in ended.output
    assert [engine.prompt_text(each).count("(attached to the question)") for each in engine.requests] == [
        1,
        1,
    ]
