import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from coding_assistant.chat.store import ConversationStore
from coding_assistant.domain import Finish, Turn

ROUNDS = 30


@dataclass
class Confirmed:
    """What the writer was told is on the disk."""

    questions: dict[str, str] = field(default_factory=dict)
    partial: dict[str, int] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)

    def hear(self, line: str) -> None:
        what, turn_id, rest = line.rstrip("\n").split(" ", 2)
        if what == "asked":
            self.questions[turn_id] = rest
        elif what == "kept":
            self.partial[turn_id] = int(rest)
        else:
            self.answers[turn_id] = int(rest)


class Writers:
    """Writers of one conversation, one at a time, each killed in the middle of its work."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdin
        assert process.stdout
        self._told, self._heard = process.stdin, process.stdout

    def run_and_kill(self, confirmed: Confirmed, *, after: int) -> None:
        """Let a writer work until it has said so many things, kill it, and hear the rest."""
        self._told.write("\n")
        self._told.flush()
        pid = int(self._heard.readline())
        for _ in range(after):
            confirmed.hear(self._heard.readline())
        os.kill(pid, signal.SIGKILL)
        while (line := self._heard.readline()) != "ended\n":
            confirmed.hear(line)


@contextmanager
def writers(file: Path, conversation_id: str) -> Iterator[Writers]:
    with subprocess.Popen(
        [sys.executable, "-m", "support.store_writer", file, conversation_id],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    ) as process:
        yield Writers(process)


def new_conversation(file: Path) -> str:
    store = ConversationStore.open(file)
    project = store.add_project(Path("/somewhere/shop"), "shop")
    conversation = store.create_conversation(session_id=store.create_session().id, project_id=project.id)
    store.close()
    return conversation.id


def turns_after_restart(file: Path, conversation_id: str) -> list[Turn]:
    """Open the store as a restarted program does, and see that it is whole."""
    store = ConversationStore.open(file)
    unfinished = [turn for turn in store.turns(conversation_id) if turn.answer is None]
    assert len(unfinished) <= 1
    assert store.mark_interrupted() == len(unfinished)
    turns = store.turns(conversation_id)
    store.close()
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    return turns


def check(turns: list[Turn], confirmed: Confirmed, *, kills: int) -> None:
    assert [turn.number for turn in turns] == list(range(1, len(turns) + 1))
    kept = {turn.id: turn for turn in turns}
    assert len(kept) == len(turns)
    questions = {turn_id: turn.question for turn_id, turn in kept.items()}
    assert confirmed.questions.items() <= questions.items()
    # A writer can be killed between the commit and its saying so: one question each, never more.
    assert len(questions) - len(confirmed.questions) <= kills
    assert len(set(questions.values())) == len(questions)
    for turn in turns:
        assert turn.answer
        whole = f"answer to {turn.id} " * 200 + "!"
        if turn.answer.finish is Finish.COMPLETE:
            assert turn.answer.text == whole
        else:
            assert turn.answer.finish is Finish.INTERRUPTED
            assert turn.id not in confirmed.answers
            assert whole.startswith(turn.answer.text)
            assert len(turn.answer.text) >= confirmed.partial.get(turn.id, 0)


def test_kill_9_loses_and_doubles_nothing_that_was_confirmed(tmp_path: Path) -> None:
    file = tmp_path / "conversations.db"
    conversation_id = new_conversation(file)
    confirmed = Confirmed()
    with writers(file, conversation_id) as running:
        for kills in range(1, ROUNDS + 1):
            # 0 kills it while it opens the database; the rest strikes at whatever it does just then.
            running.run_and_kill(confirmed, after=kills % 13)
            check(turns_after_restart(file, conversation_id), confirmed, kills=kills)
    assert len(confirmed.answers) > ROUNDS
    assert len(confirmed.questions) > len(confirmed.answers)
